"""What COVER, EXP and LOSS records of a child mean here: applied to the state of their origin.

1. Owed slices join the backlog of the origin that they are of: the writer, or one whose records it
   brings. What another child says about it counts for nothing.
2. Lost slices are crossed off it, and shown as LOST where rows of them are missing.
3. What damage took from the log of its owner is remembered: it may have arrived before.
"""

from __future__ import annotations

from mainstem_sync.origins.origin_state import Origins, OriginState
from mainstem_sync.slices.loss import LOG_DAMAGED, Loss
from mainstem_sync.slices.owed import Owed
from mainstem_sync.state.line_following import LineFollowing
from mainstem_sync.wire.ranges import RangeSet


def owe(origins: Origins, lines: LineFollowing, state: OriginState, owed: Owed, lsn: int) -> None:
    """The record ``lsn`` of ``state`` says that slices are owed."""
    if not lines.is_on_line(state, lsn):
        return  # whoever said it has lost it, and what it speaks of is owed anew
    target = state
    if owed.target is not None:
        target = origins.open(owed.target, state.via)
        if target.via != state.via:
            return
    ref = (state.key.uuid, state.key.epoch, lsn)
    for of, part in lines.owed_of(target, owed):
        lines.enter(of, of.backlog.add(part, ref, of.received))


def declare_lost(
    origins: Origins, lines: LineFollowing, state: OriginState, loss: Loss, lsn: int
) -> None:
    """The LOSS record ``lsn`` of ``state``."""
    if not lines.is_on_line(state, lsn):
        return
    if loss.target is None and loss.why == LOG_DAMAGED:
        state.home.gone.add(lsn, loss.ranges)
    if loss.target is not None:
        via = state.via
        state = origins.open(loss.target, via)
        if state.via != via:
            return
    for table in loss.tables:
        slices = RangeSet((key, key) for key in table.keys.tolist())
        lines.enter(state.home, state.home.backlog.lost(table.name, slices))
        mapped = state.maps.table(table.name)
        local = table.name if mapped is None else mapped.local
        watch = state.watch(local, table.slice_ns)
        watch.merge()
        # A sum that is proven has all of them: its owner only cannot say it again.
        kept = (table.rows > 0) | ~watch.rolled.proves(table.keys)
        watch.lost(table.keys[kept], table.rows[kept], None, None, loss.why)
        watch.gone(table.keys[kept], table.rows[kept])
        if loss.target is None and len(table.newest):
            watch.lost_up_to(table.keys[kept], table.newest[kept])
