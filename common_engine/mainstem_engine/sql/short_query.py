"""Short queries: columns, and functions of groups, of one table that is in order already.

They are what most statements of dashboards come down to once push-down has done its work: the scan
has left out what WHERE says, the engine has made the groups. Nothing is left that an executing
database would be needed for. Plain values: what finds them is planning/short_queries.py, what
answers them running/short_answers.py.
"""

from __future__ import annotations

from dataclasses import dataclass

Expression = tuple[object, ...]
"""An operation of running/short_answers.py, then its operands: expressions, or a column's name."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A number that is a parameter of the text, counted from 1."""

    number: int


Number = int | Parameter | None


@dataclass(frozen=True, slots=True)
class Ordered:
    """``column``: of the table, or of the items where it has none of the name."""

    column: str
    is_descending: bool = False


@dataclass(frozen=True, slots=True)
class ShortQuery:
    """``items``: (name, expression) in order. ``keys``: columns of which equal values are a group;
    empty: all rows are one; None: every row is one, or there are no functions (``is_plain``).

    ``windows``: a table of windows whose rows the groups belong to, by their number; ``has_all``:
    windows without a group come too. The items are then columns of either.
    ``order``: ``source`` is not in it yet. ``is_reversed``: the order is that of the source, from
    its end.
    """

    source: str
    items: tuple[tuple[str, Expression], ...]
    is_plain: bool = False
    keys: tuple[str, ...] | None = None
    order: tuple[Ordered, ...] = ()
    is_reversed: bool = False
    limit: Number = None
    offset: Number = None
    filters: tuple[tuple[str, str, int | float], ...] = ()
    """(column, operator of value_filter.py, number): rows of a scan that pass all of them."""
    windows: str | None = None
    has_all: bool = False
    shown: tuple[tuple[str, str], ...] = ()
    """With ``windows``: (name, column) of the answer; ``items`` are those of the groups."""


@dataclass(frozen=True, slots=True)
class LastValues:
    """``SELECT LAST a, b FROM path``: ``source`` has one row per device, with the newest value of
    each of ``measurements`` and its time."""

    source: str
    measurements: tuple[tuple[str, str], ...]
    """Names and types."""


Short = ShortQuery | LastValues
