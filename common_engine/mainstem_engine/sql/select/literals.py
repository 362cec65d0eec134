"""Texts that differ in constants only: which constants a plan may leave open.

1. A text is split at its plain literals: quoted texts without a quote inside, whole numbers that
   stand alone, and paths of plain names after FROM. Texts of equal pieces differ in these only.
2. Of them, those are lifted that a conjunct of a WHERE compares with the time of a row or with its
   device: they become parameters, numbered after those of the caller. What a heading shows is left.
3. A literal of which something else was made, too, is not open: the plan holds for its value.
4. A literal is lifted where the parser says that it stands, and only if that is one of the places
   of 1: whatever else the text holds, another literal of the same kind is then read the same way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp

from mainstem_engine.sql.select.relations import TIME, RelationColumn
from mainstem_engine.sql.select.scopes import Scopes
from mainstem_engine.sql.select.trees import find_nodes

TEXT_CHARS_MAX = 4_096
"""A longer statement is made by a program, and rarely the same again."""
_LITERAL = re.compile(
    r"""("[^"]*"|`[^`]*`|(?<![\w'$\\.])'[^'\\]*'(?!')|(?<![\w'$.:-])[0-9]{1,18}(?![\w'$.:-]))"""
    r"""|\b(?i:from)\s+(root(?:\.[A-Za-z_]\w*)+)(?![\w'"`$.*-])"""
)
_COMPARISONS = (exp.EQ, exp.LT, exp.LTE, exp.GT, exp.GTE)


@dataclass(frozen=True, slots=True)
class SplitText:
    """A text: ``pieces`` is what stands around its literals, ``literals`` are as they are written.
    ``places``: by where a literal begins, its number."""

    pieces: str
    literals: tuple[str, ...]
    places: dict[int, int]


def split_text(sql: str) -> SplitText | None:
    """None for a text that is not looked into."""
    if len(sql) > TEXT_CHARS_MAX or "\0" in sql:
        return None
    pieces: list[str] = []
    literals: list[str] = []
    places: dict[int, int] = {}
    position = 0
    for found in _LITERAL.finditer(sql):
        which = found.lastindex or 0
        text, start = found.group(which), found.start(which)
        if text[0] in '"`':
            continue
        pieces.append(sql[position:start])
        places[start] = len(literals)
        literals.append(text)
        position = found.end()
    pieces.append(sql[position:])
    return SplitText("\0".join(pieces), tuple(literals), places)


def literal_value(text: str) -> int | str:
    """What a literal of split_text means."""
    if text[0] == "'":
        return text[1:-1]
    return int(text) if text[0].isdigit() else text


@dataclass(slots=True)
class Lifted:
    """``values`` of the parameters that were added. ``numbers``: by the number of a literal, that
    of its parameter. ``written``: by the number of a parameter, the node in whose place it is.
    ``shared``: parameters whose literals stand elsewhere, too."""

    values: list[Any] = field(default_factory=list)
    numbers: dict[int, int] = field(default_factory=dict)
    written: dict[int, exp.Expr] = field(default_factory=dict)
    shared: set[int] = field(default_factory=set)


def lift_literals(tree: exp.Expr, scopes: Scopes, text: SplitText, params: int) -> Lifted:
    """Puts parameters in the places of literals; ``params`` of the caller come before them."""
    lifted = Lifted()
    known: dict[str, int] = {}
    for select in find_nodes(tree, exp.Select):
        where = select.args.get("where")
        if where is None or _is_in_item(select):
            continue
        for column, literal in _compared(where.this):
            if not _is_open(scopes.origin(column, select), literal):
                continue
            number = _literal_number(literal, text)
            if number is None:
                continue
            written = text.literals[number]
            # Equal literals are one parameter, so that equal scans stay one.
            if written not in known:
                lifted.values.append(literal_value(written))
                known[written] = params + len(lifted.values)
                lifted.written[known[written]] = literal.copy()
            lifted.numbers[number] = known[written]
            literal.replace(exp.Placeholder(this=str(known[written])))
    for literal in find_nodes(tree, exp.Literal) if lifted.numbers else ():
        number = text.places.get(literal.meta.get("start", -1))
        if number in lifted.numbers:
            lifted.shared.add(lifted.numbers[number])
    return lifted


def _literal_number(literal: exp.Literal, text: SplitText) -> int | None:
    """The number of the literal of the text that a node is."""
    number = text.places.get(literal.meta.get("start", -1))
    if number is None:
        return None
    written = f"'{literal.this}'" if literal.is_string else literal.this
    is_whole = len(written) == literal.meta["end"] - literal.meta["start"] + 1
    return number if is_whole and text.literals[number] == written else None


def _is_open(column: Any, literal: exp.Literal) -> bool:
    """True for a column whose constants may differ from one run to the next."""
    if not isinstance(column, RelationColumn):
        return False
    if column.kind == "DEVICE":
        return bool(literal.is_string) and isinstance(literal.parent, exp.EQ | exp.In)
    is_time = column.kind == "TIME" or (column.kind == "ALIAS" and column.source == TIME)
    return is_time and not isinstance(literal.parent, exp.In)


def _compared(condition: exp.Expr) -> Iterator[tuple[exp.Column, exp.Literal]]:
    """Columns and the literals that conjuncts compare them with."""
    waiting = [condition]
    while waiting:
        node = waiting.pop()
        if isinstance(node, exp.And):
            waiting += [node.this, node.expression]
        elif isinstance(node, exp.Paren):
            waiting.append(node.this)
        elif isinstance(node, _COMPARISONS):
            yield from _pairs(node.this, [node.expression])
            yield from _pairs(node.expression, [node.this])
        elif isinstance(node, exp.Between):
            yield from _pairs(node.this, [node.args["low"], node.args["high"]])
        elif isinstance(node, exp.In):
            yield from _pairs(node.this, list(node.expressions))


def _pairs(column: Any, values: list[Any]) -> Iterator[tuple[exp.Column, exp.Literal]]:
    if isinstance(column, exp.Column):
        for value in values:
            if isinstance(value, exp.Literal):
                yield column, value


def _is_in_item(select: exp.Select) -> bool:
    """True for a query inside an item of a select list, whose heading is its text."""
    node: exp.Expr | None = select
    while node is not None:
        if node.arg_key == "expressions" and isinstance(node.parent, exp.Select):
            return True
        node = node.parent
    return False
