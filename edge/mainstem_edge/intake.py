"""The intake: collect, decode, preprocess, store, acknowledge.

One thread per collector:

1. Take what its queue holds, at most BATCH_MESSAGES and BATCH_BYTES, and group it by reader.
2. Read each group into columns (reader.py) and append them as one log record a template
   (table_intake.py). The log commits while the next batch is decoded.
3. When the last record is durable, and only then, acknowledge the group's messages, on the
   connection that brought them.

A message that comes again although it went through here (``repeated``) is counted as filtered; it
is acknowledged after a record that follows the first one's, so never before its rows are durable.
A defect that raises on a message costs that message (it is put aside), not the flow. When the log
fails nothing more is acknowledged, and the source keeps the rest.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mainstem_edge.auto_reader import AutoReader
from mainstem_edge.collectors.interface import Collector, Message, Origin
from mainstem_edge.collectors.undurable import Undurable
from mainstem_edge.device_book import UNRESOLVED
from mainstem_edge.inbox_reader import InboxReader, unknown_topic
from mainstem_edge.reader import Reader
from mainstem_edge.reading import Reading, nothing_read
from mainstem_edge.rejects import Reject, payload_text
from mainstem_edge.subscription import filter_matches
from mainstem_edge.table_intake import (
    NS_PER_MS,
    IntakeCounts,
    Quarantine,
    TableIntake,
    quarantine_item,
)
from mainstem_engine.consumers import Ack
from mainstem_engine.errors import ClosedError, LogFailedError, OverloadedError
from mainstem_node import reasons
from mainstem_node.inbox import InboxBook, Sighting

log = logging.getLogger("mainstem.intake")

BATCH_MESSAGES = 2000
"""Beyond this a batch gains nothing: its fixed cost is below a tenth."""
BATCH_BYTES = 512 << 10
"""Of payloads. Decoded, that stays in a processor's second-level cache: 4 MiB took twice as long a
row."""
TAKE_TIMEOUT_S = 0.5
TOPICS_MAX = 200_000
"""Topics whose reader is remembered; beyond it the map starts anew."""
OPEN_BATCHES_MAX = 64
"""Records appended and not yet durable, per collector: the log's own bound is in bytes, and small
records would make a long queue of it."""
FATAL = (LogFailedError, ClosedError, OverloadedError, OSError)
"""The store cannot take anything now; the message is not at fault."""


@dataclass(slots=True)
class _Open:
    """A batch that is not yet durable: its oldest arrival, the bytes of its messages, and records
    still to come."""

    oldest_ns: int
    bytes: int
    records: int


class Intake:
    """The intake of one collector. ``tables``: by name of the template (casefolded)."""

    def __init__(
        self,
        collector: Collector,
        tables: Mapping[str, TableIntake],
        quarantine: Quarantine,
        *,
        node: str,
        inbox: InboxBook | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
        undurable: Undurable | None = None,
    ) -> None:
        self._inbox = inbox or InboxBook()
        self.collector = collector
        self._open_bytes = 0
        self._undurable = undurable
        if undurable is not None:
            undurable.join(self._queued_bytes, lambda: self._open_bytes)
            collector.queue.share(undurable)
        self._tables = tables
        self._quarantine = quarantine
        self._node = node
        self._clock_ns = clock_ns
        self._routes: dict[str, Reader | None] = {}
        self._fitted = threading.Lock()
        """Held while a batch is processed: it is wholly read by one set of rules."""
        self._changed = threading.Condition()
        self._batches: dict[int, _Open] = {}
        self._number = 0
        self._stopping = threading.Event()
        self._drained = False
        self._failure: str = ""
        self._newest_event_ns: int | None = None
        self._event_origin: Origin | None = None
        self._thread: threading.Thread | None = None

    # Life

    def start(self) -> None:
        """Starts the thread."""
        name = f"intake-{self.collector.name}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def drain(self, timeout_s: float) -> bool:
        """Ends when the queue is empty and everything is acknowledged; False when it took longer
        than ``timeout_s``: what is left was not acknowledged, and the source keeps it."""
        deadline = time.monotonic() + timeout_s
        self._stopping.set()
        self.collector.queue.close()
        if self._thread is not None:
            self._thread.join(timeout_s)
        with self._changed:
            rest = max(0.0, deadline - time.monotonic())
            done = self._changed.wait_for(lambda: not self._batches or self.failure != "", rest)
        self._drained = done and not self.failure and not len(self.collector.queue)
        return self._drained

    def release(self) -> None:
        """Stores what the filters of its tables still hold: no row comes any more."""
        if self._failure:
            return
        try:
            for table in dict.fromkeys(self._tables.values()):
                table.release()
        except FATAL as error:
            log.error("what filters held could not be stored: %s", error)

    @property
    def is_drained(self) -> bool:
        """True once it was stopped with nothing left to take: no row comes from here any more."""
        return self._drained

    @property
    def failure(self) -> str:
        """Why nothing is acknowledged any more; empty while all is well."""
        return self._failure

    def refit(self, readers: Sequence[Reader], tables: Mapping[str, TableIntake]) -> None:
        """Other rules for the same topics, from the next batch on."""
        with self._fitted:
            self.collector.readers = tuple(readers)
            self._tables = tables
            self._routes = {}

    def oldest_waiting_ns(self) -> int | None:
        """Arrival of the oldest message that is not durable yet; None when nothing waits."""
        # The queue first: what leaves it is a batch already.
        waiting = self.collector.queue.oldest_arrival_ns()
        with self._changed:
            oldest = [batch.oldest_ns for batch in self._batches.values()]
        if waiting is not None:
            oldest.append(waiting)
        return min(oldest, default=None)

    def newest_event_ns(self, connection: Origin | None) -> int | None:
        """Newest time in the rows that this connection brought; None before its first row."""
        return self._newest_event_ns if self._event_origin is connection else None

    # The thread

    def _run(self) -> None:
        queue = self.collector.queue
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: not self._is_blocked() or self._failure != "", TAKE_TIMEOUT_S
                )
                blocked = self._is_blocked()
            if self._failure:
                return
            if blocked:
                continue
            messages = queue.take(BATCH_MESSAGES, BATCH_BYTES, TAKE_TIMEOUT_S)
            if messages:
                try:
                    with self._fitted:
                        self.process(messages)
                except Exception as error:
                    self._fail(error)
                    return
            elif self._stopping.is_set():
                return

    def _is_blocked(self) -> bool:
        """True while as much is logged and not durable as should be: here, or in the edge. Without
        an open batch it never is: only its own batches wake an intake at once."""
        if len(self._batches) >= OPEN_BATCHES_MAX:
            return True
        undurable = self._undurable
        return bool(self._batches) and undurable is not None and undurable.is_open_full

    def _queued_bytes(self) -> int:
        """Once it has failed nothing: what is left there is nobody's, and the others go on."""
        return 0 if self._failure else self.collector.queue.bytes

    def process(self, messages: Sequence[Message]) -> None:
        """One batch: everything in it is stored or put aside, and acknowledged when durable.

        Raises LogFailedError, ClosedError or OSError (the quarantine's disk) when it cannot be.
        """
        groups = self._grouped(messages)
        with self._changed:
            self._number += 1
            number = self._number
            size = sum(len(message.payload) for message in messages)
            self._batches[number] = _Open(messages[0].arrived_ns, size, len(groups))
            self._open_bytes += size
        self.collector.queue.handed_on()
        for (reader, repeated), group in groups.items():
            if reader is None:
                self._put_aside_unknown(group)
                self._settled(number, group)
                continue
            ack = self._stored(reader, group, repeated)
            if ack is None:
                self._settled(number, group)
            else:
                self._when_durable(ack, number, group)

    def _grouped(
        self, messages: Sequence[Message]
    ) -> dict[tuple[Reader | None, bool], list[Message]]:
        """Messages by (reader, repeated), in order of arrival in each group."""
        groups: dict[tuple[Reader | None, bool], list[Message]] = {}
        routes = self._routes
        for message in messages:
            topic = message.topic
            reader = routes[topic] if topic in routes else self._route(topic)
            groups.setdefault((reader, message.repeated), []).append(message)
        return groups

    def _route(self, topic: str) -> Reader | None:
        """The first reader whose filter matches; None when none does."""
        found = next((r for r in self.collector.readers if filter_matches(r.filter, topic)), None)
        if len(self._routes) >= TOPICS_MAX:
            self._routes.clear()
        self._routes[topic] = found
        return found

    def _stored(self, reader: Reader, group: Sequence[Message], repeated: bool) -> Ack | None:
        """The Ack of the last record, which covers those before it: a log becomes durable in
        order. None when there was nothing to say."""
        redelivered = sum(message.redelivered for message in group)
        if repeated:
            last: Ack | None = None
            for template, rows in reader.count(group).items():
                counts = IntakeCounts(received=rows, filtered=rows, redelivered=redelivered)
                last = self._store(nothing_read(template), counts) or last
                redelivered = 0  # messages are counted once
            return last
        try:
            return self._read_and_store(reader, group, redelivered)
        except FATAL:
            raise
        except Exception:
            log.exception("messages of %s could not be stored together", reader.filter)
            return self._one_by_one(reader, group)

    def _read_and_store(
        self, reader: Reader, group: Sequence[Message], redelivered: int
    ) -> Ack | None:
        last: Ack | None = None
        for reading in reader.read(group, self._clock_ns()):
            self._note_event(group[-1].origin, reading.newest_ns)
            last = self._store(reading, IntakeCounts(redelivered=redelivered)) or last
            redelivered = 0
        return last

    def _store(self, reading: Reading, counts: IntakeCounts) -> Ack | None:
        if not reading.template:  # durable when this returns, so there is nothing to wait for
            self._put_aside(reading.failures)
            return None
        ack = self._tables[reading.template.casefold()].store(reading, counts)
        if reading.row_rejects:
            self._see_unknown(reading)
        return ack

    def _see_unknown(self, reading: Reading) -> None:
        """The inbox says of a device where it came from."""
        self._inbox.see(
            Sighting(reading.template, each.path, self.collector.name, each.topic, each.tags)
            for each in reading.devices
            if each.id == UNRESOLVED and each.reason in reasons.INBOX
        )

    def _one_by_one(self, reader: Reader, group: Sequence[Message]) -> Ack | None:
        """After a defect: each message for itself; the one that raises again is put aside."""
        last: Ack | None = None
        for message in group:
            try:
                ack = self._read_and_store(reader, [message], int(message.redelivered))
            except FATAL:
                raise
            except Exception as error:
                reading = nothing_read(next(iter(reader.templates), ""))
                text = f"{type(error).__name__}: {error}: {payload_text(message.payload)}"
                reading.failures.append(Reject(reasons.MALFORMED, text, time_ns=message.arrived_ns))
                ack = self._store(reading, IntakeCounts(redelivered=int(message.redelivered)))
            last = ack or last
        return last

    def _put_aside_unknown(self, group: Sequence[Message]) -> None:
        """Messages that no reader asks for: the session still holds an earlier one."""
        self._put_aside(map(unknown_topic, group))

    def _put_aside(self, found: Iterable[Reject]) -> None:
        """What is of no template."""
        at_ms = self._clock_ns() // NS_PER_MS
        kept = []
        for each in found:
            if each.reason == reasons.UNKNOWN_TOPIC:
                if self._inbox.pass_over("", each.device):
                    continue
                topic = each.device
                self._inbox.see([Sighting("", topic, self.collector.name, topic)])
            kept.append(quarantine_item(each, self._node, "", at_ms))
        self._quarantine.add(kept)

    def _note_event(self, origin: Origin, newest_ns: int | None) -> None:
        """A new connection may begin with what the broker held: it starts anew."""
        if origin is not self._event_origin:
            self._event_origin = origin
            self._newest_event_ns = None
        if newest_ns is not None:
            self._newest_event_ns = max(newest_ns, self._newest_event_ns or newest_ns)

    # Acknowledging

    def _when_durable(self, ack: Ack, number: int, group: Sequence[Message]) -> None:
        ids = _ids_by_origin(group)

        def durable(done: Ack) -> None:
            """On the committer thread: quick, and never to the engine."""
            error = done.exception()
            if error is not None:
                self._fail(error)
                return
            for origin, packet_ids in ids.items():
                origin.acknowledge(packet_ids)
            self._close_record(number)

        ack.add_done_callback(durable)

    def _settled(self, number: int, group: Sequence[Message]) -> None:
        """Messages without a record."""
        for origin, packet_ids in _ids_by_origin(group).items():
            origin.acknowledge(packet_ids)
        self._close_record(number)

    def _close_record(self, number: int) -> None:
        with self._changed:
            batch = self._batches[number]
            batch.records -= 1
            if batch.records == 0:
                del self._batches[number]
                self._open_bytes -= batch.bytes
                self._changed.notify_all()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            if not self._failure:
                self._open_bytes = 0
                for batch in self._batches.values():
                    batch.bytes = 0
                self._failure = f"{type(error).__name__}: {error}"
                log.error(
                    "intake %s has stopped, nothing more is acknowledged: %s",
                    self.collector.name, error,
                )  # fmt: skip
            self._changed.notify_all()
        self.collector.pause()

    def status(self) -> dict[str, Any]:
        """The collector's health with what waits here, and ``formats``: what was found out of the
        messages of a topic, where the codec is ``auto``; ``not_kept``: messages of unknown topics
        beyond what the inbox keeps."""
        with self._changed:
            batches = len(self._batches)
        status = self.collector.status()
        if self._failure:
            status["state"] = "failed"
            status["last_error"] = self._failure
        guessed = [r.formats for r in self.collector.readers if isinstance(r, AutoReader)]
        if guessed:
            status["formats"] = {topic: name for each in guessed for topic, name in each.items()}
        around = [r.not_kept for r in self.collector.readers if isinstance(r, InboxReader)]
        if around:
            status["not_kept"] = sum(around)
        return {**status, "batches_open": batches}


def _ids_by_origin(group: Sequence[Message]) -> dict[Origin, list[int]]:
    """Identifiers to acknowledge, by connection."""
    ids: dict[Origin, list[int]] = {}
    for message in group:
        if message.id:
            ids.setdefault(message.origin, []).append(message.id)
    return ids
