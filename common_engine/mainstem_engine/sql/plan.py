"""A plan: what a statement scans, what runs over the scans, and how its result is read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_engine.model import DeviceIds
from mainstem_engine.sql.program import SqlStep, Step
from mainstem_engine.sql.short_query import Short
from mainstem_engine.sql.times import format_time

if TYPE_CHECKING:
    from mainstem_engine.sql.planning.binding import Binding


@dataclass(frozen=True, slots=True)
class Partials:
    """Groups in place of rows: see aggregation.py. ``functions`` by measurement name, per window of
    ``every_ns`` (None: one of all time), by device or over all, of the rows that pass ``filters``:
    (measurement, operator, number) each. ``newest``: the newest values of each device, no older
    than the input's start."""

    functions: Mapping[str, tuple[str, ...]]
    every_ns: int | None
    by_device: bool
    filters: tuple[tuple[str, str, int | float], ...] = ()
    newest: bool = False

    def key(self) -> tuple[object, ...]:
        """Equal of equal groups."""
        functions = tuple(sorted(self.functions.items()))
        return functions, self.every_ns, self.by_device, self.filters, self.newest


@dataclass(frozen=True, slots=True)
class TableInput:
    """One scan that the statement reads. ``devices`` None: all; times in ns, end exclusive.
    ``partials``: groups are read instead. ``ranges``: (measurement, (low, high)) that rows of
    interest fulfil; the others may be left out. ``edge``: so many of the newest rows (True) or of
    the oldest are enough."""

    name: str
    table: str
    devices: DeviceIds | None
    start_ns: int
    end_ns: int
    columns: tuple[str, ...]
    partials: Partials | None = None
    ranges: tuple[tuple[str, tuple[float, float]], ...] = ()
    edge: tuple[int, bool] | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A statement ready to run. ``units`` by casefolded name of the result's column.

    ``is_single_pass``: the one input is read once, so that it may be streamed.
    ``depends_on_clock``: it holds for this moment only.
    """

    sql: str
    params: tuple[Any, ...]
    inputs: tuple[TableInput, ...]
    is_single_pass: bool
    precision_ns: int
    zone: dt.tzinfo
    time_zone: str
    units: dict[str, str]
    warnings: tuple[str, ...]
    depends_on_clock: bool = False
    steps: tuple[Step, ...] = ()
    """What runs before ``sql``: the tables that it reads beside the inputs."""
    binding: Binding | None = field(default=None, compare=False, repr=False)
    """How it follows from other values; None when it holds for its own only."""
    is_of_all_devices: bool = True
    """A device more may make another plan of the statement."""
    short: tuple[Short, ...] | None = None
    """Its queries, the steps' first, where no executing database is needed for them."""

    @property
    def tables(self) -> frozenset[str]:
        """Names of the templates and rollups that are read."""
        return frozenset(source.table for source in self.inputs)

    @property
    def range_ns(self) -> tuple[int | None, int | None]:
        """The range of time that the scans cover together, None where it is open."""
        starts = [source.start_ns for source in self.inputs]
        ends = [source.end_ns for source in self.inputs]
        start, end = min(starts, default=TIME_MIN_NS), max(ends, default=TIME_MAX_NS + 1)
        return (
            None if start <= TIME_MIN_NS else start,
            None if end > TIME_MAX_NS else end,
        )

    def explain(self, reading: Callable[[TableInput], str]) -> list[str]:
        """What would be read and run, line by line; ``reading`` says how an input is read."""
        lines = []
        for source in self.inputs:
            devices = "all" if source.devices is None else str(len(source.devices))
            verb = "scan" if source.partials is None else "aggregate"
            lines.append(f"{verb} {source.table} as {source.name}")
            lines.append(f"  devices: {devices}")
            lines.append(f"  time: {self._bound(source.start_ns)} to {self._bound(source.end_ns)}")
            lines.append(f"  columns: {', '.join(source.columns)}")
            if source.partials is not None and source.partials.filters:
                said = " and ".join(" ".join(map(str, each)) for each in source.partials.filters)
                lines.append(f"  rows with: {said}")
            if source.edge is not None:
                rows, newest = source.edge
                lines.append(f"  rows: the {'newest' if newest else 'oldest'} {rows}")
            lines.append(f"  from: {reading(source)}")
        for step in self.steps:
            if isinstance(step, SqlStep):
                lines.append(f"run {step.sql} as {step.name}")
            else:
                lines.append(f"walk {step.operation} over {step.source} as {step.name}")
        lines.append(f"run {self.sql}")
        if self.short is not None:
            lines.append("  without the executing database")
        return lines

    def _bound(self, value_ns: int) -> str:
        if TIME_MIN_NS < value_ns <= TIME_MAX_NS:
            return format_time(value_ns, self.zone, 1)
        return "open"


@dataclass(frozen=True, slots=True)
class Request:
    """What a statement depends on beside its text."""

    database: str
    time_zone: str
    zone: dt.tzinfo
    now_ns: int
    params: Sequence[Any] = ()
