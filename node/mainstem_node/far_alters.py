"""ALTER of a template that nodes below use: an order to each, so that no tier goes its own way.

1. What a statement has changed of templates here is told by looking before and after it. Nodes
   below that are known to use such a template, by their configuration or by what they have sent,
   get an amendment (desired/amendment.py) as an order of the kind ``config``; so does this node
   itself, for its own document.
2. The answer waits for those that are there, ``WAIT_S`` at most. Who refuses, and who has not
   answered, is named in ``warnings``: the order is carried out when the node is back, before any
   row that needs the change can come from there.
3. An order is idempotent; two that change the same template are carried out in their order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mainstem_engine.model import Template
from mainstem_node.desired.agent import AMEND, KIND, STATEMENT
from mainstem_node.desired.amendment import Amendment
from mainstem_node.desired.documents import unpacked
from mainstem_node.errors import BadRequestError
from mainstem_node.given_orders import Giver, warning
from mainstem_sync.down.downward import Downward

if TYPE_CHECKING:
    from mainstem_engine.engine import Engine
    from mainstem_engine.sql.statements import Statement

WAIT_S = 5.0
"""A node whose connection waits for orders has altered its template within a second."""


@dataclass(slots=True)
class Before:
    """What a script may alter: templates, and by their names in lower case what it renames of
    tags."""

    templates: Sequence[Template] = ()
    renamed_tags: dict[str, dict[str, str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.templates)


class FarAlters:
    """See the module. ``below``: names of all nodes below; ``senders``: of a table, the nodes whose
    rows of it have come; ``itself``: this node takes such orders, too. ``clock_ns`` wall clock."""

    def __init__(
        self,
        node: str,
        engine: Engine,
        down: Downward,
        *,
        below: Callable[[], Iterable[str]],
        senders: Callable[[str], Iterable[str]],
        itself: bool,
        clock_ns: Callable[[], int],
    ) -> None:
        self._node = node
        self._engine = engine
        self._down = down
        self._giver = Giver(node, down, clock_ns)
        self._below = below
        self._senders = senders
        self._itself = itself

    def before(self, statements: Sequence[Statement]) -> Before:
        """The templates that a script may alter, as they are now; empty where nobody has to
        follow."""
        from mainstem_engine.sql.statements import (
            AlterTags,
            AlterTemplate,
            CreateSeries,
            CreateTable,
        )

        if not any(True for _ in self._below()):
            return Before()
        everything = [
            table.template
            for table in self._engine.catalog.templates.all()
            if not table.replaces_rows
        ]
        named: set[str] = set()
        renamed: dict[str, dict[str, str]] = {}
        for statement in statements:
            if isinstance(statement, AlterTemplate | AlterTags):
                name = statement.name.elements[-1].casefold()
                named.add(name)
                if isinstance(statement, AlterTags):
                    _rename(renamed.setdefault(name, {}), statement.rename)
            elif isinstance(statement, CreateSeries | CreateTable):
                named.update(template.name.casefold() for template in everything)
        return Before([each for each in everything if each.name.casefold() in named], renamed)

    def follow(self, before: Before, by: str, timeout_s: float) -> list[str]:
        """Gives the orders that follow from what has changed; returns warnings. Blocks."""
        orders = [
            self._giver.give(KIND, node, {AMEND: amendment.to_body()}, by)
            for amendment in self._changed(before)
            for node in self._users(amendment.template)
        ]
        deadline = time.monotonic() + min(timeout_s, WAIT_S)
        found = self._giver.ended(orders, deadline)
        said = (warning(each, "did not follow", "has not followed yet") for each in found)
        return [each for each in said if each is not None]

    def _changed(self, before: Before) -> Iterator[Amendment]:
        for then in before.templates:
            now = self._engine.catalog.templates.find(then.name)
            if now is None:
                continue
            renamed_tags = before.renamed_tags.get(then.name.casefold())
            found = Amendment.between(then, now.template, renamed_tags)
            if found is not None:
                yield found

    def _users(self, template: str) -> list[str]:
        """Nodes that have to follow, this one first: its own document is changed at once."""
        found = set(self._senders(template))
        for node, word in self._down.orders.statements(STATEMENT).items():
            if _names(word.result.get("document"), template):
                found.add(node)
        users = sorted(found & set(self._below()))
        return [self._node, *users] if self._itself and users else users


def _rename(known: dict[str, str], more: Mapping[str, str]) -> None:
    """One statement after another."""
    for old, new in more.items():
        first = next((name for name, now in known.items() if now == old), old)
        known[first] = new


def _names(document: object, template: str) -> bool:
    """True if a stated document has a section of the template."""
    try:
        templates = unpacked(document).get("templates")
    except BadRequestError:
        return False
    wanted = template.casefold()
    return isinstance(templates, dict) and any(name.casefold() == wanted for name in templates)
