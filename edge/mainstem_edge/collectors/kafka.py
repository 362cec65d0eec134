"""The Kafka collector: a member of a consumer group, kept up for ever.

1. An offset is committed when the rows of all records before it are durable, and then only: a
   record that was handed on and is not durable when this process ends comes again, here or where
   the partition goes. (device, time) makes that one row.
2. Of each partition the offset book remembers the same (offset_book.py). An assignment begins at
   the further one of the two; so what is stored is not asked for again because a commit was lost.
   It begins one record earlier, and looks if that is the one it knows: a topic that was made anew
   is read from its beginning, and said so.
3. An offset that the brokers no longer have is measured loss: counted, said, and gone on from the
   first that they do have. None is passed over silently.
4. Behind a full queue it fetches no more than its prefetch and goes on polling, with its partitions
   paused: however slow the disk, it stays in the group.
5. Before a partition goes to another member it waits a little for what is on its way, and commits.
6. A cluster that is away is librdkafka's to find again; partitions and places are kept.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka import Message as Record

from mainstem_edge.collectors.health import WAITING
from mainstem_edge.collectors.interface import Message
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.supervised import SupervisedCollector
from mainstem_edge.kafka.assignment import Assignment, Progress
from mainstem_edge.kafka.offset_book import Noted, OffsetBook, Partition
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
ANSWER_S = 10.0
"""For what is asked of the brokers in between; far below max.poll.interval.ms (five minutes)."""
REVOKE_S = 2.0
"""For what is on its way when a partition is taken away; the other members wait so long, too."""
LOOK_S = 1.0
"""While no broker answers it is looked for one so often."""
PARTITIONS_SHOWN = 50
"""In status: those that are furthest behind."""
_REBALANCING = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.UNKNOWN_MEMBER_ID,
    }
)
"""A commit that met a rebalance: what this member keeps it commits again."""


@dataclass(frozen=True, slots=True)
class Feed:
    """One subscription: where its records stand, and which time they bring along."""

    place: RecordPlace
    stamps: bool = True
    """False: what has no time of its own takes that of its arrival."""


@dataclass(slots=True)
class Counts:
    """Since the start; see docs/collect-kafka.md."""

    tombstones: int = 0
    known_records: int = 0
    lost_records: int = 0
    restarted_partitions: int = 0
    failed_commits: int = 0
    pauses: int = 0


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
        self._book = book
        self._from_latest = from_latest
        self._commit_s, self._book_s = commit_s, book_s
        self._assigned = Assignment()
        self._of_topic: dict[str, Feed | None] = {}
        self._counts = Counts()
        self._is_held = False
        self._full_since: float | None = None
        self._committed_at = self._written_at = self._looked_at = 0.0
        self._astray: set[Partition] = set()
        self._shown: dict[str, Any] = {}

    # The session

    def session(self) -> None:
        """One consumer. It outlives a pause: what was taken is still committed."""
        self._assigned = self.origin = Assignment()
        self._is_held, self._full_since = False, None
        self._astray.clear()
        config = self._settings.of_consumer() | {
            "error_cb": self._on_error,
            "on_commit": self._on_commit,
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
        if self._holds():
            self._hold(consumer)
        else:
            self._release(consumer)
            self._take(consumer, POLL_S)
        now = time.monotonic()
        if now - self._committed_at >= self._commit_s:
            self._committed_at = now
            self._commit(consumer)
            self._measure(consumer)
        if now - self._written_at >= self._book_s:
            self._write_book()
        if self.health.state == WAITING and now - self._looked_at >= LOOK_S:
            self._look(consumer)
        for partition in list(self._astray):
            self._find_place(consumer, partition)

    def _holds(self) -> bool:
        return self._paused or self.queue.is_full()

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
            self._counts.pauses += 1
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
            self.health.arrived(messages)
            self.queue.put(messages)

    def _made(self, record: Record) -> Message | None:
        """The message of a record; None where there is nothing to hand on."""
        error = record.error()
        if error is not None:
            self._on_record_error(record, error)
            return None
        topic, number, offset = record.topic(), record.partition(), record.offset()
        assert topic is not None
        assert number is not None
        assert offset is not None
        progress = self._assigned.get((topic, number))
        if progress is None:
            return None  # taken away meanwhile: it comes where the partition is
        kind, stamp = record.timestamp()
        stamp_ms = stamp if kind and stamp >= 0 else None
        if progress.known is not None and self._is_known(progress, offset, stamp_ms):
            return None
        if progress.partition in self._astray:
            return None
        if progress.wanted is not None and offset < progress.wanted:
            self._begun_anew(progress)
            return None
        number = self._assigned.hand_on(progress, offset, stamp_ms)
        value = record.value()
        if value is None:
            self._counts.tombstones += 1
            self._assigned.acknowledge([number])
            return None
        feed = self._feed(topic)
        place = topic if feed is None else feed.place.of_record(topic, record)
        sent_ns = stamp_ms * NS_PER_MS if stamp_ms is not None and feed and feed.stamps else None
        payload = value.encode() if isinstance(value, str) else value
        return Message(
            place, payload, self.clock_ns(), False, False, number, self._assigned, sent_ns
        )

    def _feed(self, topic: str) -> Feed | None:
        """The first that it fits. None: the brokers read the pattern in another way than Python;
        the record is put aside as one of an unknown topic."""
        if topic not in self._of_topic:
            self._of_topic[topic] = next((f for f in self._feeds if f.place.fits(topic)), None)
        return self._of_topic[topic]

    # Where partitions begin, and go on

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self.health.connected_ns is None:
            self.health.connected()
        if not partitions:
            return
        for each in consumer.committed(partitions, ANSWER_S):
            if each.error is not None:
                raise KafkaException(each.error)
            self._begin(consumer, each)
        for each in partitions:
            progress = self._assigned.get((each.topic, each.partition))
            assert progress is not None
            each.offset = _start(progress)
        consumer.incremental_assign(partitions)
        if self._is_held:
            consumer.pause(partitions)
        log.info("collector %s has %d partitions", self.name, len(self._assigned))

    def _begin(self, consumer: Consumer, committed: TopicPartition) -> None:
        partition = (committed.topic, committed.partition)
        offset = committed.offset if committed.offset >= 0 else None
        noted = self._book.get(partition)
        if noted is not None and (offset is None or noted.offset >= offset):
            self._counts.known_records += 0 if offset is None else noted.offset - offset
            progress = self._assigned.add(partition, noted.offset, noted)
        elif offset is not None:
            progress = self._assigned.add(partition, offset)
        elif self._from_latest and not self._book.knows_topic(committed.topic):
            _, high = consumer.get_watermark_offsets(committed, ANSWER_S)
            # Committed at once: the end is that of the first day, not that of the next start.
            progress = self._assigned.add(partition, high)
            progress.durable = Noted(high)
            return
        else:
            progress = self._assigned.add(partition, None)
        progress.committed = offset

    def _is_known(self, progress: Progress, offset: int, stamp_ms: int | None) -> bool:
        """Looks at the first record: True for the one that was stored last, and for those of a
        topic that is another one, from whose beginning it goes on."""
        known, progress.known = progress.known, None
        if known is None or offset >= known.offset:
            return False  # what stood before it is no longer there: compacted, or of a transaction
        if stamp_ms == known.stamp_ms:
            return True
        self._begun_anew(progress)
        return True

    def _begun_anew(self, progress: Progress) -> None:
        """The topic was made anew: its offsets mean other records now."""
        self._counts.restarted_partitions += 1
        self._say(progress.partition, "the topic was made anew; it is read from its beginning")
        self._book.forget(progress.partition)
        self._assigned.add(progress.partition, None)
        self._astray.add(progress.partition)

    def _find_place(self, consumer: Consumer, partition: Partition) -> None:
        """Goes on where the brokers have something; what is before it and was wanted, is lost."""
        progress = self._assigned.get(partition)
        if progress is None:
            self._astray.discard(partition)
            return
        place = TopicPartition(*partition)
        try:
            low, high = consumer.get_watermark_offsets(place, ANSWER_S)
            wanted = progress.wanted
            if wanted is not None and wanted > high:
                self._begun_anew(progress)
                progress, wanted = self._progress(partition), None
            place.offset = low if wanted is None else max(low, wanted)
            # Not a seek: librdkafka refuses it where a fetch has failed for good.
            consumer.incremental_unassign([place])
            consumer.incremental_assign([place])
        except KafkaException as error:  # the next step tries again
            self.health.trouble(words(error))
            return
        if wanted is not None and wanted < low:
            self._counts.lost_records += low - wanted
            self._say(
                partition,
                f"{low - wanted} records, from offset {wanted} on, were deleted before they were "
                "read",
            )
        progress.wanted, progress.known = place.offset, None
        if self._is_held:
            consumer.pause([place])
        self._astray.discard(partition)

    def _progress(self, partition: Partition) -> Progress:
        found = self._assigned.get(partition)
        assert found is not None
        return found

    def _say(self, partition: Partition, what: str) -> None:
        """An event: in the log, and the last error for people."""
        text = f"{partition[0]}[{partition[1]}]: {what}"
        log.warning("collector %s: %s", self.name, text)
        self.health.trouble(text)

    # Partitions that go

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        own = [(each.topic, each.partition) for each in partitions]
        if not self._stop.is_set():
            self._assigned.wait_settled(own, REVOKE_S)
        self._commit(consumer)
        self._forget(own)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """They are another's already: a commit would be refused."""
        self._forget([(each.topic, each.partition) for each in partitions])

    def _forget(self, partitions: Sequence[Partition]) -> None:
        self._note()
        self._write_book()
        self._assigned.remove(partitions)
        self._astray.difference_update(partitions)

    def _leave(self, consumer: Consumer) -> None:
        """Commits what is durable and leaves the group, whoever is there to hear it."""
        with contextlib.suppress(KafkaException):
            self._commit(consumer)
        self._write_book()
        with contextlib.suppress(KafkaException, RuntimeError):
            consumer.close()
        self._assigned.remove([each.partition for each in self._assigned])

    # Offsets

    def _commit(self, consumer: Consumer) -> None:
        """What became durable, without waiting for the answer."""
        durable = self._assigned.durable()
        news = []
        for progress in self._assigned:
            noted = durable.get(progress.partition)
            if noted is not None and noted.offset != progress.committed:
                progress.committed = noted.offset
                news.append(TopicPartition(*progress.partition, noted.offset))
        if news:
            consumer.commit(offsets=news, asynchronous=True)

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        for each in partitions:
            problem = error or each.error
            if problem is None:
                continue
            self._counts.failed_commits += 1
            if problem.code() not in _REBALANCING:
                self.health.trouble(f"commit of {each.topic}[{each.partition}]: {problem.str()}")
            progress = self._assigned.get((each.topic, each.partition))
            if progress is not None:
                progress.committed = None  # so that it is tried again

    def _note(self) -> None:
        for partition, noted in self._assigned.durable().items():
            self._book.note(partition, noted)

    def _write_book(self) -> None:
        self._written_at = time.monotonic()
        self._note()
        try:
            self._book.write()
        except OSError as error:
            self.health.trouble(f"the offset book: {error}")

    # Errors

    def _on_error(self, error: KafkaError) -> None:
        """Of librdkafka itself, which goes on trying."""
        if error.fatal():
            raise KafkaException(error)
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - its public name
            if self.health.connected_ns is not None:
                log.warning("collector %s: no broker answers", self.name)
                self.health.ended()
                self.health.failed(self.health.error or error.str())
            return
        self.health.trouble(error.str())

    def _on_record_error(self, record: Record, error: KafkaError) -> None:
        topic, number = record.topic(), record.partition()
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - its public name
            assert topic is not None
            assert number is not None
            self._astray.add((topic, number))
        elif error.fatal():
            raise KafkaException(error)
        else:
            self.health.trouble(error.str())

    def _look(self, consumer: Consumer) -> None:
        """Is a broker there again? Nothing comes meanwhile, so it may wait for the answer."""
        topics = (feed.place.subscription for feed in self._feeds)
        one = next((topic for topic in topics if not topic.startswith("^")), None)
        try:
            consumer.list_topics(one, timeout=LOOK_S)
        except KafkaException:
            return
        finally:
            self._looked_at = time.monotonic()
        log.info("collector %s: the brokers answer again", self.name)
        self.health.connected()

    # For people

    def _measure(self, consumer: Consumer) -> None:
        """How far behind it is, by what the last fetches said."""
        for progress in self._assigned:
            try:
                _, high = consumer.get_watermark_offsets(
                    TopicPartition(*progress.partition), cached=True
                )
            except KafkaException:
                continue
            done = progress.wanted if progress.durable is None else progress.durable.offset
            progress.lag = None if high < 0 or done is None else max(0, high - done)

    def details(self) -> dict[str, Any]:
        found = sorted(self._assigned, key=lambda each: -(each.lag or 0))
        return {
            "brokers": list(self._settings.brokers),
            "group": self._settings.group,
            "topics": [feed.place.subscription for feed in self._feeds],
            "partitions": len(found),
            "lag": sum(each.lag or 0 for each in found),
            "unacknowledged": self._assigned.unsettled(),
            "furthest_behind": [_shown(each) for each in found[:PARTITIONS_SHOWN]],
            **asdict(self._counts),
        }


def _shown(progress: Progress) -> Mapping[str, Any]:
    durable = progress.durable
    return {
        "topic": progress.partition[0],
        "partition": progress.partition[1],
        "offset": None if durable is None else durable.offset,
        "lag": progress.lag,
    }


def _start(progress: Progress) -> int:
    """Where to fetch from: the record before, if it is to be looked at."""
    if progress.wanted is None:
        return int(OFFSET_BEGINNING)
    if progress.known is not None and progress.known.stamp_ms is not None and progress.wanted > 0:
        return progress.wanted - 1
    progress.known = None
    return progress.wanted
