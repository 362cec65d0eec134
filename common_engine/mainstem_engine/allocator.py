"""What the C library keeps of memory that nobody uses any more, and when it goes back.

1. glibc serves arrays of some hundred KiB from heaps, some per thread, and keeps what is freed
   there: after many flushes as much as the rows themselves took. Mapping every array for itself
   would give it back at once, and costs half as much processor time again: page faults.
2. So it goes back when it is needed: once the process has grown by GROWN_SHARE of the memory limit
   since the engine was opened, and LET_GO_SHARE of the limit was let go of since the last time.
   With the second condition it is paid for by work of about ten times its cost, and is not tried
   again and again where it is somebody else's memory that has grown.
3. A writer may take memory faster than the thread that looks after it gives some back. So one that
   is about to take more while the process has grown by PRESSED_SHARE gives it back itself.
4. Elsewhere than with glibc on Linux nothing happens.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)

GROWN_SHARE = 0.625
"""Of the limit. What is left is for what is allocated until somebody looks again: of a limit of
256 MiB, 55 MiB were seen."""
LET_GO_SHARE = 0.125
"""Of the limit. A trim takes about 0.3 ms per MiB that goes back, which the next rows fault in."""
PRESSED_SHARE = 0.6875
"""Of the limit. A writer that finds the process grown so far gives memory back itself before it
takes more: it makes garbage faster than the thread that looks after it."""
LOOK_SHARE = 1 / 128
"""Of the limit. A writer looks again when it has taken so much since it last did: to ask the system
costs as much as a small write."""

_STATM = Path("/proc/self/statm")


class Allocator:
    """Watches over one memory limit. Thread-safe.

    ``anonymous()``: bytes of the process that no file stands for. ``trim()``: gives back what it
    can. Both as they are on this machine when they are left out.
    """

    def __init__(
        self,
        limit_bytes: int,
        *,
        anonymous: Callable[[], int] | None = None,
        trim: Callable[[], None] | None = None,
    ) -> None:
        self._anonymous = anonymous or anonymous_bytes
        self._trim = trim or _trim_of_libc()
        self._grown_bytes = int(limit_bytes * GROWN_SHARE)
        self._pressed_bytes = int(limit_bytes * PRESSED_SHARE)
        self._worth_bytes = int(limit_bytes * LET_GO_SHARE)
        self._look_bytes = int(limit_bytes * LOOK_SHARE)
        self._base_bytes = self._anonymous()
        self._let_go_bytes = 0
        self._taken_bytes = 0
        self._lock = threading.Lock()
        self.trims = 0
        """How often memory went back since the start."""

    def let_go(self, nbytes: int) -> None:
        """So much is not used any more."""
        self._let_go_bytes += nbytes

    def tidy(self) -> None:
        """Gives memory back if it is time to. Not for threads that somebody waits for: it takes
        some tens of milliseconds."""
        self._give_back(self._grown_bytes, self._worth_bytes)

    def relieve(self, nbytes: int) -> None:
        """For a thread that is about to take so much: gives memory back if there is little left."""
        self._taken_bytes += nbytes
        if self._taken_bytes < self._look_bytes:
            return
        self._taken_bytes = 0
        self._give_back(self._pressed_bytes, self._worth_bytes // 4)

    def _give_back(self, grown_bytes: int, worth_bytes: int) -> None:
        if self._trim is None or self._let_go_bytes < worth_bytes:
            return
        with self._lock:
            if self._let_go_bytes < worth_bytes:
                return
            if self._anonymous() - self._base_bytes < grown_bytes:
                return
            self._let_go_bytes = 0
            self.trims += 1
            self._trim()


def anonymous_bytes() -> int:
    """Resident memory of this process that is no file; 0 where the system does not say."""
    try:
        _, resident, shared, *_ = _STATM.read_bytes().split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


def _trim_of_libc() -> Callable[[], None] | None:
    """malloc_trim, where there is one."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        function = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None  # another C library, which has no such thing
    function.argtypes = [ctypes.c_size_t]
    function.restype = ctypes.c_int

    def trim() -> None:
        function(0)

    return trim
