"""What HTTP costs a node: requests that hold nothing, to a real platform on loopback.

1. A real node is started; some children say HELLO, as a thousand edges do (edges.py).
2. They post requests that hold a REQUEST frame and nothing else, as fast as they are answered. The
   processor time of the node's process, divided by their number, is that of a request without
   content: socket, aiohttp, middlewares, authentication, threads, reply.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import aiohttp
from edges import TIMEOUT_S, Edge, World, topology
from tiers import NodeProcess, free_port, write_topology

from mainstem_node.auth import require_link_token
from mainstem_node.config import load_topology
from mainstem_sync.wire.batch import encode_request
from mainstem_sync.wire.frames import verify_signature
from mainstem_sync.wire.messages import BATCHES_PATH

CHILDREN = 32
"""Each has one request under way: enough to keep a node busy."""


def bare(lease: str, number: int) -> bytes:
    """The smallest request that a parent answers."""
    return encode_request(lease, number, time.time_ns())


def http_cost_s(place: Path, requests: int) -> float:
    """Processor seconds of a node for one request without content."""
    place.mkdir()
    return asyncio.run(_measured(place, requests))


async def _measured(place: Path, requests: int) -> float:
    port = free_port()
    path = write_topology(place, topology(port, CHILDREN))
    loaded = load_topology(path)
    plant = NodeProcess(path, "plant", port)
    await asyncio.to_thread(plant.start)
    try:
        connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            world = World(f"http://127.0.0.1:{port}", session)
            edges = [
                Edge(n, require_link_token(loaded, f"edge_{n:04}"), world) for n in range(CHILDREN)
            ]
            await asyncio.gather(*(_post(edge, 10) for edge in edges))
            began, each = plant.cpu_s(), requests // CHILDREN
            await asyncio.gather(*(_post(edge, each) for edge in edges))
            return (plant.cpu_s() - began) / (each * CHILDREN)
    finally:
        await asyncio.to_thread(plant.stop)


async def _post(edge: Edge, requests: int) -> None:
    lease = await edge.greet()
    for number in range(requests):
        body = await edge.post(BATCHES_PATH, bare(lease, number + 1))
        if not verify_signature(body, lease.encode()):
            raise SystemExit("benchmark: a request without content is refused")
