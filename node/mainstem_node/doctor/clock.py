"""The node's clock, as its parent sees it, or at least as the system does."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mainstem_node.config.schema import NodeConfig
from mainstem_node.doctor.finding import BAD, FINE, WARNING, Finding

OFFSET_MS_MAX = 1000
BUILT_S = 1_767_225_600
"""2026-01-01: no clock that is right is before it."""
SYNCHRONIZED = Path("/run/systemd/timesync/synchronized")


def offset(node: NodeConfig, status: Mapping[str, Any] | None) -> Iterator[Finding]:
    if time.time() < BUILT_S:
        yield Finding(
            node.id, "clock", BAD, "the clock is before 2026: it was never set",
            "start a time service (chrony, systemd-timesyncd), or set it",
        )  # fmt: skip
        return
    found = None if status is None else status.get("clock_offset_ms")
    if found is not None:
        late = abs(int(found)) > OFFSET_MS_MAX
        yield Finding(
            node.id, "clock", WARNING if late else FINE, f"{found} ms off the parent's",
            "start a time service at both" if late else "",
        )  # fmt: skip
    elif SYNCHRONIZED.parent.is_dir() and not SYNCHRONIZED.exists():
        yield Finding(
            node.id, "clock", WARNING, "the time service has not synchronized yet",
            "allow it to reach a time server",
        )  # fmt: skip
    else:
        yield Finding(node.id, "clock", FINE, "set; compared with the parent's once both run")
