"""Memory that a start needed and a running node does not, given back to the system.

1. Objects that nobody refers to, and whole free pages of the C heap, which glibc would keep.
2. Pages of libraries' code, of which a start goes through a third more than a node that rests.
   They are the file's, so nothing is written or lost: what is used again is mapped again, as a
   rule from the cache of the kernel. Only code is given back that no other file can come to lie at
   (Python unloads no library), and of which no page was changed in this process.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

MADV_DONTNEED = 4
"""As <sys/mman.h> of Linux has it."""


def give_back() -> None:
    """Does it. Milliseconds: use a thread."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is not None:
        _give_back_code(libc)
    gc.collect()
    trim = getattr(libc, "malloc_trim", None)  # musl has none
    if trim is not None:
        trim(0)


def _give_back_code(libc: Any) -> None:
    try:
        with Path("/proc/self/smaps").open(encoding="utf-8", errors="replace") as lines:
            for start, size in unchanged_code(lines):
                libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), MADV_DONTNEED)
    except OSError:  # a system without it, or one that hides it: the pages stay
        return


def unchanged_code(lines: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Address and bytes of what is the unchanged code of a file, by /proc/PID/smaps."""
    code: tuple[int, int] | None = None
    for line in lines:
        words = line.split(maxsplit=5)
        if words and not words[0].endswith(":"):  # ADDRESSES RIGHTS OFFSET DEVICE INODE [FILE]
            first, _, last = words[0].partition("-")
            is_code = words[1] == "r-xp" and len(words) == 6 and words[5].startswith("/")
            start = int(first, 16)
            code = (start, int(last, 16) - start) if is_code else None
        elif code is not None and words[:2] == ["Anonymous:", "0"]:
            yield code
