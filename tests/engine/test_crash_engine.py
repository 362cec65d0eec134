"""Power cuts in the life of a whole engine: every disk that one may leave opens, is called whole by
a check, and shows exactly what was acknowledged, or that and the step that was under way.

Each life runs once on a file system that keeps a journal; after each step its rows are noted. Then
crash states are drawn from the journal, some here and all of them nightly. The table of states is
printed at the end: ``pytest tests/engine/test_crash_engine.py -m "nightly or not nightly"``.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mainstem_engine import Engine, NotFoundError, SchemaError, Template
from mainstem_engine.backup_files import BACKUP_NAME
from mainstem_engine.check import check_directory
from mainstem_engine.repair import repair_directory
from mainstem_engine.restore import restore
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem

from .crashing.life import BACKUP, DATA, NOW, Life, rows_of
from .crashing.power_cuts import (
    STATES_MIN,
    TEARS,
    TEARS_OF_APPENDS,
    drawn,
    judge,
    sampled,
)
from .crashing.procedures import LIVES, SETTINGS
from .crashing.writers import Writers

SAMPLE = 6
"""Crash states of one life that are tried here; starts and checks of one take some 60 ms."""

Note = Callable[[str, int, int], None]


@pytest.fixture(params=[SAMPLE, pytest.param(None, marks=pytest.mark.nightly)], ids=["some", "all"])
def count(request: pytest.FixtureRequest) -> int | None:
    chosen: int | None = request.param
    return chosen


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[dict[str, tuple[int, int]]]:
    """States and how many were tried, by procedure; printed at the end."""
    rows: dict[str, tuple[int, int]] = {}
    yield rows
    capture = request.config.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        print(f"\n{'procedure':<16}{'states':>8}{'tried':>8}")
        for name, (states, tried) in sorted(rows.items()):
            print(f"{name:<16}{states:>8}{tried:>8}")


@pytest.fixture
def note(table: dict[str, tuple[int, int]], record_property: Callable[[str, object], None]) -> Note:
    def noted(name: str, states: int, tried: int) -> None:
        table[name] = (states, max(tried, table.get(name, (0, 0))[1]))
        record_property("count:crash states", tried)
        assert states >= STATES_MIN, "the procedure is cut too coarsely"

    return noted


@pytest.mark.parametrize("name", sorted(LIVES))
def test_a_life(meters: Template, tmp_path: Path, name: str, count: int | None, note: Note) -> None:
    lived = Life(tmp_path / "before", meters, **SETTINGS.get(name, {}))
    LIVES[name](lived)
    lived.engine.close()
    tears = TEARS_OF_APPENDS if name in ("appends", "rotations") else TEARS
    states = drawn(lived.fs.journal, {}, lived.promised, tears=tears)
    some = sampled(states, count)
    restored = sum(judge(lived, state, tmp_path / "after") for state in some)
    assert restored > 0 or name != "backups"
    note(name, len(states), len(some))


def test_writers_beside_each_other(
    meters: Template, tmp_path: Path, count: int | None, note: Note
) -> None:
    writers = Writers(tmp_path / "before", meters)
    states = drawn(writers.fs.journal, {}, writers.promised)
    some = sampled(states, count)
    for state in some:
        writers.judge(state, tmp_path / "after")
    note("writers", len(states), len(some))


def test_a_repair(meters: Template, tmp_path: Path, count: int | None, note: Note) -> None:
    """A repair that a crash ended is begun anew and comes to the same."""
    lived = Life(tmp_path / "before", meters)
    for number in range(6):
        lived.write(f"root.a.d{number}", NOW, 20)
        lived.merge()
    lived.engine.abandon()
    for number, part in enumerate(sorted((lived.fs.root / "data" / "parts").glob("*.part"))):
        if number % 2 == 0:
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
    assert report.lost_rows == {"meters": 60}
    after = tmp_path / "after"
    states = drawn(fs.journal, start, lambda _: 0, tears=TEARS_OF_APPENDS)
    some = sampled(states, count)
    for state in some:
        shutil.rmtree(after, ignore_errors=True)
        after.mkdir()
        state.write(after)
        label = (state.operations, state.label)
        assert repair_directory(after / "data").after.whole, label
        engine = lived.open(FaultyFilesystem(after), after / "data")
        counts = engine.store_accounting()["meters"]
        assert (counts.live, counts.lost_local, counts.balanced) == (60, 60, True), label
        assert len(rows_of(engine)) == 60, label
        engine.abandon()
    note("repair", len(states), len(some))


def test_a_restore(meters: Template, tmp_path: Path, count: int | None, note: Note) -> None:
    """A restore that a crash ended is begun anew; one that returned is there."""
    lived = Life(tmp_path / "before", meters)
    for number in range(3):
        lived.write(f"root.a.d{number}", NOW, 50)
        lived.flush()
    lived.write("root.a.d0", NOW + 50, 200)
    lived.engine.backup(lived.fs.root / BACKUP)
    lived.engine.close()
    shown = lived.expected[-1]
    shutil.copytree(lived.fs.root / BACKUP, tmp_path / "root" / BACKUP)
    fs = FaultyFilesystem(tmp_path / "root")
    start = {
        path.relative_to(fs.root).as_posix(): path.read_bytes()
        for path in fs.root.rglob("*")
        if path.is_file()
    }
    restore(fs.root / BACKUP, fs.root / DATA, fs=fs)
    after = tmp_path / "after"
    states = drawn(fs.journal, start, lambda done: done == len(fs.journal), tears=TEARS_OF_APPENDS)
    some = [*sampled(states, count), states[-1]]
    for state in some:
        shutil.rmtree(after, ignore_errors=True)
        after.mkdir()
        state.write(after)
        label = (state.operations, state.label)
        if not (after / DATA).is_dir():
            assert state.operations < len(fs.journal), label
            restore(after / BACKUP, after / DATA)
        assert check_directory(after / DATA).whole, label
        engine = lived.open(FaultyFilesystem(after), after / DATA)
        assert rows_of(engine) == shown, label
        engine.abandon()
    note("restore", len(states), len(some))


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
