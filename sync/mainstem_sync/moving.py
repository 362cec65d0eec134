"""Devices moved from one node to another: given, told to all who are concerned, and carried out.

1. A move is durable as an OWN record of the node that gives it, which is above both owners. From
   then on it happens, whatever stops in between: ``look`` tells everybody who has not been told.
2. Told are all nodes that have or had the device (down/move_orders.py). A relay knows by the order
   that it hands on.
3. A node that is told, and a relay, states the moves itself (OWN), so that the tiers above know
   them from below, too. A node that is told puts its rows of other times aside
   (receiving/moved_rows.py).
4. A move takes effect where slices and computed windows end, so that each has one owner.
5. A node that had to refuse a device, because it did not know yet, takes it when it learns better.
"""

from __future__ import annotations

import logging
import math
import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from mainstem_engine.catalog.names import canonical_path
from mainstem_engine.columns import TIME_MAX_NS
from mainstem_engine.engine import Engine
from mainstem_engine.errors import EngineError, MainstemError, NotFoundError
from mainstem_engine.log.records import RecordKind
from mainstem_sync.down.downward import Downward
from mainstem_sync.down.move_orders import MoveOrders
from mainstem_sync.errors import MoveError
from mainstem_sync.receiving.moved_rows import MovedRows
from mainstem_sync.receiving.quarantine import QuarantineStore
from mainstem_sync.receiving.retry import QuarantineRetry
from mainstem_sync.slices.manifest import SLICE_NS
from mainstem_sync.state.follower import Follower
from mainstem_sync.state.line_following import ALARM
from mainstem_sync.state.moves import MOVES_MAX, Move, moves_from_wire, own_headers
from mainstem_sync.state.patience import ACK_TIMEOUT_S
from mainstem_sync.wire.order import Order
from mainstem_sync.wire.ranges import RangeSet

logger = logging.getLogger(__name__)

NS_PER_MS = 1_000_000
AGAIN_S = 60.0
"""A row that was found to be this node's, just before the move came, is in the log by then: nobody
waits longer for a disk."""
REFUSED_ITEMS_MAX = 1_000
"""Refused rows of a device that are asked for at once; the rest with the next change."""

MOVES_DIFFER = "MOVES_DIFFER"


class Moving:
    """See the module. Thread-safe. ``owner_of``: the owner by paths; ``route``: the child that
    leads to a node."""

    def __init__(
        self,
        node: str,
        follower: Follower,
        quarantine: QuarantineStore,
        *,
        engine: Callable[[], Engine],
        down: Downward,
        retrying: QuarantineRetry,
        owner_of: Callable[[str], str | None],
        route: Callable[[str], str | None],
        clock_ns: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self.moves = follower.moves
        self._node = node
        self._follower = follower
        self._quarantine = quarantine
        self._engine = engine
        self._orders = MoveOrders(
            node, follower, down, engine=engine, route=route, clock_ns=clock_ns
        )
        self._retrying = retrying
        self._owner_of = owner_of
        self._route = route
        self._clock_ns = clock_ns
        self._monotonic = monotonic
        self._again: dict[str, float] = {}
        self._rows = MovedRows(node, self.moves, quarantine)
        self._giving = threading.Lock()
        self._looking = threading.Lock()
        self._readmitted = 0
        self._refused: set[str] = set()
        self._alarmed: set[tuple[str, int]] = set()

    # At a node above both

    def move(self, device: str, to: str, from_ns: int | None = None, *, by: str = "") -> Move:
        """Rows of ``device`` with times from ``from_ns`` (None: the next moment that is possible)
        on are of the node ``to``. Durable when it returns; the same again changes nothing, but
        tells those again who refused. Raises MoveError, NotFoundError, SchemaError."""
        path = canonical_path(device)
        with self._giving:
            same = [m for m in self.moves.history(path) if (m.node, m.from_ns) == (to, from_ns)]
            if same:
                self._orders.tell(again=True)
                return same[0]
            source = self._require_possible(path, to)
            at = self._time(path, (source, to), from_ns)
            move = Move(
                path, at, to, source, uuid.uuid4().hex, self._clock_ns() // NS_PER_MS, self._node,
                by,
            )  # fmt: skip
            self._state([move])
        self._orders.tell()
        return move

    def _require_possible(self, path: str, to: str) -> str:
        """The present owner."""
        source = next(reversed(self.moves.owners(path)), None) or self._owner_of(path)
        if source is None:
            raise NotFoundError(
                f"nobody at or below {self._node} is known to own {path}", hint="check the path"
            )
        if source == to:
            raise MoveError(f"{path} belongs to {to} already", field="to")
        for name in (to, source):
            if name != self._node and self._route(name) is None:
                raise MoveError(
                    f"{name} is not below {self._node}",
                    field="to" if name == to else "device",
                    hint="ask at a node above both",
                )
        if len(self.moves) >= MOVES_MAX:
            raise MoveError(f"{MOVES_MAX} moves are known, and no more are kept")
        return source

    def _time(self, path: str, nodes: tuple[str, str], from_ns: int | None) -> int:
        step = self.step_ns(path, nodes)
        history = self.moves.history(path)
        after = history[-1].from_ns if history else None
        if from_ns is None:
            from_ns = -(-self._clock_ns() // step) * step
            if after is not None and from_ns <= after:
                from_ns = (after // step + 1) * step
        if not 0 <= from_ns < TIME_MAX_NS - step:
            raise MoveError("a device is moved at a time after 1970", field="at")
        if from_ns % step:
            before = from_ns - from_ns % step
            raise MoveError(
                f"a move of {path} takes effect at whole {step / 1e9:g} s: slices and windows of"
                " rollups have one owner",
                field="at",
                hint=f"{before // NS_PER_MS} or {(before + step) // NS_PER_MS} (ms)",
            )
        if after is not None and from_ns <= after:
            raise MoveError(
                f"{path} was moved at {after // NS_PER_MS} (ms) and is of {history[-1].node}"
                " since: earlier times stay as they are",
                field="at",
            )
        return from_ns

    def step_ns(self, device: str, nodes: tuple[str, ...]) -> int:
        """Moves of a device between ``nodes`` take effect at multiples of this: of a slice, and of
        each window of the rollups that they deliver."""
        catalog = self._engine().catalog
        number = catalog.devices.id_of(device)
        family = None if number is None else catalog.devices.family_name(number).casefold()
        step = SLICE_NS
        with self._follower.lock:
            lines = [s for s in self._follower.origins.lines() if s.key.name in nodes]
            tables = [table for state in lines for table in state.maps.tables.values()]
        for mapped in tables:
            table = catalog.templates.get(mapped.local)
            if table is None or (family is not None and table.family.casefold() != family):
                continue
            step = math.lcm(step, mapped.slice_ns, table.template.every_ns or 1)
        return step

    def listed(self, device: str | None = None) -> list[dict[str, Any]]:
        """Every move, or those of one device: as they were given, and how far each node that is
        concerned is, as known here. Times in ms."""
        given = self._orders.given()
        found = []
        for move in sorted(self.moves.all(), key=lambda each: (each.at_ms, *each.place)):
            if device is not None and move.device != device:
                continue
            told = [
                self._orders.progress(move, name, given)
                for name in dict.fromkeys(self.moves.owners(move.device))
            ]
            found.append(
                {
                    "id": move.id, "device": move.device, "to": move.node, "from": move.source,
                    "at": move.from_ns // NS_PER_MS, "given": move.at_ms, "issuer": move.issuer,
                    "by": move.by, "nodes": told,
                }
            )  # fmt: skip
        return found

    # At a node that is told

    def take(self, order: Order) -> dict[str, int]:
        """Carries out an order of the kind ``handover``; ``{"rows": put aside}``. It may be carried
        out again. Raises WireError, EngineError, OSError."""
        moves = moves_from_wire(order.body.get("moves"))
        engine = self._engine()
        self._state([move for move in moves if move.id not in self.moves.said])
        devices = list(dict.fromkeys(move.device for move in moves))
        for device in devices:
            if self._node in self.moves.owners(device):
                self._make(engine, device, order.body)
        with self._looking:
            rows = sum(self._put_aside(engine, device) for device in devices)
            again = self._monotonic() + AGAIN_S
            self._again.update((device, again) for device in devices)
        return {"rows": rows}

    def _put_aside(self, engine: Engine, device: str) -> int:
        return self._rows.put_aside(engine, device, self._clock_ns() // NS_PER_MS)

    def _make(self, engine: Engine, device: str, body: Mapping[str, Any]) -> None:
        """The device with its tags, where its template is known. Else its first row makes it."""
        template, tags = body.get("template"), body.get("tags")
        known = engine.catalog.devices.id_of(device) is not None
        if known or not isinstance(template, str) or engine.catalog.templates.get(template) is None:
            return
        some = {name: [value] for name, value in tags.items()} if isinstance(tags, dict) else {}
        try:
            engine.device_ids(template, [device], some, create=True)
        except EngineError as error:
            logger.warning("%s: %s comes without its tags: %s", self._node, device, error)

    # At every node

    def look(self) -> None:
        """What is left to be done; about once a second. What cannot be done now is done later:
        whoever calls has other work, too."""
        if not len(self.moves):
            return
        try:
            self._look()
        except (MainstemError, TimeoutError, OSError) as error:
            logger.warning("%s: what was moved is looked at later: %s", self._node, error)

    def _look(self) -> None:
        self._orders.tell()
        engine = self._engine()
        with self._looking:
            self._rows.look(engine, self._clock_ns() // NS_PER_MS)
            now = self._monotonic()
            for device in [device for device, at in self._again.items() if at <= now]:
                self._put_aside(engine, device)
                del self._again[device]
        self._say(engine)
        self._readmit(engine)
        self._alarm(engine)

    def _state(self, moves: list[Move]) -> None:
        for header in own_headers(moves):
            self._engine().append(RecordKind.OWN, header).wait(ACK_TIMEOUT_S)

    def _say(self, engine: Engine) -> None:
        """State what is known, for the parent; again what the log gave up before the parent had it.
        A relay states what it hands on, so that a tier above can learn it anew from there."""
        forward = self._follower.forward
        if forward is None:
            return
        first, said = engine.log.first_lsn, self.moves.said
        with self._follower.lock:
            held: RangeSet = forward.acked
            unsaid = [
                move
                for move in self.moves.all()
                if (lsn := said.get(move.id)) is None or (lsn < first and lsn not in held)
            ]
        if unsaid:
            self._state(unsaid)

    def _readmit(self, engine: Engine) -> None:
        """Take what was refused of devices that turn out to be their nodes'."""
        revision = self.moves.revision
        if revision == self._readmitted:
            return
        with self._follower.lock:
            refused = [
                (state, path)
                for state in self._follower.origins.lines()
                for path in set(state.maps.denied.values())
                if state.key.name in self.moves.owners(path)
            ]
        done = True
        for state, path in refused:
            try:
                problem = self._retrying.readmit(engine, state, path)
            except MainstemError as error:
                problem = str(error)
            if problem is not None:
                done = False  # its definition may be on its way
                if path not in self._refused:
                    logger.warning("%s of %s is refused still: %s", path, state.key.name, problem)
                    self._refused.add(path)
                continue
            items = self._quarantine.items(limit=REFUSED_ITEMS_MAX, node=state.key.name)
            self._retrying.retry([item["id"] for item in items if item["device"] == path])
        if done:
            self._readmitted = revision

    def _alarm(self, engine: Engine) -> None:
        for place, (stands, other) in list(self.moves.disputed.items()):
            if place in self._alarmed:
                continue
            self._alarmed.add(place)
            text = (
                f"{stands.device} was moved to {stands.node} by {stands.issuer} and to {other.node}"
                f" by {other.issuer}, both from {stands.from_ns // NS_PER_MS} (ms) on: the first"
                " stands"
            )
            header = {
                "op": ALARM, "code": MOVES_DIFFER, "node": self._node, "text": text,
                "at": self._clock_ns() // NS_PER_MS,
            }  # fmt: skip
            engine.append(RecordKind.EVT, header)
