"""The health of a collector: its state, what it has brought, how fast, and the last error.

Written by the collector's thread and read by others; single values, so that no lock is needed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from mainstem_edge.collectors.interface import Message
from mainstem_edge.collectors.message_queue import MessageQueue

RATE_WINDOW_S = 5.0
NS_PER_MS = 1_000_000

STOPPED, CONNECTING, CONNECTED, WAITING = "stopped", "connecting", "connected", "waiting"
"""``waiting``: for its next attempt, after one that ended."""


class Health:
    """Counts since the start. ``clock_ns`` is the wall clock."""

    def __init__(
        self,
        clock_ns: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock_ns = clock_ns
        self._monotonic = monotonic
        self.state = STOPPED
        self.error = ""
        self.connected_ns: int | None = None
        """Since when it is connected; None while it is not."""
        self.last_arrival_ns: int | None = None
        """The newest arrival on the present connection."""
        self.connects = self.disconnects = 0
        self.messages = self.bytes = self.redelivered = self.errors = 0
        self._last_message_ns: int | None = None
        self._window_started, self._window_count, self._rate = monotonic(), 0, 0.0

    def connecting(self) -> None:
        self.state = CONNECTING

    def connected(self) -> None:
        self.connects += 1
        self.error = ""
        self.connected_ns = self._clock_ns()
        self.state = CONNECTED

    def ended(self) -> None:
        """The connection is over, whatever comes next."""
        self.connected_ns = self.last_arrival_ns = None

    def failed(self, problem: str) -> None:
        """It ended by itself, and is tried again."""
        self.disconnects += 1
        self.error = problem
        self.state = WAITING

    def stopped(self) -> None:
        self.state = STOPPED

    def trouble(self, problem: str) -> None:
        """Something went wrong that the connection outlives: one poll, one register, one file."""
        self.errors += 1
        self.error = problem

    def arrived(self, messages: Sequence[Message]) -> None:
        """At least one message."""
        self.messages += len(messages)
        self.bytes += sum(len(message.payload) for message in messages)
        self.redelivered += sum(message.redelivered for message in messages)
        self.last_arrival_ns = self._last_message_ns = messages[-1].arrived_ns
        self._window_count += len(messages)
        now = self._monotonic()
        elapsed = now - self._window_started
        if elapsed >= RATE_WINDOW_S:
            self._rate = self._window_count / elapsed
            self._window_started, self._window_count = now, 0

    @property
    def rate(self) -> float:
        """Messages a second of the last full window, or since, when that is longer ago."""
        elapsed = self._monotonic() - self._window_started
        return self._rate if elapsed < 2 * RATE_WINDOW_S else self._window_count / elapsed

    def status(self, queue: MessageQueue) -> dict[str, Any]:
        """What every kind of collector shows."""
        waiting = queue.statistics()
        last = self._last_message_ns
        return {
            "state": self.state,
            "messages": self.messages,
            "bytes": self.bytes,
            "redelivered": self.redelivered,
            "errors": self.errors,
            "messages_per_s": round(self.rate, 1),
            "last_message_ms": None if last is None else last // NS_PER_MS,
            "connects": self.connects,
            "disconnects": self.disconnects,
            "last_error": self.error or None,
            "queue": {"messages": waiting.messages, "bytes": waiting.bytes, "full": waiting.full},
        }
