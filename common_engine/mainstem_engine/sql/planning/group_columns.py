"""Columns of groups: which ones the functions of a statement need, and how groups are joined.

A function over rows is replaced by the one that joins groups: a sum of counts, a maximum of maxima,
a sum of sums by a sum of counts. Columns of groups that belong to no measurement are ``#rows``,
``#begin`` and ``#end``; others are ``#<part>:<measurement>``. A name of a user could be the same:
then the statement reads rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlglot import exp

from mainstem_engine.model import ColumnType
from mainstem_engine.sql.select.relations import Member, Relation, RelationColumn
from mainstem_engine.windows import COUNT, FIRST, LAST, MAX, MEAN, MIN, SUM

ROWS = "#rows"
BEGIN = "#begin"
END = "#end"
HIGH, LOW, FIRST_TIME, LAST_TIME = "high", "low", "first_time", "last_time"
FIRST_AT, LAST_AT = "first_at", "last_at"
"""Times of values as timestamps; FIRST_TIME and LAST_TIME are integers, to compare them."""
LAST_ROW = "last_row"
"""The newest row's value, which may be null; only the newest values know it."""
NEWEST = frozenset({LAST, LAST_AT, LAST_ROW, END})
"""What the newest values alone can say: functions, and END for the time of the newest row."""

_HALF = 1 << 32


@dataclass(frozen=True, slots=True)
class Call:
    """One aggregate function of the statement. ``column`` None: of rows. ``where``: of groups that
    it is over, a condition on their device."""

    node: exp.Expr
    function: str
    column: RelationColumn | None
    where: exp.Where | None = None


class GroupColumns:
    """What groups of one relation deliver."""

    def __init__(self, relation: Relation) -> None:
        self._relation = relation
        self._offered: dict[str, RelationColumn] = {}
        self._parts: dict[str, RelationColumn] = {}
        self.functions: dict[str, tuple[str, ...]] = {}

    def offer(self, call: Call) -> bool:
        """Takes up the columns that a call needs; False if groups cannot answer it."""
        column = call.column
        if column is None or is_row_time(column):
            # What is said of the rows themselves.
            self.functions["*"] = (COUNT,)
        if column is None:
            return self._add(ROWS, ColumnType.INT64, None)
        if is_row_time(column):
            name = BEGIN if call.function == MIN else END
            return self._add(name, ColumnType.TIMESTAMP, None)
        kind = column.type
        is_number = kind.is_integer or kind.is_float
        of_any_type = (COUNT, FIRST, LAST, FIRST_AT, LAST_AT, LAST_ROW)
        if call.function not in of_any_type and (kind == ColumnType.TIMESTAMP or not is_number):
            return False
        known = self.functions.get(column.name, ())
        self.functions[column.name] = (*known, _ENGINE.get(call.function, call.function))
        return self._is_alike(column) and all(
            self._add(_name(part, column), type_, None if part == END else column)
            for part, type_ in _parts(call.function, kind)
        )

    def _is_alike(self, column: RelationColumn) -> bool:
        """True when every template that has the measurement has it in one type."""
        key = column.name.casefold()
        found = {m.columns[key].type for m in self._relation.members if key in m.columns}
        return found == {column.type}

    def _add(self, name: str, kind: ColumnType, of: RelationColumn | None) -> bool:
        if name.casefold() in self._relation.columns:
            return False
        self._offered[name] = RelationColumn(name, kind, kind="PARTIAL")
        if of is not None:
            self._parts[name] = of
        return True

    def of_member(self, member: Member) -> dict[str, tuple[str, ...]]:
        """The functions of the measurements that one template has."""
        return {
            name: asked
            for name, asked in self.functions.items()
            if name == "*" or name.casefold() in member.columns
        }

    def publish(self, *, by_device: bool, by_time: bool) -> None:
        """Makes the columns those of the relation, beside the ones that groups share. Templates
        without any of the measurements have no rows, as for rows."""
        members = self._relation.members
        if self._parts and len(members) > 1:
            names = {column.name.casefold() for column in self._parts.values()}
            members[:] = [m for m in members if names & m.columns.keys()] or members[:1]
        shared = {"DEVICE", "TAG", "TBNAME"} if by_device else set()
        shared |= {"TIME", "ALIAS"} if by_time else set()
        for name, column in list(self._relation.columns.items()):
            if column.kind not in shared:
                del self._relation.columns[name]
        for name, column in self._offered.items():
            self._relation.columns[name.casefold()] = column
            of = self._parts.get(name)
            for member in members:
                if of is None or of.name.casefold() in member.columns:
                    member.columns[name.casefold()] = column

    def joined(self, call: Call) -> exp.Expr:
        """The function over groups."""
        column = call.column
        if column is None:
            found = _count(ROWS)
        elif is_row_time(column):
            function = exp.Min if call.function == MIN else exp.Max
            found = function(this=_ref(BEGIN if call.function == MIN else END))
        else:
            found = _JOINED[call.function](column)
        return found if call.where is None else _where(found, call.where)


def is_row_time(column: RelationColumn) -> bool:
    """True for the time of the row itself, not for measurements of type TIMESTAMP."""
    return column.kind == "TIME" or (column.kind == "ALIAS" and column.source == "time")


def _parts(function: str, kind: ColumnType) -> list[tuple[str, ColumnType]]:
    """Columns of groups that a function is joined from."""
    if function in (COUNT, MIN, MAX):
        return [(function, ColumnType.INT64 if function == COUNT else kind)]
    if function in (FIRST, LAST):
        return [(function, kind), (f"{function}_time", ColumnType.INT64)]
    if function in (FIRST_AT, LAST_AT):
        return [(function, ColumnType.TIMESTAMP)]
    if function == LAST_ROW:
        return [(function, kind), (END, ColumnType.TIMESTAMP)]
    halves = [(SUM, ColumnType.DOUBLE)] if kind.is_float else [
        (HIGH, ColumnType.INT64), (LOW, ColumnType.INT64)
    ]  # fmt: skip
    return halves if function == SUM else [*halves, (COUNT, ColumnType.INT64)]


def _name(part: str, column: RelationColumn) -> str:
    return part if part == END else f"#{part}:{column.name}"


def _ref(name: str) -> exp.Column:
    return exp.column(exp.to_identifier(name, quoted=True))


def _part(part: str, column: RelationColumn) -> exp.Column:
    return _ref(_name(part, column))


def _count(name: str) -> exp.Expr:
    total = exp.func("COALESCE", exp.Sum(this=_ref(name)), exp.Literal.number(0))
    return exp.cast(total, exp.DType.BIGINT)


def _sum(column: RelationColumn) -> exp.Expr:
    if column.type.is_float:
        return exp.Sum(this=_part(SUM, column))
    high = exp.Mul(this=exp.Sum(this=_part(HIGH, column)), expression=exp.Literal.number(_HALF))
    return exp.paren(exp.Add(this=high, expression=exp.Sum(this=_part(LOW, column))))


def _mean(column: RelationColumn) -> exp.Expr:
    count = exp.Sum(this=_part(COUNT, column))
    total = exp.cast(_sum(column), exp.DType.DOUBLE)
    return exp.paren(
        exp.Div(this=total, expression=exp.func("NULLIF", count, exp.Literal.number(0)))
    )


def _where(joined: exp.Expr, where: exp.Where) -> exp.Expr:
    """``joined`` over the groups that fulfil a condition only."""
    holder = exp.paren(joined, copy=False)
    for node in list(holder.find_all(exp.AggFunc, exp.Anonymous)):
        node.replace(exp.Filter(this=node.copy(), expression=where.copy()))
    found: exp.Expr = holder.this
    return found


_ENGINE = {FIRST_AT: FIRST, LAST_AT: LAST, LAST_ROW: LAST}
"""What the engine is asked for a function."""

_JOINED: dict[str, Callable[[RelationColumn], exp.Expr]] = {
    COUNT: lambda column: _count(_name(COUNT, column)),
    MIN: lambda column: exp.Min(this=_part(MIN, column)),
    MAX: lambda column: exp.Max(this=_part(MAX, column)),
    SUM: _sum,
    MEAN: _mean,
    FIRST: lambda column: exp.ArgMin(
        this=_part(FIRST, column), expression=_part(FIRST_TIME, column)
    ),
    LAST: lambda column: exp.ArgMax(this=_part(LAST, column), expression=_part(LAST_TIME, column)),
    FIRST_AT: lambda column: exp.Min(this=_part(FIRST_AT, column)),
    LAST_AT: lambda column: exp.Max(this=_part(LAST_AT, column)),
    LAST_ROW: lambda column: exp.Anonymous(
        this="arg_max_null", expressions=[_part(LAST_ROW, column), _ref(END)]
    ),
}
