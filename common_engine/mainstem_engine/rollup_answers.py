"""Aggregates from the rows of a rollup: which one may answer, for which range, and its pieces.

1. A rollup fits when its windows divide those of the question, and its columns say what is asked:
   not the number of rows, not TRUE and FALSE, and totals of integers only where a DOUBLE is exact.
   A rollup may answer for a finer one that it is merged from (rollup_groups.py).
2. It answers for whole windows of which its keeper says that nothing is outstanding. The newest
   ones usually are not done yet: the range ends before them. What is left at both ends is answered
   from the table itself.
3. The keeper is asked before the snapshot of both tables is taken, and what it says holds for that
   snapshot if nothing was applied in between.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mainstem_engine.aggregation import Aggregation
from mainstem_engine.catalog.templates import Table
from mainstem_engine.model import AnyArray, ColumnType, VersionedRows
from mainstem_engine.rollup_definition import HeldRollup
from mainstem_engine.rollup_groups import pieces_of_rollup
from mainstem_engine.scan import Selection, iterate_rows
from mainstem_engine.view import TableView
from mainstem_engine.windows import (
    Pieces,
    Values,
    Wanted,
    canonical,
    no_values,
    totals_of,
    window_of,
)

NEWEST_LEFT_OUT = (0, 1, 2, 4, 16, 64)
"""So many of the newest windows are left to the table until the keeper agrees."""
_EXACT = 2.0**53
"""Below it a DOUBLE is the integer that it stands for."""


def range_of_rollup(
    rollup: HeldRollup, selection: Selection, aggregation: Aggregation, stored: tuple[int, int]
) -> tuple[int, int] | None:
    """[start, end) in ns, whole windows, for which ``rollup`` answers; None: for nothing.

    ``stored``: the oldest and the newest time of the table.
    """
    every = rollup.every_ns
    if aggregation.every_ns is not None and aggregation.every_ns % every:
        return None
    oldest, newest = stored
    start = -(-selection.start_ns // every) * every
    if selection.start_ns <= oldest:
        start = oldest // every * every
    end = selection.end_ns // every * every
    if selection.end_ns > newest:
        end = newest // every * every + every
    for left_out in NEWEST_LEFT_OUT:
        before = end - left_out * every
        if before <= start:
            return None
        if rollup.answers(start, before):
            return start, before
    return None


def rollup_pieces(
    table: Table, target: Table, view: TableView, selection: Selection, aggregation: Aggregation
) -> list[Pieces] | None:
    """Pieces of the windows of ``target`` in the range of ``selection``; None when its columns
    cannot say what is asked. ``view``: of ``target``."""
    known = pieces_of_rollup(table, target, view, selection, aggregation)
    if known is not None or table.template.rollup_of is not None:
        return known
    columns: dict[int, dict[str, int]] = {}
    for key, want in aggregation.wanted.items():
        found = _columns(table, target, key, want)
        if found is None:
            return None
        columns[key] = found
    ids = tuple(dict.fromkeys(i for found in columns.values() for i in found.values()))
    some = Selection(selection.devices, selection.start_ns, selection.end_ns, ids)
    pieces: list[Pieces] = []
    for rows in iterate_rows(view, some):
        zeros = np.zeros(len(rows), np.int64)
        window = window_of(rows.time, aggregation.every_ns)
        piece = Pieces(rows.device, window, zeros, rows.time, rows.time)
        for key, want in aggregation.wanted.items():
            values = _values(rows, columns[key], want)
            if values is None:
                return None
            piece.values[key] = values
        pieces.append(piece)
    return pieces


def _columns(table: Table, target: Table, key: int, want: Wanted) -> dict[str, int] | None:
    """Ids of the rollup's columns by suffix."""
    source = next((m for m in table.template.measurements if m.id == key), None)
    if source is None or (want.type == ColumnType.BOOLEAN and len(want.functions) > 1):
        return None
    suffixes = ["count"]
    suffixes += ["min", "max"] if want.extremes else []
    suffixes += ["sum"] if want.total else []
    suffixes += ["first", "first_time", "last", "last_time"] if want.ends else []
    found: dict[str, int] = {}
    for suffix in suffixes:
        column = target.measurement(f"{source.name}_{suffix}")
        same = suffix in ("count", "sum") or suffix.endswith("_time")
        if column is None or (not same and column.type != want.type):
            return None
        found[suffix] = column.id
    return found


def _values(rows: VersionedRows, columns: dict[str, int], want: Wanted) -> Values | None:
    """One measurement of some windows; None when a total is not exact."""
    count = _stored(rows, columns["count"])
    empty = no_values(want, len(rows))
    if count is None:
        return empty
    values = empty
    values.count = count.astype(np.int64)
    for suffix, name in (("min", "low"), ("max", "high"), ("first", "first"), ("last", "last")):
        found = _stored(rows, columns[suffix]) if suffix in columns else None
        if found is not None:
            setattr(values, name, canonical(found) if suffix in ("min", "max") else found)
    for suffix, name in (("first_time", "first_ns"), ("last_time", "last_ns")):
        found = _stored(rows, columns[suffix]) if suffix in columns else None
        if found is not None:
            setattr(values, name, found)
    total = _stored(rows, columns["sum"]) if "sum" in columns else None
    if total is not None:
        if not want.type.is_float:
            if bool((np.abs(total) >= _EXACT).any()):
                return None
            total = total.astype(np.int64)
        values.total = totals_of(total)
    return values


def _stored(rows: VersionedRows, key: int) -> AnyArray | None:
    column = rows.columns.get(key)
    if column is None:
        return None
    if column.valid is None:
        return column.values
    return np.where(column.valid, column.values, np.zeros(1, column.values.dtype))


def coarsest_first(rollups: Sequence[HeldRollup]) -> list[HeldRollup]:
    """The order in which they are asked."""
    return sorted(rollups, key=lambda rollup: -rollup.every_ns)


def stored_range(view: TableView) -> tuple[int, int] | None:
    """The oldest and the newest time of what a view holds, at least; None when it is empty."""
    ranges = [(part.meta.time_min_ns, part.meta.time_max_ns) for part in view.parts]
    ranges += [chunk.bounds()[2:] for chunk in view.chunks if chunk.length]
    if not ranges:
        return None
    return min(low for low, _ in ranges), max(high for _, high in ranges)
