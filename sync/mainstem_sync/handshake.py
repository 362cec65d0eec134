"""HELLO and WELCOME: how a child and its parent begin.

A child says who it is, how far its log goes and what its hash chain is there. The parent answers
with a lease and, per origin, what it holds; or with LSNs whose chain value it must see first.
"""

from __future__ import annotations

from dataclasses import dataclass

from mainstem_sync.errors import WireError
from mainstem_sync.fields import integer, list_of, pair, text
from mainstem_sync.protocol import ORIGINS_MAX, VERSION, ChainPoint, OriginKey
from mainstem_sync.ranges import RangeSet
from mainstem_sync.wire import Frame, FrameType, encode_frame

LEASE_CHARS_MAX = 64

CHAIN_POINTS_MAX = 64
"""A child states a few; a parent asks for one."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What a child says first. ``instance`` is new at every process start; ``nonce`` comes back.
    ``chain_lost``: LSNs that the parent asked for and whose chain value is not known any more."""

    origin: OriginKey
    instance: str
    nonce: str
    first_lsn: int
    durable_lsn: int
    chain: tuple[ChainPoint, ...] = ()
    origins: tuple[OriginKey, ...] = ()
    chain_lost: tuple[int, ...] = ()
    versions: tuple[int, int] = (VERSION, VERSION)

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
            },
        )

    @classmethod
    def from_frame(cls, frame: Frame) -> Hello:
        header = frame.header
        low, high = pair(header.get("v"))
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
        )


@dataclass(frozen=True, slots=True)
class Welcome:
    """The parent's answer. ``need_chain``: LSNs whose chain value it must see before it decides;
    then there is no lease yet and the child says HELLO again with them."""

    node: str
    uuid: str
    nonce: str
    lease: str
    time_ns: int
    held: tuple[tuple[OriginKey, RangeSet], ...] = ()
    need_chain: tuple[int, ...] = ()
    version: int = VERSION

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
            },
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
        )
