"""How complete a table of one node is, as the contract's objects.

1. A slice is *due* when its end, the table's lateness and two more slices have passed: until then
   nobody expects its manifest to have arrived.
2. ``complete_through`` is the end of the last slice below which every slice is proven, counted from
   the first slice that the owner closed.
3. A hole is a stretch of due slices that are not proven: stated and not equal, touched since, or
   not closed. At most 100 are listed; the last one then reaches to the end of all.
4. What is known to be missing is no hole: it is listed under ``lost``, with its reason.
5. ``complete`` means: no hole among the due slices of the range that was asked for; ``forked``:
   no hole, but rows that cannot be verified any more; ``retired``: no hole, and nothing new comes.

Times given out are ms since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mainstem_sync.slices.closing_book import ClosedTable
from mainstem_sync.slices.manifest import Ints
from mainstem_sync.slices.slice_states import REASONS, SliceState
from mainstem_sync.slices.watch import TableWatch

HOLES_MAX = 100
NS_PER_MS = 1_000_000

DUE_SLICES = 2
"""Slices between end + lateness and the moment at which a missing manifest is held against it."""

COMPLETE = "complete"
INCOMPLETE = "incomplete"
NOT_HELD = "not_held"
FORKED = "forked"
RETIRED = "retired"
UNKNOWN = "unknown"

SLICES_END = 1 << 62
"""Beyond every slice."""

LISTED_MAX = 1000
"""Slices that ``verify`` lists by name."""


@dataclass(frozen=True, slots=True)
class Window:
    """What was asked for; None is open. Times in ns, end exclusive."""

    start_ns: int | None = None
    end_ns: int | None = None

    def slices(self, slice_ns: int, first: int, due: int) -> tuple[int, int]:
        """[first, end) slice indexes to judge, of those from ``first`` to the newest due one."""
        low = first if self.start_ns is None else max(first, self.start_ns // slice_ns)
        high = due if self.end_ns is None else min(due, -(-self.end_ns // slice_ns))
        return low, max(low, high)


@dataclass(frozen=True, slots=True)
class Ending:
    """From the slice ``first`` on nothing is expected of a node's table: the node is retired. If
    that is ``final`` (it was replaced, or dropped the table), what of it is not proven never will
    be; up to the slice ``until`` its successor states nothing (None: nothing yet)."""

    first: int
    final: bool = False
    until: int | None = None


def due_slice(now_ns: int, lateness_ns: int, slice_ns: int) -> int:
    """Index behind the newest due slice."""
    return (now_ns - lateness_ns) // slice_ns - DUE_SLICES


def judge_watch(
    node: str,
    table: str,
    watch: TableWatch,
    window: Window,
    now_ns: int,
    ending: Ending | None = None,
) -> dict[str, Any]:
    """The object of a received table. ``ending``: of its owner, if it sends nothing any more."""
    if not watch.closed:
        return _unclosed(node, table, watch, window, now_ns, ending)
    low, high = judged_slices(watch, window, now_ns, ending)
    size = watch.slice_ns
    bad = watch.unproven(low, high)
    gaps = list(watch.closed.gaps(low, high - 1))
    gaps += [(max(low, a), min(high, b) - 1) for a, b in watch.unequal_sums(low, high)]
    through = watch.complete_through
    ended: list[tuple[int, SliceState, int, str]] = []
    if ending is not None and ending.final:
        ended = [(key, SliceState.RETIRED, 0, "") for key in bad.tolist()]
        bad, through = bad[:0], ending.first
    # What is claimed beyond the newest due slice is claimed with what is declared in it.
    shown = high if through is None or window.end_ns is not None else max(high, through)
    declared = sorted([*watch.declared(low, shown), *ended])
    state = INCOMPLETE
    if not len(bad) and not gaps:
        forked = any(found is SliceState.FORKED for _, found, _, _ in declared)
        state = RETIRED if ending is not None else FORKED if forked else COMPLETE
    # Its owner may have taken late rows since it said this, and nobody here knows.
    result = completeness_object(node, table, state, min(now_ns, watch.as_of_ns))
    result["complete_through"] = None if through is None else _ms(through * size)
    result["holes"] = [[_ms(a * size), _ms(b * size)] for a, b in merged_runs(bad, gaps)]
    result["lost"] = _lost(declared, size)
    missing = _unstated(window, size, now_ns, ending)
    if missing is not None:
        result["lost"].append(
            {"from": missing[0], "to": missing[1], "rows": 0, "reason": SliceState.RETIRED.lower()}
        )
    put_aside = sum(rows for _, found, rows, _ in declared if found is SliceState.QUARANTINED)
    result["quarantined"] = watch.quarantined + put_aside
    result["missing_sources"] = list(watch.missing_sources)
    result["collector_gaps"] = [[_ms(a), _ms(b)] for a, b in watch.collector_gaps]
    result["clock_err_ms"] = watch.clock_err_ms
    return result


def _unclosed(
    node: str, table: str, watch: TableWatch, window: Window, now_ns: int, ending: Ending | None
) -> dict[str, Any]:
    """The object of a table about which its owner has said nothing. Rows of a line that it gave up
    may be here all the same: it went on from a backup without the table."""
    size = watch.slice_ns
    declared = watch.declared(*window.slices(size, -SLICES_END, SLICES_END))
    state = FORKED if any(found is SliceState.FORKED for _, found, _, _ in declared) else UNKNOWN
    if ending is not None and ending.final:
        state = RETIRED
    result = completeness_object(node, table, state, now_ns)
    result["lost"] = _lost(declared, size)
    return result


def _unstated(
    window: Window, size: int, now_ns: int, ending: Ending | None
) -> tuple[int, int] | None:
    """[from, to) in ms about which neither a node that was replaced nor its successor said
    anything, of the window; None if there is nothing between them."""
    if ending is None or not ending.final:
        return None
    start, end = ending.first * size, now_ns if ending.until is None else ending.until * size
    start = start if window.start_ns is None else max(start, window.start_ns)
    end = end if window.end_ns is None else min(end, window.end_ns)
    return (_ms(start), _ms(end)) if start < end else None


def judged_slices(
    watch: TableWatch, window: Window, now_ns: int, ending: Ending | None = None
) -> tuple[int, int]:
    """[first, end) slices of the window that are due."""
    due = due_slice(now_ns, watch.lateness_ns, watch.slice_ns)
    if ending is not None:
        due = min(due, ending.first)
    return window.slices(watch.slice_ns, next(iter(watch.closed))[0], due)


def _lost(declared: list[tuple[int, SliceState, int, str]], size: int) -> list[dict[str, Any]]:
    """Neighbours of one state and reason are one entry; at most HOLES_MAX, the last of which then
    reaches to the end and has the rows of all that are left."""
    found: list[dict[str, Any]] = []
    for key, state, rows, why in declared:
        reason = state.lower() + (f": {why}" if why else "")
        start, end = _ms(key * size), _ms((key + 1) * size)
        last = found[-1] if found else None
        if last is not None and (
            (last["to"] == start and last["reason"] == reason) or len(found) >= HOLES_MAX
        ):
            last["to"], last["rows"] = end, last["rows"] + rows
        else:
            found.append({"from": start, "to": end, "rows": rows, "reason": reason})
    return found


def judge_own(
    node: str,
    table: str,
    closed: ClosedTable | None,
    lateness_ns: int,
    window: Window,
    now_ns: int,
) -> dict[str, Any]:
    """The object of this node's own table: all of it is here; what is open is not complete yet."""
    if closed is None:
        return completeness_object(node, table, UNKNOWN, now_ns)
    size = closed.slice_ns
    due = due_slice(now_ns, lateness_ns, size)
    low, high = window.slices(size, closed.from_ns // size, due)
    open_from = max(low, closed.through_ns // size)
    complete = open_from >= high
    result = completeness_object(node, table, COMPLETE if complete else INCOMPLETE, now_ns)
    result["complete_through"] = _ms(closed.through_ns)
    result["holes"] = [] if complete else [[_ms(open_from * size), _ms(high * size)]]
    result["quarantined"] = closed.quarantined
    result["missing_sources"] = list(closed.missing_sources)
    result["collector_gaps"] = [[_ms(a), _ms(b)] for a, b in closed.collector_gaps]
    return result


def completeness_object(node: str, table: str, state: str, now_ns: int) -> dict[str, Any]:
    """An object with every field of the contract."""
    return {
        "node": node,
        "table": table,
        "state": state,
        "as_of": _ms(now_ns),
        "complete_through": None,
        "holes": [],
        "lost": [],
        "quarantined": 0,
        "missing_sources": [],
        "collector_gaps": [],
        "held_at": None,
        "clock_err_ms": None,
    }


def not_held(announced: dict[str, Any], child: str, now_ns: int) -> dict[str, Any]:
    """The object of a table that a child announces and that is not received here."""
    result = completeness_object(
        str(announced.get("node")), str(announced.get("table")), NOT_HELD, now_ns
    )
    for name in ("as_of", "complete_through", "quarantined"):
        value = announced.get(name)
        result[name] = value if isinstance(value, int) else result[name]
    held_at = announced.get("held_at")
    result["held_at"] = held_at if isinstance(held_at, str) else child
    return result


def list_slices(
    node: str,
    table: str,
    watch: TableWatch,
    watermark: int,
    window: Window,
    now_ns: int,
    ending: Ending | None = None,
) -> tuple[int, int, list[dict[str, Any]]]:
    """(slices judged, slices not verified, these as ``verify`` lists them). A stretch of slices
    that are not closed is one entry, and so is an hour or day whose sum differs. Of a table about
    which nothing was said only what is declared is judged, see ``_unclosed``."""
    size = watch.slice_ns
    if watch.closed:
        low, high = judged_slices(watch, window, now_ns, ending)
    else:
        low, high = window.slices(size, -SLICES_END, SLICES_END)
    final = ending is not None and ending.final
    found: list[dict[str, Any]] = []

    def show(first: int, end: int, state: SliceState, count: int, reason: str = "") -> None:
        found.append(
            {
                "node": node,
                "table": table,
                "from": _ms(first * size),
                "to": _ms(end * size),
                "state": str(state),
                "count": count,
                "reason": reason or REASONS[state],
            }
        )

    for key in watch.unproven(low, high).tolist() if watch.closed else ():
        state, count, seen = watch.state_of(key, watermark)
        state = SliceState.RETIRED if final else state
        if state is not SliceState.OPEN:
            why = difference(count, seen) if state is SliceState.MISMATCH else ""
            show(key, key + 1, state, count, why)
    for key, state, rows, why in watch.declared(low, high):
        if state not in _EXCUSED:
            show(key, key + 1, state, rows, f"{REASONS[state]}: {why}" if why else "")
    bad = len(found)
    if not watch.closed:
        return bad, bad, found
    for first, end in watch.unequal_sums(low, high):
        show(first, end, SliceState.MISMATCH, 0, "the sum of what is stored differs from what was")
        bad += end - first
    for first, last in watch.closed.gaps(low, high - 1):
        show(first, last + 1, SliceState.OPEN, 0)
        bad += last + 1 - first
    bad = min(bad, high - low)
    missing = _unstated(window, size, now_ns, ending)
    if missing is not None:
        show(0, 0, SliceState.RETIRED, 0)
        found[-1] |= {"from": missing[0], "to": missing[1]}
    return high - low, bad, found


_EXCUSED = (SliceState.EXPIRED, SliceState.DELETED_HERE)
"""What this tier did by its own rules is not held against it."""


def difference(stated: int, seen: int) -> str:
    """How stored rows differ from a statement, in words."""
    if stated == seen:
        return f"all {stated} rows are stored, and not as their owner states them"
    return f"its owner states {stated} rows, {seen} are stored"


def merged_runs(keys: Ints, gaps: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ascending [first, end) runs of slice indexes ``keys`` and of inclusive ``gaps``, neighbours
    joined, at most HOLES_MAX."""
    runs = [(first, last + 1) for first, last in gaps]
    if len(keys):
        breaks = np.flatnonzero(np.diff(keys) > 1) + 1
        starts = keys[np.concatenate(([0], breaks))].tolist()
        ends = keys[np.concatenate((breaks - 1, [len(keys) - 1]))].tolist()
        runs += [(first, last + 1) for first, last in zip(starts, ends, strict=True)]
    joined: list[tuple[int, int]] = []
    for first, end in sorted(runs):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((first, end))
    if len(joined) > HOLES_MAX:
        joined[HOLES_MAX - 1 :] = [(joined[HOLES_MAX - 1][0], joined[-1][1])]
    return joined


def _ms(time_ns: int) -> int:
    return time_ns // NS_PER_MS
