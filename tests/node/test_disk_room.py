"""The limit of the disk: what goes first, what stays, and when rows are refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mainstem_engine.engine import Engine
from mainstem_engine.errors import OverloadedError
from mainstem_engine.model import ColumnType, Measurement, Template
from mainstem_engine.options import EngineOptions
from mainstem_node.disk_room import DiskRoom

DAY_MS = 86_400_000
DAY_NS = DAY_MS * 1_000_000
FIRST = 20_000


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine.open(tmp_path, EngineOptions(background=False)) as opened:
        opened.create_database("root.a", duration_ns=DAY_NS)
        for name in ("fast", "slow"):
            opened.create_template(Template(name, (Measurement(0, "x", ColumnType.DOUBLE),)))
        yield opened


def write(engine: Engine, table: str, day: int, rows: int = 2000) -> None:
    noise = np.random.default_rng(day).normal(size=rows)
    times = (FIRST + day) * DAY_MS + np.arange(rows)
    engine.write(table, f"root.a.{table}", times, {"x": noise}).wait()
    engine.flush()


def days(engine: Engine, table: str) -> list[int]:
    return [span.start_ns // DAY_NS - FIRST for span in engine.stored_spans(table)]


def log_bytes(engine: Engine) -> int:
    return engine.statistics().log.bytes


def test_the_oldest_part_of_all_tables_goes_first(engine: Engine) -> None:
    for day in (0, 2, 4):
        write(engine, "fast", day)
    for day in (1, 3, 5):
        write(engine, "slow", day)
    used = DiskRoom(engine, None, rejects=False).used_bytes()
    part = engine.stored_spans("fast")[0].bytes
    room = DiskRoom(engine, int((used - 2.5 * part) / 0.85), rejects=False)
    room.look()
    assert (days(engine, "fast"), days(engine, "slow")) == ([4], [3, 5])
    assert room.given_rows == 6000
    assert not room.refuses
    assert engine.store_accounting()["fast"].expired == 4000


def test_below_the_limit_nothing_goes(engine: Engine) -> None:
    write(engine, "fast", 0)
    write(engine, "fast", 1)
    room = DiskRoom(engine, 10 * DiskRoom(engine, None, rejects=False).used_bytes(), rejects=False)
    room.look()
    DiskRoom(engine, None, rejects=False).look()
    assert days(engine, "fast") == [0, 1]


def test_what_is_held_stays_as_long_as_there_is_room(engine: Engine) -> None:
    for day in range(3):
        write(engine, "fast", day)
    free = False
    engine.add_part_hold("parent", lambda *_: not free)
    used = DiskRoom(engine, None, rejects=False).used_bytes()
    room = DiskRoom(engine, int(used / 0.93), rejects=False)
    room.look()
    assert days(engine, "fast") == [0, 1, 2]
    free = True
    room.look()
    assert days(engine, "fast") != [0, 1, 2]
    assert not room.refuses


def test_what_is_held_goes_at_last_oldest_first(engine: Engine) -> None:
    for day in range(3):
        write(engine, "fast", day)
    engine.add_part_hold("parent", lambda *_: True)
    used = DiskRoom(engine, None, rejects=False).used_bytes()
    room = DiskRoom(engine, int(used / 0.96), rejects=False)
    room.look()
    assert days(engine, "fast") == [1, 2]
    assert not room.refuses


def test_rows_are_refused_where_nothing_may_go(engine: Engine) -> None:
    write(engine, "fast", 0)
    room = DiskRoom(engine, DiskRoom(engine, None, rejects=False).used_bytes(), rejects=False)
    room.look()
    assert days(engine, "fast") == [0]
    assert room.refuses
    with pytest.raises(OverloadedError, match=r"disk\.limit"):
        write(engine, "fast", 5)


@pytest.mark.parametrize("statement", ["DROP STABLE fast", "DELETE FROM fast"])
def test_what_is_deleted_while_rows_are_refused_makes_room_at_once(
    engine: Engine, statement: str
) -> None:
    write(engine, "fast", 0)
    room = DiskRoom(engine, DiskRoom(engine, None, rejects=False).used_bytes(), rejects=False)
    room.look()
    assert room.refuses
    engine.sql(statement)
    # What the threads of the engine do in a second; no row comes that would make a flush due.
    engine._housekeeping.work()
    engine._housekeeping.compact_due()
    assert engine.statistics().part_bytes == 0
    room.look()
    assert not room.refuses
    write(engine, "slow", 1)


def test_reject_refuses_and_removes_nothing(engine: Engine) -> None:
    for day in range(3):
        write(engine, "fast", day)
    used = DiskRoom(engine, None, rejects=False).used_bytes()
    more = [0]
    room = DiskRoom(engine, used * 2, rejects=True, more_bytes=lambda: more[0])
    room.look()
    assert not room.refuses
    more[0] = used
    room.look()
    assert room.refuses
    assert days(engine, "fast") == [0, 1, 2]
    more[0] = int(used * 0.92)
    room.look()
    assert room.refuses, "not before a twentieth is free"
    more[0] = used // 2
    room.look()
    assert not room.refuses
    assert room.to_status()["given_way_rows"] == 0


def test_rollups_go_last(engine: Engine) -> None:
    engine.create_template(
        Template("fast_1h", (Measurement(0, "x_count", ColumnType.INT64),), rollup_of="fast",
                 every_ns=3_600_000_000_000),
        foreign=True,
    )  # fmt: skip
    for day in range(2):
        times = (FIRST + day) * DAY_MS + np.arange(24) * 3_600_000
        columns = {"x_count": np.ones(24, np.int64)}
        engine.write("fast_1h", "root.a.fast", times, columns, derived=True).wait()
        engine.flush()
    for day in (5, 6, 7):
        write(engine, "fast", day)
    used = DiskRoom(engine, None, rejects=False).used_bytes()
    DiskRoom(engine, int(used / 0.95), rejects=False).look()
    assert days(engine, "fast_1h") == [0, 1]
    assert days(engine, "fast") == [6, 7]
