"""A directory on a disk of its own whose power is cut while a process works on it.

1. The process is that of the kill tests; its journal lies outside the disk.
2. At a random moment the power is cut. For a moment the process goes on with a disk that takes
   nothing any more. What it began after that must not be acknowledged.
3. What was acknowledged while the power went may be there or not: a real power cut leaves nobody to
   acknowledge anything, and the kernel lets a sync that is under way succeed without its data (of a
   program that only appends and calls fdatasync, 5 of 250 cuts took such a line).
4. It is killed, the disk is mounted anew, and what is found is checked as after a kill. Backups
   that were finished are there too.
"""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

from tests.engine.killing.killed import Killed

from .loop_disk import LoopDisk

AFTERMATH_S = 0.03
"""How long a process goes on at most; an acknowledgement without a sync takes far less."""
BECAUSE_OF_THE_CUT = ("Input/output error", "Read-only file system", "re-open the data directory")
"""What a process may complain about once the disk is gone."""

ALWAYS_LOGS = ('"op": "write"', '"op": "receive"')
"""Other operations have nothing to do now and then, and are done without a disk."""


class PowerCut(Killed):
    """See the module."""

    work_s = 0.8  # a disk that is waited for: more lives find more than longer ones

    def __init__(self, disk: LoopDisk, notes: Path, seed: int, durability: str = "always") -> None:
        # Faults are injected by a file system that does not wait for the disk.
        super().__init__(disk.path, seed, notes=notes, durability=durability, faults=False)
        self.disk = disk
        self._told = (0, 0)
        """Bytes of the journal before the power went, and when it was gone."""

    def end(self, child: subprocess.Popen[bytes]) -> None:
        journal = self.notes / "journal"
        try:
            before = journal.stat().st_size
            self.disk.cut()
            self._told = before, journal.stat().st_size
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(self.random.random() * AFTERMATH_S)
        finally:
            child.kill()
            child.wait()
        self.disk.restart()

    def told(self, journal: Path) -> str:
        data = journal.read_bytes()
        before, gone = self._told
        # A line that was cut in two belongs to what came after.
        before, gone = (data.rfind(b"\n", 0, at) + 1 for at in (before, gone))
        kept = data[:before].decode()
        for line in data[before:].decode().splitlines(keepends=True):
            if line.startswith("a "):
                continue
            if line.startswith("f ") and any(why in line for why in BECAUSE_OF_THE_CUT):
                continue
            kept += line
        tried = [
            line for line in _lines(data[gone:], "t ") if any(op in line for op in ALWAYS_LOGS)
        ]
        late = {line.split()[2] for line in tried}
        acknowledged = {line.split()[2] for line in _lines(data[gone:], "a ")}
        assert not late & acknowledged, "something was acknowledged without a disk"
        return kept


def _lines(data: bytes, start: str) -> list[str]:
    """The whole lines of a kind."""
    text = data[: data.rfind(b"\n") + 1].decode()
    return [line for line in text.splitlines() if line.startswith(start)]
