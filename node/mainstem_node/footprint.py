"""Memory that a start needed and a running node does not, given back to the system."""

from __future__ import annotations

import ctypes
import gc
import sys

from aiohttp import connector


def give_back() -> None:
    """Collects what the start left, and returns whole free pages of the C heap, which glibc would
    keep. Milliseconds: use a thread."""
    _drop_unverified()
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)


def _drop_unverified() -> None:
    """aiohttp reads the system's certificates twice when it is imported, the second time for
    requests that verify nothing. There are none here, and there can be none after this: they
    would be verified. Where aiohttp has other names, nothing is done."""
    verified = getattr(connector, "_SSL_CONTEXT_VERIFIED", None)
    if verified is not None and hasattr(connector, "_SSL_CONTEXT_UNVERIFIED"):
        vars(connector)["_SSL_CONTEXT_UNVERIFIED"] = verified
