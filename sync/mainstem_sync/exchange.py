"""The exchange of slices: what this node asks of its children, and owes and answers to its parent.

One object per node, made with its follower and connected to the engine and the sender, so that the
federation has one thing to drive: ``look`` asks for what has to be repaired, ``owe`` sees to what
the log cannot wait for; both about once a second.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import numpy as np

from mainstem_engine.engine import Engine
from mainstem_engine.log.records import RecordKind
from mainstem_sync.origins.origin_state import OriginState
from mainstem_sync.proof.prover import DamagedSlice
from mainstem_sync.proof.repair import Repair
from mainstem_sync.sending.imagery import Imagery
from mainstem_sync.sending.log_cap import LogCap
from mainstem_sync.sending.sender import Sender
from mainstem_sync.slices.loss import EXPIRED, LOST_SLICES_MAX, Loss, LostTable
from mainstem_sync.slices.manifest import Ints
from mainstem_sync.slices.wants import Want, Wanted
from mainstem_sync.state.follower import Follower
from mainstem_sync.state.forward import Forward
from mainstem_sync.state.line_following import ALARM, ALTERED
from mainstem_sync.wire.frames import Frame, FrameType
from mainstem_sync.wire.messages import OriginKey
from mainstem_sync.wire.ranges import RangeSet

SAID_S = 600.0
"""A parent that waits asks every few seconds; each answer is a record of the log."""

SAID_MAX = 10_000
"""Runs of slices that were declared lost and are remembered; beyond it they are said once more."""


class SliceExchange:
    """See the module. ``lease``: the newest of a child. Thread-safe."""

    def __init__(
        self, follower: Follower, lease: Callable[[str], str], monotonic: Callable[[], float]
    ) -> None:
        self._follower = follower
        self._monotonic = monotonic
        self._lock: threading.RLock = follower.lock
        self.repair = Repair(follower.origins, follower.lock, lease, monotonic)
        self.images: Imagery | None = None
        """None without a parent, and before bind()."""
        self._cap: LogCap | None = None
        self._engine: Engine | None = None
        self._sender: Sender | None = None
        self._forward: Forward | None = None
        self._said_lost: dict[tuple[OriginKey | None, str], RangeSet] = {}
        self._said_at: dict[str, float] = {}

    def bind(
        self, engine: Engine, sender: Sender, forward: Forward, log_bytes_max: int | None
    ) -> None:
        """Answer the parent from this engine."""
        self._engine, self._sender, self._forward = engine, sender, forward
        self._cap = LogCap(
            engine,
            self._follower,
            forward,
            bytes_max=log_bytes_max,
            parent_has=sender.parent_has,
            sending=sender.lock,
        )
        sender.lose = self._cap.lose
        self._cap.declare_damage()
        self.images = Imagery(
            engine,
            forward.classifier,
            own=lambda: sender.own,
            state_of=self._state_of,
            epochs_of=self._follower.lines.table,
            relayed=self._follower.origins.lines,
            lock=self._lock,
            lose=self._lose,
            word=self._follower.manifests.word,
            broken=self._not_as_stated,
            monotonic=self._monotonic,
        )
        sender.images = self.images
        self._follower.manifests.lose = self._not_whole
        sender.on_frame[FrameType.WANT] = self._wanted

    def look(self, damaged: Iterable[DamagedSlice]) -> int:
        """Ask the children for what differs; returns how many slices are newly asked for."""
        return self.repair.look(damaged)

    def owe(self) -> int:
        """Owe as slices what the log cannot wait for; returns how many records that are."""
        return 0 if self._cap is None else self._cap.run()

    def _wanted(self, frame: Frame) -> None:
        """The parent says which slices it waits for, and which records it has all slices of."""
        wanted = Wanted.from_frame(frame)
        forward, sender = self._forward, self._sender
        if forward is None or sender is None or self.images is None:
            return
        own = sender.own
        with self._lock:
            settled = forward.owing.done(wanted.done, sender.wrote)
            forward.settle(settled)
            for want in wanted.says:
                self._restate(wanted.origin, want, own)
        for key, ranges in settled.others:
            sender.learned(key, ranges)
        self.images.wanted(wanted)

    def _restate(self, origin: OriginKey, want: Want, own: OriginKey) -> None:
        """The parent asks for a statement: it is this node's to make, or a child's."""
        state = self._follower.origins.get(origin)
        for first, last in want.slices:
            if origin == own:
                self._follower.manifests.restate(want.name, first, last + 1)
            elif state is not None:
                mapped = state.maps.table(want.name)
                local = want.name if mapped is None else mapped.local
                if local in state.watches:
                    state.repairs.want(local, range(first, last + 1), say=True)

    def _not_as_stated(self, table: str, keys: Ints) -> None:
        """Own rows are not what this node said of them: that is said, and they are stated anew.
        Which rows changed nobody knows."""
        engine, sender = self._engine, self._sender
        if engine is None or sender is None:
            return
        for key in keys.tolist():
            self._follower.manifests.restate(table, key, key + 1)
        text = f"{len(keys)} slices of {table} are not what this node stated of them"
        node, at_ms = sender.own.name, engine.trusted_now_ns() // 1_000_000
        engine.append(
            RecordKind.EVT, {"op": ALARM, "code": ALTERED, "node": node, "text": text, "at": at_ms}
        )

    def _not_whole(self, table: str, slice_ns: int, keys: Ints) -> None:
        """Own slices (ascending) begin before what is whole here: they cannot be stated."""
        slices = RangeSet((key, key) for key in keys.tolist())
        self._lose(Want(table, slice_ns, 0, slices), slices, EXPIRED)

    def _state_of(self, key: OriginKey) -> OriginState | None:
        with self._lock:
            return self._follower.origins.get(key)

    def _lose(
        self, want: Want, slices: RangeSet, why: str, target: OriginKey | None = None
    ) -> None:
        """Slices that nobody will ever get: declared, and counted when it is applied. Own ones, or
        (``target``) those of a node below, once for as long as this process runs. Of own ones it is
        said again after a while, to a parent that has lost it, and at once if rows are pending."""
        engine, forward = self._engine, self._forward
        if engine is None or forward is None:
            return
        said = self._said_lost.setdefault((target, want.name), RangeSet())
        now = self._monotonic()
        again = target is None and now > self._said_at.get(want.name, now) + SAID_S
        if len(said) > SAID_MAX or again:
            said = self._said_lost[target, want.name] = RangeSet()
        if target is None and not said:
            self._said_at[want.name] = now
        keys = [key for first, last in slices for key in range(first, last + 1)]
        with self._lock:
            pending = [forward.owing.rows_of(want.name, key, target) for key in keys]
        found = [
            (k, n)
            for k, n in zip(keys, pending, strict=True)
            if k not in said or (n and not target)
        ]
        said.update(slices)
        keys, rows = [key for key, _ in found], [n for _, n in found]
        for at in range(0, len(keys), LOST_SLICES_MAX):
            some = slice(at, at + LOST_SLICES_MAX)
            table = LostTable(
                want.name,
                want.slice_ns,
                np.array(keys[some], np.int64),
                np.array(rows[some], np.int64),
                self._follower.manifests.touched(want.name, [] if target else keys[some]),
            )
            engine.append(RecordKind.LOSS, Loss(why, tables=(table,), target=target).to_header())
