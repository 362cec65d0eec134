"""A thread beside the committer that waits for the disk, so that the committer need not.

1. It runs one sync at a time, and only when it is told to. Its owner may write to the same file
   meanwhile: what is written after ``begin`` is not covered.
2. ``on_end`` is called on this thread when a sync has ended, well or not. ``finish`` then says
   which, once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class SyncThread:
    """See the module. ``sync`` raises OSError; it and ``on_end`` run on the thread."""

    def __init__(self, sync: Callable[[], None], on_end: Callable[[], None]) -> None:
        self._sync = sync
        self._on_end = on_end
        self._begun = threading.Lock()
        self._begun.acquire()
        self._ended = threading.Event()
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None
        self._stopped = False
        self.running = False
        """From ``begin`` to ``finish``."""

    @property
    def ended(self) -> bool:
        """True when ``finish`` will not wait."""
        return self._ended.is_set()

    def begin(self) -> None:
        """Begins a sync. The one before must be finished."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log-sync", daemon=True)
            self._thread.start()
        self.running = True
        self._begun.release()

    def finish(self) -> None:
        """Waits for the sync that runs; raises what it raised."""
        self._ended.wait()
        self._ended.clear()
        self.running = False
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Ends the thread. Nothing may be running."""
        if self._thread is not None:
            self._stopped = True
            self._begun.release()
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while True:
            self._begun.acquire()
            if self._stopped:
                return
            try:
                self._sync()
            except Exception as error:
                self._error = error
            self._ended.set()
            self._on_end()
