"""System calls of a running process: counted, and made to fail at the n-th of one file.

1. ``counting`` traces a run; ``points_of`` finds its *points*: the n-th call of a kind on a file by
   a thread. Files are named relative to a directory, so that a point is found again in another run.
2. ``injecting`` attaches strace to a process that waits, with the fault of one point. strace counts
   calls per thread and can be told one path. Nearly every file has one thread that changes it: then
   that is one call of the run. The directories of parts and of the log are synced by several
   threads: there the n-th call of each of them fails.
"""

from __future__ import annotations

import re
import subprocess
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

WRITES = ("write", "pwrite64", "writev", "pwritev")
SYNCS = ("fsync", "fdatasync")
RENAMES = ("rename", "renameat", "renameat2")
LENGTHS = ("ftruncate", "fallocate")
NAMES = ("unlink", "unlinkat", "link", "linkat", "mkdir", "mkdirat")
OPENS = ("openat",)
MAPS = ("mmap",)
FAULTS = {
    **dict.fromkeys((*WRITES, *SYNCS, *RENAMES, *LENGTHS, *NAMES), ("EIO", "ENOSPC", "SIGKILL")),
    **dict.fromkeys(OPENS, ("EMFILE", "EIO", "SIGKILL")),
    **dict.fromkeys(MAPS, ("ENOMEM", "SIGKILL")),
}
"""What each call is made to fail with; SIGKILL comes before it is carried out."""
ATTACH_S = 20.0
BY_PATH = frozenset({*RENAMES, *NAMES, *OPENS})
_CALL = re.compile(r"^(\d+) +(\w+)\((.*)")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_DESCRIPTOR = re.compile(r"\d+<([^>]*)>")


@dataclass(frozen=True, slots=True)
class Point:
    """A thread's ``number``-th (from 1) ``call`` on ``path``, relative to the traced directory."""

    call: str
    path: str
    number: int

    def __str__(self) -> str:
        return f"{self.call} {self.number} of {self.path}"


class Tracing:
    """strace on one process and its threads, until they end."""

    def __init__(self, pid: int, output: Path, *arguments: str) -> None:
        self._output = output
        output.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            ["strace", "-f", "-qq", "-s", "1", "-o", str(output), *arguments, "-p", str(pid)],
            stderr=subprocess.DEVNULL,
        )
        self._await(pid)

    def _await(self, pid: int) -> None:
        status = Path(f"/proc/{pid}/status")
        for _ in range(int(ATTACH_S / 0.002)):
            if "TracerPid:\t0\n" not in status.read_text():
                return
            threading.Event().wait(0.002)
        self._process.kill()
        raise AssertionError("strace does not attach")

    def text(self) -> str:
        """What it wrote; waits for its end, which is that of the process."""
        self._process.wait()
        return self._output.read_text(errors="replace")


def counting(pid: int, output: Path) -> Tracing:
    """Traces every call that may fail."""
    return Tracing(pid, output, "-y", "-e", f"trace={','.join(FAULTS)}")


def injecting(pid: int, output: Path, directory: Path, point: Point, fault: str) -> Tracing:
    """Lets one call fail."""
    how = f"signal={fault}" if fault.startswith("SIG") else f"error={fault}"
    return Tracing(
        pid, output,
        "-P", str(directory / point.path),
        "-e", f"trace={point.call}",
        "-e", f"inject={point.call}:{how}:when={point.number}",
    )  # fmt: skip


def points_of(text: str, directory: Path) -> list[Point]:
    """The points of a counted run below ``directory``, in the order of their first call."""
    seen: Counter[tuple[str, str, str]] = Counter()
    points: dict[Point, None] = {}
    for line in text.splitlines():
        call = _CALL.match(line)
        if call is None or "resumed>" in line:
            continue
        thread, name, arguments = call.groups()
        found = (_QUOTED if name in BY_PATH else _DESCRIPTOR).search(arguments)
        if found is None:
            continue
        path = found[1].removesuffix(" (deleted)")
        if not path.startswith(f"{directory}/") and path != str(directory):
            continue
        relative = str(Path(path).relative_to(directory))
        seen[thread, name, relative] += 1
        points[Point(name, relative, seen[thread, name, relative])] = None
    return list(points)
