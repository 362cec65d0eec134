"""Federations of real processes: one builder of their topology, their start and their end.

1. A node is a ``section(name, tier, parent, **more)``; ports, data directories, addresses of
   parents and link tokens are filled in.
2. ``Processes`` writes the file, starts every node (parents last, so that children find nobody
   first), and ends each by its own process id.
3. At its end the last lines of every log are printed: pytest shows them of tests that failed.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tiers import write_topology
from whole_river import NodeProcess, free_ports, wait_for

PATIENCE_S = 90.0
"""What a condition may take on a machine that does other things too."""

LOG_TAIL_CHARS = 2000


def section(name: str, tier: str, parent: str = "", **more: Any) -> dict[str, Any]:
    """A node's section of the file, without what ``topology`` fills in."""
    link = {"parent": {"node": parent}} if parent else {}
    return {"id": name, "tier": tier, **link, **more}


def topology(
    name: str,
    templates: Mapping[str, Mapping[str, str]],
    nodes: Sequence[Mapping[str, Any]],
    ports: Mapping[str, int],
) -> dict[str, Any]:
    """The whole file. ``templates``: their measurements with their types; ``ports`` by node."""
    document: dict[str, Any] = {
        "federation": name,
        "templates": {
            table: {"measurements": {each: {"type": kind} for each, kind in columns.items()}}
            for table, columns in templates.items()
        },
        "nodes": [],
    }
    for each in nodes:
        written = copy.deepcopy(dict(each))
        node_id = written["id"]
        written.setdefault("listen", f"127.0.0.1:{ports[node_id]}")
        written.setdefault("data_dir", f"data/{node_id}")
        written.setdefault("auth", {"loopback": "open"})
        if "parent" in written:
            parent = written["parent"]
            parent.setdefault("url", f"http://127.0.0.1:{ports[parent['node']]}")
            parent.setdefault("token_file", f"secrets/{node_id}")
        document["nodes"].append(written)
    return document


class Processes:
    """See the module. ``extra_ports``: names of ports that no node of the file has."""

    def __init__(
        self,
        place: Path,
        name: str,
        templates: Mapping[str, Mapping[str, str]],
        nodes: Sequence[Mapping[str, Any]],
        *,
        extra_ports: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.place = place
        self.names = [str(each["id"]) for each in nodes]
        wanted = [*self.names, *extra_ports]
        self.ports = dict(zip(wanted, free_ports(len(wanted)), strict=True))
        self.document = topology(name, templates, nodes, self.ports)
        self.config = write_topology(place, self.document)
        self.nodes = {
            each: NodeProcess(
                each, self.ports[each], self.config, place / f"{each}.log",
                environment=dict(environment or {}),
            )
            for each in self.names
        }  # fmt: skip

    def rewrite(self, change: Callable[[dict[str, Any]], object], *names: str) -> None:
        """Changes the sections of nodes before they start."""
        for each in self.document["nodes"]:
            if each["id"] in names:
                change(each)
        self.config = write_topology(self.place, self.document)

    def __getitem__(self, name: str) -> NodeProcess:
        return self.nodes[name]

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: object, trace: TracebackType | None
    ) -> None:
        del kind, value, trace
        self.stop()
        self.print_logs()

    def start(self) -> None:
        """Returns when all are ready."""
        for name in reversed(self.names):
            self.nodes[name].start()
        for name in reversed(self.names):
            self.nodes[name].wait_ready()

    def restart(self, name: str) -> None:
        """Killed, and ready again."""
        self.nodes[name].kill()
        self.nodes[name].start()
        self.nodes[name].wait_ready()

    def stop(self) -> None:
        """Kills those that run."""
        for each in self.nodes.values():
            if each.process is not None and each.process.poll() is None:
                each.kill()

    def below(self, name: str) -> set[str]:
        """The nodes below one, as its status has them; empty while it is down."""
        status = self.nodes[name].status()
        return set() if status is None else set(_names(status))

    def wait_known(self, name: str, below: Sequence[str]) -> None:
        """Until a node has heard of these."""
        wait_for(
            lambda: self.below(name) >= set(below), PATIENCE_S, f"{name} knows {', '.join(below)}"
        )

    def print_logs(self) -> None:
        for log in sorted(self.place.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-LOG_TAIL_CHARS:]}",
                  file=sys.stderr)  # fmt: skip


def _names(status: Mapping[str, Any]) -> Iterator[str]:
    for child in status.get("children", ()):
        yield child["node"]
        yield from _names(child)
