"""The memory that a node may have, beside what the machine or its container has."""

from __future__ import annotations

import os
from pathlib import Path

from mainstem_node.config.schema import NodeConfig
from mainstem_node.doctor.finding import FINE, WARNING, Finding

PROCESS_BYTES = 160 << 20
"""Interpreter, libraries, and the process that answers SQL, beside what the engine allocates."""
CGROUPS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def limits(node: NodeConfig) -> Finding:
    available = machine_bytes()
    needed = node.storage.memory_limit + PROCESS_BYTES
    if available is None:
        return Finding(node.id, "memory", FINE, f"up to {needed >> 20} MiB")
    if needed > available:
        room = max(64, (available - PROCESS_BYTES) >> 20)
        return Finding(
            node.id, "memory", WARNING,
            f"the node may take {needed >> 20} MiB, and there are {available >> 20} MiB",
            f"write `storage: {{memory_limit: {room}MiB}}`",
        )  # fmt: skip
    return Finding(node.id, "memory", FINE, f"up to {needed >> 20} MiB of {available >> 20} MiB")


def machine_bytes() -> int | None:
    """Of the machine, or of the control group that this process is in; None where nobody says."""
    found = []
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in CGROUPS:
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            found.append(int(text))
    return min(found, default=None)
