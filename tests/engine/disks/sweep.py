"""One run of the procedure with one fault, and what its directory must show afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.engine.killing.killed import Killed

from .injection import FAULTS, Point, counting, injecting, points_of
from .procedure import BASE_MS
from .zygote import Zygote


@dataclass(frozen=True, slots=True)
class Outcome:
    """``met``: the call came up and failed. ``wrong``: what must not be, None if all is well."""

    point: Point
    fault: str
    met: bool
    wrong: str | None


class Sweep:
    """Runs at ``place``, which each run empties; see the module."""

    def __init__(self, place: Path) -> None:
        self.zygote = Zygote()
        self.place = place
        self.disk = place / "disk"
        self.journal = place / "journal"
        self.output = place / "strace"

    def points(self) -> list[Point]:
        """Every call of a run without a fault, which must be without a fault indeed."""
        pid = self._prepare()
        tracing = counting(pid, self.output)
        assert self.zygote.go() == 0
        points = points_of(tracing.text(), self.disk)
        wrong = self._wrong()
        assert wrong is None, wrong
        return points

    def outcome(self, point: Point, fault: str) -> Outcome:
        """A run in which one call fails."""
        pid = self._prepare()
        tracing = injecting(pid, self.output, self.disk, point, fault)
        status = self.zygote.go()
        text = tracing.text()
        met = "INJECTED" in text or os.WIFSIGNALED(status)
        expected = signal.SIGKILL if met and fault == "SIGKILL" else 0
        if os.waitstatus_to_exitcode(status) != -expected:
            wrong: str | None = f"it ended with {os.waitstatus_to_exitcode(status)}"
        else:
            wrong = self._wrong()
        return Outcome(point, fault, met, wrong)

    def _prepare(self) -> int:
        shutil.rmtree(self.disk, ignore_errors=True)
        self.disk.mkdir()
        self.journal.write_bytes(b"")
        return self.zygote.fork(self.disk / "data", self.journal)

    def _wrong(self) -> str | None:
        """What a check finds, twice: the first start mends what there is to mend."""
        found = Killed(self.disk, seed=1)
        found.base_ms = BASE_MS
        failures = found.history.read(self.journal.read_text())
        if failures:
            return failures[0]
        try:
            for _ in range(2):
                found.verify()
            found.verify_backups()
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return None


@contextlib.contextmanager
def sweeping() -> Iterator[Sweep]:
    """In memory where there is such a file system: a run makes some hundred syncs."""
    memory = Path("/dev/shm")
    base = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="mainstem-sweep-", dir=base) as place:
        sweep = Sweep(Path(place))
        try:
            yield sweep
        finally:
            sweep.zygote.close()


def cases(points: list[Point]) -> list[tuple[Point, str]]:
    """Every point with every fault that its call may have."""
    return [(point, fault) for point in points for fault in FAULTS[point.call]]
