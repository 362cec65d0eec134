"""HELLO and WELCOME: how a child and its parent begin.

1. A child says who it is, how far its log goes, what its hash chain is there, which epochs and
   process starts it has had, and what it knows of the lines of the nodes behind it.
2. The parent answers with a lease and, per origin, what it holds, and what it knows of those lines
   and the child does not; or with LSNs whose chain value it must see first; or with the epochs that
   the child has to write down before it may send anything.
3. Version 1 of the protocol knows no epochs: it lacks the fields that have a default here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgpack

from mainstem_sync.errors import WireError
from mainstem_sync.lines.epochs import EpochTable
from mainstem_sync.lines.known_lines import Line
from mainstem_sync.lines.trail import POINTS_MAX, Trail
from mainstem_sync.wire.fields import integer, list_of, pair, text
from mainstem_sync.wire.frames import Buffer, Frame, FrameType, encode_frame
from mainstem_sync.wire.messages import (
    LEASE_CHARS_MAX,
    ORIGINS_MAX,
    VERSION,
    VERSION_MIN,
    ChainPoint,
    OriginKey,
)
from mainstem_sync.wire.ranges import LSN_MAX, RangeSet

CHAIN_POINTS_MAX = 4 * POINTS_MAX
"""A child states those that it remembers and those that it was asked for."""

LINES_BYTES_MAX = 12 << 20
"""Lines of 8,192 nodes with 16 points and a few starts each take two thirds of it."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What a child says first. ``instance`` is new at every process start; ``nonce`` comes back.
    ``chain_lost``: LSNs that the parent asked for and whose chain value is not known any more.
    ``table``, ``boots``: epochs and process starts of its log. ``acked``: the D that it believes to
    have been acknowledged; ``parent``: uuid of the parent that last let it in, empty for none.
    ``lines``: of the nodes behind it, their closed epochs with what it
    holds of them."""

    origin: OriginKey
    instance: str
    nonce: str
    first_lsn: int
    durable_lsn: int
    chain: tuple[ChainPoint, ...] = ()
    origins: tuple[OriginKey, ...] = ()
    chain_lost: tuple[int, ...] = ()
    versions: tuple[int, int] = (VERSION_MIN, VERSION)
    table: EpochTable = field(default_factory=EpochTable)
    boots: Mapping[int, bytes] = field(default_factory=dict)
    boots_from: int = 1
    acked: int = 0
    parent: str = ""
    lines: tuple[Line, ...] = ()
    echo: str = ""
    """The parent's last challenge: a HELLO that was under way for long cannot have it."""

    @property
    def trail(self) -> Trail:
        """What it says of its log."""
        trail = Trail()
        trail.boots, trail.boots_from = dict(self.boots), self.boots_from
        for point in self.chain:
            trail.points[point.lsn] = point.chain
        trail.head = self.durable_lsn
        return trail

    def encode(self) -> bytes:
        """One HELLO frame."""
        return encode_frame(
            FrameType.HELLO,
            {
                "v": list(self.versions),
                "origin": self.origin.to_wire(),
                "instance": self.instance,
                "nonce": self.nonce,
                "first": self.first_lsn,
                "durable": self.durable_lsn,
                "chain": [point.to_wire() for point in self.chain],
                "origins": [origin.to_wire() for origin in self.origins],
                "chain_lost": list(self.chain_lost),
                "forks": self.table.to_wire(),
                "trail": {
                    "boots": [[lsn, self.boots[lsn]] for lsn in sorted(self.boots)],
                    "boots_from": self.boots_from,
                },
                "acked": self.acked,
                "echo": self.echo,
                "parent": self.parent,
            },
            _pack(self.lines),
        )

    @classmethod
    def from_frame(cls, frame: Frame) -> Hello:
        header = frame.header
        low, high = pair(header.get("v"))
        starts = Trail.from_wire(header.get("trail", {}))
        return cls(
            OriginKey.from_wire(header.get("origin")),
            text(header.get("instance"), "instance"),
            text(header.get("nonce"), "nonce"),
            integer(header.get("first"), "first"),
            integer(header.get("durable"), "durable"),
            tuple(
                ChainPoint.from_wire(p)
                for p in list_of(header.get("chain"), "chain", CHAIN_POINTS_MAX)
            ),
            tuple(
                OriginKey.from_wire(o)
                for o in list_of(header.get("origins"), "origins", ORIGINS_MAX)
            ),
            tuple(
                integer(lsn, "lsn")
                for lsn in list_of(header.get("chain_lost"), "chain_lost", CHAIN_POINTS_MAX)
            ),
            (low, high),
            EpochTable.from_wire(header.get("forks", [])),
            starts.boots,
            # Of a child that knows nothing of starts, all of them are unknown.
            starts.boots_from if "trail" in header else LSN_MAX,
            integer(header.get("acked", 0), "acked"),
            text(header.get("parent", ""), "parent", empty=True),
            _lines(frame.payload),
            text(header.get("echo", ""), "echo", LEASE_CHARS_MAX, empty=True),
        )


@dataclass(frozen=True, slots=True)
class Welcome:
    """The parent's answer. ``need_chain``: LSNs whose chain value it must see before it decides;
    then there is no lease yet and the child says HELLO again with them. ``table``: the epochs that
    the child must write down first, None if they are as it said; there is no lease then either.
    ``lines``: what the parent knows of nodes behind the child, their closed epochs with what it
    holds of them. ``version``: the one that is spoken from now on."""

    node: str
    uuid: str
    nonce: str
    lease: str
    time_ns: int
    held: tuple[tuple[OriginKey, RangeSet], ...] = ()
    need_chain: tuple[int, ...] = ()
    version: int = VERSION
    table: EpochTable | None = None
    lines: tuple[Line, ...] = ()
    challenge: str = ""
    """To be echoed in the next HELLO, before the parent decides; there is no lease then either."""

    def encode(self) -> bytes:
        """One WELCOME frame."""
        return encode_frame(
            FrameType.WELCOME,
            {
                "v": self.version,
                "node": self.node,
                "uuid": self.uuid,
                "nonce": self.nonce,
                "lease": self.lease,
                "time_ns": self.time_ns,
                "held": [[key.to_wire(), ranges.to_wire()] for key, ranges in self.held],
                "need_chain": list(self.need_chain),
                "forks": None if self.table is None else self.table.to_wire(),
                "challenge": self.challenge,
            },
            _pack(self.lines),
        )

    @classmethod
    def from_frame(cls, frame: Frame) -> Welcome:
        header = frame.header
        held = []
        for item in list_of(header.get("held"), "held", ORIGINS_MAX + 1):
            if not isinstance(item, list) or len(item) != 2:
                raise WireError("held is a list of [origin, ranges]")
            held.append((OriginKey.from_wire(item[0]), RangeSet.from_wire(item[1])))
        return cls(
            text(header.get("node"), "node"),
            text(header.get("uuid"), "uuid"),
            text(header.get("nonce"), "nonce"),
            text(header.get("lease"), "lease", LEASE_CHARS_MAX, empty=True),
            integer(header.get("time_ns"), "time_ns"),
            tuple(held),
            tuple(
                integer(lsn, "lsn")
                for lsn in list_of(header.get("need_chain"), "need_chain", CHAIN_POINTS_MAX)
            ),
            integer(header.get("v"), "v"),
            None if header.get("forks") is None else EpochTable.from_wire(header["forks"]),
            _lines(frame.payload),
            text(header.get("challenge", ""), "challenge", LEASE_CHARS_MAX, empty=True),
        )


def _pack(lines: Sequence[Line]) -> bytes:
    packed: bytes = msgpack.packb([line.to_wire() for line in lines]) if lines else b""
    return packed


def _lines(payload: Buffer) -> tuple[Line, ...]:
    if not len(payload):
        return ()
    if len(payload) > LINES_BYTES_MAX:
        raise WireError(f"lines of {len(payload)} bytes")
    try:
        values = msgpack.unpackb(payload, strict_map_key=False)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as exc:
        raise WireError(f"lines are not msgpack ({exc})") from exc
    return tuple(Line.from_wire(value) for value in list_of(values, "lines", ORIGINS_MAX))
