"""From raw columns to the template's columns: pure steps over whole batches.

1. Each known column is typed (values.py). What does not fit is put aside as ``wrong_type``.
2. ``value * scale + offset`` is in ``source_unit`` and is converted to ``unit``: both are linear,
   so one multiplication and one addition with factors that were combined exactly. A measurement
   without any of these keys is stored bit for bit as it came.
3. A value outside ``range`` is put aside as ``out_of_range``.
4. A value that its source calls bad or stale is stored with that quality where the template has a
   column for it, else put aside as ``bad_quality``.
5. A value under a name that the template does not have is put aside as ``unknown_measurement``.
6. Measurements with an expression are computed from what is left.

A value that is put aside is null in its row; the row goes on with the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np

from mainstem_edge.decode.interface import Decoded
from mainstem_edge.payload_time import TimeReader
from mainstem_edge.value_memory import ValueFilter
from mainstem_edge.values import typed_column
from mainstem_engine.model import AnyArray, BoolMask, Column, ColumnType
from mainstem_node.config.templates import QUALITY_SUFFIX
from mainstem_node.expressions import Expression
from mainstem_node.posted_rules import rows_with_values
from mainstem_node.reasons import BAD_QUALITY, OUT_OF_RANGE, UNKNOWN_MEASUREMENT, WRONG_TYPE

GOOD, UNCERTAIN, BAD, STALE = range(4)
"""Qualities, as they are stored; good is null."""
UNKNOWN_QUALITY = 255
QUALITIES: Mapping[Any, int] = {
    None: GOOD, 0: GOOD, 1: UNCERTAIN, 2: BAD, 3: STALE,
    "good": GOOD, "uncertain": UNCERTAIN, "bad": BAD, "stale": STALE,
}  # fmt: skip
"""As payloads spell them."""

HEARTBEAT_NS = 600 * 1_000_000_000
"""A value that does not change is stored this often all the same, so that constancy differs from
silence. ``expect_every`` of the template replaces it."""


@dataclass(frozen=True, slots=True)
class MeasurementRule:
    """What happens to one measurement. ``linear``: (factor, summand), None for "as it came".

    ``low`` and ``high`` are included and in the stored unit. ``filter``: which values are worth
    storing, None for all. ``derive``: computed from the row's other values. ``quality``: the
    measurement that has its quality. ``computed``: no payload has it.
    """

    id: int
    name: str
    type: ColumnType
    source: str
    linear: tuple[float, float] | None = None
    low: float | None = None
    high: float | None = None
    filter: ValueFilter | None = None
    derive: Expression | None = None
    quality: int | None = None
    computed: bool = False

    @property
    def parsed_as(self) -> ColumnType:
        """The type of the payload's value: a scaled integer may come with a fraction."""
        return self.type if self.linear is None else ColumnType.DOUBLE


def combined_linear(
    scale: float, offset: float, conversion: tuple[float, float]
) -> tuple[float, float] | None:
    """``(v * scale + offset) * conversion[0] + conversion[1]`` as one (factor, summand).

    None when it changes nothing. Combined in exact fractions, rounded once.
    """
    factor, summand = Fraction(conversion[0]), Fraction(conversion[1])
    combined = float(Fraction(scale) * factor), float(Fraction(offset) * factor + summand)
    return None if combined == (1.0, 0.0) else combined


@dataclass(frozen=True, slots=True)
class TemplateRules:
    """The rules of one template. ``heartbeat_ns``: see HEARTBEAT_NS."""

    template: str
    measurements: tuple[MeasurementRule, ...]
    heartbeat_ns: int = HEARTBEAT_NS

    @property
    def source_names(self) -> tuple[str, ...]:
        """The names under which payloads carry the measurements."""
        return tuple(rule.source for rule in self.measurements if not rule.computed)

    @property
    def number_names(self) -> frozenset[str]:
        """Those of them whose values are floating-point numbers and nothing else."""
        others = {rule.source for rule in self.measurements if not rule.parsed_as.is_float}
        return frozenset(self.source_names) - others

    def quality_names(self, all_of_them: bool) -> tuple[str, ...]:
        """The names under which payloads say how good measurements are: of those with a column for
        it, or of all."""
        return tuple(
            rule.source + QUALITY_SUFFIX
            for rule in self.measurements
            if not rule.computed and (all_of_them or rule.quality is not None)
        )

    @property
    def filters(self) -> dict[int, ValueFilter]:
        """By measurement id, of those that have one."""
        return {rule.id: rule.filter for rule in self.measurements if rule.filter is not None}


@dataclass(frozen=True, slots=True)
class ValueReject:
    """One value that was put aside: row, the name it goes by, reason, and the value as it came."""

    row: int
    measurement: str
    reason: str
    value: Any


@dataclass(slots=True)
class Prepared:
    """``columns`` by measurement id, n values each; ``has_value`` bool[n]: rows with any value."""

    columns: dict[int, Column]
    has_value: BoolMask
    rejects: list[ValueReject] = field(default_factory=list)


def prepare(decoded: Decoded, rules: TemplateRules, times: TimeReader) -> Prepared:
    """Types, scales and checks all values. ``times`` reads those of TIMESTAMP measurements."""
    count = len(decoded)
    columns: dict[int, Column] = {}
    rejects: list[ValueReject] = []
    some = np.zeros(count, np.bool_)
    for rule in rules.measurements:
        raw = None if rule.computed else decoded.columns.get(rule.source)
        if raw is None:
            continue
        column, misfits = typed_column(
            raw,
            rule.parsed_as,
            times,
            textual=decoded.textual,
            floats=rule.source in decoded.floats,
        )
        if rule.linear is not None:
            column, beyond = _scaled(column, rule)
            misfits = sorted({*misfits, *beyond})
        rejects += [ValueReject(row, rule.name, WRONG_TYPE, raw[row]) for row in misfits]
        column, outside = in_range(column, rule)
        rejects += [ValueReject(row, rule.name, OUT_OF_RANGE, raw[row]) for row in outside]
        columns[rule.id] = column
        some |= True if column.valid is None else column.valid
    for rule in rules.measurements:
        stated = None if rule.computed else decoded.columns.get(rule.source + QUALITY_SUFFIX)
        if stated is not None:
            rejects += _qualities(rule, stated, decoded, columns)
            some = rows_with_values(columns, count)
    for rule in rules.measurements:
        if rule.derive is not None:
            columns[rule.id] = _derived(rule, rule.derive, rules, columns, count)
    rejects += [
        ValueReject(row, name, UNKNOWN_MEASUREMENT, value) for row, name, value in decoded.extras
    ]
    return Prepared(columns, some, rejects)


def _qualities(
    rule: MeasurementRule, stated: Sequence[Any], decoded: Decoded, columns: dict[int, Column]
) -> list[ValueReject]:
    """Takes what is said of the values of one measurement into the columns."""
    codes = np.array([QUALITIES.get(each, UNKNOWN_QUALITY) for each in stated], np.uint8)
    name = rule.name + QUALITY_SUFFIX
    unknown = np.flatnonzero(codes == UNKNOWN_QUALITY).tolist()
    rejects = [ValueReject(row, name, WRONG_TYPE, stated[row]) for row in unknown]
    codes[unknown] = GOOD
    if rule.quality is not None:
        columns[rule.quality] = Column(codes, codes != GOOD)
        return rejects
    column = columns.get(rule.id)
    if column is None:
        return rejects
    bad = codes >= BAD
    if column.valid is not None:
        bad &= column.valid
    raw = decoded.columns[rule.source]
    columns[rule.id], rows = _without(column, bad)
    return rejects + [ValueReject(row, rule.name, BAD_QUALITY, raw[row]) for row in rows]


def _derived(
    rule: MeasurementRule,
    expression: Expression,
    rules: TemplateRules,
    columns: Mapping[int, Column],
    count: int,
) -> Column:
    """What an expression gives; null where that does not fit the type."""
    of_name = {other.name: columns.get(other.id) for other in rules.measurements}
    found = expression.evaluate(of_name, count)
    if rule.type == ColumnType.BOOLEAN or rule.type == ColumnType.DOUBLE:
        return found
    return _scaled(found, replace(rule, linear=(1.0, 0.0)))[0]


def _scaled(column: Column, rule: MeasurementRule) -> tuple[Column, list[int]]:
    """(the column in the stored unit and type, rows that the type cannot hold)."""
    assert rule.linear is not None
    factor, summand = rule.linear
    with np.errstate(over="ignore", invalid="ignore"):
        values: AnyArray = column.values * factor + summand
        kind = rule.type
        if kind == ColumnType.DOUBLE:
            stored, beyond = values, ~np.isfinite(values)
        elif kind == ColumnType.FLOAT:
            stored = values.astype(np.float32)
            beyond = ~np.isfinite(stored)
        else:
            values = np.rint(values)
            info = np.iinfo(kind.dtype)
            # The upper limit of a 64-bit type is no double: the next double is already beyond.
            beyond = ~((values >= float(info.min)) & (values < float(info.max) + 1.0))
            stored = np.where(beyond, 0.0, values).astype(kind.dtype)
    if column.valid is not None:
        beyond &= column.valid
    return _without(Column(stored, column.valid), beyond)


def in_range(column: Column, rule: MeasurementRule) -> tuple[Column, list[int]]:
    """(the column with nulls for values outside the range of the measurement, their rows)."""
    outside: BoolMask | None = None
    if rule.low is not None:
        outside = column.values < rule.low
    if rule.high is not None:
        above = column.values > rule.high
        outside = above if outside is None else outside | above
    if outside is None:
        return column, []
    if column.valid is not None:
        outside &= column.valid
    return _without(column, outside)


def _without(column: Column, bad: BoolMask) -> tuple[Column, list[int]]:
    """The column with nulls at ``bad``, and where they are."""
    if not bad.any():
        return column, []
    valid = ~bad if column.valid is None else column.valid & ~bad
    return Column(column.values, valid), [int(row) for row in np.flatnonzero(bad)]
