"""The live parts of a running node, as the HTTP routes see them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mainstem_node.audit import AuditTrail
from mainstem_node.auth import Authenticator
from mainstem_node.config.schema import NodeConfig, Topology
from mainstem_node.idempotency import IdempotentAnswers
from mainstem_node.metrics import NodeMetrics
from mainstem_node.ownership import Ownership
from mainstem_node.workers import Workers

if TYPE_CHECKING:
    from mainstem_engine.engine import Engine
    from mainstem_node.alarms import AlarmDesk
    from mainstem_node.desired.agent import Host
    from mainstem_node.inbox import Inbox
    from mainstem_node.line_protocol.storing import LineStore
    from mainstem_node.live import LiveHub
    from mainstem_node.statements import Statements
    from mainstem_node.writing import Writer
    from mainstem_sync import Federation


@dataclass(slots=True)
class Runtime:
    """Everything a route may use. ``not_ready`` lists reasons; empty when the node is ready."""

    topology: Topology
    config: NodeConfig
    engine: Engine
    federation: Federation
    authenticator: Authenticator
    ownership: Ownership
    metrics: NodeMetrics
    statements: Statements
    writer: Writer
    lines: LineStore
    """Stores line protocol."""
    inbox: Inbox
    live: LiveHub
    alarms: AlarmDesk
    """Alarms of rules, its own and those from below."""
    audit: AuditTrail
    host: Host | None
    """None for a node whose configuration cannot be changed while it runs."""
    status: Callable[[], dict[str, Any]]
    not_ready: Callable[[], list[str]]
    stop_intake: Callable[[], Awaitable[None]]
    io_workers: Workers
    """Status, last values, registry files: short calls that may wait for a lock or a disk."""
    write_workers: Workers
    """Writes, each of which waits for its fsync."""
    sql_workers: Workers
    """Statements: as many run at a time as there are threads."""
    idempotent: IdempotentAnswers = field(default_factory=IdempotentAnswers)
    clock_ns: Callable[[], int] = field(default=time.time_ns)
