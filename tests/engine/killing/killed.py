"""One directory whose process is ended at random, again and again, and what it must show then.

``end`` says how a process ends; here it is SIGKILL.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mainstem_engine import Engine, NotFoundError
from mainstem_engine.backup import CATALOG_DIRECTORY
from mainstem_engine.backup_files import BACKUP_NAME
from mainstem_engine.backup_stage import STAGE_NAME
from mainstem_engine.check import check_directory
from mainstem_engine.inventory import CHECKPOINT_DIRECTORY, PARTS_DIRECTORY
from mainstem_engine.restore import restore

from .child import FAULTY_EVERY, options
from .history import Backup, History, fitting, measurements_of, shown_by
from .operations import SHARED, UNIQUE, Receiver

ROOT = Path(__file__).parents[3]
WORK_S = 1.5
"""How long a process lives at most once it is open."""
OPENING_S = 0.15
"""Within which one that is killed at its start dies."""
AIMS = (None, None, PARTS_DIRECTORY, CHECKPOINT_DIRECTORY, CATALOG_DIRECTORY, STAGE_NAME)
"""Where a file must come or go before the kill; None: anything may happen."""
AIM_S = 1.0
"""How long that is waited for."""
START_S = 120.0
"""A start on a machine with much else to do."""


class Killed:
    """One directory, and all that its processes were promised."""

    work_s = WORK_S

    def __init__(
        self,
        place: Path,
        seed: int,
        *,
        notes: Path | None = None,
        durability: str = "always",
        faults: bool = True,
    ) -> None:
        """``place``: what is killed and checked. ``notes``: the journal, elsewhere if need be.
        ``faults``: in some lives the disk fails now and then."""
        self.place = place
        self.notes = notes or place
        self.durability = durability
        self.faults = faults
        self.data = place / "data"
        self.seed = seed
        self.random = random.Random(seed)
        self.history = History()
        self.base_ms = time.time_ns() // 1_000_000
        self.turn = 0

    def live(self) -> None:
        """One process, from its start to its end."""
        journal = self.notes / "journal"
        journal.unlink(missing_ok=True)
        arguments = [
            self.data, journal, self.seed, self.base_ms, self.turn, self.history.lsn + 1,
            self.durability, int(self.faults and self.turn % FAULTY_EVERY == 2), os.getpid(),
        ]  # fmt: skip
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.engine.killing.child", *map(str, arguments)], cwd=ROOT
        )
        early = self.random.random() < 0.2 and self.turn > 0
        delay_s = self.random.random() * (OPENING_S if early else self.work_s)
        try:
            self._await(child, journal, "o" if early else "r")
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(delay_s)
            self._aim(self.random.choice(AIMS))
        finally:
            self.end(child)
        failures = self.history.read(self.told(journal))
        assert not failures, f"seed {self.seed}, turn {self.turn}: {failures[0]}"
        self.turn += 1

    def end(self, child: subprocess.Popen[bytes]) -> None:
        """How a process ends."""
        child.kill()
        child.wait()

    def told(self, journal: Path) -> str:
        """What a process wrote into its journal, without failures that are part of its end."""
        return journal.read_text()

    def _aim(self, name: str | None) -> None:
        """Returns when the files of a directory are others than now."""
        if name is None:
            return
        before, deadline = files_of(self.data / name), time.monotonic() + AIM_S
        while files_of(self.data / name) == before and time.monotonic() < deadline:
            pass

    def _await(self, child: subprocess.Popen[bytes], journal: Path, mark: str) -> None:
        deadline = time.monotonic() + START_S
        while not (journal.exists() and f"{mark}\n" in journal.read_text()):
            assert time.monotonic() < deadline, "the process does not start"
            try:
                code = child.wait(0.005)
            except subprocess.TimeoutExpired:
                continue
            found = journal.read_text() if journal.exists() else ""
            raise AssertionError(f"the process ended with {code}: {found[-2000:]}")

    def verify(self) -> None:
        """What the directory shows after a kill."""
        try:
            report = check_directory(self.data)
        except NotFoundError:
            return  # it was killed before it had an identity
        assert report.whole, report.damages
        engine = self.open(self.data, vnodes=self.random.choice([1, 2, 3]))
        try:
            shown = shown_by(engine, self.tables(engine))
            self.history.settle(shown, measurements_of(engine))
            self.check_accounts(engine, is_flushed=False)
            self.check_catalog(engine)
            self.check_answers(engine)
            if self.random.random() < 0.5:
                engine.flush()
                self.check_accounts(engine, is_flushed=True)
        finally:
            engine.abandon()

    def open(self, path: Path, **changed: Any) -> Engine:
        # Nothing of this directory is beyond its caller: it may do without waiting for the disk.
        return Engine.open(
            path, options(background=False, durability="os", **changed), consumers=[Receiver()]
        )

    def tables(self, engine: Engine) -> list[str]:
        names = [table.name for table in engine.catalog.templates.all()]
        assert self.history.tables <= set(names), "a table is gone"
        return names

    def check_accounts(self, engine: Engine, *, is_flushed: bool) -> None:
        for table, counts in engine.store_accounting().items():
            assert counts.balanced, (table, counts)
            everyone = self.history.certain.values()
            logged = sum(written.logged.get(table, 0) for written in everyone)
            assert counts.logged == logged, (table, counts)
            if is_flushed and not table.startswith("kept"):
                live = sum(
                    len(rows)
                    for written in everyone
                    for rows in written.rows.get(table, {}).values()
                )
                assert (counts.live, counts.unresolved) == (live, 0), (table, counts)

    def check_catalog(self, engine: Engine) -> None:
        """Every device that was promised is there, once, with its tags; and no other."""
        devices = engine.catalog.devices
        paths = devices.paths(range(len(devices)))
        assert len(set(paths)) == len(paths)
        assert set(paths) <= self.history.devices
        places = {
            path: place
            for written in self.history.certain.values()
            for path, place in written.devices.items()
        }
        assert set(places) <= set(paths), sorted(set(places) - set(paths))[:5]
        for number, path in enumerate(paths):
            if places.get(path):
                assert devices.tags(number)["place"] == places[path]

    def check_answers(self, engine: Engine) -> None:
        """Newest values and counts are those of the rows."""
        rows = {
            device: found
            for written in self.history.certain.values()
            for device, found in written.rows.get(SHARED, {}).items()
            if found
        }
        if SHARED not in self.history.tables:
            return
        ids = {name: m for m, (name, _) in measurements_of(engine).items()}
        found = {row.pop("device"): row for row in engine.last_rows(SHARED)}
        assert set(found) == set(rows)
        for device, values in found.items():
            assert values.pop("time") == max(rows[device]), device
            newest: dict[int, Any] = {}
            for _, cells in sorted(rows[device].items()):
                newest.update(cells)
            assert {ids[name]: value for name, value in values.items()} == newest, device
        counted = engine.aggregate(SHARED, {"*": ["count"], "d0": ["count"]}).to_pylist()
        every = [cells for of_device in rows.values() for cells in of_device.values()]
        values_there = sum(UNIQUE in cells for cells in every)
        assert counted == [{"count": len(every), "d0_count": values_there}]

    def verify_backups(self) -> None:
        """Those of the last life."""
        for backup in self.history.backups:
            is_whole = (backup.path / BACKUP_NAME).is_file()
            assert is_whole or not backup.is_done
            if is_whole:
                self._verify_backup(backup)
            shutil.rmtree(backup.path, ignore_errors=True)
        self.history.backups.clear()

    def _verify_backup(self, backup: Backup) -> None:
        restored = self.place / "restored"
        restore(backup.path, restored)
        engine = self.open(restored)
        try:
            names = [table.name for table in engine.catalog.templates.all()]
            shown, measurements = shown_by(engine, names), measurements_of(engine)
            for writer in {*backup.before, *backup.tried}:
                before = backup.before.get(writer) or History().of(writer)
                tried = backup.tried.get(writer, {}).values()
                fitting(writer, before, tried, shown.get(writer, {}), measurements)
            assert all(counts.balanced for counts in engine.store_accounting().values())
        finally:
            engine.abandon()
        shutil.rmtree(restored)


def files_of(directory: Path) -> set[str]:
    """Names in a directory and below; those that vanish meanwhile may be missing."""
    return {name for _, _, names in os.walk(directory) for name in names}
