"""The disk under the data directory: writable, room, and how long a sync takes."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mainstem_node.config.schema import NodeConfig
from mainstem_node.doctor.finding import BAD, FINE, WARNING, Finding

PROBE = ".doctor"
SYNCS = 9
SLOW_SYNC_S = 0.05
"""A commit waits for one: with more, an acknowledgement takes longer than most devices expect."""
FREE_MIN_BYTES = 1 << 30
"""A part and its merge, and the log, need so much at least."""


def room(node: NodeConfig, status: Mapping[str, Any] | None) -> Iterator[Finding]:
    place = existing(node.data_dir)
    try:
        sync_s = _sync_s(place)
    except OSError as error:
        yield Finding(
            node.id, "data directory", BAD, f"{place} cannot be written: {error.strerror}",
            "give the node's user the right, or name another `data_dir`",
        )  # fmt: skip
        return
    if sync_s > SLOW_SYNC_S:
        yield Finding(
            node.id, "disk", WARNING, f"a sync takes {sync_s * 1000:.0f} ms",
            "take an SSD with a write cache that survives, or `durability: interval:100ms`",
        )  # fmt: skip
    else:
        yield Finding(node.id, "disk", FINE, f"a sync takes {sync_s * 1000:.1f} ms")
    usage = shutil.disk_usage(place)
    used = 0 if status is None else int(status["buffer"]["used_bytes"])
    limit = node.disk.limit
    if usage.free < FREE_MIN_BYTES:
        yield Finding(
            node.id, "room", BAD, f"{_size(usage.free)} are free", "make room, or take another disk"
        )
    elif limit is not None and limit - used > usage.free:
        yield Finding(
            node.id, "room", WARNING,
            f"disk.limit allows {_size(limit - used)} more, and {_size(usage.free)} are free",
            f"write `disk: {{limit: {_size(used + int(usage.free * 0.9))}}}` or less",
        )  # fmt: skip
    else:
        allowed = "no limit" if limit is None else f"of {_size(limit)} allowed"
        yield Finding(
            node.id, "room", FINE,
            f"{_size(usage.free)} free; {_size(used)} used, {allowed}" if status is not None
            else f"{_size(usage.free)} free",
        )  # fmt: skip


def existing(path: Path) -> Path:
    """The directory, or the nearest one above it: the node makes the rest."""
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


def _sync_s(place: Path) -> float:
    """The median of some syncs of a small file, s."""
    probe = place / f"{PROBE}-{os.getpid()}"
    took = []
    try:
        with probe.open("wb", buffering=0) as file:
            for _ in range(SYNCS):
                started = time.perf_counter()
                file.write(bytes(512))
                os.fsync(file.fileno())
                took.append(time.perf_counter() - started)
    finally:
        probe.unlink(missing_ok=True)
    return statistics.median(took)


def _size(count: int) -> str:
    return f"{count / 1e9:.1f}GB" if count < 1e12 else f"{count / 1e12:.1f}TB"
