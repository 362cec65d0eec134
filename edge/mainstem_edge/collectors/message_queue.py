"""The queue between a collector's network thread and the intake: bounded in messages and bytes.

1. ``put`` never drops and never blocks: the producer asks ``is_full`` before it reads from its
   source, and stops reading while it is. What the source still holds stays there. The bounds are
   therefore passed by at most what one read brings.
2. ``take`` gives what there is as soon as there is any. Only when it is called again at once, that
   is under load, does it linger for a few milliseconds, so that batches grow; an idle queue adds
   no latency.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mainstem_edge.collectors.interface import Message
from mainstem_edge.collectors.undurable import Undurable

LINGER_S = 0.004
"""Batches of a few milliseconds: the fixed cost of a batch is about half a millisecond."""


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """What waits now, and how often the queue was found full."""

    messages: int
    bytes: int
    full: int


class MessageQueue:
    """One producer, one consumer. ``messages_max`` and ``bytes_max`` bound what waits.

    ``on_room`` is called, from the consumer's thread, when a full queue has room again.
    """

    def __init__(
        self,
        messages_max: int,
        bytes_max: int,
        *,
        on_room: Callable[[], None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._messages_max = messages_max
        self._bytes_max = bytes_max
        self._messages: deque[Message] = deque()
        self._bytes = 0
        self._full = 0
        self._was_full = False
        self._closed = False
        self._condition = threading.Condition()
        self._monotonic = monotonic
        self._taken_at = float("-inf")
        self._in_hand_ns: int | None = None
        self._undurable: Undurable | None = None
        self.on_room = on_room

    def share(self, undurable: Undurable) -> None:
        """A bound with others: it is full, too, while that is, unless nothing waits here."""
        self._undurable = undurable

    def is_full(self) -> bool:
        """True when the producer must stop reading; ``on_room`` says when it may go on."""
        if not self._is_full():
            return False
        with self._condition:
            full = self._is_full()
            if full and not self._was_full:
                self._was_full = True
                self._full += 1
            return full

    def _is_full(self) -> bool:
        if len(self._messages) >= self._messages_max or self._bytes >= self._bytes_max:
            return True
        return bool(self._messages) and self._undurable is not None and self._undurable.is_full

    @property
    def bytes(self) -> int:
        """Of the messages that wait."""
        return self._bytes

    def put(self, messages: Sequence[Message]) -> None:
        """Adds messages in order of arrival."""
        size = sum(len(message.payload) for message in messages)
        with self._condition:
            self._messages.extend(messages)
            self._bytes += size
            self._condition.notify()

    def take(self, messages_max: int, bytes_max: int, timeout_s: float) -> list[Message]:
        """At least one message within ``timeout_s``, else none; at most the bounds, but one."""
        with self._condition:
            if not self._messages and not self._closed:
                self._condition.wait(timeout_s)
            if self._messages:
                self._linger(messages_max, bytes_max)
            self._taken_at = self._monotonic()
            batch: list[Message] = []
            size = 0
            while self._messages and len(batch) < messages_max and size < bytes_max:
                message = self._messages.popleft()
                batch.append(message)
                size += len(message.payload)
            self._bytes -= size
            self._in_hand_ns = batch[0].arrived_ns if batch else None
            has_room = self._was_full and (
                len(self._messages) <= self._messages_max // 2
                and self._bytes <= self._bytes_max // 2
                and not self._is_full()
            )
            if has_room:
                self._was_full = False
        if has_room and self.on_room is not None:
            self.on_room()
        return batch

    def _linger(self, messages_max: int, bytes_max: int) -> None:
        """Waits until LINGER_S after the last take, or until a batch is full."""
        until = self._taken_at + LINGER_S
        while (
            len(self._messages) < messages_max
            and self._bytes < bytes_max
            and not self._was_full
            and not self._closed
        ):
            rest = until - self._monotonic()
            if rest <= 0:
                return
            self._condition.wait(rest)

    def oldest_arrival_ns(self) -> int | None:
        """Arrival of the message that waits longest, None when nothing waits."""
        with self._condition:
            if self._in_hand_ns is not None:
                return self._in_hand_ns
            return self._messages[0].arrived_ns if self._messages else None

    def handed_on(self) -> None:
        """What was taken last is counted by the consumer from now on."""
        with self._condition:
            self._in_hand_ns = None

    def close(self) -> None:
        """Nobody lingers or waits any more; what is there can still be taken."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def __len__(self) -> int:
        return len(self._messages)

    def statistics(self) -> QueueStatistics:
        """Sizes now."""
        with self._condition:
            return QueueStatistics(len(self._messages), self._bytes, self._full)
