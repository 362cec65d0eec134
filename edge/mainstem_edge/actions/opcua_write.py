"""``opcua.write``: a value written to a node of an OPC UA server.

1. Only nodes are written to that a pattern of the configuration allows: there is no default. A
   pattern is compared with the whole text of the node id, as the command names it.
2. The command goes over the session of the collector. Without one nothing was done (FAILED).
3. The type is the node's own; a value that does not fit it is not sent (FAILED). Done means that
   the server said so; what the node has then is told. Without an answer nobody knows (UNKNOWN).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Protocol

from mainstem_node.commanding.action import ActionError, not_allowed, refuse_unknown, refuse_value
from mainstem_node.config.node_ids import node_id_parts
from mainstem_node.errors import BadRequestError

NAME = "opcua.write"
ARGUMENTS = ("node", "value")


class Writer(Protocol):
    """What is needed of the collector."""

    def write(self, node: str, value: Any) -> dict[str, Any]:
        """Raises ActionError, UncertainActionError."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """``nodes``: patterns of node ids. ``side``: the collector, None while there is none."""

    side: Callable[[], Writer | None]
    nodes: Sequence[str]


class OpcuaWrite:
    """See the module. The first that allows a node is used."""

    name = NAME

    def __init__(self, allowed: Sequence[Allowed]) -> None:
        self._allowed = tuple(allowed)

    def check(self, arguments: Mapping[str, Any]) -> None:
        """``node``: a node id; ``value``: number, text, true or false. Raises BadRequestError."""
        refuse_unknown(NAME, arguments, ARGUMENTS)
        node = arguments.get("node")
        if not isinstance(node, str):
            raise BadRequestError("node is missing, or no text", field="node")
        try:
            node_id_parts(node)
        except ValueError as error:
            problem, remedy = error.args
            raise BadRequestError(problem, field="node", hint=remedy) from None
        refuse_value(arguments.get("value"))
        self._find(node)

    def run(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Writes once, and reads back."""
        node = str(arguments["node"])
        side = self._find(node).side()
        if side is None:
            raise ActionError("the collector is not running")
        return {"node": node, **side.write(node, arguments["value"])}

    def _find(self, node: str) -> Allowed:
        for each in self._allowed:
            if any(fnmatchcase(node, pattern) for pattern in each.nodes):
                return each
        raise not_allowed(f"writing to {node!r}", "node")
