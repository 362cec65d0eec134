"""A programme that cannot fail shows nothing: each of these engines is broken in one place, and is
found out within the number of states or damages that is given here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from mainstem_engine import Template
from mainstem_engine.log import reader, recovery
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem

from .broken_variants import (
    Careless,
    Forgets,
    Programme,
    Stubborn,
    believe,
    release_too_early,
    report_too_much,
)


@pytest.fixture
def programme(tmp_path: Path, meters: Template) -> Programme:
    return Programme(tmp_path, meters)


def test_an_engine_that_is_not_broken(programme: Programme) -> None:
    """Else what follows would say nothing."""
    nothing = pytest.raises(pytest.fail.Exception, match="did not notice")
    with nothing:
        programme.cuts("appends", most=10)
    with nothing:
        programme.log_damages(most=30)
    with nothing:
        Programme(programme.place / "rot", programme.template).rot("parts", most=4)


def is_log(path: Path) -> bool:
    return path.suffix == ".log"


FORGETFUL: dict[str, tuple[str, Forgets, int]] = {
    "acknowledged before the log is synced": (
        "appends",
        lambda kind, path: kind == "sync" and is_log(path),
        40,
    ),
    "no sync of a directory": ("flushes", lambda kind, path: kind == "sync_directory", 40),
    "no sync of the log's directory": (
        "rotations",
        lambda kind, path: kind == "sync_directory" and path.name == "log",
        60,
    ),
    "no sync of the directory of checkpoints": (
        "flushes",
        lambda kind, path: kind == "sync_directory" and path.name == "checkpoint",
        120,
    ),
    "a part is not synced before the list names it": (
        "flushes",
        lambda kind, path: kind == "sync" and path.parent.name == "parts",
        60,
    ),
    "a checkpoint is not synced": (
        "flushes",
        lambda kind, path: kind == "sync" and path.parent.name == "checkpoint",
        60,
    ),
    "the part list is not synced": (
        "flushes",
        lambda kind, path: kind == "sync" and path.name == "part-list",
        120,
    ),
    "a base of the catalog is not synced": (
        "catalog_merge",
        lambda kind, path: kind == "sync" and path.parent.name == "catalog",
        60,
    ),
}
"""By name: the procedure, what is left out, and how many states it may take."""

IN_CI = ("acknowledged", "no sync of a directory", "a part is not")


def _marked(name: str) -> object:
    """The rest takes a while."""
    return pytest.param(name, marks=() if name.startswith(IN_CI) else pytest.mark.slow)


@pytest.mark.parametrize("name", [_marked(name) for name in FORGETFUL])
def test_a_sync_that_is_left_out(programme: Programme, name: str) -> None:
    procedure, forgets, within = FORGETFUL[name]
    make: Callable[[Path], FaultyFilesystem] = partial(Careless, forgets=forgets)
    assert programme.cuts(procedure, make) <= within


def test_a_failed_sync_is_tried_again_and_acknowledged(programme: Programme) -> None:
    assert programme.cuts("appends", Stubborn) <= 40


def test_the_log_goes_before_the_part_list_is_durable(
    programme: Programme, monkeypatch: pytest.MonkeyPatch
) -> None:
    release_too_early(monkeypatch)
    assert programme.cuts("flushes") <= 60


def test_what_was_written_during_a_sync_is_taken_for_durable(
    programme: Programme, monkeypatch: pytest.MonkeyPatch
) -> None:
    report_too_much(monkeypatch)
    assert programme.writers() <= 600  # mostly under 20; it is the threads that meet or do not


@pytest.mark.slow
def test_a_torn_write_is_taken_for_damage(
    programme: Programme, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "is_torn", lambda *_: False)
    monkeypatch.setattr(recovery, "has_blank_sector", lambda *_: False)
    assert programme.log_damages() <= 30


def test_the_log_is_cut_at_the_first_damage(
    programme: Programme, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "find_record", lambda *_: None)
    assert programme.log_damages() <= 10


def test_damage_at_the_end_is_taken_for_a_torn_write(
    programme: Programme, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "lost_tail", lambda *_: None)
    assert programme.log_damages() <= 40


@pytest.mark.slow
def test_a_loss_is_not_counted(programme: Programme, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader.LogDamage, "records", property(lambda _: 0))
    assert programme.log_damages() <= 10


@pytest.mark.slow
def test_a_footer_whose_checksum_nobody_compares(
    programme: Programme, monkeypatch: pytest.MonkeyPatch
) -> None:
    believe(monkeypatch, "part.layout")
    assert programme.rot_of_a_footer() <= 60


UNCHECKED: dict[str, tuple[str, tuple[str, ...], int]] = {
    "a record of the log": ("log", ("log.reader", "log.recovery"), 30),
    "a block of a part": ("parts", ("part.reader",), 30),
    "a record of the part list": ("part-list", ("part.manifest", "part_list_records"), 30),
    "a checkpoint": ("checkpoint", ("checkpoint",), 30),
    "a base of the catalog": ("catalog", ("catalog.base_file",), 30),
}
"""By name: the kind of file, the modules that believe every checksum, and how many damages."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "a block of a part" else pytest.mark.slow)
        for name in UNCHECKED
    ],
)
def test_a_checksum_that_nobody_compares(
    programme: Programme, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    kind, modules, within = UNCHECKED[name]
    believe(monkeypatch, *modules)
    assert programme.rot(kind) <= within
