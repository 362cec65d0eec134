"""Orders at one node: who carries out which kind, from the start of the node to its stop.

1. Everything that carries out orders is made before the first of them is handed out: what was left
   at the last stop is resumed then, and what comes goes to the same.
2. They stop in reverse, before the federation and the engine do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mainstem_engine.engine import Engine
from mainstem_node import far_delete, handovers
from mainstem_node.audit import AuditTrail
from mainstem_node.commanding import command
from mainstem_node.commanding.action import Action
from mainstem_node.commanding.newest import newest_values
from mainstem_node.commanding.runner import CommandRunner
from mainstem_node.config.schema import NodeConfig
from mainstem_node.desired import agent
from mainstem_node.desired.agent import ConfigAgent, Host
from mainstem_node.far_alters import FarAlters
from mainstem_node.far_delete import FarDelete
from mainstem_node.far_deletes import FarDeletes
from mainstem_node.handovers import Handovers
from mainstem_node.order_desk import OneAtATime, OrderDesk, OrderTaker
from mainstem_node.registry import NodeRegistry
from mainstem_node.statements import Statements
from mainstem_sync import Federation

if TYPE_CHECKING:
    from mainstem_engine.sql.result import Result

NS_PER_MS = 1_000_000


class NodeOrders:
    """See the module. ``host``: None for a node whose configuration cannot be changed while it
    runs. ``clock_ns`` wall clock. Its methods block."""

    def __init__(
        self,
        config: NodeConfig,
        engine: Engine,
        federation: Federation,
        statements: Statements,
        registry: NodeRegistry,
        audit: AuditTrail,
        *,
        actions: Sequence[Action],
        host: Host | None,
        clock_ns: Callable[[], int],
    ) -> None:
        self._federation = federation
        self._statements = statements
        self._registry = registry
        self._clock_ns = clock_ns
        down = federation.down
        self._runner = CommandRunner(
            down, actions, newest=newest_values(engine), clock_ms=self._parents_ms
        )
        far_deletes = statements.far_deletes = FarDeletes(
            config.id,
            down,
            below=self._living_below,
            owner_of=federation.owner_of,
            owners_of=federation.moving.moves.owners,
            run_here=self._delete_here,
            clock_ns=clock_ns,
        )
        statements.far_alters = FarAlters(
            config.id,
            engine,
            down,
            below=self._living_below,
            senders=federation.senders_of,
            itself=host is not None,
            clock_ns=clock_ns,
        )
        self._deletes = OneAtATime("mainstem-delete", far_deletes.carry_out)
        self._handovers = OneAtATime("mainstem-handover", Handovers(federation, audit).carry_out)
        self._takers: dict[str, OrderTaker] = {
            command.KIND: self._runner,
            far_delete.KIND: self._deletes,
            handovers.KIND: self._handovers,
        }
        self._agent: ConfigAgent | None = None
        if host is not None:
            self._agent = ConfigAgent(
                down,
                host,
                is_linked=federation.is_reached,
                amend=lambda amendment: amendment.of_store(engine),
                clock_ns=clock_ns,
            )
            self._takers[agent.KIND] = self._agent

    def open(self) -> None:
        """Hands out what was left at the last stop, and from now on what comes."""
        if self._agent is not None:
            self._agent.state()
        OrderDesk(self._federation.down, self._takers).open()

    def stop(self) -> None:
        """What is under way is finished, or taken up at the next start."""
        if self._agent is not None:
            self._agent.stop()
        self._handovers.stop()
        self._deletes.stop()
        self._runner.stop()

    def _living_below(self) -> list[str]:
        """Nodes below that may still be asked for something."""
        retired = self._registry.retired_ns
        return [name for name in self._federation.nodes_below() if retired(name) is None]

    def _delete_here(self, asked: FarDelete, timeout_s: float) -> Result:
        return self._statements.execute(
            asked.sql,
            asked.params,
            database=asked.database,
            time_zone=asked.time_zone,
            timeout_s=timeout_s,
            role=asked.role,
            by=asked.by,
            spares_others=True,
            now_ns=asked.now_ns,
        )

    def _parents_ms(self) -> int | None:
        """The wall clock as the parent has it; None while there is one and it was not asked."""
        link = self._federation.link()
        offset_ms = 0 if link is None else link["clock_offset_ms"]
        return None if offset_ms is None else self._clock_ns() // NS_PER_MS + int(offset_ms)
