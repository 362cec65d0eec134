"""A device in FROM, left open: dashboards ask the same of one device after the other.

1. The statement reads one table, the path of one device, written as plain names from the root.
2. Nothing but the table names it: neither a column nor an alias that planning made of it, nor
   anything that the path itself was looked into for.
3. It then chooses the device of the scan as a parameter that is compared with ``device`` does, and
   binding holds it to the same: the template, the precision, and that there is such a device.
"""

from __future__ import annotations

from sqlglot import exp

from mainstem_engine.catalog.names import ROOT
from mainstem_engine.sql.grammar.dialect import NAME
from mainstem_engine.sql.select.literals import Lifted, SplitText
from mainstem_engine.sql.select.relations import Relation
from mainstem_engine.sql.statements import Name


def open_path(
    tree: exp.Query,
    table: exp.Table,
    relation: Relation,
    text: SplitText,
    lifted: Lifted,
    params: int,
) -> int | None:
    """Leaves the device of ``table``, the only one, open: the number of the parameter that names
    it, after the ``params`` of the caller and those that are lifted; None for other tables."""
    if not relation.is_path or len(relation.members) != 1:
        return None
    (member,) = relation.members
    if member.devices is None or len(member.devices) != 1:
        return None
    name = table.meta.get(NAME)
    if not isinstance(name, Name) or name.is_pattern or name.elements[0] != ROOT:
        return None
    number = text.places.get(table.meta.get("start", -1))
    path = ".".join(name.elements)
    if number is None or text.literals[number] != path:
        return None
    alias = relation.alias.casefold()
    if any(c.table or c.name.casefold() == alias for c in tree.find_all(exp.Column)):
        return None
    lifted.values.append(path)
    parameter = params + len(lifted.values)
    lifted.numbers[number] = parameter
    relation.choices.append((exp.Placeholder(this=str(parameter)),))
    return parameter
