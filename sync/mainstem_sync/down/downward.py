"""The way down at one node: what it gives, hands on, and takes, behind one object.

Use: give ``orders`` to Engine.open among the consumers, then ``bind``. Serve ``giver`` if the node
has children, drive ``taker`` if it has a parent. Orders for this node come to ``on_order``; what
became of them is said with ``say``. After a start ``unfinished`` has those that were under way.

``questions`` are those to the children, ``answers`` has those of the parent.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from mainstem_engine.consumers import Ack
from mainstem_engine.log.records import RecordKind
from mainstem_sync.down.answers import Answers
from mainstem_sync.down.giver import Giver
from mainstem_sync.down.orders import Line, Orders, Standing
from mainstem_sync.down.questions import Questions
from mainstem_sync.down.taker import LogWriter, Taker
from mainstem_sync.errors import SyncError
from mainstem_sync.state.children import Children
from mainstem_sync.wire.order import Order, State, Word


class Downward:
    """See the module. Thread-safe. ``line``: of this node's log now; ``route``: the child that
    leads to a node; ``lease``: of the connection to the parent; ``piece_bytes``: what its link
    takes in a moment."""

    def __init__(
        self,
        node: str,
        children: Children,
        *,
        line: Callable[[], Line],
        route: Callable[[str], str | None],
        lease: Callable[[], str],
        piece_bytes: Callable[[], int],
        has_parent: bool,
        clock_ns: Callable[[], int],
        monotonic: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self.node = node
        self.orders = Orders()
        self.questions = Questions(
            children,
            monotonic=monotonic,
            token=children.new_token,
            wake=lambda child: self.giver.wake(child),
        )
        self.giver = Giver(self.orders, children, line=line, route=route, questions=self.questions)
        self.answers = Answers(monotonic=monotonic, piece_bytes=piece_bytes)
        self.taker: Taker | None = None
        """None without a parent, and before bind()."""
        self.on_order: Callable[[Order], None] = lambda order: None
        """Called with an order for this node when it is durable, on the thread that brought it;
        may be set later."""
        self.on_change: Callable[[Standing], None] = lambda standing: None
        """Called with every order that is new or further, on the committer thread: be quick."""
        self._lease = lease
        self._has_parent = has_parent
        self._clock_ns = clock_ns
        self._monotonic = monotonic
        self._rng = rng
        self._log: LogWriter | None = None

    def bind(self, log: LogWriter) -> None:
        """The engine is open, and all of its log has been applied."""
        self._log = log
        self.orders.on_change = self._changed
        if self._has_parent:
            self.taker = Taker(
                self.node,
                self.orders,
                log,
                lease=self._lease,
                clock_ns=self._clock_ns,
                monotonic=self._monotonic,
                rng=self._rng,
                on_order=lambda order: self.on_order(order),
                answers=self.answers,
            )

    def give(self, order: Order) -> Ack:
        """Write an order down; durable with the Ack. One that is known by its id changes nothing.
        Raises OrdersFullError, TooLargeError."""
        self.orders.require_room()
        ack = self._writer.append(RecordKind.ORD, order.to_header())
        if order.to == self.node:
            ack.wait()
            if (found := self.orders.find(order.id)) is None or found.state is State.QUEUED:
                self.say(order.id, State.DELIVERED).wait()
                self.on_order(order)
        return ack

    def say(
        self,
        order_id: str,
        state: State,
        result: Mapping[str, object] | None = None,
        error: str = "",
    ) -> Ack:
        """What this node has to say of an order; durable with the Ack, and on its way up then."""
        at_ms = self._clock_ns() // 1_000_000
        word = Word(order_id, self.node, state, at_ms, result or {}, error)
        return self._writer.append(RecordKind.RES, word.to_header())

    def unfinished(self) -> list[Standing]:
        """Orders for this node that have no end yet, oldest first."""
        return self.orders.open_for(self.node)

    @property
    def _writer(self) -> LogWriter:
        if self._log is None:
            raise SyncError("there is no log to write orders to yet", hint="call bind() first")
        return self._log

    def _changed(self, standing: Standing) -> None:
        if standing.order.to != self.node and standing.state is State.QUEUED:
            self.giver.changed(standing.order.to)
        self.on_change(standing)
