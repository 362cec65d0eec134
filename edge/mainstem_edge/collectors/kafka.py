"""The Kafka collector: a member of a consumer group, kept up for ever.

1. An offset is committed when the rows of all records before it are durable, and then only: a
   record that was handed on and is not durable when this process ends comes again, here or where
   the partition goes. (device, time) makes that one row.
2. Where a partition begins and goes on, what is known of it and what of it is lost: offsets.py.
3. Behind a full queue it fetches no more than its prefetch and goes on polling, with its partitions
   paused: however slow the disk, it stays in the group.
4. Before a partition goes to another member it waits a little for what is on its way, and commits.
5. A cluster that is away is librdkafka's to find again; partitions and places are kept.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as Record

from mainstem_edge.collectors.health import CONNECTED, WAITING
from mainstem_edge.collectors.interface import Message
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.supervised import SupervisedCollector
from mainstem_edge.kafka.assignment import Progress
from mainstem_edge.kafka.offset_book import OffsetBook
from mainstem_edge.kafka.offsets import Offsets
from mainstem_edge.kafka.place import RecordPlace
from mainstem_edge.kafka.settings import KafkaSettings, words
from mainstem_edge.reader import Reader

log = logging.getLogger("mainstem.collector.kafka")

NS_PER_MS = 1_000_000
BATCH_RECORDS = 500
"""Taken at once: the queue's bounds are passed by no more."""
POLL_S = 0.2
"""A stop is noticed within this."""
HOLD_S = 1.0
"""A queue that is full for a moment costs no pause: pausing throws away what was fetched ahead."""
COMMIT_S = 1.0
"""What a crash makes come again at most, where the book is not newer; a commit is one small
request for all partitions."""
BOOK_S = 10.0
"""A write of some kilobytes: every second would wear a memory card."""
REVOKE_S = 2.0
"""For what is on its way when a partition is taken away; the other members wait so long, too."""
LOOK_S = 1.0
"""While no broker answers it is looked for one so often,"""
LOOK_ANSWER_S = 0.5
"""and the answer waited for so long: a stop waits, too. What comes later is noticed by what it
brings."""
PARTITIONS_SHOWN = 50
"""In status: those that are furthest behind."""
_ASTRAY = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError._LOG_TRUNCATION})  # noqa: SLF001
_ALL_DOWN = KafkaError._ALL_BROKERS_DOWN  # noqa: SLF001
"""Public names, for all their underscore: librdkafka's own errors have one."""


@dataclass(frozen=True, slots=True)
class Feed:
    """One subscription: where its records stand, and which time they bring along."""

    place: RecordPlace
    stamps: bool = True
    """False: what has no time of its own takes that of its arrival."""


class KafkaCollector(SupervisedCollector):
    """One cluster and group. ``from_latest``: where a topic begins that the group never read."""

    kind: ClassVar[str] = "kafka"

    def __init__(
        self,
        name: str,
        readers: Sequence[Reader],
        queue: MessageQueue,
        *,
        settings: KafkaSettings,
        feeds: Sequence[Feed],
        book: OffsetBook,
        from_latest: bool = False,
        commit_s: float = COMMIT_S,
        book_s: float = BOOK_S,
        **options: Any,
    ) -> None:
        super().__init__(name, readers, queue, **options)
        self._settings = settings
        self._feeds = tuple(feeds)
        self._offsets = Offsets(book, from_latest=from_latest, trouble=self.health.trouble)
        self._commit_s, self._book_s = commit_s, book_s
        self._of_topic: dict[str, Feed | None] = {}
        self._tombstones = self._pauses = 0
        self._is_held = self._is_leaving = False
        self._full_since: float | None = None
        self._committed_at = self._written_at = self._looked_at = 0.0

    # The session

    def session(self) -> None:
        """One consumer. It outlives a pause: what was taken is still committed."""
        self.origin = self._offsets.renew()
        self._is_held, self._full_since = False, None
        self._is_leaving = False
        config = self._settings.of_consumer() | {
            "error_cb": self._on_error,
            "on_commit": self._offsets.on_commit,
        }
        try:
            consumer = Consumer(config, logger=log)
        except KafkaException as error:
            raise ConnectionError(words(error)) from None
        try:
            consumer.subscribe(
                [feed.place.subscription for feed in self._feeds],
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_lost,
            )
            while not self._stop.is_set():
                self._step(consumer)
        except KafkaException as error:
            raise ConnectionError(words(error)) from None
        finally:
            self._leave(consumer)

    def _step(self, consumer: Consumer) -> None:
        if self._paused or self.queue.is_full():
            self._hold(consumer)
        else:
            self._release(consumer)
            self._take(consumer, POLL_S)
        now = time.monotonic()
        if now - self._committed_at >= self._commit_s:
            self._committed_at = now
            self._offsets.commit(consumer)
            self._offsets.measure(consumer)
        if now - self._written_at >= self._book_s:
            self._written_at = now
            self._offsets.write_book()
        if self.health.state == WAITING and now - self._looked_at >= LOOK_S:
            self._look(consumer)
        self._offsets.find_places(consumer, self._is_held)

    def _hold(self, consumer: Consumer) -> None:
        """Nothing is taken. After HOLD_S it polls again, and gets nothing."""
        now = time.monotonic()
        if self._full_since is None:
            self._full_since = now
        if not self._is_held and now - self._full_since < HOLD_S:
            self._changed.wait(POLL_S)
            self._changed.clear()
            return
        if not self._is_held:
            self._is_held = True
            self._pauses += 1
            consumer.pause(consumer.assignment())
        self._take(consumer, POLL_S)

    def _release(self, consumer: Consumer) -> None:
        self._full_since = None
        if self._is_held:
            self._is_held = False
            consumer.resume(consumer.assignment())

    def _take(self, consumer: Consumer, timeout_s: float) -> None:
        """One batch, onto the queue. The first record is not made to wait for others."""
        first = consumer.poll(timeout_s)
        if first is None:
            return
        records = [first, *consumer.consume(BATCH_RECORDS - 1, 0)]
        messages = [made for made in map(self._made, records) if made is not None]
        if messages:
            if self.health.state == WAITING:
                self._is_back()
            self.health.arrived(messages)
            self.queue.put(messages)

    def _made(self, record: Record) -> Message | None:
        """The message of a record; None where there is nothing to hand on."""
        error = record.error()
        if error is not None:
            self._on_record_error(record, error)
            return None
        topic, offset = record.topic(), record.offset()
        assert topic is not None
        assert offset is not None
        assigned = self._offsets.assigned
        progress = assigned.get((topic, record.partition() or 0))
        if progress is None:
            return None  # taken away meanwhile: it comes where the partition is
        kind, stamp = record.timestamp()
        stamp_ms = stamp if kind and stamp >= 0 else None
        if not self._offsets.takes(progress, offset, stamp_ms):
            return None
        number = assigned.hand_on(progress, offset, stamp_ms)
        value = record.value()
        if value is None:
            self._tombstones += 1
            assigned.acknowledge([number])
            return None
        feed = self._feed(topic)
        place = topic if feed is None else feed.place.of_record(topic, record)
        sent_ns = stamp_ms * NS_PER_MS if stamp_ms is not None and feed and feed.stamps else None
        return Message(place, value, self.clock_ns(), False, False, number, assigned, sent_ns)

    def _feed(self, topic: str) -> Feed | None:
        """The first that it fits. None: the brokers read the pattern in another way than Python;
        the record is put aside as one of an unknown topic."""
        if topic not in self._of_topic:
            self._of_topic[topic] = next((f for f in self._feeds if f.place.fits(topic)), None)
        return self._of_topic[topic]

    # Partitions that come and go

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if partitions:
            self._offsets.begin(consumer, partitions)
            consumer.incremental_assign(partitions)
            if self._is_held:
                consumer.pause(partitions)
        if self.health.connected_ns is None:
            self.health.connected()
        log.info("collector %s has %d partitions", self.name, len(self._offsets.assigned))

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        own = [(each.topic, each.partition) for each in partitions]
        if not self._is_leaving:
            deadline = time.monotonic() + REVOKE_S
            while not self._stop.is_set() and time.monotonic() < deadline:
                if self._offsets.assigned.wait_settled(own, POLL_S):
                    break
            self._offsets.commit(consumer, last=True)
        self._offsets.forget(own)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """They are another's already: a commit would be refused."""
        self._offsets.forget([(each.topic, each.partition) for each in partitions])

    def _leave(self, consumer: Consumer) -> None:
        """Commits what is durable and leaves the group. Where no broker answers the book alone has
        it: leaving waits for what was committed, and a stop must not."""
        self._offsets.write_book()
        self._is_leaving = True
        if self.health.state == CONNECTED:
            with contextlib.suppress(KafkaException):
                self._offsets.commit(consumer, last=True)
        with contextlib.suppress(KafkaException, RuntimeError):
            consumer.close()
        self._offsets.renew()

    # Errors

    def _on_error(self, error: KafkaError) -> None:
        """Of librdkafka itself, which goes on trying."""
        if error.fatal():
            raise KafkaException(error)
        if error.code() != _ALL_DOWN:
            self.health.trouble(error.str())
        elif self.health.connected_ns is not None:
            log.warning("collector %s: no broker answers", self.name)
            self.health.ended()
            self.health.failed(self.health.error or error.str())

    def _on_record_error(self, record: Record, error: KafkaError) -> None:
        topic = record.topic()
        if error.code() in _ASTRAY and topic is not None:
            self._offsets.lose((topic, record.partition() or 0))
        elif error.fatal():
            raise KafkaException(error)
        else:
            self.health.trouble(error.str())

    def _look(self, consumer: Consumer) -> None:
        """Is a broker there again? Nothing comes meanwhile, so it may wait for the answer."""
        topics = (feed.place.subscription for feed in self._feeds)
        one = next((topic for topic in topics if not topic.startswith("^")), None)
        try:
            consumer.list_topics(one, timeout=LOOK_ANSWER_S)
        except KafkaException:
            return
        finally:
            self._looked_at = time.monotonic()
        self._is_back()

    def _is_back(self) -> None:
        log.info("collector %s: the brokers answer again", self.name)
        self.health.connected()

    # For people

    def details(self) -> dict[str, Any]:
        assigned = self._offsets.assigned
        found = sorted(assigned, key=lambda each: -(each.lag or 0))
        return {
            "brokers": list(self._settings.brokers),
            "group": self._settings.group,
            "topics": [feed.place.subscription for feed in self._feeds],
            "partitions": len(found),
            "lag": sum(each.lag or 0 for each in found),
            "unacknowledged": assigned.unsettled(),
            "furthest_behind": [_shown(each) for each in found[:PARTITIONS_SHOWN]],
            "tombstones": self._tombstones,
            "pauses": self._pauses,
            **asdict(self._offsets.counts),
        }


def _shown(progress: Progress) -> Mapping[str, Any]:
    durable = progress.durable
    return {
        "topic": progress.partition[0],
        "partition": progress.partition[1],
        "offset": None if durable is None else durable.offset,
        "lag": progress.lag,
    }
