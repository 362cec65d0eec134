"""What forks took: records that a node announced, that its restored log lacks, and that nobody has.

Of such a record nobody knows the table or how many rows it had, only its number, and between which
moments it was written. So it is told by node, as LOST in every table (``*``), in records.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mainstem_sync.origins.origin_state import Origins
from mainstem_sync.proof.completeness import Window
from mainstem_sync.slices.slice_states import SliceState
from mainstem_sync.state.line_following import LineFollowing

NS_PER_MS = 1_000_000

EVERY_TABLE = "*"


def lost_records(lines: LineFollowing) -> int:
    """How many. The caller holds the federation's lock."""
    return sum(last - first + 1 for found in lines.losses() for first, last in found["lsns"])


def list_lost(
    lines: LineFollowing, origins: Origins, window: Window, now_ns: int
) -> list[dict[str, Any]]:
    """Each stretch of them that may lie in the window, as ``verify`` lists slices; ``count`` is in
    records. The caller holds the federation's lock."""
    listed = []
    for found in lines.losses():
        for first, last in found["lsns"]:
            start, end = _written_between(origins, found, first, now_ns // NS_PER_MS)
            if _inside(window, start, end):
                listed.append(
                    {
                        "node": found["node"],
                        "table": EVERY_TABLE,
                        "from": start,
                        "to": end,
                        "state": str(SliceState.LOST),
                        "count": last - first + 1,
                        "reason": f"records {first} to {last} of epoch {found['epoch']} were "
                        "announced before the log forked, and nobody has them",
                    }
                )
    return listed


def _written_between(
    origins: Origins, found: Mapping[str, Any], first: int, now_ms: int
) -> tuple[int, int]:
    """(from, to) in ms by this node's clock: the last that was heard of the closed epoch below the
    LSN, and the first of the one that followed."""
    states = origins.of(found["uuid"])
    before = [s.moments.before(first) for s in states if s.key.epoch <= found["epoch"]]
    after = [s.moments.first for s in states if s.key.epoch > found["epoch"]]
    start = max((at for at in before if at is not None), default=0)
    end = min((at for at in after if at is not None and at >= start), default=now_ms)
    return start, max(start, end)


def _inside(window: Window, start_ms: int, end_ms: int) -> bool:
    after = window.end_ns is not None and start_ms * NS_PER_MS >= window.end_ns
    before = window.start_ns is not None and end_ms * NS_PER_MS < window.start_ns
    return not (after or before)
