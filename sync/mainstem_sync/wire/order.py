"""An order, and the words about it: the content of ORD and RES records, and of ORDER frames.

An *order* is one durable wish of a node for a node below it: a command, a configuration. Whoever
gives or takes it writes it down (ORD); that record stays in that node's log. A *word* says what
became of it (RES) and goes up through every tier. The node that the order is for has the last word:
only if it has spoken none, somebody else's stands.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgpack

from mainstem_sync.errors import TooLargeError, WireError
from mainstem_sync.wire.fields import integer, text
from mainstem_sync.wire.frames import Frame, FrameType, encode_frame

BODY_BYTES_MAX = 256 << 10
"""A configuration of a large edge, packed; commands are a thousandth of it."""

RESULT_BYTES_MAX = 64 << 10
"""What a command answers is an answer, not a download."""

ID_CHARS_MAX = 64
KIND_CHARS_MAX = 32
ERROR_CHARS_MAX = 2000
PRINCIPAL_CHARS_MAX = 255


class Mode(enum.StrEnum):
    """What may happen when nobody knows whether an order was carried out."""

    IDEMPOTENT = "idempotent"
    """It is carried out again: at least once."""
    ACTUATE = "actuate"
    """It is not: at most once, and UNKNOWN."""


class State(enum.StrEnum):
    """How far an order is."""

    QUEUED = "QUEUED"
    """Durable at the node that gave it."""
    DELIVERED = "DELIVERED"
    """Durable at the node that it is for."""
    STARTED = "STARTED"
    DONE = "DONE"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"
    """Not begun before ``not_after``."""
    UNKNOWN = "UNKNOWN"
    """Begun, and nobody knows how it ended."""

    @property
    def is_final(self) -> bool:
        return self not in _OPEN

    @property
    def rank(self) -> int:
        """States follow one another in this order; all final ones have the same rank."""
        return _OPEN.index(self) if self in _OPEN else len(_OPEN)


_OPEN = (State.QUEUED, State.DELIVERED, State.STARTED)


@dataclass(frozen=True, slots=True)
class Order:
    """See the module.

    ``id``: unique in the federation. ``to``: name of the node. ``kind`` says who carries it out,
    ``body`` what. ``issuer``: the node that gave it, ``by``: the person or program. ``slot``: of
    orders with one slot for one node only the newest counts; empty: all do. ``at_ms``,
    ``not_after_ms``: wall clock; None: for ever.
    """

    id: str
    kind: str
    to: str
    body: Mapping[str, Any]
    at_ms: int
    issuer: str
    by: str = ""
    mode: Mode = Mode.IDEMPOTENT
    not_after_ms: int | None = None
    slot: str = ""

    def to_header(self) -> dict[str, Any]:
        """For Engine.append and frames. TooLargeError for a body beyond the bound."""
        body = msgpack.packb(dict(self.body))
        if len(body) > BODY_BYTES_MAX:
            raise TooLargeError("the body of an order", len(body), BODY_BYTES_MAX)
        return {
            "id": self.id, "kind": self.kind, "to": self.to, "body": body, "at": self.at_ms,
            "issuer": self.issuer, "by": self.by, "mode": str(self.mode),
            "until": self.not_after_ms, "slot": self.slot,
        }  # fmt: skip

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> Order:
        """Raises WireError: it may come from another node."""
        mode, until = header.get("mode"), header.get("until")
        if mode not in Mode.__members__.values():
            raise WireError(f"mode {mode!r} of an order is unknown", hint="upgrade this node")
        return cls(
            text(header.get("id"), "id", ID_CHARS_MAX),
            text(header.get("kind"), "kind", KIND_CHARS_MAX),
            text(header.get("to"), "to"),
            _packed_map(header.get("body"), "the body of an order", BODY_BYTES_MAX),
            integer(header.get("at"), "at"),
            text(header.get("issuer"), "issuer"),
            text(header.get("by", ""), "by", PRINCIPAL_CHARS_MAX, empty=True),
            Mode(str(mode)),
            None if until is None else integer(until, "until"),
            text(header.get("slot", ""), "slot", KIND_CHARS_MAX, empty=True),
        )

    def frame(self, lsn: int, *, delivered: bool) -> bytes:
        """One ORDER frame. ``lsn``: of the record in the log of the node that hands it on;
        ``delivered``: the node that the order is for is known to have had it."""
        fields = {**self.to_header(), "lsn": lsn, "delivered": delivered}
        return encode_frame(FrameType.ORDER, fields)

    @classmethod
    def from_frame(cls, frame: Frame) -> tuple[Order, int, bool]:
        """(order, lsn, delivered). Raises WireError."""
        order = cls.from_header(frame.header)
        return order, integer(frame.header.get("lsn"), "lsn"), bool(frame.header.get("delivered"))


@dataclass(frozen=True, slots=True)
class Word:
    """What ``node`` says of an order. ``result`` with DONE, ``error`` with the others."""

    id: str
    node: str
    state: State
    at_ms: int
    result: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""

    def to_header(self) -> dict[str, Any]:
        """For Engine.append. TooLargeError for a result beyond the bound."""
        result = msgpack.packb(dict(self.result))
        if len(result) > RESULT_BYTES_MAX:
            raise TooLargeError("the result of an order", len(result), RESULT_BYTES_MAX)
        return {
            "id": self.id, "node": self.node, "state": str(self.state), "at": self.at_ms,
            "result": result, "error": self.error[:ERROR_CHARS_MAX],
        }  # fmt: skip

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> Word:
        """Raises WireError: it may come from another node."""
        state = header.get("state")
        if state not in State.__members__.values():
            raise WireError(f"state {state!r} of an order is unknown", hint="upgrade this node")
        return cls(
            text(header.get("id"), "id", ID_CHARS_MAX),
            text(header.get("node"), "node"),
            State(str(state)),
            integer(header.get("at"), "at"),
            _packed_map(header.get("result"), "the result of an order", RESULT_BYTES_MAX),
            text(header.get("error", ""), "error", ERROR_CHARS_MAX, empty=True),
        )


def _packed_map(value: object, what: str, limit: int) -> Mapping[str, Any]:
    if not isinstance(value, bytes) or len(value) > limit:
        raise WireError(f"{what} is not at most {limit} bytes")
    try:
        found = msgpack.unpackb(value)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as exc:
        raise WireError(f"{what} is not msgpack ({exc})") from exc
    if not isinstance(found, dict):
        raise WireError(f"{what} is not a map")
    return found
