"""Looking around: a reader of topics for which there is no subscription.

1. What a topic sends is put aside under its name (``unknown_topic``), and so is in the inbox.
2. A topic that was adopted from there is a device: its messages are read as ``codec: auto`` reads
   them, and are rows of the device's template.
3. The first 1,000 messages of a topic since the start are kept, of 10,000 topics: enough to see
   what it is, and too little to push everything else out of the quarantine. Others are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from mainstem_edge.collectors.interface import Message
from mainstem_edge.reader import Reader
from mainstem_edge.reading import Reading, nothing_read
from mainstem_edge.rejects import Reject, payload_text
from mainstem_edge.subscription import filter_matches
from mainstem_node import reasons
from mainstem_node.inbox import Adopted, InboxBook

KEPT_OF_TOPIC_MAX = 1_000
TOPICS_MAX = 10_000

MakeReader = Callable[[Adopted], Reader]
"""Reads a topic that is a device."""


class InboxReader:
    """Reads the messages of one topic filter. Used by one thread at a time."""

    def __init__(
        self,
        filter: str,  # noqa: A002 - the word of the MQTT specification
        book: InboxBook,
        make: MakeReader,
    ) -> None:
        self.filter = filter
        self._book = book
        self._make = make
        self._readers: dict[Adopted, Reader] = {}
        self._kept: Counter[str] = Counter()
        self.not_kept = 0
        """Messages of unknown topics beyond the bounds, since the start."""

    @property
    def templates(self) -> tuple[str, ...]:
        """Those of the topics that were adopted."""
        found = (a.template for a in self._book.topics() if filter_matches(self.filter, a.name))
        return tuple(dict.fromkeys(found))

    def read(self, messages: Sequence[Message], now_ns: int) -> Sequence[Reading]:
        """Readings of the topics that are devices, and one of no template for the others."""
        known, others = self._sorted(messages)
        other = nothing_read("")
        other.failures += [unknown_topic(each) for each in others if self._takes(each)]
        readings = [
            reading
            for adopted, group in known.items()
            for reading in self._reader(adopted).read(group, now_ns)
        ]
        return [*readings, other] if other.failures else readings

    def count(self, messages: Sequence[Message]) -> Mapping[str, int]:
        counts: Counter[str] = Counter()
        for adopted, group in self._sorted(messages)[0].items():
            counts.update(self._reader(adopted).count(group))
        return counts

    def _sorted(
        self, messages: Sequence[Message]
    ) -> tuple[dict[Adopted, list[Message]], list[Message]]:
        known: dict[Adopted, list[Message]] = {}
        others = []
        for message in messages:
            adopted = self._book.topic(message.topic)
            if adopted is None:
                others.append(message)
            else:
                known.setdefault(adopted, []).append(message)
        return known, others

    def _reader(self, adopted: Adopted) -> Reader:
        found = self._readers.get(adopted)
        if found is None:
            found = self._readers[adopted] = self._make(adopted)
        return found

    def _takes(self, message: Message) -> bool:
        """True while there is room for its topic."""
        kept = self._kept
        if kept[message.topic] >= KEPT_OF_TOPIC_MAX or (
            message.topic not in kept and len(kept) >= TOPICS_MAX
        ):
            self.not_kept += 1
            return False
        kept[message.topic] += 1
        return True


def unknown_topic(message: Message) -> Reject:
    """A message that nobody asks for, under its topic."""
    return Reject(
        reasons.UNKNOWN_TOPIC,
        payload_text(message.payload),
        message.topic[:1024],
        message.arrived_ns,
    )
