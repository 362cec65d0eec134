"""What the kernel takes away from a process before it runs statements of strangers.

In this order, each as far as the system has it:

1. The process is the first to go when memory is short.
2. It can gain no rights any more (no-new-privileges), starts no program and opens no socket
   (system_calls.py).
3. Landlock: it reads the directories of Python, of the packages and of time zones, and nothing
   else; it writes, makes and removes nothing; it opens no TCP connection and sends no signal.
4. Limits: no file grows, few are open, no core is dumped. Per statement, what it may allocate and
   how long it may compute: these hold for the executing database and for numpy alike, and also
   where a library forgets its own limit or keeps the interpreter's lock.

1 to 3 come before any library starts threads: Landlock holds for the calling thread and those that
it starts. ``Confinement`` says what is in force; a node shows it in its status.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib.util
import os
import struct
import sys
import sysconfig
import zoneinfo
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from mainstem_engine.sql.running.system_calls import refuse_system_calls

PACKAGES = ("mainstem_engine", "duckdb", "pyarrow", "numpy", "tsdownsample", "msgpack")
"""Packages that may lie outside the usual directories, in a checkout for example."""
LIBRARIES = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"),
    *("/etc/ld.so.cache", "/usr/share/zoneinfo"),
    # What the libraries size their pools and caches by.
    *("/proc/cpuinfo", "/proc/meminfo", "/proc/self", "/sys/devices/system", "/sys/fs/cgroup"),
    *("/dev/null", "/dev/urandom"),
)
"""What else is read when libraries are loaded. There is nothing of a user in it."""

OPEN_FILES_MAX = 64
"""Three pipes, and the modules that are being imported."""
OUT_OF_MEMORY_SCORE = 800
"""Added to the kernel's score (1000 is all of the memory): before the node is ended."""

_PR_SET_NO_NEW_PRIVS = 38
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
"""The same numbers on every architecture."""
_VERSION_QUESTION = 1
_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""Number of rights on files by version of the interface; each version since 5 has 16."""
_NET_RIGHTS = 0b11
"""Binding and connecting TCP, since version 4."""
_SCOPES = 0b11
"""Abstract sockets and signals, since version 6."""


@dataclass(frozen=True, slots=True)
class Confinement:
    """``"on"``, or why not; ``landlock`` with the version of its interface."""

    landlock: str = "not on this system"
    system_calls: str = "not on this system"
    memory: str = "not on this system"

    @property
    def is_complete(self) -> bool:
        return self.landlock.startswith("on") and self.system_calls == "on" and self.memory == "on"

    def to_map(self) -> dict[str, str]:
        return asdict(self)


def confine() -> Confinement:
    """Confines this process for good. To be called while it has one thread."""
    if sys.platform != "linux":
        return Confinement()
    _go_first()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        # Kernels of the last decade have it; without it the others are refused.
        return Confinement("needs no-new-privileges", "needs no-new-privileges", _limit_files())
    landlock = _restrict_files(libc, readable_directories())
    return Confinement(landlock, refuse_system_calls(libc), _limit_files())


def readable_directories() -> list[Path]:
    """What a worker reads after it was confined: code and time zones, no data of anybody."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    found = [Path(sysconfig.get_path(name)) for name in names]
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is not None:
            found += [Path(place) for place in spec.submodule_search_locations or ()]
    found += [Path(place) for place in (*zoneinfo.TZPATH, *LIBRARIES)]
    return [place for place in dict.fromkeys(found) if place.exists()]


def _go_first() -> None:
    # A container may keep /proc to itself.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "wb") as file:
        file.write(str(OUT_OF_MEMORY_SCORE).encode())


def _restrict_files(libc: ctypes.CDLL, readable: Iterable[Path]) -> str:
    version = libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), _VERSION_QUESTION)
    if version < 1:
        return f"not in this kernel ({errno.errorcode.get(ctypes.get_errno(), 'error')})"
    rights = (1 << _FILE_RIGHTS.get(version, 16)) - 1
    rules = [rights, *([_NET_RIGHTS] if version >= 4 else []), *([_SCOPES] if version >= 6 else [])]
    attributes = struct.pack(f"={len(rules)}Q", *rules)
    rule_set = libc.syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)
    if rule_set < 0:
        return f"refused ({errno.errorcode.get(ctypes.get_errno(), 'error')})"
    try:
        for place in readable:
            _allow_reading(libc, rule_set, place)
        if libc.syscall(_LANDLOCK_RESTRICT, rule_set, 0) != 0:
            return f"refused ({errno.errorcode.get(ctypes.get_errno(), 'error')})"
    finally:
        os.close(rule_set)
    return f"on (version {version})"


def _allow_reading(libc: ctypes.CDLL, rule_set: int, place: Path) -> None:
    try:
        handle = os.open(place, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # not there: nothing to allow
    try:
        rights = _READ_FILE | _READ_DIR if place.is_dir() else _READ_FILE
        rule = struct.pack("=Qi", rights, handle)
        libc.syscall(_LANDLOCK_ADD, rule_set, _PATH_BENEATH, rule, 0)
    finally:
        os.close(handle)


def _limit_files() -> str:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES_MAX, OPEN_FILES_MAX))
    return "on" if _address_space_bytes() is not None else "the size of a process is not known"


def _address_space_bytes() -> int | None:
    """What this process has mapped now; None where the system does not say."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


class StatementLimits:
    """What one statement may take from the system, over what the process has when it begins.

    Make it when the libraries are loaded: what they mapped is not kept for a statement's sake.
    """

    def __init__(self) -> None:
        self._first_bytes = _address_space_bytes() if sys.platform == "linux" else None

    def set(self, memory_bytes: int, computing_s: float) -> None:
        """From now on: ``memory_bytes`` more than now, ``computing_s`` more than was used.

        Beyond the first an allocation fails, beyond the second the process ends.
        """
        now = _address_space_bytes()
        if self._first_bytes is None or now is None:
            return
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (now + memory_bytes, resource.RLIM_INFINITY))
        used = resource.getrusage(resource.RUSAGE_SELF)
        seconds = int(used.ru_utime + used.ru_stime + computing_s) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))

    def kept_bytes(self) -> int:
        """What the process has mapped over what it began with; 0 where it is not known."""
        now = _address_space_bytes()
        return 0 if now is None or self._first_bytes is None else max(now - self._first_bytes, 0)
