"""Times inside a SELECT: what is a time, what a constant means, and comparing the two.

The executing database knows times as TIMESTAMPTZ, or TIMESTAMPTZ_NS when the statement reads a
table of nanosecond precision. Users write integers, ISO literals, ``now() - INTERVAL ...`` or
parameters.

1. An expression is a time if it comes from a time column through functions that keep it one.
2. Where a time is compared (=, <, BETWEEN, IN ...) with a constant, the constant is evaluated here:
   integers in the statement's precision, literals without a zone in the request's zone, ``now`` as
   the request's clock. It is then written as an exact timestamp, and push-down uses the same value,
   so that both always agree.
3. Beyond what a time can be, a constant is infinity.
4. Nanosecond times lose their last three digits in functions that cannot hold them (date_trunc,
   time_bucket, + INTERVAL); comparisons, minimum, maximum and ordering keep them.
5. Of a statement whose plan is kept for other values (``is_open``), a constant that depends on
   parameters or the clock is written as a parameter. What else looks at their values is noted: the
   plan holds for these values only.
"""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_engine.errors import SqlError, SqlSyntaxError
from mainstem_engine.model import ColumnType
from mainstem_engine.sql.grammar.dialect import DURATION_NS
from mainstem_engine.sql.select.relations import RelationColumn
from mainstem_engine.sql.select.scopes import Scopes
from mainstem_engine.sql.select.trees import find_nodes
from mainstem_engine.sql.times import NS_PER_DAY, NS_PER_US, UNIT_NS, parse_time_ns, sql_text

COMPARISONS = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.NullSafeEQ, exp.NullSafeNEQ)

_NOW_NAMES = frozenset({"now", "get_current_timestamp", "transaction_timestamp"})
_KEEPS_TIME = (
    exp.Min,
    exp.Max,
    exp.AnyValue,
    exp.First,
    exp.Last,
    exp.FirstValue,
    exp.LastValue,
    exp.NthValue,
    exp.ArgMax,
    exp.ArgMin,
    exp.Lag,
    exp.Lead,
    exp.Coalesce,
    exp.Greatest,
    exp.Least,
    exp.IgnoreNulls,
    exp.RespectNulls,
    exp.Filter,
    exp.Window,
    exp.Paren,
    exp.Alias,
    exp.Ordered,
    exp.Order,
    exp.Distinct,
)
"""Expressions whose first argument decides whether they are a time, and that keep nanoseconds."""
_MAKES_TIME = (exp.TimestampTrunc, exp.DateTrunc, exp.DateBin)
"""Functions that make a time of a time, of microseconds at best."""
_FINE = frozenset({"epoch_ns", "strftime"})
"""Functions that know nanoseconds."""
_ZONED = frozenset({exp.DType.TIMESTAMPTZ, exp.DType.TIMESTAMPLTZ})
_MOMENTS = _ZONED | {
    exp.DType.TIMESTAMP,
    exp.DType.TIMESTAMPNTZ,
    exp.DType.DATETIME,
    exp.DType.DATE,
}
"""Types of literals such as TIMESTAMP '...'; without a zone they are read in the request's."""
_INTERVAL_UNITS = {
    "MICROSECOND": "us",
    "MILLISECOND": "ms",
    "SECOND": "s",
    "MINUTE": "m",
    "HOUR": "h",
}
_INTERVAL_DAYS = {"DAY": 1, "WEEK": 7}
_INTERVAL_MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}
_DEPTH_MAX = 100
"""Constants nested deeper than this are not a person's."""


@dataclass(frozen=True, slots=True)
class Clock:
    """What a statement's constants depend on."""

    now_ns: int
    zone: dt.tzinfo
    precision_ns: int
    params: Sequence[Any] = ()


class TimeExpressions:
    """Reads and rewrites the times of one statement."""

    def __init__(self, scopes: Scopes, clock: Clock, *, is_open: bool = False) -> None:
        self._scopes = scopes
        self._clock = clock
        self.is_open = is_open
        self.asked_clock = False
        """True once something came out that holds for this moment only."""
        self.asked: set[int] = set()
        """Numbers of the parameters whose values something came out of."""
        self.left_clock = False
        """True when the clock decides a moment that is left open."""
        self.left: list[tuple[exp.Expr, str]] = []
        """Constants that were left open, and the type of each: those of placeholders m0, m1."""

    @property
    def precision_ns(self) -> int:
        """What plain integers count in."""
        return self._clock.precision_ns

    # What is a time

    def is_time(self, node: exp.Expr | None, depth: int = 0) -> bool:
        """True when the expression is a time of a table, or made from one."""
        if node is None or depth > _DEPTH_MAX:
            return False
        if isinstance(node, exp.Column):
            return self._is_time_column(node, depth)
        if isinstance(node, exp.Cast):
            return node.to.this in _ZONED
        if isinstance(node, exp.Add | exp.Sub):
            return self._is_shifted_time(node, depth)
        if isinstance(node, _MAKES_TIME):
            return any(self.is_time(part, depth + 1) for part in node.iter_expressions())
        if isinstance(node, exp.Case):
            branches = [branch.args["true"] for branch in node.args["ifs"]]
            return any(self.is_time(branch, depth + 1) for branch in branches)
        if isinstance(node, exp.Subquery):
            projections = node.this.expressions if isinstance(node.this, exp.Select) else []
            return len(projections) == 1 and self.is_time(projections[0], depth + 1)
        if isinstance(node, _KEEPS_TIME):
            first = node.this if node.this is not None else next(iter(node.expressions), None)
            return isinstance(first, exp.Expr) and self.is_time(first, depth + 1)
        return self._is_now(node)

    def is_time_of(self, node: exp.Expr, select: exp.Select | None) -> bool:
        """As is_time, for an expression of ``select`` that need not stand in it."""
        if not isinstance(node, exp.Column):
            return self.is_time(node)
        found = self._scopes.origin(node, select)
        if isinstance(found, RelationColumn):
            return found.type == ColumnType.TIMESTAMP
        return found is not None and self.is_time(found[0])

    def _is_time_column(self, column: exp.Column, depth: int) -> bool:
        found = self._scopes.origin(column, column.find_ancestor(exp.Select))
        if isinstance(found, RelationColumn):
            return found.type == ColumnType.TIMESTAMP
        if found is None:
            return self._is_now(column)
        return self.is_time(found[0], depth + 1)

    def _is_shifted_time(self, node: exp.Add | exp.Sub, depth: int) -> bool:
        left, right = node.this, node.expression
        if _is_interval(right):
            return self.is_time(left, depth + 1)
        return isinstance(node, exp.Add) and _is_interval(left) and self.is_time(right, depth + 1)

    def _is_now(self, node: exp.Expr) -> bool:
        if isinstance(node, exp.CurrentTimestamp):
            return True
        if isinstance(node, exp.Anonymous):
            return node.name.casefold() in _NOW_NAMES
        return (
            isinstance(node, exp.Column)
            and not node.table
            and isinstance(node.this, exp.Identifier)
            and not node.this.quoted
            and node.name.casefold() == "now"
            and self._scopes.origin(node, node.find_ancestor(exp.Select)) is None
        )

    # What a constant means

    def constant_ns(self, node: exp.Expr, depth: int = 0) -> int | None:
        """Nanoseconds of a constant that is compared with a time, None when it is none.

        Raises SqlSyntaxError for text that is not a time.
        """
        if depth > _DEPTH_MAX:
            return None
        if isinstance(node, exp.Paren):
            return self.constant_ns(node.this, depth + 1)
        if isinstance(node, exp.Literal) and node.is_string:
            return parse_time_ns(node.this, self._clock.zone)
        if isinstance(node, exp.Placeholder):
            return self._parameter_ns(node)
        if isinstance(node, exp.Cast):
            is_text = isinstance(node.this, exp.Literal) and node.this.is_string
            is_moment = is_text and node.to.this in _MOMENTS
            return parse_time_ns(node.this.this, self._clock.zone) if is_moment else None
        if self._is_now(node):
            return self._now_ns()
        if isinstance(node, exp.Add | exp.Sub) and _is_interval(node.expression):
            moment = self.constant_ns(node.this, depth + 1)
            sign = -1 if isinstance(node, exp.Sub) else 1
            return None if moment is None else self._shift(moment, node.expression, sign)
        integer = _integer(node, depth)
        return None if integer is None else integer * self._clock.precision_ns

    def _now_ns(self) -> int:
        self.asked_clock = True
        return self._clock.now_ns

    def moment_ns(self, node: exp.Expr) -> tuple[int | None, bool]:
        """(constant_ns, whether it is left open): a plan is kept whatever its value may be."""
        asked, asked_clock = self.asked, self.asked_clock
        self.asked, self.asked_clock = set(), False
        value = None
        try:
            value = self.constant_ns(node)
        finally:
            depends = bool(self.asked) or self.asked_clock
            if value is not None and self.is_open:
                self.left_clock |= self.asked_clock
                self.asked, self.asked_clock = asked, asked_clock
            else:
                self.asked |= asked
                self.asked_clock |= asked_clock
        return value, depends and self.is_open

    def parameter(self, node: exp.Placeholder) -> Any:
        """The value of a ``?``. Raises SqlError when there is none."""
        value = self.open_parameter(node)
        self.asked.add(int(node.name))
        return value

    def open_parameter(self, node: exp.Placeholder) -> Any:
        """As ``parameter``, where a plan does not depend on the value."""
        number = node.name
        params = self._clock.params
        if not number.isdecimal() or not 1 <= int(number) <= len(params):
            raise SqlError(
                f"there is no value for parameter {number}", hint="pass one value for each ?"
            )
        return params[int(number) - 1]

    def _parameter_ns(self, node: exp.Placeholder) -> int | None:
        value = self.parameter(node)
        if isinstance(value, bool) or value is None:
            return None
        if isinstance(value, int):
            return value * self._clock.precision_ns
        if isinstance(value, str):
            return parse_time_ns(value, self._clock.zone)
        if isinstance(value, dt.datetime):
            return datetime_ns(value, self._clock.zone)
        return None

    def _shift(self, moment_ns: int, interval: exp.Expr, sign: int) -> int | None:
        length = _interval_length(interval)
        if length is None:
            return None
        months, days, rest_ns = (sign * part for part in length)
        if months or days:
            moment_ns = _shift_calendar(moment_ns, months, days, self._clock.zone)
        return moment_ns + rest_ns

    # Writing them for the executing database

    def rewrite(self, tree: exp.Expr) -> None:
        """Replaces constants that are compared with times, and every ``now``."""
        for node in find_nodes(tree, *COMPARISONS):
            self._rewrite_operands([node.this], [node.expression])
            self._rewrite_operands([node.expression], [node.this])
        for between in find_nodes(tree, exp.Between):
            bounds = [between.args["low"], between.args["high"]]
            self._rewrite_operands([between.this], bounds)
        for in_ in find_nodes(tree, exp.In):
            self._rewrite_operands([in_.this], in_.expressions)
        if self._clock.precision_ns == 1:
            self._widen(tree)
        for now_node in find_nodes(tree, exp.CurrentTimestamp, exp.Anonymous, exp.Column):
            if self._is_now(now_node):
                now_node.replace(self._literal(self._now_ns(), "TIMESTAMPTZ"))
        for today in find_nodes(tree, exp.CurrentDate):
            now = self._literal(self._now_ns(), "TIMESTAMPTZ")
            today.replace(exp.cast(now, exp.DType.DATE))

    def _rewrite_operands(self, times: list[exp.Expr], others: Sequence[exp.Expr]) -> None:
        if not all(self.is_time(time) for time in times):
            return
        for other in others:
            if isinstance(other, exp.Null):
                continue
            value, is_open = self.moment_ns(other)
            if value is not None:
                other.replace(self._compared(times, value, other if is_open else None))
            elif self._clock.precision_ns == 1 and self.is_time(other):
                other.replace(_cast(other.copy(), "TIMESTAMPTZ_NS"))
                times = [_replace_cast(time) for time in times]

    def _compared(
        self, times: list[exp.Expr], value_ns: int, left: exp.Expr | None = None
    ) -> exp.Expr:
        """``left``: the constant, when its value is left open."""
        type_name = compared_type(value_ns, self._clock.precision_ns)
        if type_name == "TIMESTAMPTZ_NS":
            # The constant or the table is finer than microseconds: every time fits nanoseconds.
            for index, time in enumerate(times):
                times[index] = _replace_cast(time)
        if left is None:
            return self._literal(value_ns, type_name)
        self.left.append((left.copy(), type_name))
        return _cast(exp.Placeholder(this=f"m{len(self.left) - 1}"), type_name)

    def _literal(self, value_ns: int, type_name: str) -> exp.Expr:
        return _cast(exp.Literal.string(moment_text(value_ns, type_name)), type_name)

    def _widen(self, tree: exp.Expr) -> None:
        """Casts nanosecond times to microseconds where functions know nothing finer."""
        keeps = (*_KEEPS_TIME, exp.Count, exp.Cast, exp.Subquery, exp.ApproxDistinct, exp.ArrayAgg)
        for node in find_nodes(tree, exp.Func, exp.Add, exp.Sub, exp.AtTimeZone):
            if isinstance(node, (*keeps, exp.Case, exp.If, exp.Connector)):
                continue
            name = node.name.casefold() if isinstance(node, exp.Anonymous) else ""
            if name.startswith("arg_") or name in _FINE:
                continue
            for part in list(node.iter_expressions()):
                if self.is_time(part) and self.constant_ns_or_none(part) is None:
                    part.replace(_cast(part.copy(), "TIMESTAMPTZ"))

    def constant_ns_or_none(self, node: exp.Expr) -> int | None:
        """As constant_ns, None also for text that is not a time."""
        try:
            return self.constant_ns(node)
        except SqlSyntaxError:
            return None


def compared_type(value_ns: int, precision_ns: int) -> str:
    """The type of a constant that is compared with times."""
    is_fine = precision_ns == 1 or value_ns % NS_PER_US
    return "TIMESTAMPTZ_NS" if is_fine else "TIMESTAMPTZ"


def moment_text(value_ns: int, type_name: str) -> str:
    """A time as the executing database reads it."""
    if not TIME_MIN_NS <= value_ns <= TIME_MAX_NS:
        return "infinity" if value_ns > 0 else "-infinity"
    text = sql_text(value_ns)
    # Nine digits would be rounded; what is cut off here is less than a microsecond.
    return f"{text[:26]}+00" if type_name == "TIMESTAMPTZ" else text


def datetime_ns(value: dt.datetime, zone: dt.tzinfo) -> int:
    """Nanoseconds UTC of a datetime; one without a zone is read in ``zone``."""
    moment = value if value.tzinfo is not None else value.replace(tzinfo=zone)
    delta = moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return (delta.days * 86_400 * 10**6 + delta.seconds * 10**6 + delta.microseconds) * NS_PER_US


def _cast(node: exp.Expr, type_name: str) -> exp.Cast:
    # A type that sqlglot does not know is kept as written.
    kind = exp.DataType(this=exp.DType.USERDEFINED, kind=type_name)
    return exp.Cast(this=node, to=kind)


def _replace_cast(time: exp.Expr) -> exp.Expr:
    if isinstance(time, exp.Cast) and time.to.args.get("kind") == "TIMESTAMPTZ_NS":
        return time
    cast = _cast(time.copy(), "TIMESTAMPTZ_NS")
    time.replace(cast)
    return cast


def _is_interval(node: exp.Expr | None) -> bool:
    if isinstance(node, exp.Paren | exp.Neg):
        return _is_interval(node.this)
    if isinstance(node, exp.Mul):
        return _is_interval(node.this) or _is_interval(node.expression)
    if isinstance(node, exp.Add | exp.Sub):
        return _is_interval(node.this) and _is_interval(node.expression)
    return isinstance(node, exp.Interval)


def _interval_length(node: exp.Expr) -> tuple[int, int, int] | None:
    """(months, days, ns) of an interval of constants; None when it is not one."""
    if isinstance(node, exp.Paren):
        return _interval_length(node.this)
    if isinstance(node, exp.Add | exp.Sub):
        left, right = _interval_length(node.this), _interval_length(node.expression)
        if left is None or right is None:
            return None
        sign = -1 if isinstance(node, exp.Sub) else 1
        return (left[0] + sign * right[0], left[1] + sign * right[1], left[2] + sign * right[2])
    if not isinstance(node, exp.Interval):
        return None
    if DURATION_NS in node.meta:
        return (0, 0, int(node.meta[DURATION_NS]))
    unit = node.args.get("unit")
    amount = node.this
    if not isinstance(unit, exp.Var) or not isinstance(amount, exp.Literal):
        return None
    if not amount.this.lstrip("+-").isdecimal():
        return None
    name = unit.name.upper().removesuffix("S")
    count = int(amount.this)
    if name in _INTERVAL_UNITS:
        return (0, 0, count * UNIT_NS[_INTERVAL_UNITS[name]])
    if name in _INTERVAL_DAYS:
        return (0, count * _INTERVAL_DAYS[name], 0)
    if name in _INTERVAL_MONTHS:
        return (count * _INTERVAL_MONTHS[name], 0, 0)
    return None


def _shift_calendar(moment_ns: int, months: int, days: int, zone: dt.tzinfo) -> int:
    """The same time of day in ``zone``, some months and days later; short months end the month."""
    if zone is dt.UTC and not months:
        return moment_ns + days * NS_PER_DAY
    seconds, rest_ns = divmod(moment_ns, 10**9)
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    try:
        local = (epoch + dt.timedelta(seconds=seconds)).astimezone(zone)
        year, month = divmod(local.year * 12 + local.month - 1 + months, 12)
        day = min(local.day, calendar.monthrange(year, month + 1)[1])
        moved = local.replace(year=year, month=month + 1, day=day) + dt.timedelta(days=days)
        delta = moved - epoch
    except (OverflowError, ValueError):
        return TIME_MAX_NS + 1 if months + days > 0 else TIME_MIN_NS - 1
    return (delta.days * 86_400 + delta.seconds) * 10**9 + rest_ns


def _integer(node: exp.Expr, depth: int) -> int | None:
    """The value of an integer literal, or of a sum, difference or product of such."""
    if depth > _DEPTH_MAX:
        return None
    if isinstance(node, exp.Literal) and not node.is_string:
        text = node.this.replace("_", "")
        return int(text) if text.isdecimal() else None
    if isinstance(node, exp.Neg | exp.Paren):
        value = _integer(node.this, depth + 1)
        return -value if value is not None and isinstance(node, exp.Neg) else value
    if isinstance(node, exp.Add | exp.Sub | exp.Mul):
        left, right = _integer(node.this, depth + 1), _integer(node.expression, depth + 1)
        if left is None or right is None:
            return None
        if isinstance(node, exp.Add):
            return left + right
        return left - right if isinstance(node, exp.Sub) else left * right
    return None
