"""DELETE of rows that nodes below own: an order to each of them, and the answer of all.

1. A DELETE by itself, at a node with nodes below it, is carried out here for what this node may
   delete, and given as an order to each node below that may own rows which it means: to the owner
   of a device that is named, else to all. So it also reaches rows that are held below only.
2. The owner decides by its own rows which are meant, by value or not, with the time of the one who
   asked as now(). What it deletes comes up as every delete does, and goes from every tier.
3. The answer waits for the owners, within the time of the statement. ``rows_affected`` is what they
   have deleted until then; who has not answered is named in ``warnings``, with the order: it is
   carried out when the node is back. An order is idempotent: it may be carried out twice.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from mainstem_engine.errors import MainstemError, NotFoundError
from mainstem_node.auth import ALLOWS, WRITE
from mainstem_node.errors import BadRequestError
from mainstem_node.far_delete import KIND, FarDelete
from mainstem_node.given_orders import ACK_S_MAX, Giver, warning
from mainstem_node.logs import fields
from mainstem_sync.down.downward import Downward
from mainstem_sync.down.orders import Standing
from mainstem_sync.wire.order import Order, State

if TYPE_CHECKING:
    from mainstem_engine.sql.result import Result
    from mainstem_engine.sql.statements import Delete, Statement

log = logging.getLogger("mainstem.deletes")

OWN_S_MAX = 600.0
"""What an owner gives a delete that somebody else asked for: the time of an admin's statement."""

RunHere = Callable[[FarDelete, float], "Result"]
"""Carries a delete out for the rows that this node may delete, within so many seconds."""


class FarDeletes:
    """Both sides: gives orders to nodes below, and carries out those for this one.

    ``below``: names of all nodes below; ``owner_of``: the owner of a device path, None if nobody is
    known; ``owners_of``: all that it has had, if it was moved. ``clock_ns`` wall clock.
    """

    def __init__(
        self,
        node: str,
        down: Downward,
        *,
        below: Callable[[], Iterable[str]],
        owner_of: Callable[[str], str | None],
        owners_of: Callable[[str], Iterable[str]] = lambda device: (),
        run_here: RunHere,
        clock_ns: Callable[[], int],
    ) -> None:
        self._node = node
        self._down = down
        self._below = below
        self._owner_of = owner_of
        self._owners_of = owners_of
        self._run_here = run_here
        self._clock_ns = clock_ns
        self._giver = Giver(node, down, clock_ns)

    # For those who ask

    def concerns(self, statements: Sequence[Statement]) -> bool:
        """True for a DELETE by itself where there are nodes below."""
        from mainstem_engine.sql.statements import Delete

        return (
            len(statements) == 1
            and isinstance(statements[0], Delete)
            and not statements[0].series
            and any(True for _ in self._below())
        )

    def delete(self, statement: Statement, asked: FarDelete, timeout_s: float) -> Result:
        """Carries a DELETE out here and below. Raises what a DELETE here does, before anything is
        ordered."""
        from mainstem_engine.sql.result import Result
        from mainstem_engine.sql.statements import Delete

        assert isinstance(statement, Delete)
        deadline = time.monotonic() + timeout_s
        asked = dataclasses.replace(asked, now_ns=self._clock_ns())
        owners = self._owners(statement)
        rows, unknown = 0, None
        try:
            rows = self._run_here(asked, timeout_s).rows_affected
        except NotFoundError as error:
            unknown = error  # a table of the nodes below only
        if unknown is not None and not owners:
            raise unknown
        orders = [self._giver.give(KIND, node, asked.to_body(), asked.by) for node in owners]
        found = self._giver.ended(orders, deadline)
        said = (warning(each, "did not delete", "has not deleted yet") for each in found)
        warnings = [each for each in said if each is not None]
        rows += sum(_rows(each) for each in found)
        return Result.of_rows((), (), rows_affected=rows, warnings=warnings)

    def _owners(self, statement: Delete) -> list[str]:
        """The nodes below that may own what is meant."""
        owners: set[str] = set()
        for target in statement.targets:
            path = ".".join(target.elements)
            named = None if target.is_pattern else self._owner_of(path)
            if named is None or not path.startswith("root."):
                return sorted(set(self._below()) - {self._node})
            owners |= {named, *self._owners_of(path)}
        return sorted(owners - {self._node})

    # For the one who is asked

    def carry_out(self, order: Order) -> None:
        """An order for this node. Blocks."""
        try:
            asked = FarDelete.from_body(order.body, order.by)
            if WRITE not in ALLOWS.get(asked.role, ()):
                raise BadRequestError(f"the role {asked.role!r} does not delete")
            self._down.say(order.id, State.STARTED).wait(ACK_S_MAX)
            rows = self._rows_deleted(asked)
            self._down.say(order.id, State.DONE, {"rows": rows}).wait(ACK_S_MAX)
        except (MainstemError, TimeoutError) as error:
            log.warning("a delete of %s: %s", order.issuer, error, extra=fields(order=order.id))
            self._down.say(order.id, State.FAILED, error=str(error))

    def _rows_deleted(self, asked: FarDelete) -> int:
        try:
            return self._run_here(asked, OWN_S_MAX).rows_affected
        except NotFoundError:
            return 0  # it has no such table: nothing of it is meant


def _rows(standing: Standing) -> int:
    done = standing.word is not None and standing.state is State.DONE
    return int(standing.word.result.get("rows", 0)) if done and standing.word is not None else 0
