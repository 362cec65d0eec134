"""The threads that encode and decode columns of blocks, shared by the whole process.

Codecs and checksums release the GIL, so a few threads are worth as many cores. Nothing that runs
here waits for another task of the pool, so that it cannot lock itself up.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")

THREADS_MAX = 4
"""Beyond four, the Python around the codecs keeps the GIL busy: more threads add nothing."""

THREADS = min(os.cpu_count() or 1, THREADS_MAX)

_POOL = ThreadPoolExecutor(THREADS, thread_name_prefix="engine-codec")


def submit(task: Callable[..., Result], *arguments: Any) -> Future[Result]:
    """Runs ``task`` on a thread. Callers bound how many of their tasks wait."""
    try:
        return _POOL.submit(task, *arguments)
    except RuntimeError:
        # No thread can be had: the interpreter ends (a last flush must work all the same), or the
        # system has no more of them.
        return done(task, *arguments)


def done(task: Callable[..., Result], *arguments: Any) -> Future[Result]:
    """Runs ``task`` at once, for what is too small to be handed over."""
    future: Future[Result] = Future()
    try:
        future.set_result(task(*arguments))
    except BaseException as error:
        future.set_exception(error)
    return future
