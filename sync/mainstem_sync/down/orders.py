"""All orders that a node has given, taken or hands on, and how far each is.

1. The state follows from ORD and RES records: own ones, and those that children's batches brought.
   Words may come in any order and more than once; the outcome is the same.
2. A word of the node that the order is for stands above all others. Of several final ones of it the
   one of the lowest LSN stands: what it said first.
3. A word about an order that is not known here is kept until the order comes (a relay may be
   restored from a backup), within a bound.
4. Open orders are bounded: a further one is refused. Closed ones are forgotten, oldest first.
5. A word whose id begins with ``@`` is of no order: a node states something of itself. The newest
   of each node and id stands.
6. Where each order came from is remembered: line and LSN of the parent's record. That is the
   cursor of this node, and it survives with the order.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgpack

from mainstem_engine.consumers import AppliedDelete, AppliedRows, RowSink
from mainstem_engine.filesystem import byte_view
from mainstem_engine.log.records import Record, RecordKind, decode_payload
from mainstem_sync.errors import SyncError, WireError
from mainstem_sync.origins.received import Received
from mainstem_sync.wire.order import Order, State, Word

OPEN_MAX = 10_000
"""A thousand edges with ten commands each that nobody has fetched yet."""

CLOSED_MAX = 10_000
EARLY_MAX = 1_000
LINES_MAX = 16
STATEMENT = "@"
STATEMENTS_MAX = 8_192
SNAPSHOT_VERSION = 1
WORDS_KEY: bytes = msgpack.packb("words")
"""As the head of a batch has it, if words came with it."""

Line = tuple[str, int]
"""Uuid and epoch of a node's log."""

Cursor = tuple[int, str]
"""LSN and id of the order that was taken last from a line. The id tells the line from one that was
restored from a backup and has come to the same LSN again."""

START: Cursor = (0, "")


class OrdersFullError(SyncError, OverflowError):
    """Too many orders are open."""

    code = "TOO_MANY_ORDERS"


@dataclass(frozen=True, slots=True)
class Standing:
    """An order and how far it is. ``lsn``: of its record here. ``source``: line and LSN at the
    parent that handed it on; None for one that was given here. ``word``: the one that stands.
    ``word_lsn``: its LSN at the node that spoke it. ``delivered``: whoever handed it on knew that
    the node had it."""

    order: Order
    lsn: int
    source: tuple[str, int, int] | None = None
    word: Word | None = None
    word_lsn: int = 0
    delivered: bool = False

    @property
    def state(self) -> State:
        return State.QUEUED if self.word is None else self.word.state


class Orders:
    """See the module: a LogConsumer. Thread-safe."""

    name = "orders"
    kinds = frozenset({RecordKind.ORD, RecordKind.RES, RecordKind.RCV})

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Standing] = OrderedDict()
        self._closed: OrderedDict[str, Standing] = OrderedDict()
        self._early: OrderedDict[str, tuple[Word, int]] = OrderedDict()
        self._cursors: dict[Line, Cursor] = {}
        self._statements: OrderedDict[tuple[str, str], tuple[Word, int]] = OrderedDict()
        self.on_change: Callable[[Standing], None] | None = None
        """Called for each order that is new or further than before, on the committer thread and
        without the lock; also at replay, before anything else is asked."""

    # What there is

    def find(self, order_id: str) -> Standing | None:
        """One order; None if it is not known, or forgotten."""
        with self._lock:
            return self._find(order_id)

    def all(self) -> list[Standing]:
        """Every known order, oldest first."""
        with self._lock:
            found = [*self._closed.values(), *self._open.values()]
        return sorted(found, key=lambda standing: standing.lsn)

    def open_above(self, lsn: int, wanted: Callable[[str], bool]) -> list[Standing]:
        """What has to be handed on of the orders for nodes that are ``wanted``: open, not begun,
        recorded here after ``lsn``, in this order; of one slot only the newest."""
        with self._lock:
            found = [each for each in self._open.values() if wanted(each.order.to)]
        newest: dict[tuple[str, str], int] = {}
        for each in found:
            if each.order.slot:
                slot = (each.order.to, each.order.slot)
                newest[slot] = max(newest.get(slot, 0), each.lsn)
        some = [
            each
            for each in found
            if each.lsn > lsn
            and each.state.rank < State.STARTED.rank
            and newest.get((each.order.to, each.order.slot), each.lsn) == each.lsn
        ]
        return sorted(some, key=lambda standing: standing.lsn)

    def open_for(self, node: str) -> list[Standing]:
        """Open orders for one node, oldest first."""
        with self._lock:
            return [each for each in self._open.values() if each.order.to == node]

    def cursor(self, line: Line) -> Cursor:
        """The newest order that was taken from this line of the parent's log."""
        with self._lock:
            return self._cursors.get(line, START)

    def is_at(self, cursor: Cursor) -> bool:
        """True if that order stands at that place of this node's log."""
        with self._lock:
            standing = self._find(cursor[1])
        return cursor == START or (standing is not None and standing.lsn == cursor[0])

    def statement(self, node: str, ident: str) -> Word | None:
        """What a node stated last of itself under an id that begins with ``@``."""
        with self._lock:
            found = self._statements.get((node, ident))
            return None if found is None else found[0]

    def statements(self, ident: str) -> dict[str, Word]:
        """The same of every node that is known."""
        with self._lock:
            return {node: word for (node, of), (word, _) in self._statements.items() if of == ident}

    def require_room(self) -> None:
        """Raises OrdersFullError when no further order may be given."""
        with self._lock:
            if len(self._open) >= OPEN_MAX:
                raise OrdersFullError(
                    f"{OPEN_MAX} orders are open", hint="wait, or retire nodes that never come back"
                )

    # LogConsumer

    def apply(self, record: Record, decoded: Any, sink: RowSink) -> None:
        """One record of the local log."""
        del sink
        if record.kind == RecordKind.RCV:
            payload = byte_view(record.payload)
            live = isinstance(decoded, Received)
            if "words" not in decoded.header if live else not _may_have_words(payload):
                return
            changed = self._received(payload)
        else:
            header, _ = decode_payload(byte_view(record.payload))
            try:
                changed = self._own(record, header)
            except WireError:  # of a later version: it is only not understood here
                changed = []
        self._tell(changed)

    def _own(self, record: Record, header: Mapping[str, Any]) -> list[Standing]:
        if record.kind == RecordKind.ORD:
            return self._ordered(Order.from_header(header), record.lsn, header)
        return self._said(Word.from_header(header), record.lsn)

    def _received(self, payload: memoryview) -> list[Standing]:
        header, buffers = decode_payload(payload)
        changed = []
        for lsn, offset, length in header.get("words", ()):
            said = decode_payload(buffers[0][offset : offset + length])[0]
            try:
                changed += self._said(Word.from_header(said), lsn)
            except WireError:
                continue
        return changed

    def _ordered(self, order: Order, lsn: int, header: Mapping[str, Any]) -> list[Standing]:
        where, source = None, header.get("source")
        if isinstance(source, list) and len(source) == 3:
            where = (str(source[0]), int(source[1]), int(source[2]))
        with self._lock:
            if where is not None:
                line = where[:2]
                self._cursors[line] = max(self._cursors.get(line, START), (where[2], order.id))
                self._keep_lines(line)
            if self._find(order.id) is not None:
                return []
            standing = Standing(order, lsn, where, delivered=bool(header.get("delivered")))
            self._open[order.id] = standing
            early = self._early.pop(order.id, None)
            if early is not None:
                standing = self._spoken(standing, *early) or standing
            return [standing]

    def _keep_lines(self, newest: Line) -> None:
        """A parent has one line at a time; those before it are remembered within a bound."""
        self._cursors[newest] = self._cursors.pop(newest)
        while len(self._cursors) > LINES_MAX:
            del self._cursors[next(iter(self._cursors))]

    def _said(self, word: Word, lsn: int) -> list[Standing]:
        with self._lock:
            if word.id.startswith(STATEMENT):
                self._stated(word, lsn)
                return []
            standing = self._find(word.id)
            if standing is None:
                self._early[word.id] = (word, lsn)
                while len(self._early) > EARLY_MAX:
                    self._early.popitem(last=False)
                return []
            after = self._spoken(standing, word, lsn)
            return [] if after is None else [after]

    def _stated(self, word: Word, lsn: int) -> None:
        """By its time, for numbers begin again when a node was restored. Called with the lock."""
        key = (word.node, word.id)
        known = self._statements.get(key)
        if known is None or (known[0].at_ms, known[1]) <= (word.at_ms, lsn):
            self._statements[key] = (word, lsn)
            self._statements.move_to_end(key)
            while len(self._statements) > STATEMENTS_MAX:
                self._statements.popitem(last=False)

    def _spoken(self, standing: Standing, word: Word, lsn: int) -> Standing | None:
        """The order with this word, if it stands above the one before. Called with the lock."""
        before = standing.word
        if before is not None and _weight(standing, before, standing.word_lsn) >= _weight(
            standing, word, lsn
        ):
            return None
        after = replace(standing, word=word, word_lsn=lsn)
        if word.state.is_final:
            self._open.pop(word.id, None)
            self._closed[word.id] = after
            while len(self._closed) > CLOSED_MAX:
                self._closed.popitem(last=False)
        else:
            self._open[word.id] = after
        return after

    def _find(self, order_id: str) -> Standing | None:
        return self._open.get(order_id) or self._closed.get(order_id)

    def _tell(self, changed: Iterable[Standing]) -> None:
        if self.on_change is not None:
            for standing in changed:
                self.on_change(standing)

    def rows_applied(self, batch: AppliedRows) -> None:
        """Nothing: rows are not orders."""

    def rows_deleted(self, deleted: AppliedDelete) -> None:
        """Nothing."""

    def snapshot(self) -> bytes:
        with self._lock:
            everything = [*self._closed.values(), *self._open.values()]
            packed: bytes = msgpack.packb(
                {
                    "v": SNAPSHOT_VERSION,
                    "orders": [_packed(each) for each in everything],
                    "early": [[word.to_header(), lsn] for word, lsn in self._early.values()],
                    "said": [[word.to_header(), lsn] for word, lsn in self._statements.values()],
                    "cursors": [[*line, *cursor] for line, cursor in self._cursors.items()],
                }
            )
        return packed

    def restore(self, data: bytes) -> None:
        found = msgpack.unpackb(data)
        with self._lock:
            for order, lsn, source, word, word_lsn, delivered in found["orders"]:
                standing = Standing(
                    Order.from_header(order),
                    lsn,
                    None if source is None else tuple(source),
                    None if word is None else Word.from_header(word),
                    word_lsn,
                    delivered,
                )
                place = self._closed if standing.state.is_final else self._open
                place[standing.order.id] = standing
            for word, lsn in found["early"]:
                self._early[word["id"]] = (Word.from_header(word), lsn)
            for word, lsn in found.get("said", ()):
                self._stated(Word.from_header(word), lsn)
            self._cursors = {
                (uuid, epoch): (lsn, ident) for uuid, epoch, lsn, ident in found["cursors"]
            }


def _weight(standing: Standing, word: Word, lsn: int) -> tuple[bool, int, int]:
    """Of two words the heavier one stands."""
    is_last_word = word.node == standing.order.to
    if word.state.is_final:
        return is_last_word, word.state.rank, -lsn
    # What others say of an order's end must not hide that its node is at work on it.
    return is_last_word, word.state.rank, lsn


def _may_have_words(payload: memoryview) -> bool:
    """False for a batch whose head does not name them. Heads are long, and read by the follower
    anyway: nearly none brings a word, so at replay they are not read a second time for that."""
    end = 4 + int.from_bytes(payload[:4], "little")
    return WORDS_KEY in bytes(payload[4:end])


def _packed(standing: Standing) -> list[Any]:
    word = standing.word
    return [
        standing.order.to_header(),
        standing.lsn,
        None if standing.source is None else list(standing.source),
        None if word is None else word.to_header(),
        standing.word_lsn,
        standing.delivered,
    ]
