"""Reading of many nodes, in pieces that every server takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from asyncua import Client, ua

NODES_A_CALL = 100


async def read(
    client: Client, nodes: Sequence[ua.NodeId], attribute: ua.AttributeIds
) -> list[ua.DataValue]:
    """One attribute of each."""
    found: list[ua.DataValue] = []
    for start in range(0, len(nodes), NODES_A_CALL):
        found += await client.uaclient.read_attributes(
            nodes[start : start + NODES_A_CALL], attribute
        )
    return found


async def unknown_nodes(client: Client, wanted: Mapping[str, ua.NodeId]) -> list[str]:
    """Those that the server does not have, by their text."""
    answers = await read(client, list(wanted.values()), ua.AttributeIds.NodeClass)
    return [
        text
        for text, answer in zip(wanted, answers, strict=True)
        if answer.StatusCode is not None and answer.StatusCode.is_bad()
    ]
