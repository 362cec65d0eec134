"""Where the example factory lies, and its topology as one demo runs it.

The example's topology stands on its own. For a demo, ``prepare`` writes a copy into the demo's
directory: ports moved to the demo's base, and every link led through a relay.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from mainstem_node.errors import NodeError
from mainstem_node.relay import LinkRelay

PORT_BASE = 8400
"""The example is written for this base."""

MQTT_OFFSET = 90
NODE_OFFSETS = (0, 10, 11, 12, 20, 21)
"""Group, factory A with its two workshops, factory B with its one."""

PORTS_SPAN = 100
"""A demo uses ports of its base's hundred; relays take any free port."""

TOPOLOGY_NAME = "topology.yaml"
LOOPBACK = "127.0.0.1"


class DemoError(NodeError):
    """A demo that cannot start, or a request to one that does not run."""

    code = "DEMO"


def example_directory() -> Path:
    """``examples/factory``: beside this package in an installation, else in the checkout."""
    package = Path(__file__).resolve().parents[1]
    for place in (package / "_examples" / "factory", package.parents[1] / "examples" / "factory"):
        if (place / TOPOLOGY_NAME).is_file():
            return place
    raise DemoError(
        "the example factory is not part of this installation", hint="install the wheel again"
    )


@dataclass(frozen=True, slots=True)
class DemoFactory:
    """One demo: its topology file and a relay for every node that has a parent."""

    directory: Path
    port_base: int
    topology: Path
    relays: dict[str, LinkRelay]
    parents: dict[str, str]
    """Node to the node above it."""

    @property
    def broker_port(self) -> int:
        return self.port_base + MQTT_OFFSET

    @property
    def broker_url(self) -> str:
        return f"mqtt://{LOOPBACK}:{self.broker_port}"

    def close(self) -> None:
        """Ends the relays."""
        for relay in self.relays.values():
            relay.close()


def prepare(directory: Path, port_base: int) -> DemoFactory:
    """Opens the relays and writes the demo's topology. Raises DemoError for unusable ports."""
    if not 1024 <= port_base <= 65535 - PORTS_SPAN:
        raise DemoError(f"port base {port_base} leaves no room", hint="use 1024 to 65435")
    require_free_ports(port_base)
    source = example_directory() / TOPOLOGY_NAME
    document: dict[str, Any] = yaml.safe_load(source.read_text(encoding="utf-8"))
    relays: dict[str, LinkRelay] = {}
    parents: dict[str, str] = {}
    for node in document["nodes"]:
        host, _, port = node["listen"].rpartition(":")
        node["listen"] = f"{host}:{moved(int(port), port_base)}"
        for collector in node.get("collectors", ()):
            if collector["type"] != "mqtt":
                continue
            parts = urlsplit(collector["url"])
            collector["url"] = f"{parts.scheme}://{parts.hostname}:{moved(parts.port, port_base)}"
        parent = node.get("parent")
        if parent is not None:
            target = moved(urlsplit(parent["url"]).port, port_base)
            relays[node["id"]] = relay = LinkRelay(0, (LOOPBACK, target))
            parents[node["id"]] = parent["node"]
            parent["url"] = f"http://{LOOPBACK}:{relay.port}"
    directory.mkdir(parents=True, exist_ok=True)
    topology = directory / TOPOLOGY_NAME
    heading = "# Written by `mainstem demo` at each start; changes are lost.\n"
    text = heading + yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    topology.write_text(text, encoding="utf-8")
    for relay in relays.values():
        relay.start()
    return DemoFactory(directory, port_base, topology, relays, parents)


def require_free_ports(port_base: int) -> None:
    """Raises DemoError naming the first port of a node that something else uses.

    The broker looks after its own: one that a killed demo left behind is ended first.
    """
    for offset in NODE_OFFSETS:
        port = port_base + offset
        try:
            # As the nodes' servers do: a port that only waits for its last connections is free.
            socket.create_server((LOOPBACK, port)).close()
        except OSError as error:
            raise DemoError(
                f"port {port} cannot be used ({os.strerror(error.errno or 0)})",
                hint="stop what uses it (another demo?), or choose another --port-base",
            ) from None


def moved(port: int | None, port_base: int) -> int:
    """A port of the example as this demo uses it."""
    if port is None:
        raise DemoError("the example's topology has an address without a port")
    return port - PORT_BASE + port_base
