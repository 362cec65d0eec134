"""Waiting for what threads and brokers do: polled, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

from mainstem_edge.collectors.interface import Message
from mainstem_edge.collectors.supervised import SupervisedCollector

TIMEOUT_S = 20.0


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Polls until it holds; fails with ``what`` at the deadline."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {TIMEOUT_S:g} s: {what}"
        time.sleep(0.01)


def taken(collector: SupervisedCollector, count: int) -> list[Message]:
    """The next ``count`` messages of its queue; they stay unacknowledged."""
    found: list[Message] = []
    deadline = time.monotonic() + TIMEOUT_S
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} messages"
        found += collector.queue.take(count - len(found), 1 << 30, 0.1)
    return found
