"""A disk that is full or fails, at every operation of what changes files.

For every n the n-th operation of a step fails, once or until the disk is healed. The step says so,
nothing is lost and nothing appears, the directory is no damaged one, and after the fault (with the
same engine, and after a re-opening) the step works.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mainstem_engine import (
    Engine,
    EngineError,
    EngineOptions,
    LogFailedError,
    NotFoundError,
    Template,
    restore,
)
from mainstem_engine.check import check_directory
from mainstem_engine.testing.clock import FakeClock
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem, InjectedError

DAY = 86_400_000
NOW = 20_000 * DAY
NS = 1_000_000
OPERATIONS_MAX = 200
"""More than any of the steps has."""
STRIDE = 7
"""Every so many operations one fails, where not each of them does."""
FOR_EVER = 1 << 30
PARTIAL_BYTES = 20

Rows = list[dict[str, Any]]


class Disk:
    """A directory prepared once, and copies of it that fail."""

    def __init__(self, place: Path, meters: Template) -> None:
        self.place = place
        self.clock = FakeClock(NOW * NS)
        self.monotonic = FakeClock(0)
        with self.open(FaultyFilesystem(place / "first")) as engine:
            engine.create_database("root.a", keep_ns=30 * DAY * NS, duration_ns=2 * DAY * NS)
            engine.create_template(meters)
            for turn in range(3):
                for device in range(3):
                    times = NOW - (20 * DAY if turn == 0 else 0) + np.arange(turn * 10, 30)
                    values = {"voltage": times % 1000 + turn}
                    engine.write("meters", f"root.a.d{device}", times, values).wait()
                engine.flush()
            engine.delete("meters", devices="root.a.d0", start=NOW + 12, end=NOW + 15).ack.wait()

    def open(self, fs: FaultyFilesystem) -> Engine:
        options = EngineOptions(
            background=False,
            clock=self.clock,
            monotonic=self.monotonic,
            vnodes=2,
            log_segment_bytes=4096,
        )
        return Engine.open(fs.root / "data", options, fs=fs)

    def copy(self, name: str) -> FaultyFilesystem:
        shutil.copytree(self.place / "first", self.place / name)
        return FaultyFilesystem(self.place / name)


def rows_of(engine: Engine) -> Rows:
    rows: Rows = engine.scan("meters").read_all().to_pylist()
    return rows


def check(engine: Engine, expected: Rows) -> None:
    """The rows, and what must agree with them."""
    assert rows_of(engine) == expected
    for counts in engine.store_accounting().values():
        assert counts.balanced
    newest = {row["device"]: row["time"] for row in engine.last("meters").to_pylist()}
    times: dict[str, Any] = {}
    for row in expected:
        times[row["device"]] = max(row["time"], times.get(row["device"], row["time"]))
    assert newest == times


STEPS: dict[str, Callable[[Disk, Engine, Path], object]] = {}


def step(function: Callable[[Disk, Engine, Path], object]) -> None:
    STEPS[function.__name__] = function


@step
def flush(disk: Disk, engine: Engine, backup: Path) -> None:
    engine.flush()


@step
def merge(disk: Disk, engine: Engine, backup: Path) -> None:
    engine._store.catalog_files.merge_next = True
    engine.flush()


@step
def compact(disk: Disk, engine: Engine, backup: Path) -> None:
    before = engine.statistics().housekeeping
    engine.compact()
    found = engine.statistics().housekeeping
    if found.compaction_failures > before.compaction_failures:
        assert found.last_error is not None
        assert "compaction of meters" in found.last_error
        raise OSError(found.last_error)


@step
def take_a_backup(disk: Disk, engine: Engine, backup: Path) -> None:
    engine.backup(backup)


@step
def expire(disk: Disk, engine: Engine, backup: Path) -> None:
    engine.expire()


def prepared(disk: Disk, name: str, fs: FaultyFilesystem) -> tuple[Engine, Rows]:
    """An engine with rows in its head too, ready for the step; what is visible then."""
    engine = disk.open(fs)
    if name == "compact":
        engine.flush()
    engine.device_ids("meters", [f"root.a.n{n}" for n in range(5)], create=True)
    engine.write("meters", ["root.a.n1", "root.a.d1"], [NOW + 40, NOW + 11], {"voltage": [7, 8]})
    if name == "expire":
        for clock in (disk.clock, disk.monotonic):
            clock.advance(15 * DAY * NS)
    engine.flush() if name == "compact" else engine._store.barrier()
    return engine, rows_of(engine)


@pytest.fixture
def disk(tmp_path: Path, meters: Template) -> Disk:
    return Disk(tmp_path, meters)


@pytest.fixture(params=[STRIDE, pytest.param(1, marks=pytest.mark.nightly)], ids=["some", "every"])
def stride(request: pytest.FixtureRequest) -> int:
    chosen: int = request.param
    return chosen


def sweep(
    disk: Disk, error: int, times: int, stride: int = 1, first: int = 0
) -> Iterator[tuple[int, FaultyFilesystem]]:
    """A copy of the directory for each operation that shall fail; the caller stops the sweep."""
    for skip in range(first, OPERATIONS_MAX, stride):
        disk.clock.now_ns, disk.monotonic.now_ns = NOW * NS, 0
        name = f"{skip}_{error}_{times}"
        yield skip, disk.copy(name)
        shutil.rmtree(disk.place / name)
    pytest.fail("the step has more operations than expected")


@pytest.mark.parametrize("name", sorted(STEPS))
@pytest.mark.parametrize(
    ("error", "times"),
    [(errno.ENOSPC, FOR_EVER), (errno.EIO, 1)],
    ids=["full", "error"],
)
def test_every_operation_fails(disk: Disk, name: str, error: int, times: int, stride: int) -> None:
    failed = 0
    # Each case begins with another operation, so that the few differ.
    first = (sorted(STEPS).index(name) + 3 * (error == errno.EIO)) % stride
    for skip, fs in sweep(disk, error, times, stride, first):
        engine, expected = prepared(disk, name, fs)
        fs.fail(skip=skip, error=error, partial_bytes=PARTIAL_BYTES, times=times)
        said = None
        try:
            STEPS[name](disk, engine, fs.root / "backup")
        except (OSError, EngineError) as raised:
            said = raised
        was_met = fs.pending_faults == 0 or said is not None
        check(engine, expected)
        fs.heal()
        if said is not None:
            failed += 1
            assert "injected" in str(said), (skip, said)
            check_backup(disk, fs, expected)
        goes_on(disk, name, fs, engine, expected, again=skip // stride % 2 == 0)
        if not was_met:
            assert failed >= 1, "the step had nothing that could fail"
            return


def check_backup(disk: Disk, fs: FaultyFilesystem, expected: Rows) -> None:
    """One that failed is none, or it is whole."""
    try:
        restore(fs.root / "backup", fs.root / "restored" / "data")
    except NotFoundError:
        return
    restored = disk.open(FaultyFilesystem(fs.root / "restored"))
    assert rows_of(restored) == expected
    restored.abandon()


def goes_on(
    disk: Disk, name: str, fs: FaultyFilesystem, engine: Engine, expected: Rows, *, again: bool
) -> None:
    """After the fault: ``again`` with the same engine, and with one that is opened then."""
    if again:
        try:
            STEPS[name](disk, engine, fs.root / "another")
            engine.flush()
            assert engine.statistics().head_rows == 0
        except LogFailedError:
            pass  # only a new start goes on after that
        check(engine, expected)
    engine.abandon()
    report = check_directory(fs.root / "data")
    assert report.whole, report.damages
    engine = disk.open(fs)
    check(engine, expected)
    STEPS[name](disk, engine, fs.root / "a_third")
    engine.write("meters", "root.a.d2", [NOW + 15 * DAY], {"voltage": [1]}).wait()
    engine.flush()
    assert len(rows_of(engine)) == len(expected) + 1
    engine.close()
    assert check_directory(fs.root / "data").whole


def test_every_operation_of_an_opening_fails(disk: Disk) -> None:
    with disk.open(disk.copy("kept")) as engine:
        expected = rows_of(engine)
    for skip, fs in sweep(disk, errno.EIO, 1):
        fs.fail(skip=skip, error=errno.EIO, partial_bytes=PARTIAL_BYTES)
        try:
            engine = disk.open(fs)
        except (InjectedError, LogFailedError):
            assert check_directory(fs.root / "data").whole, skip
            engine = disk.open(fs)
        check(engine, expected)
        engine.abandon()
        if fs.pending_faults:
            assert skip >= 1
            return


def test_devices_are_durable_when_they_have_an_id(meters: Template, tmp_path: Path) -> None:
    fs = FaultyFilesystem(tmp_path / "data")
    with Engine.open(fs.root, EngineOptions(background=False), fs=fs) as engine:
        engine.create_template(meters)
        fs.fail("sync", path_part=".log", times=FOR_EVER)
        with pytest.raises(LogFailedError):
            engine.device_ids("meters", ["root.a.d1"], create=True)
        fs.heal()


def test_a_created_table_of_sql_is_durable(meters: Template, tmp_path: Path) -> None:
    fs = FaultyFilesystem(tmp_path / "data")
    with Engine.open(fs.root, EngineOptions(background=False), fs=fs) as engine:
        engine.create_template(meters)
        engine.create_database("root.a")
        fs.fail("sync", path_part=".log", times=FOR_EVER)
        with pytest.raises(LogFailedError):
            engine.sql("CREATE TABLE root.a.d2 USING meters (location) TAGS ('hall 1')")
        fs.heal()
