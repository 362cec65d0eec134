"""What all SELECTs over walks have in common: their rows, keys and shape, and how expressions over
rows become expressions over the walk."""

from __future__ import annotations

from abc import ABC, abstractmethod

from sqlglot import exp

from mainstem_engine.errors import SqlError
from mainstem_engine.sql.lowering.answer import Answer, Item, finish
from mainstem_engine.sql.lowering.lowered import Lowered
from mainstem_engine.sql.lowering.shape import shape_of
from mainstem_engine.sql.select.aggregates import is_aggregate
from mainstem_engine.sql.select.calls import Call, call_of
from mainstem_engine.sql.select.relations import TIME
from mainstem_engine.sql.select.rows_query import RowsQuery, is_of_walk
from mainstem_engine.sql.select.walk_nodes import WALK_TIMES


class WalkQuery(ABC):
    """One SELECT that is lowered. The SELECT itself is not changed."""

    def __init__(self, select: exp.Select, lowered: Lowered) -> None:
        self.select = select
        self.lowered = lowered
        self.rows = RowsQuery(select, lowered.scopes, lowered.times)
        self.number = next(lowered.numbers)
        self.aliases = {p.alias.casefold(): p.this for p in select.expressions if p.alias}
        self.shape = shape_of(
            select, self.rows.relation, lowered.catalog, by_itself=lowered.by_itself
        )
        for key in self.shape.keys:
            self.rows.add_key(self._key(key))

    def _key(self, key: exp.Expr) -> exp.Expr:
        """A key may be the number or the name of an item."""
        if isinstance(key, exp.Literal) and not key.is_string and key.this.isdecimal():
            items = self.select.expressions
            if 1 <= int(key.this) <= len(items):
                item: exp.Expr = items[int(key.this) - 1].unalias()
                return item
        if isinstance(key, exp.Column) and not key.table and self.rows.origin(key) is None:
            named: exp.Expr = self.aliases.get(key.name.casefold(), key)
            return named
        return key

    # Expressions over the walk

    def place(self, node: exp.Expr) -> exp.Expr:
        """An expression over rows as one over the walk."""
        holder = exp.Paren(this=node.copy())
        self.place_in(holder.this)
        found: exp.Expr = holder.this
        return found

    def place_in(self, node: exp.Expr) -> None:
        """Replaces a node, or what is in it."""
        key = None if isinstance(node, exp.Literal) else self.rows.key_of(node)
        if key is not None:
            node.replace(key)
        elif isinstance(node, exp.Column):
            if not is_of_walk(node):
                self.place_column(node)
        elif isinstance(node, exp.Window):
            # The function itself runs over the answer; what it is given is placed.
            inside = list(node.this.iter_expressions())
            rest = [child for child in node.iter_expressions() if child is not node.this]
            for child in (*inside, *rest):
                self.place_in(child)
        elif (call := call_of(node)) is not None:
            _check_arguments(node, call)
            node.replace(self.place_call(node, call))
        elif not isinstance(node, exp.Query) and not self.place_other(node):
            for child in list(node.iter_expressions()):
                self.place_in(child)

    @abstractmethod
    def place_column(self, node: exp.Column) -> None:
        """Replaces a column that is no key."""

    @abstractmethod
    def place_call(self, node: exp.Expr, call: Call) -> exp.Expr:
        """What stands for a function of analysis."""

    def place_other(self, node: exp.Expr) -> bool:
        """True when the node was replaced."""
        del node
        return False

    def is_alias(self, node: exp.Column) -> bool:
        """True for the name of an item that is no column of the rows."""
        is_named = not node.table and node.name.casefold() in self.aliases
        return is_named and self.rows.origin(node) is None

    # The answer

    def items(self) -> list[Item]:
        """Time, shown keys, then the items as written."""
        found = [
            Item(heading, self.place(key), key, is_filled=False)
            for heading, key in self.shape.shown
        ]
        for projection in self.select.expressions:
            written = projection.unalias()
            node = self.place(written)
            is_filled = not self._is_fixed(node)
            found.append(Item(projection.alias_or_name, node, written, is_filled))
        return found

    def _is_fixed(self, node: exp.Expr) -> bool:
        """True for keys and times of the walk."""
        if not isinstance(node, exp.Column):
            return False
        name = node.name if is_of_walk(node) else ""
        return name in WALK_TIMES or name == "#width" or name.startswith("#p")

    def shows_time(self) -> bool:
        """True when no item is the time itself, or called so."""
        return not any(
            projection.alias_or_name.casefold() == TIME
            or (isinstance(node := projection.unalias(), exp.Column) and self.rows.is_time(node))
            for projection in self.select.expressions
        )

    def order(self) -> exp.Order | None:
        """ORDER BY over the walk."""
        order = self.select.args.get("order")
        if order is None:
            return None
        placed = self.place(order)
        assert isinstance(placed, exp.Order)
        return placed

    def answer(self, source: exp.Select, time: exp.Expr | None, answer: Answer) -> exp.Select:
        """The SELECT over the walk; ``time`` is put first when it is not None."""
        answer.source = source
        if self.shape.side is not None:
            answer.side = self.rows.key_of(self.shape.side)
        elif time is not None:
            item = Item(TIME, time.copy(), time, is_filled=False)
            answer.items.insert(0, item)
        return finish(answer, self.select, self.shape, self.rows.relation, self.lowered)


def _check_arguments(node: exp.Expr, call: Call) -> None:
    if any(is_aggregate(each) for argument in node.expressions for each in argument.walk()):
        raise SqlError(
            f"{call['name']} is of rows, and cannot be of an aggregate of them",
            field=call["name"],
            hint="compute the aggregate in a sub-query",
        )
