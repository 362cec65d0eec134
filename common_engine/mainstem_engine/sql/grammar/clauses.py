"""The clauses that SELECT has beyond DuckDB's, as nodes of the syntax tree.

1. A clause is an argument of its Select, under the keys below, so that walks over the tree see its
   expressions as they see those of WHERE.
2. Times in a clause are expressions (literals, ``now() - 1d``, parameters), to be read as constants
   that are compared with a time. Lengths of time are ``Duration``, known when parsed.
3. Nodes hold what was written, not what it means: defaults that depend on the request's time zone
   or on the rows are left to those who run them.
4. In the place of a length or count may stand an ``exp.Placeholder`` (late_lengths).
5. None of these nodes can be written as DuckDB SQL. Whoever lowers a Select takes them off it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from sqlglot import exp

from mainstem_engine.errors import SqlSyntaxError, SqlUnsupportedError
from mainstem_engine.sql.times import MONTH_UNITS, UNIT_NS

WINDOW = "window_clause"
"""A ``WindowClause``: how rows are cut into windows."""
MERGE = "merge_clause"
"""``LevelGroups`` or ``TagGroups``: whose rows are merged. May stand beside a window of time."""
PARTITION = "partition_clause"
"""``PartitionClause``: the keys whose rows are looked at by themselves."""
FILL = "fill_clause"
"""``FillClause``."""
RANGE = "range_clause"
"""``RangeClause``: RANGE and EVERY of INTERP."""
ALIGN_EVERY = "align_clause"
"""``AlignClause``: ALIGN(EVERY ...)."""
SLIMIT = "slimit"
"""``exp.Literal``, a whole number: at most so many partitions."""
SOFFSET = "soffset"
"""``exp.Literal``, a whole number: so many partitions are left out first."""
CLAUSE_KEYS = (WINDOW, MERGE, PARTITION, FILL, RANGE, ALIGN_EVERY, SLIMIT, SOFFSET)


DURATION_NS_MAX = 2**62
"""146 years: sums of a time and some durations stay inside 128 bits and fail by name."""
MONTHS_MAX = 12 * 146
DURATION = re.compile(r"(?:\d+[a-zA-Z]+)+", re.ASCII)
"""``1h30m``."""
_DURATION_PART = re.compile(r"(\d+)([a-zA-Z]+)", re.ASCII)
PARTITIONED = "mainstem_partitioned"
"""Meta entry of a Select that was written with PARTITION BY."""


class Duration(NamedTuple):
    """``months`` calendar months, then ``ns`` nanoseconds. ``unit``: the written unit (``d``), the
    last of several; 1d and 24h are equally long, and differ where clocks are changed."""

    months: int
    ns: int
    unit: str = ""


def read_duration(text: str) -> Duration:
    """The duration of ``1h30m``. A year is twelve months. Raises SqlSyntaxError."""
    months = length_ns = 0
    unit = ""
    if DURATION.fullmatch(text) is None:
        raise _no_duration(text)
    for amount, written in _DURATION_PART.findall(text):
        unit = written.lower()
        if unit in MONTH_UNITS or unit == "y":
            months += int(amount) * (12 if unit == "y" else 1)
        elif unit in UNIT_NS:
            length_ns += int(amount) * UNIT_NS[unit]
        else:
            raise _no_duration(text)
    if length_ns > DURATION_NS_MAX or months > MONTHS_MAX:
        raise SqlSyntaxError(f"{text!r} is too long", hint="use less than 146 years")
    return Duration(months, length_ns, unit)


def _no_duration(text: str) -> SqlSyntaxError:
    return SqlSyntaxError(
        f"{text!r} is not a duration",
        hint="write a number and ns, us, ms, s, m, h, d, w, mo or y",
    )


class TrueFor(NamedTuple):
    """TRUE_FOR: windows that are shorter are dropped. ``ns`` and ``rows``: at least; None: not
    asked. ``is_either``: one of both is enough."""

    ns: int | exp.Placeholder | None
    rows: int | exp.Placeholder | None
    is_either: bool = False


# Windows


class WindowClause(exp.Expression):
    """One way to cut rows into windows."""


class RangeWindow(WindowClause):
    """``GROUP BY ([start, end), interval[, step])`` or ``((start, end], ...)``. ``start``, ``end``:
    expressions. ``interval``, ``step`` (None: as interval): Duration. ``is_right_closed``: bool,
    windows contain and are labelled by their right edge."""

    arg_types = {  # noqa: RUF012 -- sqlglot's own declaration, here and below
        "start": True,
        "end": True,
        "interval": True,
        "step": False,
        "is_right_closed": False,
    }


class IntervalWindow(WindowClause):
    """``INTERVAL(interval[, offset | AUTO]) [SLIDING(sliding)]``: Durations or None. ``is_auto``:
    bool, the offset is that of the first time asked for in WHERE."""

    arg_types = {"interval": True, "offset": False, "is_auto": False, "sliding": False}  # noqa: RUF012


class SessionWindow(WindowClause):
    """``SESSION(ts, gap)`` and ``GROUP BY SESSION(gap)``. ``this``: the time column or None."""

    arg_types = {"this": False, "gap": True}  # noqa: RUF012


class StateWindow(WindowClause):
    """``STATE_WINDOW(this[, expressions]) [EXTEND(extend)] [ZEROTH_STATE(zeroth)]``. ``extend``:
    0, 1 or 2; ``zeroth``: a constant for each expression, NULL for any value: windows of that state
    are left out; ``true_for``: TrueFor or None."""

    arg_types = {  # noqa: RUF012
        "this": True,
        "expressions": False,
        "extend": False,
        "zeroth": False,
        "true_for": False,
    }


class EventWindow(WindowClause):
    """``EVENT_WINDOW START WITH start END WITH end [TRUE_FOR(...)]``: conditions."""

    arg_types = {"start": True, "end": True, "true_for": False}  # noqa: RUF012


class CountWindow(WindowClause):
    """``COUNT_WINDOW(rows[, slide][, columns])`` and ``GROUP BY COUNT(expression, rows)``.
    ``rows``, ``slide`` (None: as rows): int. ``expressions``: a row counts when one of them is not
    null; none: every row. ``drops_tail``: bool, an incomplete last window is dropped."""

    arg_types = {  # noqa: RUF012
        "rows": True,
        "slide": False,
        "expressions": False,
        "drops_tail": False,
    }


class VariationWindow(WindowClause):
    """``GROUP BY VARIATION(this[, delta][, ignoreNull=...])``. ``delta``: float, None: values are
    equal. ``ignores_null``: bool."""

    arg_types = {"this": True, "delta": False, "ignores_null": False}  # noqa: RUF012


class ConditionWindow(WindowClause):
    """``GROUP BY CONDITION(this[, KEEP op n][, ignoreNull=...])``. ``operator``: one of
    ``>= > = < <=``, ``keep``: int, the rows of a window; both None: any number."""

    arg_types = {"this": True, "operator": False, "keep": False, "ignores_null": False}  # noqa: RUF012


# Groups of devices


class LevelGroups(exp.Expression):
    """``GROUP BY LEVEL = 1[, 2]``. ``levels``: tuple of int; 0 is ``root``."""

    arg_types = {"levels": True}  # noqa: RUF012


class TagGroups(exp.Expression):
    """``GROUP BY TAGS(key[, ...])``. ``expressions``: the tag columns."""

    arg_types = {"expressions": True}  # noqa: RUF012


class PartitionClause(exp.Expression):
    """``PARTITION BY key[, ...]``. ``expressions``: keys, perhaps with an alias."""

    arg_types = {"expressions": True}  # noqa: RUF012


# Gaps


class FillClause(exp.Expression):
    """``FILL(...)``. ``mode``: NONE, NULL, NULL_F, VALUE, VALUE_F, CONSTANT (one constant for
    every column of a fitting type), PREVIOUS, NEXT, LINEAR or NEAR. ``expressions``: the values.
    ``limit``: Duration or None, how far a PREVIOUS value may be carried, inclusive."""

    arg_types = {"mode": True, "expressions": False, "limit": False}  # noqa: RUF012


class RangeClause(exp.Expression):
    """``RANGE(start[, end][, surround]) EVERY(every)``. ``start``, ``end`` (None: as start):
    expressions; start None: from the first row to the last. ``surround``, ``every``: Duration or
    None."""

    arg_types = {"start": False, "end": False, "surround": False, "every": False}  # noqa: RUF012


class AlignClause(exp.Expression):
    """``ALIGN(EVERY every[, method][, column method]...)``. ``every``: Duration. ``method``: for
    columns without one of their own, or None. ``expressions``: ``AlignSignal`` each."""

    arg_types = {"every": True, "method": False, "limit": False, "expressions": False}  # noqa: RUF012


class AlignSignal(exp.Expression):
    """``this``: a column. ``method``: PREVIOUS, LINEAR or RATE. ``limit``: Duration or None, how
    old a PREVIOUS value may be, or how long a gap LINEAR and RATE may bridge, inclusive."""

    arg_types = {"this": True, "method": True, "limit": False}  # noqa: RUF012


def has_clauses(select: exp.Expr) -> bool:
    """True when a Select has one of these clauses."""
    return any(select.args.get(key) is not None for key in CLAUSE_KEYS)


def group_by_partition(select: exp.Select) -> None:
    """PARTITION BY with nothing else to cut or fill groups as GROUP BY does. Names of its keys
    become the keys."""
    partition = select.args.get(PARTITION)
    if partition is not None:
        select.meta[PARTITIONED] = True
        _place_keys(select, partition)
    others = (key for key in CLAUSE_KEYS if key not in (PARTITION, SLIMIT, SOFFSET))
    if partition is None or any(select.args.get(key) is not None for key in others):
        return
    select.set(PARTITION, None)
    select.set("group", exp.Group(expressions=[key.unalias() for key in partition.expressions]))


def _place_keys(select: exp.Select, partition: exp.Expr) -> None:
    """``PARTITION BY x % 2 AS p``: ``p`` beside it is ``x % 2``."""
    named = {key.alias.casefold(): key.this for key in partition.expressions if key.alias}
    if not named:
        return
    partition.set("expressions", [key.unalias() for key in partition.expressions])
    clauses = [select.args.get(key) for key in ("having", "order")]
    for clause in (*select.expressions, *filter(None, clauses)):
        for node in list(clause.find_all(exp.Column)):
            key = named.get(node.name.casefold())
            if key is None or node.table or node.parent_select is not select:
                continue
            if node.find_ancestor(exp.AggFunc) is not None:
                continue  # a column of the rows
            is_item = node.parent is select
            name = exp.to_identifier(node.name, quoted=True)
            node.replace(exp.alias_(key.copy(), name) if is_item else exp.paren(key.copy()))


def refuse_clauses(tree: exp.Expr) -> None:
    """Raises SqlUnsupportedError for a clause that nobody has lowered."""
    for select in tree.find_all(exp.Select):
        for key in CLAUSE_KEYS:
            if select.args.get(key) is not None:
                name = key.removesuffix("_clause").upper()
                of_partitions = key in (SLIMIT, SOFFSET)
                raise SqlUnsupportedError(
                    f"{name} is not supported here",
                    field=name,
                    hint="it chooses partitions: add PARTITION BY tbname"
                    if of_partitions
                    else "use it in a SELECT of one table, path or sub-query",
                )
