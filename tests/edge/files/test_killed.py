"""A process that is killed in the middle of files, again and again: every row is there once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mainstem_edge.testing.file_site import csv_rows
from mainstem_engine.engine import Engine

FILES, ROWS = 6, 60_000
CHILD = """\
import sys, time
from pathlib import Path
from mainstem_edge.assembly import Assembly, Workbench
from mainstem_edge.files import book_pace
from mainstem_engine.engine import Engine
from mainstem_node.config import load_topology
from mainstem_node.declare import declare
from mainstem_sync.receiving.quarantine import QuarantineStore

book_pace.BOOK_S = 0.02
place = Path(sys.argv[1])
found = load_topology(place / "t.yaml")
data = found.nodes[0].data_dir
data.mkdir(exist_ok=True)
with Engine.open(data) as engine:
    declare(engine, found, found.nodes[0])
    bench = Workbench(found, found.nodes[0], engine, QuarantineStore.open(place / "quarantine"))
    (intake,) = Assembly(bench).intakes()
    intake.start()
    intake.collector.start()
    while True:
        status = intake.collector.status()
        print(status["messages"] - status["unacknowledged"], flush=True)
        time.sleep(0.002)
"""


@pytest.mark.slow
@pytest.mark.crash
def test_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    document = {
        "templates": {"press": {"measurements": {"count": {"type": "INT64"}}}},
        "nodes": [{
            "id": "edge", "tier": "edge", "listen": "127.0.0.1:0", "data_dir": "data",
            "collectors": [{
                "type": "file", "path": "in", "pattern": "*.csv", "codec": "csv",
                "template": "press", "device": "root.{file}", "settle": "0s", "every": "100ms",
            }],
        }],
    }  # fmt: skip
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    (tmp_path / "in").mkdir()
    for number in range(FILES):
        text = "ts,count\n" + csv_rows(0, ROWS)
        (tmp_path / "in" / f"m{number}.csv").write_text(text, encoding="utf-8")
    kills = 0
    while list((tmp_path / "in").glob("*.csv")):
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for line in process.stdout:  # somewhere in the middle of the files that are left
            if int(line) >= 3 + kills % 12 or not list((tmp_path / "in").glob("*.csv")):
                break
        process.kill()
        process.wait()
        process.stdout.close()
        kills += 1
        assert kills < 10 * FILES
    assert kills > 2
    with Engine.open(tmp_path / "data") as engine:
        rows = engine.scan("press").read_all().to_pylist()
    assert len(rows) == FILES * ROWS
    assert {(r["device"], r["count"]) for r in rows} == {
        (f"root.m{number}", n) for number in range(FILES) for n in range(ROWS)
    }
    assert len(list((tmp_path / "in" / "done").iterdir())) == FILES
