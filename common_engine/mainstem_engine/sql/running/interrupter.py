"""How a node ends the statement of a worker without ending the worker.

The database interrupts a statement when another thread tells it to; a signal tells that thread.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable

INTERRUPT_SIGNAL: int | None = getattr(signal, "SIGUSR1", None)
"""None where there are no such signals: the node then ends the process."""


class Interrupter:
    """Waits for the signal, on a thread that runs while the database computes.

    Make it before any thread is started: all inherit that they do not take the signal themselves.
    """

    def __init__(self) -> None:
        if INTERRUPT_SIGNAL is not None:
            signal.pthread_sigmask(signal.SIG_BLOCK, {INTERRUPT_SIGNAL})
        self.interrupt: Callable[[], None] | None = None
        """Ends the statement at hand; None between statements."""

    def start(self) -> None:
        if INTERRUPT_SIGNAL is not None:
            threading.Thread(target=self._run, args=(INTERRUPT_SIGNAL,), daemon=True).start()

    def _run(self, number: int) -> None:
        import duckdb

        while True:
            signal.sigwait({number})
            interrupt = self.interrupt
            if interrupt is not None:
                # The statement may have ended in this moment, and its cursor with it.
                with contextlib.suppress(duckdb.Error):
                    interrupt()
