"""Where each partition begins, where it goes on, and what is committed of it.

1. It begins at the further one of the offset that the brokers keep and the one in the book; where
   the book says it, one record earlier: if that is not the one that is known, the topic was made
   anew, and is read from its beginning.
2. An offset that the brokers no longer have is *astray*: it is asked where the partition begins and
   ends now. What is missing between is counted as lost; a partition that ends before what was read
   is another one.
3. Committed is what is durable, without waiting for the answer; what was refused, again. The book
   is written less often than that, and always before a partition goes.

Used by the session's thread, but for ``assigned.acknowledge``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from mainstem_edge.kafka.assignment import Assignment, Progress
from mainstem_edge.kafka.offset_book import Noted, OffsetBook, Partition
from mainstem_edge.kafka.settings import words

log = logging.getLogger("mainstem.collector.kafka")

ANSWER_S = 10.0
"""For what is asked of the brokers in between; far below max.poll.interval.ms (five minutes)."""
_REBALANCING = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.UNKNOWN_MEMBER_ID,
    }
)
"""A commit that met a rebalance: what this member keeps it commits again."""


@dataclass(slots=True)
class OffsetCounts:
    """Since the start; see docs/collect-kafka.md."""

    known_records: int = 0
    lost_records: int = 0
    restarted_partitions: int = 0
    failed_commits: int = 0


class Offsets:
    """Of one collector, over all its sessions. ``trouble`` tells people."""

    def __init__(
        self, book: OffsetBook, *, from_latest: bool, trouble: Callable[[str], None]
    ) -> None:
        self._book = book
        self._from_latest = from_latest
        self._trouble = trouble
        self._astray: set[Partition] = set()
        self.assigned = Assignment()
        self.counts = OffsetCounts()

    def renew(self) -> Assignment:
        """A session begins: what the one before has on its way is void."""
        self._astray.clear()
        self.assigned = Assignment()
        return self.assigned

    # Where partitions begin

    def begin(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """Partitions that are new here: sets where each is to be fetched from. KafkaException when
        the brokers do not say what they keep."""
        for each in consumer.committed(list(partitions), ANSWER_S):
            if each.error is not None:
                raise KafkaException(each.error)
            self._add(consumer, each)
        for each in partitions:
            progress = self.assigned.get((each.topic, each.partition))
            assert progress is not None
            each.offset = _start(progress)

    def _add(self, consumer: Consumer, committed: TopicPartition) -> None:
        partition = (committed.topic, committed.partition)
        offset = committed.offset if committed.offset >= 0 else None
        noted = self._book.get(partition)
        if noted is not None and (offset is None or noted.offset >= offset):
            self.counts.known_records += 0 if offset is None else noted.offset - offset
            progress = self.assigned.add(partition, noted.offset, noted)
            progress.committed = progress.confirmed = offset
        elif offset is not None:
            progress = self.assigned.add(partition, offset)
            progress.committed = progress.confirmed = offset
        elif self._from_latest and not self._book.knows_topic(committed.topic):
            _, high = consumer.get_watermark_offsets(committed, ANSWER_S)
            # To be committed at once: the end is that of the first day, not of the next start.
            self.assigned.add(partition, high).durable = Noted(high)
        else:
            self.assigned.add(partition, None)

    # Where they go on

    def takes(self, progress: Progress, offset: int, stamp_ms: int | None) -> bool:
        """True for a record that is to be handed on: neither known already, nor of a partition that
        has to find its place first."""
        if progress.partition in self._astray:
            return False
        known, progress.known = progress.known, None
        if known is not None and offset < known.offset:
            # Where it stands alone, it is the one before ``known.offset``: it was asked for.
            if stamp_ms != known.stamp_ms:
                self._begun_anew(progress)
            return False
        if progress.wanted is not None and offset < progress.wanted:
            self._begun_anew(progress)
            return False
        return True

    def lose(self, partition: Partition) -> None:
        """The brokers do not have the offset that was asked for."""
        self._astray.add(partition)

    def find_places(self, consumer: Consumer, held: bool) -> None:
        """For partitions that are astray. ``held``: they are paused again. One whose brokers do not
        answer is tried again with the next call."""
        for partition in list(self._astray):
            progress = self.assigned.get(partition)
            if progress is None:
                self._astray.discard(partition)
                continue
            try:
                place = self._find_place(consumer, progress)
                if held:
                    consumer.pause([place])
            except KafkaException as error:
                self._trouble(words(error))
            else:
                self._astray.discard(partition)

    def _find_place(self, consumer: Consumer, progress: Progress) -> TopicPartition:
        place = TopicPartition(*progress.partition)
        low, high = consumer.get_watermark_offsets(place, ANSWER_S)
        if progress.wanted is not None and progress.wanted > high:
            progress = self._begun_anew(progress)
        wanted = low if progress.wanted is None else progress.wanted
        place.offset = max(low, wanted)
        # Not a seek: librdkafka refuses it where a fetch has failed for good.
        consumer.incremental_unassign([place])
        consumer.incremental_assign([place])
        if wanted < low:
            self.counts.lost_records += low - wanted
            self._say(
                progress.partition,
                f"{low - wanted} records, from offset {wanted} on, were deleted before they were "
                "read",
            )
        progress.wanted, progress.known = place.offset, None
        return place

    def _begun_anew(self, progress: Progress) -> Progress:
        """The topic was made anew: its offsets mean other records now."""
        partition = progress.partition
        self.counts.restarted_partitions += 1
        self._say(partition, "the topic was made anew; it is read from its beginning")
        self._book.forget(partition)
        self._astray.add(partition)
        return self.assigned.add(partition, None)

    def _say(self, partition: Partition, what: str) -> None:
        text = f"{partition[0]}[{partition[1]}]: {what}"
        log.warning("%s", text)
        self._trouble(text)

    # What is kept

    def commit(self, consumer: Consumer, last: bool = False) -> None:
        """What became durable since. ``last``: there is no next time, so what has no answer yet
        goes once more: it may have met a rebalance."""
        durable = self.assigned.durable()
        news = []
        for progress in self.assigned:
            noted = durable.get(progress.partition)
            told = progress.confirmed if last else progress.committed
            if noted is not None and noted.offset != told:
                progress.committed = noted.offset
                news.append(TopicPartition(*progress.partition, noted.offset))
        if news:
            consumer.commit(offsets=news, asynchronous=True)

    def on_commit(self, error: KafkaError | None, partitions: Sequence[TopicPartition]) -> None:
        """The answer to one: what was refused is committed again."""
        for each in partitions:
            problem = error or each.error
            progress = self.assigned.get((each.topic, each.partition))
            if problem is None:
                if progress is not None:
                    progress.confirmed = each.offset
                continue
            self.counts.failed_commits += 1
            if problem.code() not in _REBALANCING:
                self._trouble(f"commit of {each.topic}[{each.partition}]: {problem.str()}")
            if progress is not None:
                progress.committed = progress.confirmed

    def write_book(self) -> None:
        """What is durable. A disk that does not take it gets it the next time."""
        for partition, noted in self.assigned.durable().items():
            self._book.note(partition, noted)
        try:
            self._book.write()
        except OSError as error:
            self._trouble(f"the offset book: {error}")

    def forget(self, partitions: Sequence[Partition]) -> None:
        """They are another member's."""
        self.write_book()
        self.assigned.remove(partitions)
        self._astray.difference_update(partitions)

    def measure(self, consumer: Consumer) -> None:
        """How far behind each is, by what the last fetches said."""
        for progress in self.assigned:
            try:
                _, high = consumer.get_watermark_offsets(
                    TopicPartition(*progress.partition), cached=True
                )
            except KafkaException:
                continue
            done = progress.wanted if progress.durable is None else progress.durable.offset
            progress.lag = None if high < 0 or done is None else max(0, high - done)


def _start(progress: Progress) -> int:
    """Where to fetch from: the record before, if it is to be looked at."""
    if progress.wanted is None:
        return int(OFFSET_BEGINNING)
    if progress.known is not None and progress.known.stamp_ms is not None and progress.wanted > 0:
        return progress.wanted - 1
    progress.known = None
    return progress.wanted
