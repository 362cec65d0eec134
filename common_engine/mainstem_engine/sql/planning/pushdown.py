"""Push-down: what a WHERE clause lets a scan leave out.

Only conjuncts of WHERE are used, and only such that are never true for a row with nulls in their
place. The filter stays in the executed statement, so a row that is left out here would have been
filtered there:

1. Dropping a row of a table that fails a conjunct on that table's columns cannot change an inner
   join. In an outer join it can make a row of the other side unmatched, whose nulls then fail the
   same conjunct.
2. The right side of an ASOF join is never narrowed: dropping the nearest row would make another one
   the nearest. With POSITIONAL joins and samples nothing is narrowed.
3. A column of USING belongs to all tables of the join: rows that fail it only ever meet such rows.

Understood are comparisons of time with constants, and =, IN and LIKE of device, tbname and tags
with text or integers of the declared type. Comparisons of numbers with constants only let a scan
leave out blocks that hold no such value. Everything else is left to the filter.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sqlglot import exp

from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.names import split_path
from mainstem_engine.errors import SqlSyntaxError
from mainstem_engine.model import ColumnType, DeviceIds
from mainstem_engine.sql.planning.value_filters import OPERATORS, exact_number, literal_of
from mainstem_engine.sql.select.relations import TIME, Member, Moment, Relation, RelationColumn
from mainstem_engine.sql.select.scopes import Scopes, TableSource
from mainstem_engine.sql.select.time_expressions import TimeExpressions
from mainstem_engine.sql.select.trees import find_nodes

_FLIPPED: dict[type[exp.Expr], type[exp.Expr]] = {
    exp.LT: exp.GT,
    exp.LTE: exp.GTE,
    exp.GT: exp.LT,
    exp.GTE: exp.LTE,
    exp.EQ: exp.EQ,
}
_MIRRORED = {**_FLIPPED, exp.NEQ: exp.NEQ}
_OPERANDS = frozenset({"this", "expression", "expressions", "low", "high"})
_NUMBER_MAX = 1e300
VALUES_MAX = 10_000
"""A longer IN list is left to the filter."""
CHOICES_MAX = 100
"""A plan for a longer list of devices is not kept for others: finding them is most of the work."""


class PushDown:
    """Narrows the relations of one statement.

    ``is_exact``: of a statement that reads one table, no row that is left fails its WHERE.
    """

    def __init__(self, catalog: Catalog, scopes: Scopes, times: TimeExpressions) -> None:
        self._catalog = catalog
        self._scopes = scopes
        self.times = times
        self.is_exact = True
        self._said: dict[int, exp.Select] = {}
        # The SELECTs themselves are held: another one could otherwise get the same number.

    def narrow(self, tree: exp.Expr) -> None:
        """Sets time bounds and devices of every relation in the tree."""
        for select in find_nodes(tree, exp.Select):
            where = select.args.get("where")
            if where is None:
                self._said[id(select)] = select
                continue
            if not self._may_narrow(select):
                self.is_exact = False
                continue
            is_said = True
            for conjunct in _conjuncts(where.this):
                used = self._use(conjunct, select)
                self.is_exact = self.is_exact and used
                is_said &= used or self._filter(conjunct, select)
            if is_said:
                self._said[id(select)] = select

    def is_said(self, select: exp.Select) -> bool:
        """True when no row that is left of the one table of ``select``, and that passes the filters
        of its relation, fails its WHERE. False for a SELECT that was made after narrow()."""
        return id(select) in self._said

    def _may_narrow(self, select: exp.Select) -> bool:
        if select.args.get("sample"):
            return False
        joins = select.args.get("joins") or ()
        return not any((join.method or "").upper() == "POSITIONAL" for join in joins)

    def _targets(
        self, column: exp.Column, select: exp.Select
    ) -> Iterator[tuple[Relation, RelationColumn]]:
        """The relations that a conjunct on ``column`` may narrow."""
        sources = list(self._scopes.sources(select))
        name = column.name.casefold()
        if column.table:
            found = [s for s in sources if s.alias.casefold() == column.table.casefold()]
        else:
            found = [s for s in sources if _offers(self._scopes, s, name)]
        if len(found) > 1 and not self._is_using(select, name):
            return
        for source in found:
            if source.relation is None or source.column_names or _is_whole(source):
                continue
            offered = source.relation.columns.get(name)
            if offered is not None:
                yield source.relation, offered

    def _is_using(self, select: exp.Select, name: str) -> bool:
        joins = select.args.get("joins") or ()
        return bool(joins) and all(
            any(key.name.casefold() == name for key in join.args.get("using") or ())
            and (join.method or "").upper() != "ASOF"
            for join in joins
        )

    def _use(self, conjunct: exp.Expr, select: exp.Select) -> bool:
        """True when the narrowing says all that the conjunct says."""
        # Any other argument, such as NOT LIKE's "negate", changes what the node means.
        if {key for key, value in conjunct.args.items() if value} - _OPERANDS:
            return False
        if isinstance(conjunct, exp.Between):
            low = self._compare(exp.GTE, conjunct.this, conjunct.args["low"], select)
            return self._compare(exp.LTE, conjunct.this, conjunct.args["high"], select) and low
        if isinstance(conjunct, exp.In):
            return self._in(conjunct, select)
        if isinstance(conjunct, exp.Like):
            return self._like(conjunct, select)
        if type(conjunct) in _FLIPPED:
            kind = type(conjunct)
            left = self._compare(kind, conjunct.this, conjunct.expression, select)
            right = self._compare(_FLIPPED[kind], conjunct.expression, conjunct.this, select)
            return left or right
        return False

    # Filters

    def _filter(self, conjunct: exp.Expr, select: exp.Select) -> bool:
        """True when filters of a relation say all that the conjunct says; sets them."""
        if {key for key, value in conjunct.args.items() if value} - _OPERANDS:
            return False
        if isinstance(conjunct, exp.Between):
            low = self._filters(exp.GTE, conjunct.this, conjunct.args["low"], select)
            return self._filters(exp.LTE, conjunct.this, conjunct.args["high"], select) and low
        kind = type(conjunct)
        if kind not in _MIRRORED:
            return False
        left, right = conjunct.this, conjunct.expression
        if isinstance(left, exp.Column):
            return self._filters(kind, left, right, select)
        return self._filters(_MIRRORED[kind], right, left, select)

    def _filters(
        self, kind: type[exp.Expr], column: exp.Expr, value: exp.Expr, select: exp.Select
    ) -> bool:
        found = list(self._targets(column, select)) if isinstance(column, exp.Column) else []
        if len(found) != 1:
            return False
        relation, offered = found[0]
        written: Any = literal_of(value)
        if isinstance(value, exp.Placeholder):
            written = self.times.parameter(value)
        if offered.kind != "MEASUREMENT" or not isinstance(written, int | float | str):
            return False
        if isinstance(value, exp.Placeholder) and isinstance(written, str):
            return False
        number = exact_number(offered.type, written)
        if number is not None:
            relation.filters.append((offered.name, OPERATORS[kind], number))
        return number is not None

    # Times

    def _compare(
        self, kind: type[exp.Expr], column: exp.Expr, value: exp.Expr, select: exp.Select
    ) -> bool:
        used = False
        if not isinstance(column, exp.Column):
            return used
        for relation, offered in self._targets(column, select):
            if _is_row_time(offered):
                used = self._bound_by(relation, kind, value)
            elif offered.kind == "MEASUREMENT":
                self._range(relation, offered, kind, self._number(value))
            elif kind is exp.EQ:
                used = self._equal(relation, offered, [value])
        return used

    # Values

    def _range(
        self,
        relation: Relation,
        offered: RelationColumn,
        kind: type[exp.Expr],
        value: float | None,
    ) -> None:
        """Bounds a measurement. The filter stays: a bound may be wider than what was said."""
        if value is None or not (offered.type.is_integer or offered.type.is_float):
            return
        # The executing database may round the constant to the column's type.
        margin = abs(value) * (1e-6 if offered.type == ColumnType.FLOAT else 1e-12)
        low, high = relation.ranges.get(offered.name, (-math.inf, math.inf))
        if kind in (exp.GTE, exp.GT, exp.EQ):
            low = max(low, value - margin)
        if kind in (exp.LTE, exp.LT, exp.EQ):
            high = min(high, value + margin)
        relation.ranges[offered.name] = (low, high)

    def _number(self, node: exp.Expr) -> float | None:
        """The value of a plain number, None for anything else."""
        if isinstance(node, exp.Neg):
            found = self._number(node.this)
            return None if found is None else -found
        value = self.times.parameter(node) if isinstance(node, exp.Placeholder) else None
        if isinstance(node, exp.Literal) and not node.is_string:
            value = float(node.this)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if abs(value) < _NUMBER_MAX else None

    def _bound_by(self, relation: Relation, kind: type[exp.Expr], node: exp.Expr) -> bool:
        try:
            value_ns, is_open = self.times.moment_ns(node)
        except SqlSyntaxError:
            return False
        if value_ns is not None:
            self._bound(relation, kind, value_ns, node.copy() if is_open else None)
        return value_ns is not None

    def _bound(
        self, relation: Relation, kind: type[exp.Expr], value_ns: int, node: exp.Expr | None = None
    ) -> None:
        """``node``: the constant, when it has another value in every run."""
        known_ns = 0 if node is not None else value_ns
        if kind in (exp.GTE, exp.GT, exp.EQ):
            shift = int(kind is exp.GT)
            start = value_ns + shift
            relation.start_ns = max(
                start, start if relation.start_ns is None else relation.start_ns
            )
            relation.moments.append(Moment(node, known_ns + shift, True))
        if kind in (exp.LTE, exp.LT, exp.EQ):
            shift = int(kind is not exp.LT)
            end = value_ns + shift
            relation.end_ns = min(end, end if relation.end_ns is None else relation.end_ns)
            relation.moments.append(Moment(node, known_ns + shift, False))

    # Devices

    def _in(self, conjunct: exp.In, select: exp.Select) -> bool:
        values = conjunct.expressions
        used = False
        if not isinstance(conjunct.this, exp.Column) or not 0 < len(values) <= VALUES_MAX:
            return used
        for relation, offered in self._targets(conjunct.this, select):
            if not _is_row_time(offered):
                used = self._equal(relation, offered, values)
                continue
            moments = [self.times.constant_ns_or_none(value) for value in values]
            known = [moment for moment in moments if moment is not None]
            if len(known) == len(moments):
                self._bound(relation, exp.GTE, min(known))
                self._bound(relation, exp.LTE, max(known))
                used = min(known) == max(known)
        return used

    def _equal(self, relation: Relation, offered: RelationColumn, nodes: list[exp.Expr]) -> bool:
        if self._choose(relation, offered, nodes):
            return True
        values = [self._plain(node) for node in nodes]
        wanted: type = int if offered.type.is_integer else str
        if offered.kind not in ("DEVICE", "TBNAME", "TAG") or not all(
            type(value) is wanted for value in values
        ):
            return False
        if offered.kind == "TAG":
            if not offered.type.is_integer and offered.type.name != "TEXT":
                return False
            self._restrict(
                relation,
                lambda member: self._catalog.devices.matching(
                    member.table.family, {offered.name: values}
                ),
            )
        elif offered.kind == "DEVICE":
            ids = np.unique(self._catalog.devices.lookup(values))
            self._restrict(relation, lambda _: ids)
        else:
            self._restrict_paths(relation, lambda path: split_path(path)[-1] in values)
        return True

    def _choose(self, relation: Relation, offered: RelationColumn, nodes: list[exp.Expr]) -> bool:
        """Devices that parameters name, of a plan that is kept for others: True when they are the
        only thing that the values decide."""
        is_open = self.times.is_open and any(isinstance(n, exp.Placeholder) for n in nodes)
        if not is_open or offered.kind != "DEVICE" or len(nodes) > CHOICES_MAX:
            return False
        if relation.is_path or len(relation.members) != 1:
            return False
        values = [
            self.times.open_parameter(n) if isinstance(n, exp.Placeholder) else self._plain(n)
            for n in nodes
        ]
        if not all(type(value) is str for value in values):
            return False
        (member,) = relation.members
        if not relation.choices:
            member.fixed = member.devices
        relation.choices.append(tuple(node.copy() for node in nodes))
        self._narrow(member, self._catalog.devices.lookup(values))
        return True

    def _like(self, conjunct: exp.Like, select: exp.Select) -> bool:
        pattern = self._plain(conjunct.expression)
        used = False
        if not isinstance(conjunct.this, exp.Column) or not isinstance(pattern, str):
            return used
        matcher = like_pattern(pattern)
        for relation, offered in self._targets(conjunct.this, select):
            if offered.kind == "DEVICE":
                self._restrict_paths(relation, lambda path: matcher.fullmatch(path) is not None)
                used = True
        return used

    def _plain(self, node: exp.Expr) -> Any:
        """The value of a literal or parameter: str or int; None for anything else."""
        if isinstance(node, exp.Placeholder):
            return self.times.parameter(node)
        if isinstance(node, exp.Literal):
            if node.is_string:
                return node.this
            return int(node.this) if node.this.isdecimal() else None
        return None

    def _restrict_paths(self, relation: Relation, accepts: Callable[[str], bool]) -> None:
        def matching(member: Member) -> DeviceIds:
            ids = self._fixed_devices(member) if relation.choices else self._member_devices(member)
            paths = self._catalog.devices.paths(ids.tolist())
            keep = np.fromiter((accepts(path) for path in paths), np.bool_, count=len(paths))
            return ids[keep]

        self._restrict(relation, matching)

    def _restrict(self, relation: Relation, matching: Callable[[Member], DeviceIds]) -> None:
        for member in relation.members:
            found = matching(member)
            if relation.choices:
                member.fixed = np.intersect1d(self._fixed_devices(member), found)
            self._narrow(member, found)

    def _narrow(self, member: Member, found: DeviceIds) -> None:
        """Leaves the devices that are in ``found``, too."""
        is_all = member.devices is None
        if is_all and self._catalog.devices.all_in_family(found, member.table.family):
            # A template may have a million devices.
            member.devices = np.unique(found)
        else:
            member.devices = np.intersect1d(self._member_devices(member), found)

    def _fixed_devices(self, member: Member) -> DeviceIds:
        if member.fixed is not None:
            return member.fixed
        return self._catalog.devices.of_family(member.table.family)

    def _member_devices(self, member: Member) -> DeviceIds:
        if member.devices is not None:
            return member.devices
        return self._catalog.devices.of_family(member.table.family)


def like_pattern(pattern: str) -> re.Pattern[str]:
    """SQL's LIKE without an escape character: ``%`` any text, ``_`` one character."""
    translated = {"%": ".*", "_": "."}
    return re.compile("".join(translated.get(c, re.escape(c)) for c in pattern), re.DOTALL)


def _is_row_time(column: RelationColumn) -> bool:
    """True for the time of the row itself, not for measurements of type TIMESTAMP."""
    return column.kind == "TIME" or (column.kind == "ALIAS" and column.source == TIME)


def _is_whole(source: TableSource) -> bool:
    """True for tables whose rows must all be there: the right side of ASOF, samples."""
    if source.relation is not None and source.relation.is_sampled:
        return True
    return source.join is not None and (source.join.method or "").upper() == "ASOF"


def _offers(scopes: Scopes, source: TableSource, name: str) -> bool:
    if source.relation is not None:
        return name in source.relation.columns
    return scopes.output(source, name) is not None


def _conjuncts(node: exp.Expr) -> Iterator[exp.Expr]:
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if isinstance(node, exp.And):
            waiting += [node.this, node.expression]
        elif isinstance(node, exp.Paren):
            waiting.append(node.this)
        else:
            yield node
