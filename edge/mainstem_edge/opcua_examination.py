"""What ``mainstem doctor`` looks at of an OPC UA server: a session, and the listed nodes."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from mainstem_edge.assembly.opcua import opcua_settings
from mainstem_node.config.collectors.opcua import OpcuaCollectorConfig
from mainstem_node.doctor.finding import BAD, FINE, Finding
from mainstem_node.extras import is_missing, remedy

TIMEOUT_S = 5.0
NODES_MAX = 1000
"""Nodes that are looked at: a mistake is among the first."""


def examine_server(node: str, check: str, config: OpcuaCollectorConfig) -> Finding:
    if is_missing("opcua"):
        return Finding(node, check, BAD, "asyncua is not installed", remedy("opcua"))
    try:
        problem = asyncio.run(_problem(node, config))
    except ConnectionError as error:
        return Finding(
            node, check, BAD, str(error),
            "start the server, or correct `url`, `security`, its files, `username` and `password`",
        )  # fmt: skip
    if problem:
        return Finding(node, check, BAD, problem, "mainstem opcua browse shows its nodes")
    return Finding(node, check, FINE, f"the server {config.url} takes a session")


async def _problem(node: str, config: OpcuaCollectorConfig) -> str | None:
    """What is wrong with the nodes; None when all are there. Raises ConnectionError."""
    from mainstem_edge.opcua.connecting import in_words, session
    from mainstem_edge.opcua.node_ids import node_id
    from mainstem_edge.opcua.reading import unknown_nodes

    settings = replace(opcua_settings(node, config), request_s=TIMEOUT_S)
    texts = [text for each in config.devices for text in each.nodes.values()]
    texts = [*texts, *(each.under for each in config.browse)][:NODES_MAX]
    async with session(settings) as client:
        with in_words(config.url, files=False):
            namespaces = await client.get_namespace_array()
            try:
                wanted = {text: node_id(text, namespaces) for text in texts}
            except ValueError as error:
                return "; ".join(map(str, error.args))
            missing = await unknown_nodes(client, wanted)
    if not missing:
        return None
    return f"{config.url} has {len(missing)} of {len(texts)} nodes not, such as {missing[0]!r}"
