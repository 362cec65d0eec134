"""What one run will state about one table, and in which records.

A newly closed interval is cut so that each record lists at most SLICES_MAX slices; what lies below
the old interval comes first, then revisions inside it, then what lies above.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mainstem_engine.engine import Engine
from mainstem_engine.model import SELF_ORIGIN
from mainstem_sync.slices.manifest import SLICES_MAX, Ints, Sums
from mainstem_sync.slices.slice_scan import SliceScan
from mainstem_sync.slices.unreadable import Unreadable


@dataclass(frozen=True, slots=True)
class Plan:
    """What one run will state about one table."""

    table: str
    slice_ns: int
    lateness_ns: int
    keys: Ints
    lsn: Sums
    rev: npt.NDArray[np.uint32]
    old: tuple[int, int] | None
    new: tuple[int, int]
    whole: tuple[int, int, int] | None = None
    """[first, end) slices that are stated whole, and the greatest LSN that touched them."""


def whole_ns(whole: tuple[int, int, int], slice_ns: int) -> tuple[int, int, int]:
    first, end, lsn = whole
    return first * slice_ns, end * slice_ns, lsn


def since(plan: Plan, horizon_ns: int) -> tuple[Plan, Ints]:
    """(the plan without the slices that begin before ``horizon_ns``, those slices). Of a stretch,
    ``whole`` is None if none is left."""
    whole_from = -(-horizon_ns // plan.slice_ns)
    kept = plan.keys >= whole_from
    gone: Ints = plan.keys[~kept]
    whole = plan.whole
    if whole is not None:
        first, end, newest = whole
        gone = np.arange(first, min(end, max(first, whole_from)), dtype=np.int64)
        first = max(first, whole_from)
        whole = (first, end, newest) if first < end else None
    if not len(gone):
        return plan, gone
    rest = dataclasses.replace(
        plan, keys=plan.keys[kept], lsn=plan.lsn[kept], rev=plan.rev[kept], whole=whole
    )
    return rest, gone


def with_all_slices(engine: Engine, plan: Plan, unreadable: Unreadable) -> Plan | None:
    """With the slices that hold rows and that the book has forgotten; None when some of them
    cannot be read."""
    assert plan.whole is not None
    first, end, newest = plan.whole
    scan = SliceScan(
        engine, plan.table, plan.slice_ns, SELF_ORIGIN, expired=True, unreadable=unreadable
    )
    found, broken = scan.between(first, end)
    if broken:
        return None
    more = np.setdiff1d(found.start // plan.slice_ns, plan.keys)
    keys = np.concatenate([plan.keys, more])
    order = np.argsort(keys)
    lsn = np.concatenate([plan.lsn, np.full(len(more), newest, np.uint64)])
    rev = np.concatenate([plan.rev, np.full(len(more), 1, np.uint32)])
    return dataclasses.replace(plan, keys=keys[order], lsn=lsn[order], rev=rev[order])


def windows(plan: Plan) -> list[tuple[int, int, int, int]]:
    """(closed first, closed end, begin, stop): per record, the slices that it closes and the range
    of ``plan.keys`` that it lists. Below the old interval, inside it, above it, in this order."""
    first, end = plan.old if plan.old is not None else (plan.new[0], plan.new[0])
    if plan.whole is not None:
        return [(first, first, 0, len(plan.keys))]
    below, inside = np.searchsorted(plan.keys, [first, end]).tolist()
    windows = _cut(plan.keys, 0, below, plan.new[0], first)
    windows += [(first, first, b, s) for b, s in _pieces(below, inside)]
    return windows + _cut(plan.keys, inside, len(plan.keys), end, plan.new[1])


def _cut(
    keys: Ints, begin: int, stop: int, first: int, end: int
) -> list[tuple[int, int, int, int]]:
    """Cut a newly closed interval so that each record lists at most SLICES_MAX slices."""
    if first >= end:
        return []
    pieces = _pieces(begin, stop) or [(begin, begin)]
    windows = []
    for number, (low, high) in enumerate(pieces):
        last = number == len(pieces) - 1
        until = end if last else int(keys[high - 1]) + 1
        windows.append((first, until, low, high))
        first = until
    return windows


def _pieces(begin: int, stop: int) -> list[tuple[int, int]]:
    return [(at, min(at + SLICES_MAX, stop)) for at in range(begin, stop, SLICES_MAX)]
