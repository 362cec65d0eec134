"""A thread that does what is due: flushes, compactions, release of the log.

It wakes when asked to and every TICK_S. After a failure it pauses, twice as long each time up to
RETRY_S_MAX: a full disk may be freed, and the process must live to say what is wrong.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)

TICK_S = 1.0
"""How late a flush by timer may be; also how often log to release is looked for."""
RETRY_S_MAX = 60.0
"""Long enough not to fill the journal with the same failure, short enough after a repair."""


class Background:
    """Calls ``work()`` again and again on one thread; what it raises is logged, never fatal."""

    def __init__(self, work: Callable[[], None], name: str) -> None:
        self._work = work
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Something is due now."""
        self._wake.set()

    def stop(self) -> None:
        """Waits for the work under way. May be called twice, or before start."""
        self._stopped.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        retry_s = TICK_S
        while True:
            self._wake.wait(TICK_S)
            self._wake.clear()
            if self._stopped.is_set():
                return
            try:
                self._work()
                retry_s = TICK_S
            except Exception as error:
                # Where the disk is at fault, whoever reads this needs no lines of our code.
                shown = None if isinstance(error, OSError) else error
                logger.error(
                    "work in the background failed, next try in %g s: %s",
                    retry_s, error, exc_info=shown,
                )  # fmt: skip
                self._stopped.wait(retry_s)
                retry_s = min(retry_s * 2, RETRY_S_MAX)
