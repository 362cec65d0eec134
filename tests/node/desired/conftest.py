"""Fixtures of configurations that come from above."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from mainstem_node.config.schema import Topology

from .pair import Pair


@pytest.fixture
async def pair(tmp_path: Path, unused_tcp_port_factory: Callable[[], int]) -> AsyncIterator[Pair]:
    pair = Pair(tmp_path, (unused_tcp_port_factory(), unused_tcp_port_factory()))
    async with AsyncExitStack() as stack:
        for name in ("plant", "edge"):
            await pair.start(name)
            stack.push_async_callback(lambda name=name: pair.hosts[name].stop())  # type: ignore[misc]
        yield pair


@pytest.fixture
def pair_file(tmp_path: Path) -> Callable[[dict[str, Any]], Topology]:
    """The topology of the pair, with other keys of the edge."""

    def read(changed: dict[str, Any]) -> Topology:
        pair = Pair(tmp_path, (1, 2))
        pair.document["nodes"][1].update(changed)
        topology: Topology = pair.topology()
        return topology

    return read
