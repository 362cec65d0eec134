"""Devices that are moved to or from this node: carries out the orders.

An order may be carried out again, so nothing is lost by a stop in between.
"""

from __future__ import annotations

import logging

from mainstem_engine.errors import MainstemError
from mainstem_node.audit import AuditTrail
from mainstem_node.logs import fields
from mainstem_sync import Federation
from mainstem_sync.state.moves import HANDOVER
from mainstem_sync.wire.order import Order, State

log = logging.getLogger("mainstem.moves")

KIND = HANDOVER
ACK_S_MAX = 30.0


class Handovers:
    """See the module."""

    def __init__(self, federation: Federation, audit: AuditTrail) -> None:
        self._federation = federation
        self._audit = audit

    def carry_out(self, order: Order) -> None:
        """An order for this node. Blocks."""
        down = self._federation.down
        try:
            found = self._federation.moving.take(order)
            detail = {"id": order.id, "moves": order.body.get("moves"), **found}
            self._audit.note(order.by or order.issuer, "handover", detail)
            down.say(order.id, State.DONE, found).wait(ACK_S_MAX)
        except (MainstemError, OSError) as error:
            log.warning("a move of %s: %s", order.issuer, error, extra=fields(order=order.id))
            down.say(order.id, State.FAILED, error=str(error))
