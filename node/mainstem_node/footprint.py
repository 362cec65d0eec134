"""Memory that a start needed and a running node does not, given back to the system."""

from __future__ import annotations

import ctypes
import gc
import sys


def give_back() -> None:
    """Collects what the start left, and returns whole free pages of the C heap, which glibc would
    keep. Milliseconds: use a thread."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)
