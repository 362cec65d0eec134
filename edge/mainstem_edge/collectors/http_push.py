"""The collector that is posted to: a request is a message, and its answer the acknowledgement.

1. A request waits until its message is durable: stored, or put aside with a reason. Then it is
   answered; a sender that was not answered sends again, and (device, time) makes that one row.
2. Behind a full queue, with too many requests waiting, and while the node stops, a request is
   refused before its body is read: the sender keeps what it has.
3. It has no thread: requests come in on the node's loop, acknowledgements from the committer.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, ClassVar

from mainstem_edge.collectors.health import Health
from mainstem_edge.collectors.interface import CollectorState, Message
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.push_place import PushPlace
from mainstem_edge.collectors.push_proof import Proof
from mainstem_edge.reader import Reader
from mainstem_node.allowance import Allowance
from mainstem_node.errors import ApiError, UnauthorizedError, UnavailableError

ANSWER_S_MAX = 30.0
"""A disk that takes longer is in trouble; the sender is told to come again, and its proxy has not
given up yet."""
RETRY_S = 5
READING_MAX = 64
"""Bodies that are read at once; fewer where they are long, see ``reading_bytes_max``."""


class HttpPushCollector:
    """``path``: the part of the URL that names it. ``proof`` None: the node's own credentials.
    ``reading_bytes_max``: what senders can make this hold while it reads, whoever they are."""

    kind: ClassVar[str] = "http_push"

    def __init__(
        self,
        name: str,
        path: str,
        readers: Sequence[Reader],
        queue: MessageQueue,
        *,
        place: PushPlace,
        proof: Proof | None,
        body_bytes_max: int,
        reading_bytes_max: int,
        per_minute: int,
        in_flight: int,
        clock_ns: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.path = path
        self.readers = tuple(readers)
        self.queue = queue
        self.place = place
        self.proof = proof
        self.body_bytes_max = body_bytes_max
        self.health = Health(clock_ns)
        self._clock_ns = clock_ns
        self._in_flight = in_flight
        self._reading_max = max(1, min(READING_MAX, reading_bytes_max // body_bytes_max))
        self._allowance = Allowance(per_minute, monotonic)
        self._open = False
        self._reading = 0
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[None]] = {}
        self._refused: Counter[str] = Counter()

    # Requests, on the node's loop

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Around reading a body. UnavailableError (503) or ApiError (429) when it must not be."""
        if not self._open:
            raise UnavailableError("this collector is not running", headers=_later(RETRY_S))
        if self._allowance.take(1) == 0:
            raise self._refusal(
                ApiError(
                    "more requests a minute than are allowed here",
                    code="TOO_MANY_REQUESTS",
                    status=429,
                    hint="send several rows in one request",
                    headers=_later(1),
                )
            )
        full = self._reading >= self._reading_max or len(self._waiting) >= self._in_flight
        if full or self.queue.is_full():
            raise self._refusal(UnavailableError("the store is behind", headers=_later(1)))
        self._reading += 1
        try:
            yield
        finally:
            self._reading -= 1

    def require_proof(self, headers: Mapping[str, str], body: bytes) -> None:
        """UnauthorizedError unless the sender has the collector's own secret."""
        if self.proof is not None and not self.proof.holds(headers, body):
            raise self._refusal(
                UnauthorizedError(
                    "the sender is not known here",
                    hint="see `sender` of this collector",
                    headers={"WWW-Authenticate": self.proof.challenge},
                )
            )

    async def take(self, topic: str, body: bytes) -> None:
        """Returns when the message is durable. UnavailableError when that takes too long."""
        done: Future[None] = Future()
        number = next(self._numbers)
        message = Message(topic, body, self._clock_ns(), False, False, number, self)
        with self._lock:
            if not self._open:
                raise UnavailableError("this collector is stopping", headers=_later(RETRY_S))
            self._waiting[number] = done
        self.health.arrived([message])
        self.queue.put([message])
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                await asyncio.wrap_future(done)
        except TimeoutError:
            raise self._refusal(
                UnavailableError(f"not durable after {ANSWER_S_MAX:g} s", headers=_later(RETRY_S))
            ) from None
        finally:
            with self._lock:
                self._waiting.pop(number, None)

    def _refusal(self, error: ApiError) -> ApiError:
        self._refused[error.code.casefold()] += 1
        return error

    # Origin

    def acknowledge(self, ids: Sequence[int]) -> None:
        with self._lock:
            done = [self._waiting.pop(number, None) for number in ids]
        for future in done:
            if future is not None and future.set_running_or_notify_cancel():
                future.set_result(None)

    # Collector

    def start(self) -> None:
        self._open = True
        self.health.connected()

    def pause(self) -> None:
        with self._lock:
            self._open = False

    def stop(self, timeout_s: float) -> None:
        """Who still waits is told to come again."""
        with self._lock:
            self._open = False
            waiting = list(self._waiting.values())
            self._waiting.clear()
        for future in waiting:
            if future.set_running_or_notify_cancel():
                future.set_exception(
                    UnavailableError("the node is stopping", headers=_later(RETRY_S))
                )
        self.health.ended()
        self.health.stopped()

    def state(self) -> CollectorState:
        health = self.health
        # Senders go on for ever, and keep what is refused: a stop need not wait for their silence.
        return CollectorState(self, health.connected_ns, health.last_arrival_ns, source_holds=False)

    def status(self) -> dict[str, Any]:
        """Health for people; ``refused``: requests, by reason."""
        return {
            "name": self.name,
            "type": self.kind,
            **self.health.status(self.queue),
            "path": f"/collect/v1/{self.path}",
            "waiting": len(self._waiting),
            "refused": dict(self._refused),
        }


def _later(seconds: int) -> dict[str, str]:
    return {"Retry-After": str(seconds)}
