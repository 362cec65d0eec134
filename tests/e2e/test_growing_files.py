"""An edge that follows logs is killed again and again while they are written and rotated.

1. A writer appends numbered rows to two logs, as a program does: in pieces that end in the middle
   of a line. Every 2,000 rows a log is rotated by renaming, as logrotate does it, and goes on in a
   new file with a header.
2. Meanwhile the edge is killed with -9, with slowed syncs, and started again.
3. Every row is there, once, with its value; the next start reads nothing again.
"""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

import pytest
import yaml
from rotated_log import ROTATED_EVERY, RotatedLog
from whole_river import NodeProcess, free_ports, wait_for

pytestmark = [pytest.mark.crash, pytest.mark.slow]

KILLS, PORTION = 5, 7_000
"""In each life of the edge the writer has a portion of rows: it is neither done before the kills
nor, on a slow machine, far ahead of them."""
ROWS = PORTION * (KILLS + 1)
LOGS = ("press", "oven")
DRAIN_TIMEOUT_S = 90.0


def test_kills_lose_and_double_no_row_of_rotated_logs(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    collector = {
        "type": "file", "mode": "follow", "path": "log", "pattern": "*.csv*", "codec": "csv",
        "template": "counter", "device": "root.{file}", "every": "100ms",
    }  # fmt: skip
    node = {
        "id": "edge", "tier": "edge", "listen": f"127.0.0.1:{port}", "data_dir": "data",
        "auth": {"loopback": "open"}, "collectors": [collector],
    }  # fmt: skip
    document = {
        "templates": {"counter": {"measurements": {"count": {"type": "INT64"}}}},
        "nodes": [node],
    }
    config = tmp_path / "topology.yaml"
    config.write_text(yaml.safe_dump(document), encoding="utf-8")
    (tmp_path / "log").mkdir()
    logs = [RotatedLog(tmp_path / "log" / f"{name}.csv") for name in LOGS]
    edge = NodeProcess("edge", port, config, tmp_path / "edge.log")
    is_over = threading.Event()

    lives = 0

    def write() -> None:
        while logs[0].written < ROWS and not is_over.wait(0.01):
            if logs[0].written < lives * PORTION:
                for log in logs:
                    log.write(100)

    writer = threading.Thread(target=write)
    try:
        edge.start()
        edge.wait_ready()
        writer.start()
        for kill in range(KILLS):
            lives = kill + 1
            mark = kill * len(LOGS) * PORTION + 500
            wait_for(partial(has_stored, edge, mark), DRAIN_TIMEOUT_S, f"rows before {kill}")
            edge.kill()
            edge.start()
            edge.wait_ready()
        lives = KILLS + 1
        writer.join()
        wait_for(lambda: stored(edge) == len(LOGS) * ROWS, DRAIN_TIMEOUT_S, "every row")
        for name in LOGS:
            statement = (
                "SELECT count(*), count(DISTINCT count), min(time), max(time), sum(count)"
                f" FROM counter WHERE device = 'root.{name}'"
            )
            (row,) = edge.sql(statement)
            assert row[:2] == [ROWS, ROWS]
            assert int(row[4]) == ROWS * (ROWS - 1) // 2
        wait_for(lambda: lag(edge) == 0, DRAIN_TIMEOUT_S, "all durable")
        assert edge.stop() == 0
        edge.start()
        edge.wait_ready()
        wait_for(lambda: lag(edge) == 0, DRAIN_TIMEOUT_S, "looked again")
        status = edge.status()
        assert status is not None
        assert status["collectors"][0]["messages"] == 0
        assert status["collectors"][0]["following"] == len(LOGS) * (ROWS // ROTATED_EVERY + 1)
        assert edge.stop() == 0
    finally:
        is_over.set()
        writer.join()
        for log in logs:
            log.close()
        if edge.process is not None and edge.process.poll() is None:
            edge.kill()


def has_stored(edge: NodeProcess, mark: int) -> bool:
    return stored(edge) >= mark


def stored(edge: NodeProcess) -> int:
    ((count,),) = edge.sql("SELECT count(*) FROM counter")
    return int(count)


def lag(edge: NodeProcess) -> int | None:
    """None before it has looked at all files."""
    status = edge.status()
    if status is None:
        return None
    collector = status["collectors"][0]
    wanted = len(LOGS) * (ROWS // ROTATED_EVERY + 1)
    return int(collector["lag_bytes"]) if collector["following"] == wanted else None
