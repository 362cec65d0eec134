"""Stretches of time that scans could not read, until somebody sees to them."""

from __future__ import annotations

import threading
from collections.abc import Iterable


class Unreadable:
    """By table one stretch that holds all of its slices: who sees to them looks for the blocks
    anyway. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, tuple[int, int]] = {}

    def note(self, table: str, slice_ns: int, keys: Iterable[int]) -> None:
        """These slices (by index) of a table, as it is called here, cannot be read."""
        with self._lock:
            for key in keys:
                start, end = self._found.get(table, (key * slice_ns, (key + 1) * slice_ns))
                self._found[table] = min(start, key * slice_ns), max(end, (key + 1) * slice_ns)

    def take(self) -> dict[str, tuple[int, int]]:
        """[start, end) in ns by table; forgets them."""
        with self._lock:
            found, self._found = self._found, {}
            return found
