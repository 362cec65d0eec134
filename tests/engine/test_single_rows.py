"""Calls of one row: gathered into few records, with the answers of calls of their own."""

from __future__ import annotations

import errno
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mainstem_engine import (
    Ack,
    ClosedError,
    ColumnType,
    Engine,
    LogFailedError,
    Measurement,
    NotFoundError,
    OutOfRangeError,
    SchemaError,
    Template,
)
from mainstem_engine import single_rows as single_rows_module
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem

T = Template(
    "t",
    (
        Measurement(0, "x", ColumnType.DOUBLE),
        Measurement(0, "n", ColumnType.INT16),
        Measurement(0, "f", ColumnType.FLOAT),
        Measurement(0, "on", ColumnType.BOOLEAN),
        Measurement(0, "s", ColumnType.TEXT),
    ),
)


def content(engine: Engine, table: str = "t") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = engine.scan(table).read_all().to_pylist()
    return found


def prepared(open_engine: Any, **options: Any) -> tuple[Engine, list[int]]:
    engine: Engine = open_engine(**options)
    engine.create_template(T)
    ids = engine.device_ids("t", ["root.a.d1", "root.a.d2"], create=True)
    return engine, ids.tolist()


def held(engine: Engine) -> threading.RLock:
    """While it is held, nothing that is noted is appended by another thread."""
    lock: threading.RLock = engine._store.append_lock
    return lock


def test_rows_that_come_meanwhile_are_one_record(open_engine: Any) -> None:
    engine, (first, _) = prepared(open_engine)
    before = engine.log.appended_lsn
    acks: list[Ack] = []
    with held(engine):
        for time in range(50):
            row = {"x": [time / 2], "n": [time], "f": [0.5], "on": [time % 2 == 0]}
            acks.append(engine.write("t", first if time % 3 else "root.a.d2", [time], row))
        assert not any(ack.done() for ack in acks)
    for ack in acks:
        ack.wait(10)
    assert engine.log.appended_lsn - before <= 2
    assert acks[-1].lsn == engine.log.appended_lsn
    rows = content(engine)
    assert len(rows) == 50
    assert {row["time"]: row["x"] for row in rows} == {t: t / 2 for t in range(50)}
    assert {row["device"] for row in rows} == {"root.a.d1", "root.a.d2"}
    counts = engine.store_accounting()["t"]
    assert (counts.logged, counts.balanced) == (50, True)


def test_a_later_call_wins_whatever_way_it_takes(open_engine: Any) -> None:
    engine, (first, _) = prepared(open_engine)
    with held(engine):
        engine.write("t", first, [1], {"x": [1.0]})
        engine.write("t", first, [1], {"x": [2.0], "n": [5]})
        engine.write("t", first, [2], {"x": [1.0]})
        engine.write("t", ["root.a.d1"], [2], {"x": np.array([7.0]), "s": ["late"]})
        ack = engine.write("t", first, [1], {"n": [6]})
    ack.wait(10)
    assert [(r["time"], r["x"], r["n"], r["s"]) for r in content(engine)] == [
        (1, 2.0, 6, None),
        (2, 7.0, None, "late"),
    ]


def test_a_flush_and_a_delete_include_what_was_noted(open_engine: Any) -> None:
    engine, (first, _) = prepared(open_engine)
    with held(engine):
        for time in range(5):
            engine.write("t", first, [time], {"x": [1.0]})
        engine.flush()
    assert engine.statistics().head_rows == 0
    with held(engine):
        engine.write("t", first, [9], {"x": [1.0]})
    engine.delete("t", start=3).ack.wait(10)
    assert [row["time"] for row in content(engine)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("device", "time", "columns", "error"),
    [
        (0, 1, {"n": [40_000]}, OutOfRangeError),
        (0, 1, {"f": [1e300]}, OutOfRangeError),
        (0, 1, {"nothing": [1.0]}, NotFoundError),
        (0, 1, {"x": [1.0, 2.0]}, SchemaError),
        (0, 1, {"x": ["word"]}, SchemaError),
        (99, 1, {"x": [1.0]}, NotFoundError),
        (0, 2**62, {"x": [1.0]}, OutOfRangeError),
    ],
)
def test_what_is_wrong_is_said_at_once(
    open_engine: Any, device: int, time: int, columns: Any, error: type[Exception]
) -> None:
    engine, _ = prepared(open_engine)
    engine.write("t", 0, [0], {"x": [0.0]}).wait(10)
    with pytest.raises(error):
        engine.write("t", device, [time], columns)
    assert len(content(engine)) == 1


def test_values_of_other_kinds_are_stored_as_by_any_call(open_engine: Any) -> None:
    engine, (first, _) = prepared(open_engine)
    rows: list[dict[str, Any]] = [
        {"x": [1]},
        {"x": [None], "n": [1]},
        {"x": (2.5,)},
        {"x": [float("nan")], "f": [float("inf")]},
        {"s": ["text"], "on": [1]},
    ]
    for time, row in enumerate(rows):
        engine.write("t", first, [time], row).wait(10)
    found = content(engine)
    assert [row["x"] for row in found[:3]] == [1.0, None, 2.5]
    assert np.isnan(found[3]["x"])
    assert found[3]["f"] == float("inf")
    assert (found[4]["s"], found[4]["on"]) == ("text", True)


def test_a_template_may_change_between_two_calls(open_engine: Any) -> None:
    engine, (first, _) = prepared(open_engine)
    engine.write("t", first, [1], {"n": [1]}).wait(10)
    with held(engine):
        engine.write("t", first, [2], {"n": [2]})
        engine.alter_template("t", widen={"n": ColumnType.INT32}, rename={"x": "y"})
        ack = engine.write("t", first, [3], {"n": [100_000], "y": [1.5]})
    ack.wait(10)
    assert [(r["n"], r["y"]) for r in content(engine)] == [(1, None), (2, None), (100_000, 1.5)]
    with pytest.raises(NotFoundError):
        engine.write("t", first, [4], {"x": [1.0]})


class LateRows(list[Any]):
    """Rows of a group that is closed and taken whenever a row is about to come."""

    def __init__(self, engine: Engine, first: list[Any]) -> None:
        super().__init__(first)
        self._engine = engine

    def append(self, row: Any) -> None:
        if not self._engine._single_rows._group.closed:
            self._engine._single_rows.take_over()
        super().append(row)


def test_a_row_that_comes_when_its_group_is_taken_goes_with_the_next(open_engine: Any) -> None:
    engine, (first, _) = prepared(open_engine)
    with held(engine):
        early = engine.write("t", first, [1], {"x": [1.0]})
        group = engine._single_rows._group
        group.rows = LateRows(engine, group.rows)
        late = engine.write("t", first, [2], {"x": [2.0]})
        assert late is not early
        assert not group.rows
    early.wait(10)
    late.wait(10)
    assert early.lsn < late.lsn
    assert [row["time"] for row in content(engine)] == [1, 2]


def test_a_row_that_comes_when_the_engine_closes_is_refused(open_engine: Any) -> None:
    engine, (first, _) = prepared(open_engine)
    rows = engine._single_rows
    rows.stop()
    with pytest.raises(ClosedError):
        engine.write("t", first, [1], {"x": [1.0]})
    assert not rows._group.rows
    assert content(engine) == []


def test_rows_of_many_threads_are_written_once_each(
    open_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single_rows_module, "NOTED_MAX", 7)
    engine, ids = prepared(open_engine, durability="always")
    threads, each = 8, 300
    lsns: list[int] = []

    def write(number: int) -> None:
        for row in range(each):
            time = 1 + number + threads * row
            ack = engine.write("t", ids[row % 2], [time], {"x": [time / 2]})
            if row % 50 == 0:
                ack.wait(30)
                lsns.append(ack.lsn)
                assert ack.lsn <= engine.log.fsynced_lsn
        ack.wait(30)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        writers = [threading.Thread(target=write, args=(number,)) for number in range(threads)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
    finally:
        sys.setswitchinterval(interval)
    assert len(lsns) == threads * each // 50
    rows = content(engine)
    assert {row["time"]: row["x"] for row in rows} == {
        time: time / 2 for time in range(1, threads * each + 1)
    }
    counts = engine.store_accounting()["t"]
    assert (counts.logged, counts.balanced) == (threads * each, True)


def test_many_rows_are_appended_by_their_writers(
    open_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single_rows_module, "NOTED_MAX", 10)
    engine, (first, _) = prepared(open_engine)
    acks = [engine.write("t", first, [time], {"x": [0.0]}) for time in range(200)]
    assert len(engine._single_rows._group.rows) <= 10
    for ack in acks:
        ack.wait(10)
    assert len(content(engine)) == 200


def test_several_threads_and_tables(open_engine: Any) -> None:
    engine, (first, second) = prepared(open_engine)
    engine.create_template(Template("u", (Measurement(0, "x", ColumnType.DOUBLE),)))
    other = int(engine.device_ids("u", ["root.b.d"], create=True)[0])

    def write(table: str, device: int) -> None:
        for time in range(300):
            ack = engine.write(table, device, [time], {"x": [float(time)]})
        ack.wait(10)

    threads = [
        threading.Thread(target=write, args=some)
        for some in (("t", first), ("t", second), ("u", other))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(content(engine)), len(content(engine, "u"))) == (600, 300)


def test_a_restart_finds_every_row(open_engine: Any) -> None:
    engine, (first, _) = prepared(open_engine)
    for time in range(100):
        engine.write("t", first, [time], {"x": [0.0]})
    engine.close()
    with pytest.raises(ClosedError):
        engine.write("t", first, [1000], {"x": [0.0]})
    assert len(content(open_engine())) == 100


def test_a_failed_log_fails_the_group(open_engine: Any, tmp_path: Path) -> None:
    fs = FaultyFilesystem(tmp_path / "data")
    engine, (first, _) = prepared(open_engine, fs=fs, durability="always")
    engine.write("t", first, [0], {"x": [0.0]}).wait(10)
    fs.fail("sync", path_part=".log", error=errno.EIO)
    ack = engine.write("t", first, [1], {"x": [0.0]})
    with pytest.raises(LogFailedError):
        ack.wait(10)
    with pytest.raises(LogFailedError):
        engine.write("t", first, [2], {"x": [0.0]})
    assert [row["time"] for row in content(engine)] == [0]


PLAIN: dict[ColumnType, list[Any]] = {
    ColumnType.BOOLEAN: [True, False],
    ColumnType.INT8: [-128, 127],
    ColumnType.INT16: [-(2**15), 2**15 - 1],
    ColumnType.INT32: [-(2**31), 2**31 - 1],
    ColumnType.INT64: [-(2**63), 2**63 - 1],
    ColumnType.UINT8: [0, 255],
    ColumnType.UINT16: [0, 2**16 - 1],
    ColumnType.UINT32: [0, 2**32 - 1],
    ColumnType.UINT64: [0, 2**64 - 1],
    ColumnType.FLOAT: [-0.0, 3.4028234663852886e38],
    ColumnType.DOUBLE: [-0.0, 1.7976931348623157e308],
}


def test_every_plain_type_and_its_bounds(open_engine: Any) -> None:
    engine: Engine = open_engine()
    engine.create_template(
        Template("all", tuple(Measurement(0, kind.name, kind) for kind in PLAIN))
    )
    (device,) = engine.device_ids("all", ["root.a"], create=True)
    # The same values by single calls and as one batch, which takes another way.
    columns = {kind.name: values for kind, values in PLAIN.items()}
    for time in range(2):
        row = {name: [values[time]] for name, values in columns.items()}
        assert engine._single_rows.offer("all", device, time, row) is not None
    engine.write("all", device, [10, 11], columns).wait(10)
    found = content(engine, "all")
    single, batch = found[:2], found[2:]
    assert [{**row, "time": 0} for row in single] == [{**row, "time": 0} for row in batch]
    for kind, (low, high) in PLAIN.items():
        if kind.is_integer:
            for value in (low - 1, high + 1):
                assert engine._single_rows.offer("all", device, 20, {kind.name: [value]}) is None
                with pytest.raises(OutOfRangeError):
                    engine.write("all", device, [20], {kind.name: [value]})


@pytest.mark.parametrize("device", [True, 1.0, None, -1, 2**32 - 1, 2**40, np.bool_(True), "no"])
def test_what_is_no_device_is_not_noted(open_engine: Any, device: Any) -> None:
    engine, _ = prepared(open_engine)
    assert engine._single_rows.offer("t", 1, 1, {"x": [1.0]}) is not None
    assert engine._single_rows.offer("t", device, 1, {"x": [1.0]}) is None
    assert engine._single_rows.offer("t", np.uint32(1), 2, {"x": [1.0]}) is not None


def test_forms_in_turns_are_one_record_each(open_engine: Any) -> None:
    engine, (first, _) = prepared(open_engine)
    engine.create_template(Template("u", (Measurement(0, "x", ColumnType.DOUBLE),)))
    (other,) = engine.device_ids("u", ["root.b.d"], create=True)
    before = engine.log.appended_lsn
    with held(engine):
        for time in range(10):
            engine.write("t", first, [time], {"x": [1.0], "n": [1]})
            ack = engine.write("u", other, [time], {"x": [1.0]})
    ack.wait(10)
    assert engine.log.appended_lsn - before <= 4  # the first call may be on its way already
    assert (len(content(engine)), len(content(engine, "u"))) == (10, 10)
