"""What a parent has proven of its children's rows, told to them: the PROVEN frame.

1. A frame is about one origin and one *teller*: the parent itself, or a tier above it whose
   statement it hands down unchanged. ``top`` says that nobody is above the teller.
2. Per table it has the closed slices that need nothing more: verified, or declared as lost, put
   aside or expired. They are true for the origin's records up to ``through`` (D at the teller): a
   slice that a later record touches is not proven by it.
3. It replaces what the same teller said of the table before. It is told again when it changed, at
   most every few seconds, and after every HELLO; nothing of it is durable at the child.
4. ``restate`` names stretches of slices that the teller asks the owner to state anew.

PROVEN header: ``origin``, ``teller``, ``top``, ``through``, ``tables`` list of
``[table, slice_ns, [first, last, ...]]``, ``restate`` list of ``[table, slice_ns, first, end]``;
tables as the origin calls them, slices by index.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from mainstem_sync.errors import WireError
from mainstem_sync.origins.origin_state import Origins, OriginState
from mainstem_sync.slices.manifest import SLICE_NS_MAX
from mainstem_sync.wire.fields import integer, list_of, text
from mainstem_sync.wire.frames import Frame, FrameType, encode_frame
from mainstem_sync.wire.messages import OriginKey
from mainstem_sync.wire.ranges import LSN_MAX, RangeSet

TELL_EVERY_S = 5.0
"""Retention looks once a minute: a few seconds are soon enough, and cost nothing."""

TABLES_MAX = 256
RUNS_MAX = 64
"""Runs of slices told of one table, the oldest first: that is what retention asks for."""

RESTATE_MAX = 16
"""Stretches asked for in one frame: an hour or a day each, the rest in the next."""

ORIGINS_PER_REPLY_MAX = 16
"""A reply is a message of so many frames; behind a relay are hundreds of origins. With the next
reply it goes on."""

TELLERS_MAX = 8
"""Tiers above a node that are remembered."""


@dataclass(frozen=True, slots=True)
class ProvenTable:
    """Slices, by index, that need nothing more. RangeSet of inclusive runs."""

    name: str
    slice_ns: int
    slices: RangeSet


@dataclass(frozen=True, slots=True)
class Restate:
    """Slices [first, end) of a table that their owner is asked to state anew."""

    table: str
    slice_ns: int
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Proven:
    """See the module."""

    origin: OriginKey
    teller: str
    top: bool
    through: int
    tables: tuple[ProvenTable, ...] = ()
    restate: tuple[Restate, ...] = ()

    def encode(self) -> bytes:
        """One PROVEN frame."""
        header = {
            "origin": self.origin.to_wire(),
            "teller": self.teller,
            "top": self.top,
            "through": self.through,
            "tables": [[t.name, t.slice_ns, _flat(t.slices)] for t in self.tables],
            "restate": [[r.table, r.slice_ns, r.first, r.end] for r in self.restate],
        }
        return encode_frame(FrameType.PROVEN, header)

    @classmethod
    def from_frame(cls, frame: Frame) -> Proven:
        """Raises WireError."""
        header = frame.header
        tables = []
        for item in list_of(header.get("tables"), "tables", TABLES_MAX):
            name, slice_ns, runs = _three(item)
            size = integer(slice_ns, "slice_ns", SLICE_NS_MAX)
            tables.append(ProvenTable(text(name, "table"), size, _slices(runs)))
        restate = []
        for item in list_of(header.get("restate"), "restate", RESTATE_MAX):
            if not isinstance(item, list) or len(item) != 4:
                raise WireError("what to state anew is [table, slice_ns, first, end]")
            name, slice_ns, first, end = item
            if type(first) is not int or type(end) is not int or not first < end:
                raise WireError("what to state anew is no stretch of slices")
            size = integer(slice_ns, "slice_ns", SLICE_NS_MAX)
            restate.append(Restate(text(name, "table"), size, first, end))
        return cls(
            OriginKey.from_wire(header.get("origin")),
            text(header.get("teller"), "teller"),
            header.get("top") is True,
            integer(header.get("through"), "through", LSN_MAX),
            tuple(tables),
            tuple(restate),
        )


def _three(item: object) -> list[object]:
    if not isinstance(item, list) or len(item) != 3:
        raise WireError("a proven table is [table, slice_ns, runs]")
    return item


def _flat(slices: RangeSet) -> list[int]:
    return [number for run in list(slices)[:RUNS_MAX] for number in run]


def _slices(value: object) -> RangeSet:
    flat = list_of(value, "runs", 2 * RUNS_MAX)
    if len(flat) % 2 or any(type(number) is not int for number in flat):
        raise WireError("runs are pairs of integers")
    found = RangeSet()
    for first, last in zip(flat[::2], flat[1::2], strict=True):
        if not -LSN_MAX <= first <= last <= LSN_MAX:
            raise WireError("a run that is none")
        found.add(first, last)
    return found


@dataclass(slots=True)
class _Told:
    """What a child was told lately, by (origin, teller)."""

    lease: str = ""
    at: float = float("-inf")
    said: dict[tuple[OriginKey, str], Proven] = field(default_factory=dict)
    waiting: deque[OriginKey] = field(default_factory=deque)
    """Origins that were not looked at since ``at``."""


class Teller:
    """The parent's side. Called under the federation's lock, by the receiver's replies.

    ``heard``: what tiers above said, to be handed down; ``lease`` of a child by name."""

    def __init__(
        self,
        node: str,
        origins: Origins,
        *,
        top: bool,
        heard: Callable[[OriginKey], Iterable[Proven]],
        lease: Callable[[str], str],
        monotonic: Callable[[], float],
    ) -> None:
        self._node = node
        self._origins = origins
        self._top = top
        self._heard = heard
        self._lease = lease
        self._monotonic = monotonic
        self._told: dict[str, _Told] = {}

    def frames(self, child: str) -> bytes:
        """What is new for a child, or nothing."""
        lease = self._lease(child)
        told = self._told.get(child)
        if told is None or told.lease != lease:
            # After a HELLO the child knows nothing any more.
            told = self._told[child] = _Told(lease)
        now = self._monotonic()
        if not told.waiting and now - told.at >= TELL_EVERY_S:
            told.at = now
            told.waiting.extend(state.key for state in self._origins.behind(child))
        parts: list[bytes] = []
        while told.waiting and len(parts) < ORIGINS_PER_REPLY_MAX:
            state = self._origins.get(told.waiting.popleft())
            if state is None or not state.watches:
                continue
            for said in (self._proven(state), *self._heard(state.key)):
                key = (said.origin, said.teller)
                if told.said.get(key) != said or said.restate:
                    told.said[key] = said
                    parts.append(said.encode())
        return b"".join(parts)

    def _proven(self, state: OriginState) -> Proven:
        tables, restate = [], []
        for local, watch in list(state.watches.items())[:TABLES_MAX]:
            mapped = state.local_table(local)
            if mapped is None:
                continue
            tables.append(ProvenTable(mapped.name, watch.slice_ns, watch.proven(RUNS_MAX)))
            restate += [
                Restate(mapped.name, watch.slice_ns, first, end)
                for first, end in watch.flawed_sums()[:RESTATE_MAX]
            ]
        return Proven(
            state.key, self._node, self._top, state.received.watermark, tuple(tables),
            tuple(restate[:RESTATE_MAX]),
        )  # fmt: skip


class Heard:
    """The child's side: what tiers above say, by origin and teller. Guarded by the federation's
    lock. Nothing of it survives a restart: whoever needs it waits until it is said again."""

    def __init__(self) -> None:
        self._said: dict[OriginKey, dict[str, Proven]] = {}

    def hear(self, said: Proven) -> None:
        """A PROVEN frame of the parent."""
        tellers = self._said.setdefault(said.origin, {})
        if said.teller in tellers or len(tellers) < TELLERS_MAX:
            tellers[said.teller] = said

    def of(self, origin: OriginKey) -> list[Proven]:
        """Everything said of an origin."""
        return list(self._said.get(origin, {}).values())

    def forget(self) -> None:
        """Another parent, or one that lost what it had: it says anew what it has."""
        self._said.clear()
