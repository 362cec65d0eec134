"""What statements may take of a node with little memory.

``storage.memory_limit`` says how large a machine is. Below its default, the limits of statements
shrink with it, whatever the file says of them: an answer that is held, and a second and third
process of 40 MB and more, would be the end of a node in 256 MiB. A question for everything is
refused there, or goes through aggregates.
"""

from __future__ import annotations

from msgspec.structs import replace

from mainstem_node.config.schema import NodeConfig, SqlConfig, SqlRoleConfig, StorageConfig
from mainstem_node.config.sql_checks import MEMORY_LIMIT_MIN, RESULT_LIMIT_MIN

SMALL_BYTES = StorageConfig().memory_limit
"""Nodes with so much, and more, have what the file says."""
DATABASE_SHARE = 3
"""A third of ``memory_limit`` for the executing database, and for tables that are held."""
RESULT_SHARE = 6
"""A sixth for an answer: it is there up to three times while it is made JSON."""


def sql_share(node: NodeConfig) -> SqlConfig:
    """The limits of statements at this node."""
    limit = node.storage.memory_limit
    if limit >= SMALL_BYTES:
        return node.sql
    roles = {name: _less(getattr(node.sql, name), limit) for name in ("admin", "write", "read")}
    return replace(node.sql, processes=1, **roles)


def _less(role: SqlRoleConfig, limit: int) -> SqlRoleConfig:
    return replace(
        role,
        memory_limit=min(role.memory_limit, max(MEMORY_LIMIT_MIN, limit // DATABASE_SHARE)),
        result_limit=min(role.result_limit, max(RESULT_LIMIT_MIN, limit // RESULT_SHARE)),
        concurrency=1,
    )
