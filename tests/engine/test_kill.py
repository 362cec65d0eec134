"""An engine is killed at random under load, again and again, and keeps what it promised.

1. A process writes, overwrites, deletes, alters, forgets, flushes, compacts and makes backups from
   several threads, with a tiny memory; a journal says what it tries and what is acknowledged.
2. It gets SIGKILL at a random moment, sometimes while it opens the directory, sometimes when a file
   comes or goes. In some lives the disk fails now and then.
3. The directory is whole. Opened again it shows, for each writer, what was acknowledged, or that
   and some of what was tried next; nothing else. Accounts, newest values, counts and the catalog
   agree with it.
4. Backups that were finished restore to a state between their start and their end.
5. The next process goes on with the same directory.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from .killing.killed import Killed

SEED = int(os.environ.get("MAINSTEM_KILL_SEED", "1"))
KILLS = 7
KILLS_NIGHTLY = int(os.environ.get("MAINSTEM_KILLS", "30"))
DIRECTORIES_NIGHTLY = 10


Property = Callable[[str, object], None]


def kill(place: Path, seed: int, kills: int, record_property: Property) -> None:
    """So many lives of one directory."""
    record_property("count:kills", kills)
    killed = Killed(place, seed)
    for _ in range(kills):
        killed.live()
        killed.verify()
        killed.verify_backups()
    assert {"write", "delete", "rename", "receive"} <= set(killed.history.counts)


@pytest.mark.crash
def test_what_was_acknowledged_survives_every_kill(
    tmp_path: Path, record_property: Property
) -> None:
    kill(tmp_path, SEED, KILLS, record_property)


@pytest.mark.crash
@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(SEED + 1, SEED + 1 + DIRECTORIES_NIGHTLY))
def test_many_kills(tmp_path: Path, seed: int, record_property: Property) -> None:
    kill(tmp_path, seed, KILLS_NIGHTLY, record_property)
