"""A plan that was made for some values, used for others.

1. While a plan is made, constants of times and names of devices are left open: what is noted of
   them is how the bounds of the scans, their devices and the parameters of the text follow.
   Values that anything else came out of are ``asked``: the plan holds for these only.
2. ``bind`` computes bounds, devices and parameters for other values and puts them into the plan.
3. It refuses values that a plan might have come out of differently with: another number of devices,
   of another precision or none of the template; constants of another type in the text; starts on
   the other side of ZONES_SINCE_NS. The statement is then planned anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sqlglot import exp

from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_engine.errors import EngineError
from mainstem_engine.model import NO_DEVICE, DeviceIds
from mainstem_engine.sql.plan import Plan, Request, TableInput
from mainstem_engine.sql.program import SqlStep, Step, WalkStep
from mainstem_engine.sql.select.parameters import Source, plain_value
from mainstem_engine.sql.select.relations import Member, Moment, Relation
from mainstem_engine.sql.select.scopes import Scopes
from mainstem_engine.sql.select.time_buckets import ZONES_SINCE_NS
from mainstem_engine.sql.select.time_expressions import (
    Clock,
    TimeExpressions,
    compared_type,
    moment_text,
)


@dataclass(frozen=True, slots=True)
class OpenRange:
    """What the bounds of a scan are made of. ``is_late``: its start is after ZONES_SINCE_NS."""

    moments: tuple[Moment, ...]
    is_late: bool

    def bounds(self, times: TimeExpressions) -> tuple[int | None, int | None]:
        """(start, end) as push-down finds them. Raises Rebound."""
        start = end = None
        for moment in self.moments:
            value_ns = moment.shift_ns
            if moment.node is not None:
                found = times.constant_ns(moment.node)
                if found is None:
                    raise Rebound
                value_ns += found
            if moment.is_start:
                start = value_ns if start is None else max(start, value_ns)
            else:
                end = value_ns if end is None else min(end, value_ns)
        if is_late(start) != self.is_late:
            raise Rebound
        return start, end


@dataclass(frozen=True, slots=True)
class OpenDevices:
    """What the devices of a scan are made of: one of each of ``choices``, of a template's family,
    and of ``fixed`` unless that is None. ``count`` and ``precision_ns``: of the plan's devices."""

    choices: tuple[tuple[exp.Expr, ...], ...]
    family: str
    fixed: DeviceIds | None
    count: int
    precision_ns: int

    def devices(self, times: TimeExpressions, catalog: Catalog) -> DeviceIds:
        """Ascending ids. Raises Rebound."""
        found: DeviceIds | None = self.fixed
        for nodes in self.choices:
            names = [
                times.open_parameter(n) if isinstance(n, exp.Placeholder) else n.name for n in nodes
            ]
            ids = np.unique(catalog.devices.lookup(names))
            ids = ids[ids != NO_DEVICE]
            found = ids if found is None else np.intersect1d(found, ids)
        if found is None or len(found) != self.count:
            raise Rebound
        if not catalog.devices.all_in_family(found, self.family):
            raise Rebound
        if len(found) and device_precision_ns(catalog, found) != self.precision_ns:
            raise Rebound
        return found


@dataclass(frozen=True, slots=True)
class Binding:
    """How a plan follows from values: by input, by text (the steps' in order, then the last), and
    by name of a walk. ``asked``: numbers of the parameters that it holds for the values of only.
    ``lifted``: by the number of a literal of the text, the parameter that stands for it."""

    inputs: tuple[tuple[OpenRange, OpenDevices | None], ...]
    texts: tuple[tuple[Source, ...], ...]
    walks: dict[str, OpenRange]
    asked: frozenset[int]
    lifted: dict[int, int]


class Rebound(Exception):
    """Values that a plan cannot be bound to."""


def is_late(start_ns: int | None) -> bool:
    """Whether windows of zones are known for all rows from there on."""
    return start_ns is not None and start_ns >= ZONES_SINCE_NS


def device_precision_ns(catalog: Catalog, devices: DeviceIds) -> int:
    """The finest precision of some devices, one at least."""
    databases = catalog.devices.database_indexes(devices)
    return min(catalog.databases.at(int(i)).precision_ns for i in set(databases.tolist()))


def open_range(relation: Relation) -> OpenRange:
    """What the bounds of a relation are made of."""
    return OpenRange(tuple(relation.moments), is_late(relation.start_ns))


def open_devices(relation: Relation, member: Member, catalog: Catalog) -> OpenDevices | None:
    """What the devices of a relation with choices are made of, None for others."""
    if not relation.choices:
        return None
    devices = member.devices
    assert devices is not None
    precision_ns = device_precision_ns(catalog, devices) if len(devices) else 0
    choices = tuple(relation.choices)
    return OpenDevices(choices, member.table.family, member.fixed, len(devices), precision_ns)


def open_key(relation: Relation) -> tuple[object, ...]:
    """Equal for relations that stay equal whatever the values."""
    moments = [
        (_text(moment.node), moment.shift_ns, moment.is_start)
        for moment in relation.moments
        if moment.node is not None
    ]
    choices = [tuple(_text(node) for node in nodes) for nodes in relation.choices]
    return tuple(sorted(moments)), tuple(sorted(choices))


def _text(node: exp.Expr) -> str:
    return f"?{node.name}" if isinstance(node, exp.Placeholder) else repr(node)


def scan_bounds(start_ns: int | None, end_ns: int | None) -> tuple[int, int]:
    """Bounds within what a time can be."""
    start = TIME_MIN_NS if start_ns is None else max(start_ns, TIME_MIN_NS)
    return start, TIME_MAX_NS + 1 if end_ns is None else min(end_ns, TIME_MAX_NS + 1)


def walk_span(start_ns: int | None, end_ns: int | None) -> list[int | None]:
    """First and last moment that a WHERE allows, within what a time can be."""
    first, beyond = scan_bounds(start_ns, end_ns)
    return [None if start_ns is None else first, None if end_ns is None else beyond - 1]


def bind(plan: Plan, binding: Binding, request: Request, catalog: Catalog) -> Plan | None:
    """The plan for the values of ``request``, whose parameters are followed by the lifted literals;
    None when it has to be made anew."""
    clock = Clock(request.now_ns, request.zone, plan.precision_ns, request.params)
    times = TimeExpressions(Scopes(()), clock)
    try:
        inputs = tuple(
            _input(source, *opened, times, catalog)
            for source, opened in zip(plan.inputs, binding.inputs, strict=True)
        )
        *of_steps, params = (_values(sources, request, times) for sources in binding.texts)
        steps = _steps(plan.steps, of_steps, binding, times)
    except (Rebound, EngineError):
        # What is wrong with the values is said when it is planned.
        return None
    return replace(plan, inputs=inputs, params=params, steps=steps)


def _input(
    source: TableInput,
    opened: OpenRange,
    chosen: OpenDevices | None,
    times: TimeExpressions,
    catalog: Catalog,
) -> TableInput:
    start, end = scan_bounds(*opened.bounds(times))
    devices = source.devices if chosen is None else chosen.devices(times, catalog)
    return replace(source, start_ns=start, end_ns=end, devices=devices)


def _values(sources: Sequence[Source], request: Request, times: TimeExpressions) -> tuple[Any, ...]:
    return tuple(
        _moment(source, times)
        if source.node is not None
        else plain_value(request.params[source.number - 1], request.zone)
        for source in sources
    )


def _moment(source: Source, times: TimeExpressions) -> str:
    assert source.node is not None
    value_ns = times.constant_ns(source.node)
    if value_ns is None or compared_type(value_ns, times.precision_ns) != source.type_name:
        raise Rebound
    return moment_text(value_ns, source.type_name)


def _steps(
    steps: Sequence[Step],
    params: Sequence[tuple[Any, ...]],
    binding: Binding,
    times: TimeExpressions,
) -> tuple[Step, ...]:
    waiting = iter(params)
    made: list[Step] = []
    for step in steps:
        if isinstance(step, SqlStep):
            made.append(replace(step, params=next(waiting)))
            continue
        opened = binding.walks.get(step.name)
        if opened is not None:
            arguments = {**step.arguments, "span": walk_span(*opened.bounds(times))}
            step = WalkStep(step.name, step.source, step.operation, arguments)
        made.append(step)
    return tuple(made)
