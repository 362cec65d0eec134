"""Power cuts in the life of a whole engine: every disk that one may leave opens, is called whole by
a check, and shows exactly what was acknowledged, or that and the step that was under way.

Each life runs once on a file system that keeps a journal; after each step its rows are noted. Then
crash states are drawn from the journal, some here and all of them nightly.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mainstem_engine import (
    AppliedRows,
    Column,
    ColumnType,
    Engine,
    EngineOptions,
    Measurement,
    NotFoundError,
    Origin,
    Rows,
    RowSink,
    SchemaError,
    Template,
)
from mainstem_engine.backup_files import BACKUP_NAME
from mainstem_engine.check import check_directory
from mainstem_engine.images import SliceImage
from mainstem_engine.log.records import Record, RecordKind
from mainstem_engine.repair import repair_directory
from mainstem_engine.restore import restore
from mainstem_engine.testing.clock import FakeClock
from mainstem_engine.testing.crash_states import CrashState, crash_states
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem, Operation

DAY = 86_400_000
NOW = 20_000 * DAY
STATES = 16
"""Crash states of one life that are tried here; a start and a check take some 30 ms."""
SEED = 7

CHILD = Origin("0" * 31 + "1", "press")
Shown = tuple[dict[str, Any], ...]


class Child:
    """Applies what a life says a child sent; ``sent`` by LSN serves every start."""

    name = "child"
    kinds = frozenset({RecordKind.RCV})

    def __init__(self, sent: dict[int, Any]) -> None:
        self._sent = sent

    def apply(self, record: Record, decoded: Any, sink: RowSink) -> None:
        what = self._sent.setdefault(record.lsn, decoded)
        if isinstance(what, SliceImage):
            sink.replace_slice(what)
        else:
            sink.add("meters", CHILD, what, record.lsn)

    def rows_applied(self, batch: AppliedRows) -> None:
        pass

    def snapshot(self) -> bytes:
        return b""

    def restore(self, data: bytes) -> None:
        pass


class Life:
    """One engine on a journalled file system, and what it showed after each step."""

    def __init__(self, root: Path, template: Template, **options: Any) -> None:
        self.fs = FaultyFilesystem(root)
        self.options = options
        self.sent: dict[int, Any] = {}
        self.clock = FakeClock(NOW * 1_000_000)
        self.monotonic = FakeClock(0)
        self.expected: list[Shown] = [()]
        self.points: list[tuple[int, int]] = [(0, 0)]
        self.engine = self.open(self.fs, root / "data")
        self.engine.create_database("root.a", keep_ns=30 * DAY * 1_000_000, duration_ns=10**15)
        self.engine.create_template(template)
        self.note()

    def open(self, fs: FaultyFilesystem, path: Path) -> Engine:
        options = EngineOptions(
            background=False,
            clock=self.clock,
            monotonic=self.monotonic,
            log_segment_bytes=4096,
            **self.options,
        )
        return Engine.open(path, options, fs=fs, consumers=[Child(self.sent)])

    def note(self) -> None:
        """A step has returned: what it did holds from here on."""
        self.expected.append(rows_of(self.engine))
        self.points.append((len(self.fs.journal), len(self.expected) - 1))

    def write(self, device: str, first: int, count: int, **columns: Any) -> None:
        times = np.arange(first, first + count)
        values = columns or {"voltage": times % 1000}
        self.engine.write("meters", device, times, values).wait()
        self.note()

    def receive(self, what: Any) -> None:
        """A record of a child: rows, or an image of a slice."""
        self.engine.append(RecordKind.RCV, {}, decoded=what).wait()
        self.note()

    def promised(self, operations: int) -> int:
        """The last step that had returned after so many operations."""
        return max(step for count, step in self.points if count <= operations)


def rows_of(engine: Engine) -> Shown:
    """All rows of the table, in order; nothing before it was defined."""
    try:
        table = engine.scan("meters").read_all()
    except NotFoundError:
        return ()
    place = table.schema.get_field_index("time")
    rows = table.set_column(place, "time", table["time"].cast("int64")).to_pylist()
    return tuple(rows)


LIVES: dict[str, Callable[[Life], None]] = {}
VNODES = {"vnodes": 3}
"""Lives of engines with more vnodes than one."""


def life(function: Callable[[Life], None]) -> None:
    LIVES[function.__name__] = function


@life
def compaction(life: Life) -> None:
    for number in range(3):
        life.write("root.a.d1", NOW + number * 10, 15)
        life.engine.flush()
        life.note()
    life.engine.compact()
    life.note()
    life.write("root.a.d2", NOW, 3)


@life
def retention(life: Life) -> None:
    life.write("root.a.d1", NOW - 20 * DAY, 5)
    life.engine.flush()
    life.write("root.a.d1", NOW, 5)
    life.engine.flush()
    for clock in (life.clock, life.monotonic):
        clock.advance(15 * DAY * 1_000_000)
    # What is expired is invisible from the first step on, for the clock is what is asked.
    life.expected = [tuple(row for row in rows if row["time"] >= NOW) for rows in life.expected]
    life.note()
    assert life.engine.expire().parts == 1
    life.note()


@life
def alterations(life: Life) -> None:
    life.write("root.a.d1", NOW, 5)
    life.engine.flush()
    life.engine.alter_template("meters", add=[Measurement(0, "power", ColumnType.DOUBLE)])
    life.note()
    life.write("root.a.d1", NOW + 5, 5, power=np.arange(5.0))
    life.engine.alter_template("meters", rename={"voltage": "volts"})
    life.note()
    life.engine.alter_template("meters", widen={"volts": ColumnType.INT64})
    life.note()
    life.write("root.a.d1", NOW + 10, 2, volts=[1 << 40, 2])
    life.engine.flush()
    life.note()


@life
def devices(life: Life) -> None:
    for number in range(3):
        paths = [f"root.a.n{number}_{i}" for i in range(20)]
        tags = {"location": [f"hall {i % 3}" for i in range(20)]}
        life.engine.device_ids("meters", paths, tags, create=True)
        life.engine.write("meters", paths, [NOW] * 20, {"voltage": list(range(20))}).wait()
        life.note()
        life.engine._store.catalog_files.merge_next = True
        life.engine.flush()
        life.note()


@life
def deletes(life: Life) -> None:
    life.write("root.a.d1", NOW, 10)
    life.write("root.a.d2", NOW, 10)
    life.engine.flush()
    life.engine.delete("meters", devices="root.a.d1", start=NOW + 3, end=NOW + 6).ack.wait()
    life.note()
    life.write("root.a.d1", NOW + 4, 1)
    life.engine.delete("meters", devices="root.a.d2", measurements=["voltage"]).ack.wait()
    life.note()
    life.engine.flush()
    life.note()
    life.engine.compact()
    life.note()


@life
def backups(life: Life) -> None:
    life.write("root.a.d1", NOW, 10)
    life.engine.flush()
    life.write("root.a.d1", NOW + 10, 5)
    life.engine.backup(life.fs.root / "backup")
    life.note()
    life.engine.flush()
    life.note()


@life
def images(life: Life) -> None:
    device = life.engine.device_ids("meters", ["root.a.c1"], create=True)
    life.note()
    life.receive(rows_at(device, range(10), 1))
    life.engine.flush()
    life.note()
    life.receive(rows_at(device, range(10, 14), 2))
    kept = rows_at(device, range(4, 12, 2), 3)
    as_of = life.engine.applied_lsn
    lsn = np.full(len(kept), as_of, np.uint64)
    start, end = kept.time[0], kept.time[-1] + 1
    life.receive(SliceImage("meters", CHILD, int(start), int(end), as_of, kept, lsn))
    life.engine.flush()
    life.note()
    life.engine.compact()
    life.note()


def rows_at(device: Any, numbers: range, value: int) -> Rows:
    times = (NOW + np.array(numbers, np.int64)) * 1_000_000
    voltage = Column(np.full(len(times), value, np.int32))
    return Rows(np.repeat(device, len(times)), times, {1: voltage})


@life
def vnodes(life: Life) -> None:
    for number in range(2):
        for device in range(4):
            life.write(f"root.a.d{device}", NOW + number * 10, 5)
        life.engine.flush()
        life.note()
    life.engine.compact()
    life.note()


@life
def rules(life: Life) -> None:
    life.write("root.a.d1", NOW - 5 * DAY, 3)
    life.write("root.a.d2", NOW - 5 * DAY, 3)
    life.engine.flush()
    life.engine.set_ttl("root.a.d1", DAY * 1_000_000)
    life.note()
    life.engine.expire()
    life.note()
    life.engine.alter_database("root.a", keep_ns=DAY * 1_000_000)
    life.note()
    life.engine.expire()
    life.note()


def drawn(
    journal: list[Operation], start: dict[str, bytes], promise: Callable[[int], object], all_: bool
) -> Iterator[CrashState]:
    """All crash states of a journal, or STATES of them, spread over it."""
    states = list(crash_states(journal, start, promise=promise, seed=SEED))
    stride = 1 if all_ else max(1, len(states) // STATES)
    return iter(states[::stride])


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.nightly)], ids=["some", "all"])
def every(request: pytest.FixtureRequest) -> bool:
    chosen: bool = request.param
    return chosen


@pytest.mark.parametrize("name", sorted(LIVES))
def test_a_life(meters: Template, tmp_path: Path, name: str, every: bool) -> None:
    lived = Life(tmp_path / "before", meters, vnodes=VNODES.get(name, 1))
    LIVES[name](lived)
    lived.engine.close()
    after = tmp_path / "after"
    restored = 0
    for state in drawn(lived.fs.journal, {}, lived.promised, every):
        shutil.rmtree(after, ignore_errors=True)
        after.mkdir()
        state.write(after)
        label = (state.operations, state.label)
        whole_or_new(after / "data", label)
        check_rows(lived, after, "data", state, label)
        if (after / "backup" / BACKUP_NAME).is_file():
            restore(after / "backup", after / "restored")
            check_rows(lived, after, "restored", state, label)
            restored += 1
    assert restored > 0 or name != "backups"


def whole_or_new(path: Path, label: object) -> None:
    """What a crash leaves is no damage."""
    try:
        report = check_directory(path)
    except NotFoundError:
        return  # not even its identity was there
    assert report.whole, (label, report.damages)


def check_rows(lived: Life, root: Path, name: str, state: CrashState, label: object) -> None:
    fs = FaultyFilesystem(root)
    engine = lived.open(fs, root / name)
    try:
        found = rows_of(engine)
        least = lived.promised(state.operations)
        if name == "data":
            assert found in lived.expected[least : least + 2], label
        else:
            assert found in lived.expected, label
        assert all(counts.balanced for counts in engine.store_accounting().values()), label
    finally:
        engine.abandon()
    # What that start repaired is whole, and a second one finds the same.
    assert check_directory(root / name).whole, label
    again = lived.open(fs, root / name)
    assert rows_of(again) == found, label
    again.abandon()


def test_a_repair(meters: Template, tmp_path: Path, every: bool) -> None:
    """A repair that a crash ended is begun anew and comes to the same."""
    lived = Life(tmp_path / "before", meters)
    for device in ("root.a.d1", "root.a.d2"):
        lived.write(device, NOW, 20)
        lived.engine.flush()
    lived.engine.abandon()
    part = sorted((lived.fs.root / "data" / "parts").glob("*.part"))[0]
    content = bytearray(part.read_bytes())
    content[20] ^= 0xFF
    part.write_bytes(content)
    start = {
        path.relative_to(lived.fs.root).as_posix(): path.read_bytes()
        for path in lived.fs.root.rglob("*")
        if path.is_file()
    }
    fs = FaultyFilesystem(lived.fs.root)
    report = repair_directory(fs.root / "data", fs=fs)
    assert report.lost_rows == {"meters": 20}
    after = tmp_path / "after"
    for state in drawn(fs.journal, start, lambda _: 0, every):
        shutil.rmtree(after, ignore_errors=True)
        after.mkdir()
        state.write(after)
        label = (state.operations, state.label)
        assert repair_directory(after / "data").after.whole, label
        engine = lived.open(FaultyFilesystem(after), after / "data")
        counts = engine.store_accounting()["meters"]
        assert (counts.live, counts.lost_local, counts.balanced) == (20, 20, True), label
        assert len(rows_of(engine)) == 20, label
        engine.abandon()


def test_a_backup_that_was_cut_short_is_none(meters: Template, tmp_path: Path) -> None:
    lived = Life(tmp_path / "before", meters)
    lived.write("root.a.d1", NOW, 3)
    lived.engine.backup(tmp_path / "before" / "backup")
    lived.engine.close()
    (tmp_path / "before" / "backup" / BACKUP_NAME).unlink()
    with pytest.raises(NotFoundError):
        restore(tmp_path / "before" / "backup", tmp_path / "restored")
    with pytest.raises(SchemaError):
        Engine.open(tmp_path / "before" / "data").backup(tmp_path / "before" / "backup")
