"""Aggregates as callers ask for them: by names, in the table's precision, as an Arrow table.

The answer comes from statistics, rollups or rows, whichever says it with the least reading
(aggregates.py, rollup_answers.py); which of them it was never shows in it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mainstem_engine.aggregate_arrow import aggregate_table, no_groups
from mainstem_engine.aggregates import (
    AggregateCounts,
    Answered,
    aggregate,
    blocks_to_read,
    explain,
)
from mainstem_engine.aggregation import Aggregation
from mainstem_engine.catalog.templates import Table
from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_engine.edges import narrow_to_edge
from mainstem_engine.errors import NotFoundError, SchemaError
from mainstem_engine.model import AnyArray, ColumnType, DeviceIds, Measurement
from mainstem_engine.rollup_answers import (
    coarsest_first,
    range_of_rollup,
    rollup_pieces,
    stored_range,
)
from mainstem_engine.rollup_definition import HeldRollup
from mainstem_engine.rollup_groups import question_of
from mainstem_engine.scan import Selection
from mainstem_engine.scan_extent import ScanExtent, extent_of
from mainstem_engine.selections import DevicesLike, bound_ns, select_devices
from mainstem_engine.sources import ValueRange
from mainstem_engine.store import Store
from mainstem_engine.value_filter import ValueFilter
from mainstem_engine.view import TableView
from mainstem_engine.windows import (
    COUNT,
    FUNCTIONS,
    MAX,
    MEAN,
    MIN,
    ROWS,
    SUM,
    Pieces,
    Wanted,
    merged,
)

if TYPE_CHECKING:
    import pyarrow as pa

BY_DEVICE = "device"
BLOCKS_READ_AT_ONCE = 4
"""So few blocks are read sooner than a rollup is looked for."""


class AggregateQueries:
    """The part of an Engine that aggregates."""

    _store: Store
    _aggregates: AggregateCounts

    def aggregate(
        self,
        template: str,
        functions: Mapping[str, Collection[str]],
        devices: DevicesLike = None,
        tags: Mapping[str, Any] | None = None,
        start: int | None = None,
        end: int | None = None,
        every: int | None = None,
        by: str | None = None,
    ) -> pa.Table:
        """One row per group that has rows, sorted; without ``every`` and ``by`` exactly one.

        ``functions``: of count, min, max, sum, mean, first and last by measurement, or count of
        ``"*"``, the rows. [``start``, ``end``) and ``every``, the length of windows aligned to the
        epoch, in the table's precision. ``by``: "device" or None for all devices together.
        Columns: ``time`` int64, the window's start (with ``every``), ``device`` (by device), then
        ``<measurement>_<function>`` as asked, ``count`` for ``"*"``. Nulls take no part; counts are
        int64, sums and means DOUBLE, the others of the measurement's type, null without a value.
        NaN is the greatest value. Raises NotFoundError, SchemaError.
        """
        precision_ns = self._store.catalog.precision_ns(template)
        if every is not None and every < 1:
            raise SchemaError(f"every {every} is no length", field="every", hint="at least 1")
        if by not in (None, BY_DEVICE):
            raise SchemaError(f"by {by!r} is unknown", field="by", hint='"device" or None')
        table = self._store.catalog.table(template)
        columns = [(name, function) for name, asked in functions.items() for function in asked]
        pieces, _ = self.aggregate_pieces(
            template,
            functions,
            select_devices(self._store.catalog, table, devices, tags),
            bound_ns(start, precision_ns, TIME_MIN_NS),
            bound_ns(end, precision_ns, TIME_MAX_NS + 1),
            every_ns=None if every is None else every * precision_ns,
            by_device=by == BY_DEVICE,
        )
        if pieces is None:
            pieces = no_groups(0 if every is not None or by is not None else 1)
        keys: dict[str, AnyArray] = {}
        if every is not None:
            keys["time"] = pieces.window // precision_ns
        present = pieces.device if by is not None else None
        return aggregate_table(
            table, pieces, columns, keys, present, self._store.catalog.devices, precision_ns
        )

    def aggregate_pieces(
        self,
        template: str,
        functions: Mapping[str, Collection[str]],
        devices: DeviceIds | None,
        first_ns: int,
        beyond_ns: int,
        *,
        every_ns: int | None,
        by_device: bool,
        filters: Sequence[tuple[str, str, int | float]] = (),
        row_times: bool = False,
        read: bool = True,
    ) -> tuple[Pieces | None, Answered]:
        """The groups of rows of ``devices`` (ascending, None: all) in [first, beyond), merged and
        sorted, None without any; and how they were found. ``filters``: (measurement, operator,
        number) that rows pass, see ValueFilter. ``row_times`` False: the first and last time of the
        rows of a group are unspecified. ``read`` False: only how they would be found."""
        table, view = self._store.current(template)
        selection = Selection(devices, first_ns, beyond_ns)
        aggregation = Aggregation(
            wanted_of(table, functions),
            every_ns,
            by_device,
            _filters_of(table, filters),
            row_times=row_times,
        )
        rollups = [] if ROWS in functions or filters else self.rollups_of(table.name)
        rollups = coarsest_first(rollups)
        if not read:
            return None, self._explained(table, view, rollups, selection, aggregation)
        if rollups and blocks_to_read(view, selection, aggregation) > BLOCKS_READ_AT_ONCE:
            found = self._from_rollup(table, rollups, selection, aggregation, read=True)
            if found is not None:
                self._aggregates.add(found[1])
                return found
        pieces, answered = aggregate(view, selection, aggregation)
        self._aggregates.add(answered)
        return pieces, answered

    def scan_extent(
        self,
        template: str,
        columns: Sequence[str],
        devices: DeviceIds | None,
        first_ns: int,
        beyond_ns: int,
        ranges: Mapping[str, tuple[float, float]],
        edge: tuple[int, bool] | None = None,
    ) -> ScanExtent:
        """What scan_columns() of the same would read."""
        table, view = self._store.current(template)
        known = {name: m.id for name in {*columns, *ranges} if (m := table.measurement(name))}
        selection = Selection(
            devices,
            first_ns,
            beyond_ns,
            tuple(known[name] for name in columns if name in known),
            ranges=tuple(ValueRange(known[n], *r) for n, r in ranges.items() if n in known),
        )
        if edge is not None:
            selection = narrow_to_edge(view, selection, edge[0], newest=edge[1])
        return extent_of(view, selection)

    def _explained(
        self,
        table: Table,
        view: TableView,
        rollups: Sequence[HeldRollup],
        selection: Selection,
        aggregation: Aggregation,
    ) -> Answered:
        """What would answer, without reading it."""
        known = explain(view, selection, aggregation)
        if known.read > BLOCKS_READ_AT_ONCE:
            found = self._from_rollup(table, rollups, selection, aggregation, read=False)
            if found is not None:
                return found[1]
        return known

    def _from_rollup(
        self,
        table: Table,
        rollups: Sequence[HeldRollup],
        selection: Selection,
        aggregation: Aggregation,
        *,
        read: bool,
    ) -> tuple[Pieces | None, Answered] | None:
        """As aggregate(), with the middle of the range from a rollup; None when none fits."""
        for rollup in rollups:
            applied_lsn = self._store.applied_lsn
            stored = stored_range(self._store.current(table.name)[1])
            span = stored and range_of_rollup(rollup, selection, aggregation, stored)
            if not span:
                continue
            lsn, ((table, view), (target, rolled)) = self._store.snapshots(
                [table.name, rollup.table]
            )
            if lsn > applied_lsn:
                # Rows came that the rollup's keeper had not been told of.
                continue
            middle = replace(selection, start_ns=span[0], end_ns=span[1])
            pieces = rollup_pieces(table, target, rolled, middle, aggregation) if read else []
            if pieces is None:
                continue
            answered = Answered(rollup=rollup.table)
            asked = None if read else question_of(table, target, aggregation)
            if asked is not None:
                answered.of_rollup = explain(rolled, middle, asked)
            for start, end in ((selection.start_ns, span[0]), (span[1], selection.end_ns)):
                some = replace(selection, start_ns=start, end_ns=end)
                if not read:
                    answered.add(explain(view, some, aggregation))
                    continue
                rest, how = aggregate(view, some, aggregation)
                pieces += [] if rest is None else [rest]
                answered.add(how)
            if not sum(len(piece) for piece in pieces):
                return None, answered
            return merged(pieces, by_device=aggregation.by_device), answered
        return None

    def rollups_of(self, table: str) -> list[HeldRollup]:
        """See rollup_control.py."""
        raise NotImplementedError


def wanted_of(table: Table, functions: Mapping[str, Collection[str]]) -> dict[int, Wanted]:
    """What is asked, by measurement id. Raises NotFoundError, SchemaError."""
    wanted: dict[int, Wanted] = {}
    for name, asked in functions.items():
        unknown = [function for function in asked if function not in FUNCTIONS]
        if unknown:
            raise SchemaError(
                f"there is no function {unknown[0]!r}", field=name, hint=", ".join(FUNCTIONS)
            )
        if name == ROWS:
            if set(asked) - {COUNT}:
                raise SchemaError("rows can only be counted", field=name, hint='{"*": ["count"]}')
            continue
        measurement = table.measurement(name)
        if measurement is None:
            raise NotFoundError(f"table {table.name} has no measurement {name!r}", field=name)
        _check(measurement, asked)
        before = wanted.get(measurement.id)
        already = frozenset() if before is None else before.functions
        wanted[measurement.id] = Wanted(measurement.type, already | frozenset(asked))
    return wanted


def _filters_of(
    table: Table, filters: Sequence[tuple[str, str, int | float]]
) -> tuple[ValueFilter, ...]:
    """Raises NotFoundError."""
    found: list[ValueFilter] = []
    for name, operator, number in filters:
        measurement = table.measurement(name)
        if measurement is None:
            raise NotFoundError(f"table {table.name} has no measurement {name!r}", field=name)
        found.append(ValueFilter(measurement.id, measurement.type, operator, number))
    return tuple(found)


def _check(measurement: Measurement, asked: Collection[str]) -> None:
    kind = measurement.type
    numeric = {SUM, MEAN} & set(asked)
    compared = {MIN, MAX} & set(asked)
    if (numeric and (kind.is_variable or kind == ColumnType.TIMESTAMP)) or (
        compared and kind.is_variable
    ):
        function = next(iter(numeric or compared))
        raise SchemaError(
            f"{function} of {measurement.name}, which is {kind.name}",
            field=measurement.name,
            hint="it has count, first and last",
        )
