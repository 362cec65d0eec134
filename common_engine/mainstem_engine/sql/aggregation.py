"""Aggregate push-down: a statement that only aggregates reads groups instead of rows.

1. Understood is one SELECT over one template or device: count, min, max, sum, avg, FIRST and LAST
   of measurements and count(*), anywhere in the select list, HAVING and ORDER BY; by device,
   tbname, tags, and by time_bucket or date_trunc of the time. Its WHERE must be one that the scan's
   narrowing and filters of values say completely (pushdown.py, value_filters.py).
2. The relation then delivers, in place of rows, one row per device (if any of its columns is named)
   and window (if the time is), with what the engine aggregated there. The tree stays as it is, but
   that every function is replaced by the one that joins such groups: a sum of counts, a maximum of
   maxima, a sum of sums by a sum of counts.
3. A window divides every bucket of the statement, so that its start falls into the same bucket as
   all of its rows.

Anything else is left alone and reads rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from mainstem_engine.model import ColumnType
from mainstem_engine.sql.plan import Partials
from mainstem_engine.sql.relations import Member, Relation, RelationColumn
from mainstem_engine.sql.times import NS_PER_DAY, UNIT_NS
from mainstem_engine.windows import COUNT, FIRST, LAST, MAX, MIN, SUM

ROWS = "#rows"
BEGIN = "#begin"
END = "#end"
"""Columns of groups that belong to no measurement; others are ``#<function>:<measurement>``. A name
of a user could be the same: then the statement reads rows."""
HIGH, LOW, FIRST_TIME, LAST_TIME = "high", "low", "first_time", "last_time"

_CLAUSES = frozenset(
    {"expressions", "from_", "where", "group", "having", "order", "limit", "offset"}
)
_TRUNCATED = {"SECOND": "s", "MINUTE": "m", "HOUR": "h", "DAY": "d"}
_UTC = frozenset({"UTC", "Z"})
_HALF = 1 << 32


@dataclass(frozen=True, slots=True)
class _Call:
    """One aggregate function of the statement. ``column`` None: of rows."""

    node: exp.Expr
    function: str
    column: RelationColumn | None


def push_aggregates(tree: exp.Expr, relation: Relation, zone: str, table_precision_ns: int) -> bool:
    """Rewrites a SELECT over ``relation`` alone, whose WHERE is said by its narrowing and filters,
    to read groups; True if it did. Sets ``relation.partials``."""
    if not isinstance(tree, exp.Select) or len(relation.members) != 1 or relation.is_sampled:
        return False
    devices = relation.members[0].devices
    if relation.filters and relation.is_path and (devices is None or len(devices) > 1):
        # Rows of several devices may be joined to one, which then passes or does not.
        return False
    if {key for key, value in tree.args.items() if value} - _CLAUSES:
        return False
    found = _Statement(tree, relation, zone)
    if not found.is_understood():
        return False
    every_ns = math.gcd(*found.buckets) if found.buckets else None
    if every_ns is not None and every_ns % table_precision_ns:
        return False
    columns = _Columns(relation, relation.members[0])
    if not all(columns.offer(call) for call in found.calls):
        return False
    for call in found.calls:
        call.node.replace(columns.joined(call))
    tree.set("where", None)
    columns.publish(by_device=found.by_device, by_time=every_ns is not None)
    relation.partials = Partials(
        columns.functions, every_ns, found.by_device, tuple(relation.filters)
    )
    return True


class _Statement:
    """What a SELECT computes of which columns."""

    def __init__(self, tree: exp.Select, relation: Relation, zone: str) -> None:
        self._tree = tree
        self._relation = relation
        self._zone = zone
        self.calls: list[_Call] = []
        self.buckets: list[int] = []
        self.by_device = False

    def is_understood(self) -> bool:
        """Fills the fields; False if something is not understood."""
        named = (self._tree.args.get(key) for key in ("group", "having", "order"))
        clauses = [*self._tree.expressions, *(clause for clause in named if clause)]
        alias = self._tree.args["from_"].this.args.get("alias")
        if isinstance(alias, exp.TableAlias) and alias.columns:
            return False
        return all(self._walk(node) for node in clauses) and bool(self.calls)

    def _walk(self, node: exp.Expr) -> bool:
        if isinstance(node, exp.Query | exp.Window | exp.Filter | exp.Distinct | exp.Star):
            return False
        if isinstance(node, exp.AggFunc):
            call = self._call(node)
            if call is not None:
                self.calls.append(call)
            return call is not None
        if isinstance(node, exp.DateBin | exp.TimestampTrunc | exp.DateTrunc):
            width = self._bucket(node)
            if width is not None:
                self.buckets.append(width)
            return width is not None
        if isinstance(node, exp.Column):
            return self._key(node)
        if isinstance(node, exp.Anonymous):
            # It could aggregate: what it does is not known here.
            return False
        return all(self._walk(child) for child in node.iter_expressions())

    def _key(self, node: exp.Column) -> bool:
        """A column that is not aggregated: a group's, or the name of a result."""
        found = self._relation.columns.get(node.name.casefold())
        if found is None:
            names = {item.alias_or_name.casefold() for item in self._tree.expressions}
            return not node.table and node.name.casefold() in names
        self.by_device = True
        return found.kind in ("DEVICE", "TAG", "TBNAME")

    def _call(self, node: exp.AggFunc) -> _Call | None:
        if isinstance(node, exp.ArgMax | exp.ArgMin):
            by = self._column(node.expression)
            column = self._column(node.this)
            known = {key for key, value in node.args.items() if value} <= {"this", "expression"}
            if not known or by is None or column is None or not _is_row_time(by):
                return None
            return _Call(node, LAST if isinstance(node, exp.ArgMax) else FIRST, column)
        functions: dict[type[exp.Expr], str] = {
            exp.Count: COUNT, exp.Min: MIN, exp.Max: MAX, exp.Sum: SUM, exp.Avg: "mean",
        }  # fmt: skip
        function = functions.get(type(node))
        known = {key for key, value in node.args.items() if value} <= {"this", "big_int"}
        if function is None or not known:
            return None
        if isinstance(node.this, exp.Star):
            is_plain = not any(node.this.args.values())
            return _Call(node, COUNT, None) if function == COUNT and is_plain else None
        column = self._column(node.this)
        if column is None:
            return None
        if _is_row_time(column):
            if function == COUNT:
                return _Call(node, COUNT, None)
            return _Call(node, function, column) if function in (MIN, MAX) else None
        return _Call(node, function, column) if column.kind == "MEASUREMENT" else None

    def _column(self, node: Any) -> RelationColumn | None:
        if not isinstance(node, exp.Column):
            return None
        return self._relation.columns.get(node.name.casefold())

    def _bucket(self, node: exp.Expr) -> int | None:
        """Length in ns of the bucket of a time, None if it is not understood."""
        given = {key for key, value in node.args.items() if value}
        if isinstance(node, exp.DateBin):
            width, time = _interval_ns(node.this), self._column(node.expression)
            known = given <= {"this", "expression"}
        else:
            unit = node.args.get("unit")
            name = unit.name.upper() if isinstance(unit, exp.Expr) else ""
            # Hours begin elsewhere in other zones, minutes did once; seconds are the same.
            within = name == "SECOND" or self._zone.upper() in _UTC
            width = UNIT_NS[_TRUNCATED[name]] if name in _TRUNCATED and within else None
            time, known = self._column(node.this), given <= {"this", "unit"}
        if not known or width is None or time is None or not _is_row_time(time):
            return None
        # Buckets of DuckDB count from a midnight: only such windows begin where they do.
        return width if NS_PER_DAY % width == 0 else None


class _Columns:
    """The columns of groups, and how groups are joined."""

    def __init__(self, relation: Relation, member: Member) -> None:
        self._relation = relation
        self._member = member
        self._offered: dict[str, RelationColumn] = {}
        self.functions: dict[str, tuple[str, ...]] = {}

    def offer(self, call: _Call) -> bool:
        """Takes up the columns that a call needs; False if groups cannot answer it."""
        column = call.column
        if column is None or _is_row_time(column):
            # What is said of the rows themselves.
            self.functions["*"] = (COUNT,)
        if column is None:
            return self._add(ROWS, ColumnType.INT64)
        if _is_row_time(column):
            return self._add(BEGIN if call.function == MIN else END, ColumnType.TIMESTAMP)
        kind = column.type
        is_number = kind.is_integer or kind.is_float
        if call.function != COUNT and (
            kind == ColumnType.TIMESTAMP or (not is_number and call.function not in (FIRST, LAST))
        ):
            return False
        self.functions[column.name] = (*self.functions.get(column.name, ()), call.function)
        return all(
            self._add(_name(part, column), type_) for part, type_ in _parts(call.function, kind)
        )

    def _add(self, name: str, kind: ColumnType) -> bool:
        if name.casefold() in self._relation.columns:
            return False
        self._offered[name] = RelationColumn(name, kind, kind="PARTIAL")
        return True

    def publish(self, *, by_device: bool, by_time: bool) -> None:
        """Makes the columns those of the relation, beside the ones that groups share."""
        shared = {"DEVICE", "TAG", "TBNAME"} if by_device else set()
        shared |= {"TIME", "ALIAS"} if by_time else set()
        for name, column in list(self._relation.columns.items()):
            if column.kind not in shared:
                del self._relation.columns[name]
        for name, column in self._offered.items():
            self._relation.columns[name.casefold()] = column
            self._member.columns[name.casefold()] = column

    def joined(self, call: _Call) -> exp.Expr:
        """The function over groups."""
        column = call.column
        if column is None:
            return _count(ROWS)
        if _is_row_time(column):
            function = exp.Min if call.function == MIN else exp.Max
            return function(this=_ref(BEGIN if call.function == MIN else END))
        return _JOINED[call.function](column)


def _is_row_time(column: RelationColumn) -> bool:
    return column.kind == "TIME" or (column.kind == "ALIAS" and column.source == "time")


def _parts(function: str, kind: ColumnType) -> list[tuple[str, ColumnType]]:
    """Columns of groups that a function is joined from."""
    if function in (COUNT, MIN, MAX):
        return [(function, ColumnType.INT64 if function == COUNT else kind)]
    if function in (FIRST, LAST):
        return [(function, kind), (f"{function}_time", ColumnType.INT64)]
    halves = [(SUM, ColumnType.DOUBLE)] if kind.is_float else [
        (HIGH, ColumnType.INT64), (LOW, ColumnType.INT64)
    ]  # fmt: skip
    return halves if function == SUM else [*halves, (COUNT, ColumnType.INT64)]


def _name(part: str, column: RelationColumn) -> str:
    return f"#{part}:{column.name}"


def _ref(name: str) -> exp.Column:
    return exp.column(exp.to_identifier(name, quoted=True))


def _count(name: str) -> exp.Expr:
    total = exp.func("COALESCE", exp.Sum(this=_ref(name)), exp.Literal.number(0))
    return exp.cast(total, exp.DType.BIGINT)


def _sum(column: RelationColumn) -> exp.Expr:
    if column.type.is_float:
        return exp.Sum(this=_ref(_name(SUM, column)))
    high = exp.Mul(
        this=exp.Sum(this=_ref(_name(HIGH, column))), expression=exp.Literal.number(_HALF)
    )
    return exp.paren(exp.Add(this=high, expression=exp.Sum(this=_ref(_name(LOW, column)))))


def _mean(column: RelationColumn) -> exp.Expr:
    count = exp.Sum(this=_ref(_name(COUNT, column)))
    total = exp.cast(_sum(column), exp.DType.DOUBLE)
    return exp.paren(
        exp.Div(this=total, expression=exp.func("NULLIF", count, exp.Literal.number(0)))
    )


_JOINED: dict[str, Callable[[RelationColumn], exp.Expr]] = {
    COUNT: lambda column: _count(_name(COUNT, column)),
    MIN: lambda column: exp.Min(this=_ref(_name(MIN, column))),
    MAX: lambda column: exp.Max(this=_ref(_name(MAX, column))),
    SUM: _sum,
    "mean": _mean,
    FIRST: lambda column: exp.ArgMin(
        this=_ref(_name(FIRST, column)), expression=_ref(_name(FIRST_TIME, column))
    ),
    LAST: lambda column: exp.ArgMax(
        this=_ref(_name(LAST, column)), expression=_ref(_name(LAST_TIME, column))
    ),
}


def _interval_ns(node: Any) -> int | None:
    """A literal interval of a fixed length."""
    if not isinstance(node, exp.Interval) or not isinstance(node.this, exp.Literal):
        return None
    unit = node.args.get("unit")
    name = unit.name.upper().removesuffix("S") if isinstance(unit, exp.Expr) else ""
    short = {"MILLISECOND": "ms", **_TRUNCATED}.get(name)
    text = node.this.name
    return int(text) * UNIT_NS[short] if short and text.isdecimal() and int(text) else None
