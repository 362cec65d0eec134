"""Engines that are broken on purpose, each in one place, and programmes that must find it.

A variant changes the smallest seam: a file system that leaves out what it is asked for, or one
function. A programme says after how many states or damages it found a broken promise.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import google_crc32c
import pytest

from mainstem_engine import Template
from mainstem_engine.filesystem import AppendFile
from mainstem_engine.inventory import Inventory
from mainstem_engine.log.log import Log
from mainstem_engine.log.writer import LogWriter
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem

from .crashing.life import Life
from .crashing.power_cuts import drawn, judge, spread
from .crashing.procedures import LIVES, SETTINGS
from .crashing.writers import Writers
from .log import damages
from .rotting.rot import Rot
from .rotting.specimen import files_of, footer_of, specimen

SEED = 11
Forgets = Callable[[str, Path], bool]


class Careless(FaultyFilesystem):
    """Says that it did what ``forgets`` names, and did not."""

    def __init__(self, root: Path, forgets: Forgets) -> None:
        super().__init__(root)
        self._forgets = forgets

    def note(
        self, kind: str, path: Path, data: bytes = b"", target: Path | None = None, size: int = 0
    ) -> None:
        if not self._forgets(kind, path):
            super().note(kind, path, data, target, size)


class Stubborn(FaultyFilesystem):
    """Tries a sync that failed again, and is content when that works."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        for turn in range(1, 40, 2):
            self.fail("sync", path_part=".log", skip=turn)

    def create(self, path: Path, *, mode: int = 0o644) -> AppendFile:
        return _Retried(super().create(path, mode=mode))

    def open_append(self, path: Path) -> AppendFile:
        return _Retried(super().open_append(path))


class _Retried(AppendFile):
    """See Stubborn."""

    def __init__(self, inner: AppendFile) -> None:
        self._inner = inner
        self.path = inner.path
        self.write = inner.write  # type: ignore[method-assign]
        self.truncate = inner.truncate  # type: ignore[method-assign]
        self.size = inner.size  # type: ignore[method-assign]
        self.close = inner.close  # type: ignore[method-assign]

    def sync(self) -> None:
        try:
            self._inner.sync()
        except OSError:
            self._inner.sync()


class _Agreeable(int):
    """A checksum that is always right."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = int.__hash__


class _Crc32c(ModuleType):
    """In place of the module of that name."""

    @staticmethod
    def value(data: Any) -> int:
        return _Agreeable(google_crc32c.value(data))

    @staticmethod
    def extend(crc: int, data: Any) -> int:
        return _Agreeable(google_crc32c.extend(int(crc), data))


def believe(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """Those modules of the engine take every checksum for right."""
    for name in modules:
        module = sys.modules[f"mainstem_engine.{name}"]
        if hasattr(module, "google_crc32c"):
            monkeypatch.setattr(module, "google_crc32c", _Crc32c("google_crc32c"))


def release_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log goes before the part list says that its rows are in parts."""
    logs: list[Log] = []
    open_log, record = Log.open, Inventory.record

    def opened(*args: Any, **options: Any) -> Log:
        logs.append(open_log(*args, **options))
        return logs[-1]

    def recorded(self: Inventory, *args: Any, **options: Any) -> None:
        logs[-1].release(logs[-1].appended_lsn)
        record(self, *args, **options)

    monkeypatch.setattr(Log, "open", opened)
    monkeypatch.setattr(Inventory, "record", recorded)


def report_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written while a sync went on is taken for durable when it ends."""
    finish = LogWriter._finish

    def finished(self: LogWriter) -> None:
        finish(self)
        self._segment.confirm(self._segment.mark())
        self._durable += self._written
        self._written = []

    monkeypatch.setattr(LogWriter, "_finish", finished)


@dataclass
class Programme:
    """The durability programme, as far as it takes to find something."""

    place: Path
    template: Template

    def cuts(
        self,
        name: str,
        make: Callable[[Path], FaultyFilesystem] | None = None,
        most: int | None = None,
    ) -> int:
        """Power cuts in a life, in random order; ``make``: its file system."""
        root = self.place / "before"
        lived = Life(root, self.template, fs=make(root) if make else None, **SETTINGS.get(name, {}))
        LIVES[name](lived)
        lived.engine.close()
        states = spread(drawn(lived.fs.journal, {}, lived.promised))
        after = self.place / "after"
        return first_violation(states[:most], lambda state: judge(lived, state, after))

    def writers(self) -> int:
        """Power cuts while several write to a slow disk."""
        writers = Writers(self.place / "before", self.template)
        states = spread(drawn(writers.fs.journal, {}, writers.promised))
        after = self.place / "after"
        some = [state for state in states if state.operations >= writers.begun]
        return first_violation(some, lambda state: writers.judge(state, after))

    def rot(self, kind: str, most: int = 200) -> int:
        """Damages to files of one kind."""
        data = specimen(self.place, self.template)
        rot = Rot(data, self.place)
        files = [path for path in files_of(data) if path.parts[0] == kind]

        def damages() -> Iterator[tuple[Path, int]]:
            for seed in range(most):
                yield files[seed % len(files)], seed

        return first_violation(damages(), lambda damage: rot.try_one(*damage))

    def rot_of_a_footer(self) -> int:
        """A bit in the footer of a part, which a decoder may or may not stumble over."""
        data = specimen(self.place, self.template)
        rot = Rot(data, self.place)
        name = max(rot.blocks)
        content = (data / name).read_bytes()
        places = list(footer_of(content))
        Random(SEED).shuffle(places)

        def judged(place: int) -> None:
            after = bytearray(content)
            after[place] ^= 1
            rot.judge(name, content, bytes(after), f"bit at {place}")

        return first_violation(places, judged)

    def log_damages(self, most: int | None = None) -> int:
        """The table of damages to a log."""
        recorded = damages.recorded(self.place, self.template)
        table = damages.cases(recorded)
        Random(SEED).shuffle(table)
        root = self.place / "damaged"
        return first_violation(table[:most], lambda case: damages.judge_log(recorded, case, root))


def first_violation(cases: Iterable[Any], judged: Callable[[Any], object]) -> int:
    """How many cases it took until a promise was broken. Fails if none was."""
    for number, case in enumerate(cases, 1):
        try:
            judged(case)
        except Exception:
            # A promise broken, or an engine that does not open: either is what is looked for.
            return number
    pytest.fail("the programme did not notice that the engine is broken")
