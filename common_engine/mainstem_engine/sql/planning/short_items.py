"""The select list, the order and the keys of a short query, as operations on columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from mainstem_engine.sql.plan import TableInput
from mainstem_engine.sql.select.relations import TIME, Relation
from mainstem_engine.sql.select.time_buckets import bucket_of, is_time_bucket
from mainstem_engine.sql.short_query import Expression, Number, Ordered, ShortQuery
from mainstem_engine.sql.times import UNIT_NS

_HALF = "4294967296"
_UNITS_NS = {
    "MILLISECOND": UNIT_NS["ms"],
    "SECOND": UNIT_NS["s"],
    "MINUTE": UNIT_NS["m"],
    "HOUR": UNIT_NS["h"],
    "DAY": UNIT_NS["d"],
}


class NotShort(Exception):
    """A tree that is more than a short query."""


@dataclass(slots=True)
class SourceTable:
    """A table in FROM. ``columns``: by casefolded name, (name, what it is of the source; empty for
    what is not known here); none at all: any, by their own names. ``relation`` and ``read``: of a
    scan or of groups."""

    source: str
    alias: str
    columns: dict[str, tuple[str, Expression]]
    relation: Relation | None = None
    read: TableInput | None = None

    def expression(self, node: exp.Column) -> Expression:
        """What a column is. Raises NotShort."""
        if node.table and node.table.casefold() != self.alias.casefold():
            raise NotShort
        if not self.columns:
            return ("column", node.name)
        found = self.columns.get(node.name.casefold())
        if found is None or not found[1]:
            raise NotShort
        return found[1]

    def column(self, node: exp.Column) -> str:
        """The column of the source. Raises NotShort."""
        kind, name, *_ = self.expression(node)
        if kind != "column":
            raise NotShort
        return str(name)


class SelectItems:
    """The select list of one query."""

    def __init__(self, tree: exp.Select, table: SourceTable, zone: str) -> None:
        self._tree = tree
        self.table = table
        self._zone = zone
        self._aliases = {
            item.alias.casefold(): item.this for item in tree.expressions if item.alias
        }

    def named(self) -> list[tuple[str, exp.Expr]]:
        """Items with the names that they get. Raises NotShort for equal names."""
        found: list[tuple[str, exp.Expr]] = []
        for item in self._tree.expressions:
            node = item.unalias()
            if isinstance(node, exp.Star):
                if given(node) or not self.table.columns:
                    raise NotShort
                every = self.table.columns.values()
                found += [(name, exp.column(exp.to_identifier(name))) for name, _ in every]
                continue
            if not isinstance(item, exp.Alias) and not self._is_called_so(node):
                raise NotShort
            found.append((item.alias_or_name, node))
        names = [name.casefold() for name, _ in found]
        if len(set(names)) < len(names) or not names:
            raise NotShort
        return found

    def _is_called_so(self, node: exp.Expr) -> bool:
        """True for a column that is written as it is called."""
        if not isinstance(node, exp.Column):
            return False
        known = self.table.columns.get(node.name.casefold(), (node.name, ()))
        return known[0] == node.name

    def items(self) -> tuple[tuple[str, Expression], ...]:
        return tuple((name, self.expression(node)) for name, node in self.named())

    def plain(self, order: tuple[Ordered, ...], limit: Number, offset: Number) -> ShortQuery:
        """A query of rows."""
        items = self.items()
        if any(expression[0] not in ("column", "quotient") for _, expression in items):
            raise NotShort
        return ShortQuery(self.table.source, items, True, None, order, False, limit, offset)

    def order(self) -> tuple[Ordered, ...]:
        """Raises NotShort for an order of anything but columns."""
        order = self._tree.args.get("order")
        if order is None:
            return ()
        found: list[Ordered] = []
        for node in order.expressions:
            if not isinstance(node, exp.Ordered) or node.args.get("with_fill"):
                raise NotShort
            named = node.this
            if isinstance(named, exp.Column) and not named.table:
                # A name of an item comes before one of the table.
                named = self._aliases.get(named.name.casefold(), named)
            elif isinstance(named, exp.Literal):
                named = self._at(named)
            found.append(Ordered(self._column(named), bool(node.args.get("desc"))))
        return tuple(found)

    def key(self, node: exp.Expr) -> str:
        """The column that a key of GROUP BY is. Raises NotShort."""
        if isinstance(node, exp.Literal):
            node = self._at(node)
        elif isinstance(node, exp.Column) and not node.table:
            name = node.name.casefold()
            if name not in self.table.columns:
                node = self._aliases.get(name, node)
        return self._column(node)

    def _at(self, node: exp.Literal) -> exp.Expr:
        """The item of a number."""
        items = self._tree.expressions
        if node.is_string or not node.name.isdecimal() or not 1 <= int(node.name) <= len(items):
            raise NotShort
        found: exp.Expr = items[int(node.name) - 1].unalias()
        return found

    def _column(self, node: exp.Expr) -> str:
        expression = self.expression(node)
        if expression[0] != "column":
            raise NotShort
        return str(expression[1])

    # Expressions

    def expression(self, node: Any) -> Expression:
        """Raises NotShort."""
        has = given(node) if isinstance(node, exp.Expr) else frozenset()
        if isinstance(node, exp.Paren):
            return self.expression(node.this)
        if isinstance(node, exp.Column):
            return self.table.expression(node)
        if is_time_bucket(node):
            return self._bucket(node)
        if isinstance(node, exp.Sum | exp.Min | exp.Max) and has == {"this"}:
            return (type(node).__name__.lower(), self._operand(node.this))
        if isinstance(node, exp.ArgMax | exp.ArgMin) and has == {"this", "expression"}:
            kind = "arg_max" if isinstance(node, exp.ArgMax) else "arg_min"
            return (kind, self._operand(node.this), self._operand(node.expression))
        if isinstance(node, exp.Anonymous) and node.name.lower() == "arg_max_null":
            return ("arg_max_null", *(self._operand(each) for each in node.expressions))
        if isinstance(node, exp.Cast) and has == {"this", "to"}:
            return self._cast(node)
        if isinstance(node, exp.Div):
            return ("ratio", self.expression(node.this), self._divisor(node.expression))
        if isinstance(node, exp.Add):
            return self._whole(node)
        raise NotShort

    def _operand(self, node: Any) -> str:
        if not isinstance(node, exp.Column):
            raise NotShort
        return self.table.column(node)

    def _cast(self, node: exp.Cast) -> Expression:
        if node.to.is_type(exp.DType.DOUBLE):
            return ("double", self.expression(node.this))
        inner = node.this
        if not node.to.is_type(exp.DType.BIGINT) or not isinstance(inner, exp.Coalesce):
            raise NotShort
        others = inner.expressions
        if len(others) != 1 or others[0] != exp.Literal.number(0):
            raise NotShort
        total = self.expression(inner.this)
        if total[0] != "sum":
            raise NotShort
        return ("total", total[1])

    def _divisor(self, node: exp.Expr) -> Expression:
        """NULLIF(x, 0)."""
        if not isinstance(node, exp.Nullif) or node.expression != exp.Literal.number(0):
            raise NotShort
        return self.expression(node.this)

    def _whole(self, node: exp.Add) -> Expression:
        """A sum of integers, of its halves."""
        high, low = node.this, node.expression
        if not isinstance(high, exp.Mul) or not isinstance(high.this, exp.Sum):
            raise NotShort
        if not isinstance(low, exp.Sum) or high.expression != exp.Literal.number(_HALF):
            raise NotShort
        return ("whole", self._operand(high.this.this), self._operand(low.this))

    def _bucket(self, node: exp.Expr) -> Expression:
        """A bucket of time that is as long as the windows of the groups."""
        read, relation = self.table.read, self.table.relation
        if read is None or relation is None or read.partials is None:
            raise NotShort
        every_ns = read.partials.every_ns
        width, time = bucket_of(node, self._zone, relation.start_ns)
        if every_ns is None or width != every_ns or _length_ns(node) != every_ns:
            raise NotShort
        if not isinstance(time, exp.Column) or self.table.column(time) != TIME:
            raise NotShort
        return ("column", TIME)


def _length_ns(node: exp.Expr) -> int | None:
    """Of a bucket of fixed length."""
    count, unit = 1, node.args.get("unit")
    if isinstance(node, exp.DateBin):
        interval = node.this
        unit = interval.args.get("unit")
        count = int(interval.name)
    elif not isinstance(node, exp.TimestampTrunc | exp.DateTrunc):
        return None
    unit_ns = _UNITS_NS.get(unit.name.upper().removesuffix("S")) if unit is not None else None
    return None if unit_ns is None else count * unit_ns


def expression_of(node: exp.Expr) -> Expression:
    """What the item of a scan is: a column, or the mean of a rollup's window; else empty."""
    if isinstance(node, exp.Column):
        return ("column", node.name)
    if isinstance(node, exp.Div) and isinstance(node.expression, exp.Nullif):
        over, under = node.this, node.expression.this
        is_zero = node.expression.expression == exp.Literal.number(0)
        if is_zero and isinstance(over, exp.Column) and isinstance(under, exp.Column):
            return ("quotient", over.name, under.name)
    return ()


def given(node: exp.Expr) -> frozenset[str]:
    return frozenset(key for key, value in node.args.items() if value)
