"""The partitions that a consumer has now: what was handed on of each, and what is durable.

1. A partition's offset to commit is the first that is not durable: what lies behind a record that
   still waits does not count, in whatever order they become durable.
2. Every assignment has a number of its own. What is acknowledged after its partition was taken away
   is dropped: it comes again where the partition is now, or after the next assignment.

Acknowledgements come from the committer's thread; everything else is the session's.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from mainstem_edge.kafka.offset_book import Noted, Partition

NUMBER_BITS = 24
"""Of an id, for the assignment; a session with sixteen million assignments begins anew with the
first, whose records are long settled."""
_NUMBERS = 1 << NUMBER_BITS


@dataclass(slots=True, eq=False)
class Progress:
    """One partition. ``wanted``: the offset that was asked for or comes next, None until the first
    record where the beginning itself was asked for. ``durable``: the offset to commit, None until
    something is. ``known``: what the record before ``wanted`` must be, if it is looked at."""

    partition: Partition
    number: int
    wanted: int | None = None
    known: Noted | None = None
    durable: Noted | None = None
    committed: int | None = None
    """What the brokers were told, and ``confirmed``: have taken."""
    confirmed: int | None = None
    lag: int | None = None
    waiting: deque[Noted] = field(default_factory=deque)
    """Offset after each record that is not durable, in order, with the record's time."""
    settled: set[int] = field(default_factory=set)
    """Of these the ones that are, but others before them are not."""


class Assignment:
    """The origin of a session's messages."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._of: dict[Partition, Progress] = {}
        self._by_number: dict[int, Progress] = {}
        self._last = 0

    def __iter__(self) -> Iterator[Progress]:
        return iter(list(self._of.values()))

    def __len__(self) -> int:
        return len(self._of)

    def get(self, partition: Partition) -> Progress | None:
        return self._of.get(partition)

    def add(self, partition: Partition, wanted: int | None, known: Noted | None = None) -> Progress:
        """From now on it is this consumer's. What an earlier assignment left is void."""
        with self._changed:
            self._last = self._last % (_NUMBERS - 1) + 1
            self._drop(partition)
            made = Progress(partition, self._last, wanted, known)
            self._of[partition] = self._by_number[self._last] = made
            return made

    def remove(self, partitions: Iterable[Partition]) -> None:
        with self._changed:
            for each in partitions:
                self._drop(each)
            self._changed.notify_all()

    def _drop(self, partition: Partition) -> None:
        old = self._of.pop(partition, None)
        if old is not None:
            self._by_number.pop(old.number, None)

    def hand_on(self, progress: Progress, offset: int, stamp_ms: int | None) -> int:
        """A record is on its way; the id by which it is acknowledged."""
        progress.wanted = offset + 1
        with self._changed:
            progress.waiting.append(Noted(offset + 1, stamp_ms))
        return (offset + 1) << NUMBER_BITS | progress.number

    def acknowledge(self, ids: Sequence[int]) -> None:
        """These are durable."""
        with self._changed:
            touched: dict[int, Progress] = {}
            for each in ids:
                number = each % _NUMBERS
                progress = self._by_number.get(number)
                if progress is not None:
                    progress.settled.add(each >> NUMBER_BITS)
                    touched[number] = progress
            for progress in touched.values():
                _advance(progress)
            self._changed.notify_all()

    def durable(self) -> dict[Partition, Noted]:
        """Of every partition of which something is."""
        with self._changed:
            return {p: each.durable for p, each in self._of.items() if each.durable is not None}

    def unsettled(self, partitions: Iterable[Partition] | None = None) -> int:
        """Records handed on and not durable yet, of some or all partitions."""
        with self._changed:
            return self._unsettled(partitions)

    def _unsettled(self, partitions: Iterable[Partition] | None) -> int:
        wanted = self._of if partitions is None else partitions
        return sum(len(self._of[each].waiting) for each in wanted if each in self._of)

    def wait_settled(self, partitions: Sequence[Partition], timeout_s: float) -> bool:
        """True once all that was handed on of them is durable."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._unsettled(partitions), timeout_s)


def _advance(progress: Progress) -> None:
    waiting, settled = progress.waiting, progress.settled
    while waiting and waiting[0].offset in settled:
        progress.durable = waiting.popleft()
        settled.discard(progress.durable.offset)
