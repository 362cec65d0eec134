"""The seam between sources and the intake: messages in, acknowledgements back.

1. A collector runs its source in a thread of its own and only puts messages on its queue.
2. It acknowledges a message to the source when, and only when, ``Origin.acknowledge`` is called.
3. A message belongs to the connection that brought it. What a connection that has ended gets to
   acknowledge is dropped: the source will send it again, under a number that may be another's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from mainstem_edge.collectors.message_queue import MessageQueue
    from mainstem_edge.reader import Reader


class Origin(Protocol):
    """Where a message came from: one connection."""

    def acknowledge(self, ids: Sequence[int]) -> None:
        """The messages of these ids are durable. Thread-safe, quick; nothing after its end."""


@dataclass(slots=True, eq=False)
class Message:
    """One message as it arrived.

    ``id`` is 0 for a message that wants no acknowledgement. ``redelivered``: the source says that
    it sent this before. ``repeated``: this collector has handed it on before, and only the
    acknowledgement is missing. ``arrived_ns``: wall clock at arrival. ``sent_ns``: when the source
    says that it was sent, None where it does not; a row without a time of its own takes it.
    """

    topic: str
    payload: bytes
    arrived_ns: int
    redelivered: bool
    repeated: bool
    id: int
    origin: Origin
    sent_ns: int | None = None

    @property
    def stamp_ns(self) -> int:
        """The time of what says none itself."""
        return self.arrived_ns if self.sent_ns is None else self.sent_ns


@dataclass(frozen=True, slots=True)
class CollectorState:
    """What the frontier must know of a collector.

    ``connection``: the present one. ``connected_ns``: since when it is subscribed, None while it is
    not. ``last_arrival_ns``: the newest arrival on it, None when there was none. ``source_holds``:
    the source may have messages that wait for this collector, as a broker has. ``asks``: nothing
    comes that the collector did not ask for.
    """

    connection: Origin | None
    connected_ns: int | None
    last_arrival_ns: int | None
    source_holds: bool = True
    asks: bool = False


class Collector(Protocol):
    """One source. ``readers`` say what its messages become."""

    name: str
    queue: MessageQueue
    readers: tuple[Reader, ...]

    def start(self) -> None:
        """Begins to connect, and goes on for ever until stopped."""

    def pause(self) -> None:
        """Reads nothing more from the source; acknowledgements still go out."""

    def stop(self, timeout_s: float) -> None:
        """Sends the acknowledgements that are waiting and ends. May be called twice."""

    def state(self) -> CollectorState:
        """For the frontier."""

    def status(self) -> dict[str, Any]:
        """Health for people: state, counts, the last error. Plain data, no secrets."""
