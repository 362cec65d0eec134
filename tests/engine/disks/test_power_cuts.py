"""The power of a real disk is cut under load, again and again, and nothing acknowledged is lost.

1. A loop-mounted file system; a process writes, deletes, alters, flushes, compacts, makes backups.
2. From a random moment on (a seed says which) nothing reaches the disk. The process is killed, the
   file system is mounted anew and replays its journal.
3. The directory is whole, shows what was acknowledged, and the next process goes on with it.

A store that acknowledges before the disk has the rows is found out in the same way.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mainstem_engine.check import check_directory

from .capabilities import ext4, require, xfs
from .loop_disk import loop_disk
from .power import PowerCut

SEED = int(os.environ.get("MAINSTEM_CUT_SEED", "1"))
CUTS_PER_DISK = 10
DISKS = 4
DISKS_NIGHTLY = int(os.environ.get("MAINSTEM_CUTS", "500")) // CUTS_PER_DISK
TRIES = 6
"""Cuts within which a store that does not wait for the disk loses something; mostly the first."""


Property = Callable[[str, object], None]


def cut(kind: str, notes: Path, seed: int, record_property: Property) -> None:
    """So many cuts of one disk."""
    record_property("count:power cuts", CUTS_PER_DISK)
    with loop_disk(kind=kind) as disk:
        lives = PowerCut(disk, notes, seed)
        for _ in range(CUTS_PER_DISK):
            lives.live()
            lives.verify()
            lives.verify_backups()
        assert {"write", "delete", "receive"} <= set(lives.history.counts)
        assert check_directory(lives.data).whole


def loses_something(lives: PowerCut) -> bool:
    """One life, and whether the check afterwards complains."""
    lives.live()
    try:
        lives.verify()
    except AssertionError:
        return True
    return False


@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.parametrize("seed", range(SEED, SEED + DISKS))
def test_what_was_acknowledged_survives_every_power_cut(
    tmp_path: Path, seed: int, record_property: Property
) -> None:
    require(ext4)
    cut("ext4", tmp_path, seed, record_property)


@pytest.mark.crash
@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(SEED + DISKS, SEED + DISKS + DISKS_NIGHTLY))
def test_many_power_cuts(tmp_path: Path, seed: int, record_property: Property) -> None:
    require(ext4)
    cut("ext4", tmp_path, seed, record_property)


@pytest.mark.crash
@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(SEED, SEED + DISKS))
def test_power_cuts_of_xfs(tmp_path: Path, seed: int, record_property: Property) -> None:
    require(xfs)
    cut("xfs", tmp_path, seed, record_property)


@pytest.mark.slow
@pytest.mark.crash
def test_a_store_that_does_not_wait_for_the_disk_is_found_out(tmp_path: Path) -> None:
    require(ext4)
    with loop_disk() as disk:
        lives = PowerCut(disk, tmp_path, SEED, durability="os")
        assert any(loses_something(lives) for _ in range(TRIES))
