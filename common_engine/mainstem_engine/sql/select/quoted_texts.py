"""Texts in double quotes, as the peers write them too: ``WHERE location = "California"``.

In SQL that is a name. It is taken for a text only where it is compared, no table of the statement
and no item has such a column, and the other side is a time or a text.
"""

from __future__ import annotations

from sqlglot import exp

from mainstem_engine.model import ColumnType
from mainstem_engine.sql.grammar.dialect import DOUBLE_QUOTED
from mainstem_engine.sql.select.relations import RelationColumn
from mainstem_engine.sql.select.scopes import Scopes
from mainstem_engine.sql.select.time_expressions import COMPARISONS

_COMPARED = (*COMPARISONS, exp.In, exp.Between, exp.Like, exp.ILike, exp.RegexpLike)
_TYPES = (ColumnType.TEXT, ColumnType.TIMESTAMP)


def read_quoted_texts(tree: exp.Expr, scopes: Scopes) -> None:
    """Replaces names that are meant as texts by these."""
    for node in list(tree.find_all(exp.Column)):
        if not node.this.meta.get(DOUBLE_QUOTED) or node.table:
            continue
        parent, select = node.parent, node.find_ancestor(exp.Select)
        if not isinstance(parent, _COMPARED) or select is None:
            continue
        aliases = {item.alias.casefold() for item in select.expressions}
        if node.name.casefold() in aliases or scopes.origin(node, select) is not None:
            continue
        if any(_takes_text(other, node, select, scopes) for other in parent.iter_expressions()):
            node.replace(exp.Literal.string(node.name))


def _takes_text(other: exp.Expr, node: exp.Expr, select: exp.Select, scopes: Scopes) -> bool:
    if other is node or not isinstance(other, exp.Column):
        return False
    found = scopes.origin(other, select)
    return isinstance(found, RelationColumn) and found.type in _TYPES
