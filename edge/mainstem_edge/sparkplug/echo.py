"""Waiting for what an edge node says of a metric after a command."""

from __future__ import annotations

import threading
from typing import Any

from mainstem_edge.sparkplug.rows import Row, Source


class Echo:
    """One metric. ``value``: what was reported first; valid once ``wait`` was True."""

    def __init__(self, source: Source, metric: str) -> None:
        self._source = source
        self._metric = metric
        self._heard = threading.Event()
        self.value: Any = None

    def hear(self, row: Row) -> None:
        """Rows of deaths name no values."""
        if (row.source == self._source and self._metric in row.values) and not self._heard.is_set():
            self.value = row.values[self._metric]
            self._heard.set()

    def wait(self, seconds: float) -> bool:
        return self._heard.wait(seconds)
