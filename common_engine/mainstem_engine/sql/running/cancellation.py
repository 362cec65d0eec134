"""How a caller that lost interest ends a statement that runs in another thread."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from mainstem_engine.errors import SqlCancelledError


class Cancellation:
    """One statement's. Thread-safe; what was cancelled stays so."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # One entry per step that is being run: a worker, a queue, a timer.
        self._callbacks: list[Callable[[], None]] = []
        self.is_cancelled = False

    def cancel(self) -> None:
        """Ends the statement wherever it is. It then raises SqlCancelledError."""
        with self._lock:
            self.is_cancelled = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def check(self) -> None:
        """Raises SqlCancelledError after ``cancel``."""
        if self.is_cancelled:
            raise cancelled()

    @contextlib.contextmanager
    def calling(self, callback: Callable[[], None]) -> Iterator[None]:
        """Within it ``cancel`` calls ``callback``, at once when it was called before."""
        with self._lock:
            is_late = self.is_cancelled
            if not is_late:
                self._callbacks.append(callback)
        if is_late:
            callback()
        try:
            yield
        finally:
            with self._lock, contextlib.suppress(ValueError):
                self._callbacks.remove(callback)


def cancelled() -> SqlCancelledError:
    """The error of a statement whose caller went away."""
    return SqlCancelledError("the statement was cancelled: its caller went away", hint="ask again")
