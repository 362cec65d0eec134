"""A ceiling on the memory of real processes: a control group, where this user may make one.

1. Root makes a group at the top of the hierarchy, of version 2 or 1, without swap, and removes it.
   A process enters it before it has imported anything (``environment``, read by slow_node.py), and
   so do its children. What the page cache has of it is in the group, and given back under pressure.
2. Anywhere else there is no ceiling: what the process has of its own is watched and compared with
   it, and ``kind`` says so. (A limit on addresses would count mapped files, which are no memory.)
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
ENTER = "MAINSTEM_TEST_CGROUP"
WATCHED = "watched"
LOOK_S = 0.05
REMOVE_S = 10.0
"""A group can be removed once its last process is reaped."""


@dataclass(frozen=True, slots=True)
class Names:
    """Files of a group. ``own``: the line of memory.stat with what belongs to no file."""

    kind: str
    top: Path
    limit: str
    swap: str
    swap_is_sum: bool
    kills: str
    own: str


V2 = Names("cgroup v2", ROOT, "memory.max", "memory.swap.max", False, "memory.events", "anon")
V1 = Names(
    "cgroup v1", ROOT / "memory", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", True,
    "memory.oom_control", "total_rss",
)  # fmt: skip


class MemoryCeiling:
    """``kind``: "cgroup v2", "cgroup v1" or "watched". ``highest_bytes``: the most that the
    processes had of their own, as far as it was seen."""

    def __init__(self, group: Path | None, names: Names | None) -> None:
        self._group = group
        self._names = names
        self.kind = WATCHED if names is None else names.kind
        self.environment = {} if group is None else {ENTER: str(group / "cgroup.procs")}
        self.highest_bytes = 0

    def kills(self) -> int:
        """Processes that the kernel has ended for want of memory; 0 where nothing is limited."""
        if self._group is None or self._names is None:
            return 0
        return _field(self._group / self._names.kills, "oom_kill")

    @contextlib.contextmanager
    def watching(self, pid: int) -> Iterator[None]:
        """Looks all the time; at process ``pid`` where there is no group."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(LOOK_S):
                with contextlib.suppress(OSError):  # the process has ended
                    self.highest_bytes = max(self.highest_bytes, self._own_bytes(pid))

        looking = threading.Thread(target=look, daemon=True)
        looking.start()
        try:
            yield
        finally:
            over.set()
            looking.join()

    def _own_bytes(self, pid: int) -> int:
        if self._group is None or self._names is None:
            return _field(Path(f"/proc/{pid}/status"), "RssAnon:") << 10
        return _field(self._group / "memory.stat", self._names.own)


@contextlib.contextmanager
def ceiling(limit_bytes: int) -> Iterator[MemoryCeiling]:
    """At the end the group is removed; its processes must have ended."""
    names = V2 if (ROOT / "cgroup.controllers").is_file() else V1
    group = names.top / f"mainstem-test-{os.getpid()}-{secrets.token_hex(4)}"
    if not _made(group, names, limit_bytes):
        yield MemoryCeiling(None, None)
        return
    try:
        yield MemoryCeiling(group, names)
    finally:
        _remove(group)


def _made(group: Path, names: Names, limit_bytes: int) -> bool:
    """False where this user or this system has no such groups."""
    try:
        group.mkdir()
    except OSError:
        return False
    try:
        (group / names.limit).write_text(str(limit_bytes))
        swap = group / names.swap
        if swap.is_file():  # a kernel may not count it
            swap.write_text(str(limit_bytes if names.swap_is_sum else 0))
    except OSError:  # the controller is not delegated
        group.rmdir()
        return False
    return True


def _remove(group: Path) -> None:
    deadline = time.monotonic() + REMOVE_S
    while True:
        try:
            group.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(LOOK_S)
        else:
            return


def _field(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        words = line.split()
        if words and words[0] == name:
            return int(words[1])
    return 0
