"""Asking for slices: what is wanted, and the WANT frame that says so.

A WANT frame rides in replies, one per origin with anything open. ``want`` names slices whose images
the parent waits for; ``done`` the entries of the origin's backlog that it has whole (backlog.py).
What does not fit is asked for in a later reply, and what is not answered is asked for again.

Header: ``origin``; ``done`` list of ``[uuid, epoch, lsn]``; ``want`` list of
``[table, slice_ns, since, say, [first, last, ...]]``, table as the origin calls it. ``say`` 1: not
the rows are asked for but the owner's statement about these slices, once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mainstem_sync.errors import WireError
from mainstem_sync.slices.manifest import SLICE_NS_MAX
from mainstem_sync.slices.owed import slices_of
from mainstem_sync.wire.fields import integer, list_of, text
from mainstem_sync.wire.frames import Frame, FrameType, encode_frame
from mainstem_sync.wire.messages import OriginKey
from mainstem_sync.wire.ranges import RangeSet

WANTS_MAX = 32
"""Runs of slices in one frame: a request or two of answers, and less than a kilobyte."""

WANT_SLICES_MAX = 1440
"""Slices of one run: a day of minutes. The sender cuts it by bytes."""

REPAIRS_MAX = 10_000
"""Slices of one table under repair: a week of minutes. More are found again by the next scan."""

AGAIN_S = 5.0
AGAIN_MAX_S = 3600.0
"""Pauses before a slice is asked for again that still differs; doubled each time: an image that did
not help will not help a second later."""

DONE_MAX = 64

Ref = tuple[str, int, int]
"""A record that began a backlog: its writer (uuid, epoch) and its LSN there."""


@dataclass(frozen=True, slots=True)
class Want:
    """Slices of one table that are asked for, ``name`` as their origin calls it. An image of them
    answers when it is as of ``since`` or later."""

    name: str
    slice_ns: int
    since: int
    slices: RangeSet


@dataclass(frozen=True, slots=True)
class Wanted:
    """A decoded WANT frame."""

    origin: OriginKey
    done: tuple[Ref, ...]
    wants: tuple[Want, ...]
    says: tuple[Want, ...]
    """Slices about which a statement is asked for."""

    @classmethod
    def from_frame(cls, frame: Frame) -> Wanted:
        """Raises WireError."""
        header = frame.header
        done = []
        for item in list_of(header.get("done"), "done", DONE_MAX):
            if not isinstance(item, list) or len(item) != 3:
                raise WireError("an entry is [uuid, epoch, lsn]")
            done.append((text(item[0], "uuid"), integer(item[1], "epoch"), integer(item[2], "lsn")))
        found: tuple[list[Want], list[Want]] = [], []
        for item in list_of(header.get("want"), "want", WANTS_MAX):
            if not isinstance(item, list) or len(item) != 5:
                raise WireError("a want is [table, slice_ns, since, say, runs]")
            name, size, since, say, flat = item
            if integer(size, "slice_ns", SLICE_NS_MAX) < 1:
                raise WireError("slices without a length")
            want = Want(text(name, "table"), size, integer(since, "since"), slices_of(flat))
            found[integer(say, "say", 1)].append(want)
        origin = OriginKey.from_wire(header.get("origin"))
        return cls(origin, tuple(done), tuple(found[0]), tuple(found[1]))


def encode_want(
    origin: OriginKey, done: Sequence[Ref], wants: Iterable[Want], says: Iterable[Want]
) -> bytes:
    """One WANT frame, statements first, the newest run of slices of each want first; runs beyond
    the bounds are left out."""
    runs: list[list[Any]] = []
    for say, want in [*((1, want) for want in says), *((0, want) for want in wants)]:
        for first, last in reversed(list(want.slices)):
            while last >= first and len(runs) < WANTS_MAX:
                low = max(first, last - WANT_SLICES_MAX + 1)
                runs.append([want.name, want.slice_ns, want.since, say, [low, last]])
                last = low - 1
    header = {"origin": origin.to_wire(), "done": [list(ref) for ref in done], "want": runs}
    return encode_frame(FrameType.WANT, header)


HURRY_EVERY_S = 60.0
"""How often a pause is cut short for somebody who asks for the slice."""


@dataclass(slots=True)
class _Repair:
    since: int = 0
    tries: int = 0
    not_before: float = 0.0
    hurried: float = float("-inf")


class Repairs:
    """Slices of one origin that somebody wants, by table (as stored here), kind (``say``) and
    index."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bool], dict[int, _Repair]] = {}
        self.on_want: Callable[[], None] | None = None
        """Called when something is asked for."""
        self.answers = 0
        """Images and statements that came, asked for or not."""

    def __bool__(self) -> bool:
        return any(self._known.values())

    def want(self, table: str, keys: Iterable[int], since: int = 0, *, say: bool = False) -> int:
        """Ask for these; returns how many are new. Beyond the bound they are left out."""
        known = self._known.setdefault((table, say), {})
        fresh = 0
        for key in keys:
            found = known.get(key)
            if found is None and len(known) < REPAIRS_MAX:
                known[key] = _Repair(since)
                fresh += 1
            elif found is not None:
                found.since = max(found.since, since)
        if fresh and self.on_want is not None:
            self.on_want()
        return fresh

    def answered(
        self, table: str, first: int, last: int, as_of: int, now: float, *, say: bool = False
    ) -> None:
        """The slices [first, last] came: they are asked for again only after a pause."""
        self.answers += 1
        known = self._known.get((table, say), {})
        for key in [k for k, r in known.items() if first <= k <= last and as_of >= r.since]:
            repair = known[key]
            repair.tries += 1
            repair.not_before = now + min(AGAIN_MAX_S, AGAIN_S * 2 ** min(repair.tries - 1, 20))

    def hurry(self, table: str, first: int, end: int, now: float) -> None:
        """Somebody asks for the slices [first, end): those that wait for another try get it now."""
        for say in (False, True):
            for key, repair in self._known.get((table, say), {}).items():
                if first <= key < end and now >= repair.hurried + HURRY_EVERY_S:
                    repair.hurried = now
                    repair.not_before = min(repair.not_before, now)

    def forget(self, table: str, differing: set[int], *, say: bool = False) -> None:
        """What was answered and does not differ any more is whole again."""
        known = self._known.get((table, say), {})
        for key in [k for k, r in known.items() if r.tries and k not in differing]:
            del known[key]

    def due(self, table: str, now: float, *, say: bool = False) -> tuple[int, RangeSet]:
        """(since, slices) to ask for now."""
        known = self._known.get((table, say))
        if not known:
            return 0, RangeSet()  # as nearly always, with every reply
        keys = sorted(key for key, repair in known.items() if repair.not_before <= now)
        since = max((known[key].since for key in keys), default=0)
        return since, RangeSet((key, key) for key in keys)
