"""Devices that were moved from one node to another: whose rows are whose, by event time.

1. A device belongs to the node under whose paths it lies, until its first move; from ``from_ns`` of
   a move on, to the move's ``node``. Of several moves the last one at or before a time counts. So
   every (device, event time) has one owner.
2. The state follows from records: OWN records of this node, orders of the kind ``handover`` (given,
   taken, or handed on here: a relay knows before the new owner does), and OWN records in received
   batches as far as their sender may say so (receiving/domain.py).
3. Of two different moves of one device at one time the one that was given later stands, at every
   tier alike, and whoever hears of both raises an alarm.
4. Moves are never forgotten, and there are at most MOVES_MAX: a further one is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_sync.errors import WireError
from mainstem_sync.wire.fields import integer, text
from mainstem_sync.wire.order import ID_CHARS_MAX, PRINCIPAL_CHARS_MAX

HANDOVER = "handover"
"""The kind of the orders that tell nodes of moves."""

MOVES_MAX = 10_000
"""A device that is moved is machine, cable and people: thousands in the life of a plant."""

MOVES_PER_RECORD = 500
PATH_CHARS_MAX = 4096

Span = tuple[int, int]
"""[from, to) of event time in ns."""

ALWAYS: Span = (TIME_MIN_NS, TIME_MAX_NS + 1)


@dataclass(frozen=True, slots=True)
class Move:
    """Rows of ``device`` with event times from ``from_ns`` on are of ``node``; ``source`` had it
    before. ``issuer``: the node that gave the move, ``by``: the person, ``at_ms``: when."""

    device: str
    from_ns: int
    node: str
    source: str
    id: str
    at_ms: int
    issuer: str
    by: str = ""

    @property
    def place(self) -> tuple[str, int]:
        """There is one move of a device at a time."""
        return self.device, self.from_ns

    def to_wire(self) -> list[Any]:
        return [
            self.device, self.from_ns, self.node, self.source, self.id, self.at_ms, self.issuer,
            self.by,
        ]  # fmt: skip

    @classmethod
    def from_wire(cls, value: object) -> Move:
        """Raises WireError: it may come from another node."""
        if not isinstance(value, list) or len(value) < 8:
            raise WireError("a move of a device without its fields")
        from_ns = value[1]
        if not isinstance(from_ns, int) or not TIME_MIN_NS <= from_ns <= TIME_MAX_NS:
            raise WireError("a move of a device at no time")
        return cls(
            text(value[0], "device", PATH_CHARS_MAX),
            from_ns,
            text(value[2], "node"),
            text(value[3], "source"),
            text(value[4], "id", ID_CHARS_MAX),
            integer(value[5], "at"),
            text(value[6], "issuer"),
            text(value[7], "by", PRINCIPAL_CHARS_MAX, empty=True),
        )


def moves_from_wire(value: object) -> list[Move]:
    """Raises WireError."""
    if not isinstance(value, list) or len(value) > MOVES_MAX:
        raise WireError("moves of devices that are no list")
    return [Move.from_wire(item) for item in value]


class Moves:
    """See the module. Changed under the lock of whoever owns it; to be read by any thread."""

    def __init__(self) -> None:
        self.revision = 0
        """Grows with every change."""
        self.said: dict[str, int] = {}
        """By id, moves that this node has stated itself, with the LSN of the newest record."""
        self.disputed: dict[tuple[str, int], tuple[Move, Move]] = {}
        """Two moves of one device at one time: (the one that stands, the other)."""
        self._histories: dict[str, tuple[Move, ...]] = {}
        self._devices: dict[str, frozenset[str]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    # What is so

    def devices(self) -> list[str]:
        """Paths of all devices that were ever moved."""
        return list(self._histories)

    def all(self) -> list[Move]:
        """Every move that stands."""
        return [move for history in list(self._histories.values()) for move in history]

    def history(self, device: str) -> tuple[Move, ...]:
        """The moves of a device by their times; empty for one that was never moved."""
        return self._histories.get(device, ())

    def owners(self, device: str) -> tuple[str, ...]:
        """Every node that has or had a device, in order of time; empty if it was never moved."""
        history = self._histories.get(device)
        if history is None:
            return ()
        return (history[0].source, *(move.node for move in history))

    def owner_at(self, device: str, time_ns: int) -> str | None:
        """Whose a row of that time is; None for a device that was never moved."""
        history = self._histories.get(device)
        if history is None:
            return None
        return next(
            (move.node for move in reversed(history) if move.from_ns <= time_ns), history[0].source
        )

    def spans(self, device: str, node: str) -> tuple[Span, ...]:
        """The event times whose rows are of a node, of a device that was moved."""
        history = self.history(device)
        edges = [ALWAYS[0], *(move.from_ns for move in history), ALWAYS[1]]
        return tuple(
            (edges[at], edges[at + 1])
            for at, owner in enumerate(self.owners(device))
            if owner == node
        )

    def devices_of(self, node: str) -> frozenset[str]:
        """Devices that were moved and are or were of a node."""
        return self._devices.get(node, frozenset())

    def ids_of(self, node: str) -> list[bytes]:
        """What there is to know of a node's moved devices, as the ids of their moves."""
        devices = sorted(self.devices_of(node))
        return [move.id.encode() for device in devices for move in self.history(device)]

    def nodes(self) -> list[str]:
        """Every node that has or had a device which was moved."""
        return list(self._devices)

    def sharing(self, node: str) -> set[str]:
        """Other nodes that have or had a device which is or was of ``node``."""
        devices = self.devices_of(node)
        return {owner for device in devices for owner in self.owners(device)} - {node}

    def times(self) -> set[int]:
        """When moves take effect, ns."""
        return {move.from_ns for move in self.all()}

    def knows(self, move: Move) -> bool:
        return move in self.history(move.device)

    # What changes it

    def put(self, moves: Iterable[Move]) -> bool:
        """More that is known; True if it changes anything."""
        changed = False
        for move in moves:
            changed = self._put(move) or changed
        if changed:
            self.revision += 1
        return changed

    def stated(self, moves: Iterable[Move], lsn: int) -> None:
        """An OWN record of this node."""
        some = list(moves)
        self.put(some)
        self.said.update((move.id, lsn) for move in some)

    def _put(self, move: Move) -> bool:
        history = self.history(move.device)
        other = next((known for known in history if known.from_ns == move.from_ns), None)
        if other == move:
            return False
        if other is not None:
            first, second = sorted((move, other), key=lambda each: (each.at_ms, each.id))
            if (first.node, first.source) != (second.node, second.source):
                self.disputed[move.place] = (second, first)
            if second is other:
                return False
            history = tuple(known for known in history if known is not other)
        elif self._count >= MOVES_MAX:
            return False
        history = tuple(sorted((*history, move), key=lambda each: each.from_ns))
        self._count += len(history) - len(self.history(move.device))
        self._histories[move.device] = history
        for node in {move.node, move.source}:
            self._devices[node] = self.devices_of(node) | {move.device}
        return True

    def snapshot(self) -> dict[str, Any]:
        return {
            "moves": [move.to_wire() for move in self.all()],
            "said": list(self.said.items()),
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        self.put(moves_from_wire(data["moves"]))
        self.said = {str(ident): int(lsn) for ident, lsn in data["said"]}


def own_headers(moves: Sequence[Move]) -> list[dict[str, Any]]:
    """The content of the OWN records that state ``moves``."""
    plain = [move.to_wire() for move in moves]
    return [
        {"moves": plain[at : at + MOVES_PER_RECORD]}
        for at in range(0, len(plain), MOVES_PER_RECORD)
    ]
