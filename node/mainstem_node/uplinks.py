"""The connections of one node to its parent: deliver, take orders, answer questions."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from mainstem_node.auth import require_link_token
from mainstem_node.config.schema import ParentConfig, Topology
from mainstem_node.server import client_context
from mainstem_sync import Federation
from mainstem_sync.http.client import Uplink
from mainstem_sync.http.down_client import Downlink
from mainstem_sync.http.results_client import ResultsUplink
from mainstem_sync.sending.sender import Sender

STOP_UPLINK_S_MAX = 1.0
"""Of the ten seconds of a stop: the last batches may still be acknowledged."""


def start_uplinks(
    topology: Topology, node: str, parent: ParentConfig, federation: Federation, sender: Sender
) -> Callable[[], Awaitable[None]]:
    """Starts all of them on the running loop; returns what stops them."""
    context = None
    if any(url.startswith("https:") for url in parent.url):
        context = client_context(parent.ca, parent.cert, parent.key)
    uplink = Uplink(
        sender,
        parent.url,
        lambda: require_link_token(topology, node),
        rng=random.Random(),
        ssl=context,
    )
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(uplink.run(), name="uplink")]
    taker = federation.down.taker
    if taker is not None:
        downlink = Downlink(taker, lambda: uplink.address, ssl=context)
        tasks.append(loop.create_task(downlink.run(), name="downlink"))
        budget = federation.budget
        results = ResultsUplink(
            federation.down.answers,
            lambda: uplink.address,
            owed_s=budget.wait_s,
            sent=budget.sent,
            ssl=context,
        )
        tasks.append(loop.create_task(results.run(), name="results"))

    async def stop() -> None:
        link = federation.link()
        if link is not None and link["state"] == "connected":
            await uplink.drain(STOP_UPLINK_S_MAX)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    return stop
