"""From the log to batches: reads what is owed and groups it by origin.

1. Nothing beyond the last fsynced LSN is read, whatever the durability mode.
2. One batch per origin and cut. A relayed batch goes up whole, so that it is held or not held.
3. LSNs that need nothing (not exported, foreign) are not batched here: the sender covers them when
   it next sends its own stream. So it does with records that damage took from the log, once they
   are counted as lost.
4. What the parent has already (it said so at HELLO: the acknowledgement was lost, or a crash here
   forgot it) is passed over and reported.
5. A definition of a child's template waits until the parent has the child's (naming.py), and with
   it what is behind it of this node's own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from mainstem_engine.errors import LogRangeError
from mainstem_engine.log.log import Log
from mainstem_engine.log.records import RecordKind, decode_payload
from mainstem_sync.state.content import Classifier, Content
from mainstem_sync.wire.batch import RECORDS_MAX, encode_batch
from mainstem_sync.wire.frames import RAW_BYTES_MAX
from mainstem_sync.wire.messages import ChainPoint, OriginKey, Queue
from mainstem_sync.wire.packing import Packer
from mainstem_sync.wire.ranges import RangeSet

ORIGINS_PER_CUT_MAX = 64
"""Batches of one cut: a request may hold three cuts and stays below the bound on frames."""

COVER_EVERY_S = 1.0
"""How often a batch is sent that only says what the parent need not have. A relay has one such LSN
for each batch that it hands on: said each time they would be half of the parent's work."""

COVER_RANGES_MAX = 2000
"""Covered ranges that one batch adds: keeps its header small; the rest follows in the next."""


@dataclass(slots=True)
class Draft:
    """A batch before it is encoded. ``own``: covered LSNs included, of this node's own stream."""

    origin: OriginKey
    queue: Queue
    ranges: RangeSet = field(default_factory=RangeSet)
    contents: list[Content] = field(default_factory=list)
    raw_bytes: int = 0
    records: int = 0
    top: ChainPoint | None = None
    digest: bytes = b""
    weight: int = 0
    packer: Packer = field(default_factory=Packer)

    def add(self, content: Content, chain: bytes) -> None:
        """One record of the local log."""
        if content.ranges is None:
            self.ranges.add(content.lsn)
            self.top = ChainPoint(content.lsn, chain)
        else:
            self.ranges.update(content.ranges)
            if content.chain is not None:
                point = ChainPoint.from_wire(content.chain)
                if self.top is None or point.lsn > self.top.lsn:
                    self.top = point
        self.contents.append(content)
        self.raw_bytes += content.bytes
        self.weight += content.weight
        self.records += len(content.pieces)

    @property
    def lsns(self) -> RangeSet:
        """Local LSNs of the contents."""
        return RangeSet([(content.lsn, content.lsn) for content in self.contents])

    def encode(self) -> bytes:
        """The BATCH frame; sets ``digest``."""
        pieces = [piece for content in self.contents for piece in content.pieces]
        packed = self.packer.pack(pieces, self.queue)
        top = self.top if self.top is not None and self.top.lsn == self.ranges.last else None
        frame, self.digest = encode_batch(
            self.origin, self.queue, self.ranges, packed.records, packed.raw, top, packed.blocks,
            dense=packed.is_dense, short=self.packer.light,
        )  # fmt: skip
        return frame


@dataclass(slots=True)
class Cut:
    """What one look at the log gave. ``held``: contents that the parent has already. ``nothing``:
    LSNs that need nothing after all. ``lost``: LSNs that are no longer in the log."""

    drafts: dict[OriginKey, Draft] = field(default_factory=dict)
    held: list[Content] = field(default_factory=list)
    nothing: RangeSet = field(default_factory=RangeSet)
    lost: RangeSet = field(default_factory=RangeSet)
    raw_bytes: int = 0


class Outbox:
    """Reads the local log for one sender."""

    def __init__(
        self, log: Log, key_of: Callable[[int], OriginKey], classifier: Classifier
    ) -> None:
        self._log = log
        self._key_of = key_of
        self._classifier = classifier
        self._packer = Packer()
        self.may_define: Callable[[str], bool] = lambda table: True
        """Whether the parent may be told what a child's template is here."""
        self._covered_at = float("-inf")

    def speak(self, version: int) -> None:
        """The parent speaks this version of the protocol."""
        self._packer.speak(version)
        self._covered_at = float("-inf")

    def cut(
        self,
        queue: Queue,
        lsns: Iterable[tuple[int, int]],
        bytes_max: int,
        parent_has: Mapping[OriginKey, RangeSet],
    ) -> Cut:
        """Batches of the records in ``lsns`` (ascending), about ``bytes_max`` raw bytes, at least
        one record."""
        cut = Cut()
        waits = False
        for first, last in lsns:
            if cut.raw_bytes >= bytes_max:
                break
            expected = first
            for record in self._log.read(first, last):
                self._skip(cut, expected, record.lsn - 1)
                expected = record.lsn + 1
                content = self._classifier.content(record)
                if not content.needed:
                    cut.nothing.add(content.lsn)
                elif self._has(parent_has, content):
                    cut.held.append(content)
                elif content.ranges is None and (waits or self._comes_too_early(content)):
                    waits = True
                elif not self._take(cut, queue, content, record.chain):
                    return cut
                if cut.raw_bytes >= bytes_max:
                    break
            else:
                self._skip(cut, expected, last)
        return cut

    def _comes_too_early(self, content: Content) -> bool:
        """True for a definition that its owner has to make first."""
        if not content.control:
            return False
        for piece in content.pieces:
            if piece.kind == RecordKind.SCH:
                header, _ = decode_payload(piece.payload)
                # The first revision has no names but those that every other has, or had.
                renamed = header.get("foreign") and int(header.get("revision", 1)) > 1
                if renamed and not self.may_define(str(header["name"])):
                    return True
        return False

    def _skip(self, cut: Cut, first: int, last: int) -> None:
        """LSNs that were asked for and did not come: lost, if the log says why."""
        if first > last:
            return
        cut.lost.add(first, min(last, self._log.first_lsn - 1))
        missing = RangeSet([(first, last)])
        for damage in self._log.damages:
            for low, high in missing.within(damage.first_lsn, damage.last_lsn):
                cut.lost.add(low, high)

    def _has(self, parent_has: Mapping[OriginKey, RangeSet], content: Content) -> bool:
        known = parent_has.get(content.origin or self._key_of(content.lsn))
        if known is None:
            return False
        if content.ranges is None:
            return content.lsn in known
        return known.contains_all(content.ranges)

    def _take(self, cut: Cut, queue: Queue, content: Content, chain: bytes) -> bool:
        """Add to the origin's draft; False if that would break a bound."""
        origin = content.origin or self._key_of(content.lsn)
        draft = cut.drafts.get(origin)
        if draft is None:
            if len(cut.drafts) >= ORIGINS_PER_CUT_MAX:
                return False
            draft = cut.drafts[origin] = Draft(origin, queue, packer=self._packer)
        elif (
            draft.weight + content.weight > RAW_BYTES_MAX
            or draft.records + len(content.pieces) > RECORDS_MAX
        ):
            return False
        draft.add(content, chain)
        # An empty batch still costs its header.
        cut.raw_bytes += content.weight + 64
        return True

    def cover(
        self, drafts: Mapping[OriginKey, Draft], coverable: RangeSet, queue: Queue, now: float
    ) -> list[Draft]:
        """This node's own batches, one per epoch, with covered LSNs added; made where there is
        none, but not all the time. ``now``: monotonic s."""
        if not drafts and now - self._covered_at < COVER_EVERY_S:
            return []
        self._covered_at = now
        covering = dict(drafts)
        for number, (first, last) in enumerate(coverable):
            if number >= COVER_RANGES_MAX:
                break
            while first <= last:
                origin = self._key_of(first)
                end = last if self._key_of(last) == origin else self._end_of(origin, first, last)
                own = covering.get(origin) or Draft(origin, queue, packer=self._packer)
                own.ranges.add(first, end)
                covering[origin] = own
                first = end + 1
        for own in covering.values():
            top = own.ranges.last
            if top and (own.top is None or own.top.lsn < top):
                with contextlib.suppress(LogRangeError):
                    own.top = ChainPoint(top, self._log.chain_at(top))
        return list(covering.values())

    def _end_of(self, origin: OriginKey, first: int, last: int) -> int:
        """The last LSN of [first, last) that is of an epoch: epochs ascend with LSNs."""
        while first < last:
            middle = (first + last + 1) // 2
            if self._key_of(middle) == origin:
                first = middle
            else:
                last = middle - 1
        return first
