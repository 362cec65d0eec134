"""The federation of one node: everything that a tier needs of this package, behind one object.

Use, in this order:

1. ``Federation(...)``; give ``federation.consumers`` to ``Engine.open``; then ``bind(engine)``.
2. Serve ``receiver`` (http_server) if the node has children, drive ``sender`` (http_client) if it
   has a parent.
3. Call ``run_manifests`` and ``run_verification`` from a worker thread about once a second, rollups
   with the same frontier before them.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from mainstem_engine.consumers import LogConsumer
from mainstem_engine.engine import Engine
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.model import SELF_ORIGIN, Origin
from mainstem_sync.below import Below
from mainstem_sync.down.downward import Downward
from mainstem_sync.errors import SyncError
from mainstem_sync.exchange import SliceExchange
from mainstem_sync.moving import Moving
from mainstem_sync.proof.completeness import Window
from mainstem_sync.proof.differences import Differences
from mainstem_sync.proof.healing import Healing
from mainstem_sync.proof.holding import VERIFIED
from mainstem_sync.proof.mismatch_alarms import MismatchAlarms
from mainstem_sync.proof.prover import Proof
from mainstem_sync.proof.stamps import Stamps
from mainstem_sync.proof.trace import trace
from mainstem_sync.proving import Proving
from mainstem_sync.receiving.covering import follow_own_deletes
from mainstem_sync.receiving.greeting import Greeting
from mainstem_sync.receiving.quarantine import QuarantineStore
from mainstem_sync.receiving.quarantine_pages import QuarantinePages
from mainstem_sync.receiving.receiver import Receiver
from mainstem_sync.receiving.retry import QuarantineRetry
from mainstem_sync.receiving.strays import Strays
from mainstem_sync.reckoning import Reckoning
from mainstem_sync.sending.budget import LinkBudget
from mainstem_sync.sending.sender import Sender
from mainstem_sync.state.children import Children
from mainstem_sync.state.exports import Export, ExportPolicy
from mainstem_sync.state.follower import Follower
from mainstem_sync.state.upward import Upward
from mainstem_sync.wire.frames import Frame, FrameType
from mainstem_sync.wire.question import PIECE_BYTES

LATENESS_NS = 30 * 1_000_000_000
"""A slice closes this long after its end, unless the table says otherwise."""

CLOCK_BOUND_NS = 5 * 1_000_000_000
"""Drift that is not yet corrected: retention follows it slowly, slices should not wait for that."""

RESCAN_S = 10.0
"""Processor time that one question for slices may take for looking at stored rows again."""

SETTLED_ALWAYS = (1 << 63) - 1


class Federation:
    """One node's part in the federation. All methods may be called from any thread.

    ``paths``: what the node owns. ``exports``: what goes to the parent. ``parent``: False for a
    node without one (the group). ``data_dir``: the node's data directory (for the quarantine).
    ``log_bytes_max``: beyond it the oldest records that the parent lacks are owed as slices; None:
    the log grows until the parent has them.
    ``hold``: what a tier above must have done with rows before retention removes them here.
    ``lateness_ns``: per node, ``table_lateness_ns`` per table. ``status``: makes the node's own
    status object, sent with every heartbeat; may be set later (``federation.status = ...``).
    ``budget``: what the link to the parent may carry. ``clock_ns`` wall clock, ``monotonic``
    seconds, ``rng`` for jitter and tokens, ``fs`` for the files of the quarantine.
    """

    def __init__(
        self,
        *,
        node: str,
        paths: Sequence[str] = (),
        exports: Sequence[Export] = (),
        parent: bool = False,
        data_dir: Path,
        lateness_ns: int = LATENESS_NS,
        table_lateness_ns: Mapping[str, int] | None = None,
        quarantine_bytes_max: int = 200_000_000,
        hold: str = VERIFIED,
        log_bytes_max: int | None = None,
        status: Callable[[], Mapping[str, Any]] | None = None,
        budget: LinkBudget | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        fs: Filesystem | None = None,
    ) -> None:
        self.node = node
        self.paths = tuple(paths)
        self.policy = ExportPolicy(exports)
        self.status = status
        self.budget = budget or LinkBudget(None, clock_ns=clock_ns, monotonic=monotonic)
        self.sender: Sender | None = None
        """None without a parent, and before bind()."""
        self._lateness_ns = lateness_ns
        self.change_lateness(table_lateness_ns or {})
        self._clock_ns = clock_ns
        self._monotonic = monotonic
        self._rng = rng or random.SystemRandom()
        self._follower = Follower(
            self.policy,
            has_parent=parent,
            lateness_ns=self.lateness_ns,
            clock_ns=clock_ns,
            monotonic=monotonic,
        )
        self._lock = self._follower.lock
        self._children = Children(
            monotonic=monotonic,
            clock_ns=clock_ns,
            token=lambda: f"{self._rng.getrandbits(128):032x}",
        )
        self.quarantine = QuarantineStore.open(
            data_dir / "quarantine", bytes_max=quarantine_bytes_max, fs=fs
        )
        self._upward = Upward(
            lines=self._follower.lines,
            origins=self._follower.origins,
            children=self._children,
            lock=self._lock,
            has_parent=parent,
            monotonic=monotonic,
        )
        self.receiver = self._make_receiver()
        self.retired: Callable[[str], int | None] = lambda node: None
        """From when on, in ns, a node below sends nothing; may be set later."""
        self._proof = self._make_proof()
        self.proving = Proving(
            node,
            self._follower,
            self._children,
            has_parent=parent,
            hold=hold,
            sender=lambda: self.sender,
            monotonic=monotonic,
        )
        self.receiver.riders.append(self.proving.tell)
        self._log_bytes_max = log_bytes_max
        self.exchange = SliceExchange(self._follower, self._children.lease_of, monotonic)
        self.receiver.riders.append(self.exchange.repair.frames)
        self.quarantine_pages = QuarantinePages(
            node, self.quarantine, self._children.statuses, clock_ns=clock_ns, monotonic=monotonic
        )
        self.receiver.riders.append(self.quarantine_pages.frames)
        self.retrying = QuarantineRetry(
            node, lambda: self.engine, self._follower, self.quarantine, self.exchange.repair.want,
            lambda key: self._is_gone(Origin(key.uuid, key.name, key.epoch)),
        )  # fmt: skip
        self._strays = Strays(node, self._follower, self.quarantine)
        self._alarms = MismatchAlarms()
        self._healing = Healing(node)
        self._bound: Engine | None = None
        self._find_below()
        self._count()
        self._go_down(parent)

    def _go_down(self, has_parent: bool) -> None:
        self.down = self._make_downward(has_parent)
        self.moving = Moving(
            self.node,
            self._follower,
            self.quarantine,
            engine=lambda: self.engine,
            down=self.down,
            retrying=self.retrying,
            owner_of=self.owner_of,
            route=self.route,
            clock_ns=self._clock_ns,
            monotonic=self._monotonic,
        )

    def _find_below(self) -> None:
        below = Below(
            self.node, self.paths, self._follower, self._children, lambda: self.engine,
            self._clock_ns,
        )  # fmt: skip
        self.children = below.children
        self.route = below.route
        self.nodes_below = below.nodes
        self.origin_names = below.origins
        self.senders_of = below.senders_of
        self.owner_of = below.owner_of
        self.devices_of = below.devices_of

    def _count(self) -> None:
        reckoning = Reckoning(
            self._follower,
            self._children,
            self.receiver,
            self.quarantine,
            engine=lambda: self.engine,
            clock_ns=self._clock_ns,
        )
        self.delivery = reckoning.delivery
        self.accounting = reckoning.accounting
        self.drops = reckoning.drops

    def _make_downward(self, has_parent: bool) -> Downward:
        return Downward(
            self.node,
            self._children,
            line=self._own_line,
            route=self.route,
            lease=lambda: "" if self.sender is None else self.sender.lease,
            piece_bytes=lambda: PIECE_BYTES if self.sender is None else self.sender.frame_bytes,
            has_parent=has_parent,
            clock_ns=self._clock_ns,
            monotonic=self._monotonic,
            rng=self._rng,
        )

    @cached_property
    def stamps(self) -> Stamps:
        """From which state of the rows an answer is made."""
        return Stamps(self._follower, self._own_line)

    def _own_line(self) -> tuple[str, int]:
        return self._upward.key.uuid, self._upward.key.epoch

    def _make_proof(self) -> Proof:
        return Proof(
            self.node,
            self._follower,
            self._children,
            lateness_ns=self.lateness_ns,
            rng=self._rng,
            retired=lambda name: self.retired(name),
        )

    def _make_receiver(self) -> Receiver:
        follower = self._follower
        greeting = Greeting(
            node=self.node,
            origins=follower.origins,
            lines=follower.lines,
            children=self._children,
            upward=self._upward,
            lock=self._lock,
            clock_ns=self._clock_ns,
        )
        return Receiver(
            node=self.node,
            origins=follower.origins,
            accounts=follower.accounts,
            children=self._children,
            greeting=greeting,
            lines=follower.lines,
            quarantine=self.quarantine,
            differences=Differences(self.node, self._monotonic, follower.moves),
            moves=follower.moves,
            lock=self._lock,
            clock_ns=self._clock_ns,
            monotonic=self._monotonic,
        )

    @property
    def consumers(self) -> tuple[LogConsumer, ...]:
        """For Engine.open(..., consumers=federation.consumers)."""
        return (self._follower, self.down.orders)

    def bind(self, engine: Engine) -> None:
        """Connect to the opened engine. Call once, before anything is written."""
        follower = self._follower
        with self._lock:
            follower.origins.replay_finished()
            follower.own_deletes.clear()
        self._upward.bind(engine, self.node)
        # The BOOT record of this start is applied: a HELLO that does not name it would be a lie.
        engine.log.barrier()
        follower.scope.rebuild(engine.catalog.devices)
        forward = follower.forward
        if forward is not None:
            if follower.rules_changed:
                engine.log.rotate()  # only what is synced can be read
                logged = {name: s.logged for name, s in follower.accounts.tables.items()}
                forward.recount(engine.log, logged)
            engine.add_hold("parent", lambda: forward.saved_watermark)
            self.sender = Sender(
                node=self.node,
                engine=engine,
                forward=forward,
                upward=self._upward,
                lock=self._lock,
                status=self._own_status,
                clock_ns=self._clock_ns,
                monotonic=self._monotonic,
                rng=self._rng,
                budget=self.budget,
            )
            follower.on_applied = self._applied
            self.exchange.bind(engine, self.sender, forward, self._log_bytes_max)
            self.sender.on_frame[FrameType.PROVEN] = self.proving.told
            self.sender.on_frame[FrameType.ASK] = self._asked
            engine.add_part_hold("parent", self.proving.holding.holds)
        engine.settled = self._settled
        engine.deletable = self._is_gone
        self.receiver.bind(engine)
        self.down.bind(engine)
        self._bound = engine

    def close(self) -> None:
        """Release files. The engine is closed by its owner, before or after this."""
        self.quarantine.close()

    @property
    def engine(self) -> Engine:
        """The bound engine. SyncError before bind()."""
        if self._bound is None:
            raise SyncError("the federation has no engine yet", hint="call bind() first")
        return self._bound

    def change_exports(self, exports: Sequence[Export]) -> None:
        """Other export rules from now on, as after a start with them: what is still owed is judged
        anew, history that more rules let go up is owed with the next ``run_manifests``. Between
        two of its runs, on their thread. Reads what the parent lacks of the log. Durability
        ``always`` only: what is applied must be readable."""
        follower, forward, engine = self._follower, self._follower.forward, self.engine
        if ExportPolicy(exports).fingerprint == self.policy.fingerprint:
            self.policy.change(exports)
            return

        def change() -> None:
            with self._lock:
                before = self.policy.fingerprint
                self.policy.change(exports)
                follower.scope.clear()
                follower.scope.rebuild(engine.catalog.devices)
                if forward is not None:
                    forward.rules = before if forward.rules is None else forward.rules
                    logged = {n: s.logged for n, s in follower.accounts.tables.items()}
                    forward.recount(engine.log, logged)

        if self.sender is None:
            change()
        else:
            self.sender.begin_anew(change)

    def tell_status(self) -> None:
        """The parent is told the status with the next request, which is due now."""
        if self.sender is not None:
            self.sender.status_at = float("-inf")
            self._applied()

    def change_lateness(self, table_lateness_ns: Mapping[str, int]) -> None:
        """Per table how long after its end a slice stays open; what is closed stays closed."""
        self._table_lateness_ns = {t.casefold(): ns for t, ns in table_lateness_ns.items()}

    def lateness_ns(self, table: str) -> int:
        """How long after its end a slice of an own table stays open."""
        return self._table_lateness_ns.get(table.casefold(), self._lateness_ns)

    # What is true

    def run_manifests(
        self,
        frontier_ns: int,
        now_ns: int | None = None,
        *,
        missing_sources: Mapping[str, Sequence[str]] | None = None,
        collector_gaps: Mapping[str, Sequence[tuple[int, int]]] | None = None,
        table_frontiers: Mapping[str, int] | None = None,
    ) -> int:
        """Close slices whose end + lateness is at or before the frontier; returns how many were
        stated. Blocks until that is durable.

        Run rollups with the same frontier first, so that their rows are part of the statement.
        ``missing_sources``: table to device paths; ``collector_gaps``: table to [from, to) ns;
        ``table_frontiers``: ns, of tables that wait for a source. A clock that jumped ahead closes
        nothing: where there is a parent, its time or what was confirmed before is the limit.
        """
        self.exchange.owe()
        error_ms = None
        if self.sender is not None:
            frontier_ns = min(frontier_ns, self.engine.trusted_now_ns() + CLOCK_BOUND_NS)
            error_ms = self.sender.clock_error_ms
        return self._follower.manifests.run(
            self.engine,
            frontier_ns,
            self._clock_ns() if now_ns is None else now_ns,
            missing_sources or {},
            collector_gaps or {},
            table_frontiers,
            error_ms,
        )

    def run_verification(self, now_ns: int | None = None) -> int:
        """Compare received manifests with the stored rows; returns how many slices were scanned.
        Looks again at a few of those that were equal before, when it is time to. What differs is
        asked for again."""
        now_ns = self._clock_ns() if now_ns is None else now_ns
        self._proof.audit(self.engine, now_ns)
        scanned = self._proof.verify(self.engine)
        unreadable = [self._proof.unreadable, self._follower.manifests.unreadable]
        if self.exchange.images is not None:
            unreadable.append(self.exchange.images.unreadable)
        if self._healing.look(self.engine, unreadable, now_ns // 1_000_000):
            scanned += self._proof.verify(self.engine)
        damaged = self._proof.damaged_slices()
        self.receiver.differences.differ(damaged)
        self._strays.look(self.engine, damaged, now_ns // 1_000_000)
        self._alarms.look(self.engine, damaged, self._monotonic(), now_ns // 1_000_000)
        self.exchange.look(damaged)
        self.retrying.settle()
        follow_own_deletes(self.node, self.engine, self._follower, self.quarantine)
        return scanned

    def completeness(
        self,
        tables: Sequence[str] | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> list[dict[str, Any]]:
        """The contract's completeness objects (times in ms), one per origin node and table.

        ``tables``: only these. ``start_ns``, ``end_ns``: judge only the slices of [start, end).
        """
        return self._proof.completeness(tables, Window(start_ns, end_ns), self._clock_ns())

    def verify(
        self, start_ns: int | None = None, end_ns: int | None = None, *, rescan: bool = False
    ) -> dict[str, Any]:
        """``{"from","to","judged","verified","slices":[...]}`` over the received slices that are
        due; ``slices`` lists those that are not verified. Times in ms.

        ``rescan``: compare stored rows again first, also where they were equal before, the newest
        first and for a bounded time; ``rescanned`` then says whether all of it was looked at.
        ``points``: those that differed in slices that were repaired since the start, the newest
        first; see differences.py.
        """
        window, now_ns = Window(start_ns, end_ns), self._clock_ns()
        found = {}
        if rescan:
            found["rescanned"] = self._proof.rescan(self.engine, window, now_ns, RESCAN_S)
        points = self.receiver.differences.between(start_ns, end_ns)
        return {**self._proof.list_unverified(window, now_ns), **found, "points": points}

    @property
    def holes(self) -> list[dict[str, Any]]:
        """Every due slice, or stretch of them, that is not verified, as ``verify`` lists them."""
        slices: list[dict[str, Any]] = self.verify()["slices"]
        return slices

    def trace(self, device: str, measurement: str, time_ns: int) -> dict[str, Any]:
        """The contract's trace object of one point; see trace.py. Raises NotFoundError."""
        parent = None if self.sender is None else self.sender.parent
        return trace(
            self.node, self.engine, self._follower, device, measurement, time_ns,
            heard=self.proving.heard, parent=parent,
        )  # fmt: skip

    # How it stands

    def link(self) -> dict[str, Any] | None:
        """State of the uplink; None without a parent. ``lag_ms``: age of the oldest record that
        the parent lacks. ``last_contact_ms``: since its last answer, None before the first.
        ``silence``: [from, until) in ms of the present or next time without traffic, or None."""
        forward, sender = self._follower.forward, self.sender
        if forward is None or sender is None:
            return None
        age = sender.contact_age_s()
        silence = self.budget.next_silence_ns()
        with self._lock:
            lag = forward.oldest_pending_ms(self._clock_ns())
        return {
            "state": str(sender.state),
            "parent": sender.parent,
            "error": sender.error,
            "lag_ms": lag,
            "clock_offset_ms": sender.clock_offset_ms,
            "last_contact_ms": None if age is None else int(age * 1000),
            "silence": None if silence is None else [at // 1_000_000 for at in silence],
        }

    def is_reached(self, within_s: float) -> bool:
        """True if the parent has answered a request that was sent within the last seconds, or
        there is no parent. What was on its way before says nothing about the link of now."""
        if self._follower.forward is None:
            return True
        age = None if self.sender is None else self.sender.asked_age_s()
        return age is not None and age <= within_s

    def alarms(self) -> list[dict[str, Any]]:
        """The newest alarms: ``{"code", "node", "text", "at"}`` (ms), oldest first."""
        with self._lock:
            return list(self._follower.lines.alarms)

    def fork_losses(self) -> list[dict[str, Any]]:
        """LSNs that a node below announced before its log forked, and that nobody holds."""
        with self._lock:
            return self._follower.lines.losses()

    def forked_slices(self, uuid: str, table: str) -> list[tuple[int, int]]:
        """Stretches [start, end) in ns of a table of a node below that hold records from beyond a
        fork of its log. ``table``: as the node calls it."""
        with self._lock:
            return self._follower.lines.forked_slices(uuid, table)

    # Inside

    def _settled(self, origin: int) -> int:
        """D of an origin: below it nothing can still arrive. At the owner, what its parent has."""
        with self._lock:
            if origin == SELF_ORIGIN:
                forward = self._follower.forward
                return SETTLED_ALWAYS if forward is None else forward.acked.watermark
            found = self.engine.origins[origin]
            return self._follower.lines.settled(found.node_uuid, found.epoch, found.node)

    def _is_gone(self, origin: Origin) -> bool:
        """True for a node that is retired or replaced, or behind one that is retired: its rows may
        be deleted here."""
        with self._lock:
            state = self._follower.origins.line(origin.node_uuid)
            if state is not None and self._follower.origins.successor(state) is not None:
                return True
            names = {origin.node, "" if state is None else state.via}
        return any(self.retired(name) is not None for name in names if name)

    def _asked(self, frame: Frame) -> None:
        if self.quarantine_pages.asked(frame):
            self.tell_status()

    def _own_status(self) -> Mapping[str, Any]:
        if self.status is not None:
            return self.status()
        return {"node": self.node, "delivery": self.delivery(), "children": self.children()}

    def _applied(self) -> None:
        sender = self.sender
        if sender is not None and sender.on_work is not None:
            sender.on_work()
