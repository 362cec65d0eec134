"""Options of an engine: per field the unit, the default, and what goes wrong at the extremes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from mainstem_engine.errors import SchemaError
from mainstem_engine.retention_clock import monotonic_ns

MIB = 1 << 20
_NS_PER_MS = 1_000_000
VNODES_MAX = 64
"""Every vnode writes a part per partition in every flush: more would be files without end."""


@dataclass(frozen=True, slots=True)
class Durability:
    """When a write counts as durable.

    ``always``: after fdatasync (default). ``interval:100ms``: acknowledged at once, synced every
    100 ms; a power cut may lose that long. ``os``: the operating system decides when.
    """

    mode: str = "always"
    interval_ns: int = 0

    @classmethod
    def parse(cls, text: str) -> Durability:
        """``always``, ``os`` or ``interval:<n>ms``. Raises SchemaError otherwise."""
        if text in ("always", "os"):
            return cls(text)
        head, _, tail = text.partition(":")
        if head == "interval" and tail.endswith("ms") and tail[:-2].isdigit() and int(tail[:-2]):
            return cls("interval", int(tail[:-2]) * _NS_PER_MS)
        raise SchemaError(
            f"durability {text!r} is unknown", hint="use always, interval:100ms or os"
        )

    def __str__(self) -> str:
        if self.mode == "interval":
            return f"interval:{self.interval_ns // _NS_PER_MS}ms"
        return self.mode


_LEAST = {
    "memory_limit_bytes": MIB,
    "metadata_bytes_max": 1,
    "flush_every_ns": 0,
    "flush_bytes": 1,
    "log_segment_bytes": 1,
    "log_bytes_max": 1,
    "vnodes": 1,
    "block_rows": 1,
}
"""Below a MiB not even one record of the log fits into the memory limit. Others that are small
are slow and nothing worse."""
_MAY_BE_NONE = ("metadata_bytes_max", "log_bytes_max")


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How an engine is run. Every field may be left out."""

    durability: str = "always"
    """See Durability. Anything but ``always`` may lose acknowledged rows at a power cut."""

    memory_limit_bytes: int = 256 * MIB
    """What the engine allocates, scans and compaction included: heads, log queue, flushes and
    compactions have a share each, and wait when it is used up; so do writers. At least 1 MiB."""

    metadata_bytes_max: int | None = None
    """What templates and devices may take in memory; beyond it new ones are refused. None: a
    quarter of ``memory_limit_bytes``, at least 32 MiB. Devices in the catalog's base count little:
    a small budget makes merges frequent, and refuses templates first."""

    flush_every_ns: int = 60 * 1_000_000_000
    """Rows reach a part at the latest after this long. 0: only by size or by flush()."""

    flush_bytes: int = 64 * MIB
    """A head of this size is flushed at once."""

    log_segment_bytes: int = 64 * MIB
    """A new log segment is opened beyond this size; released space comes in these units."""

    log_bytes_max: int | None = None
    """Beyond it the oldest segments go although a hold asks for them, as soon as their rows are in
    parts; None: a hold that is never released fills the disk. At least a few segments."""

    vnodes: int = 1
    """Shards of the store (1 to 64), each with a head and parts of its own, flushed in parallel.
    More than the cores there are only makes more files. May be changed at any start."""

    block_rows: int = 4096
    """Rows of one device in one block of a part, at most."""

    background: bool = True
    """False: no background thread; the caller runs flush() and compact() itself (tests)."""

    node_name: str = "local"
    """This node's name in the origins of its rows."""

    clock: Callable[[], int] = time.time_ns
    """Wall clock in ns since the epoch."""

    monotonic: Callable[[], int] = monotonic_ns
    """Clock in ns that never steps: retention believes ``clock`` only as far as both agree. Tests
    that let days pass move both."""

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is None and name in _MAY_BE_NONE:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise SchemaError(
                    f"the option {name} is {value!r}",
                    field=name,
                    hint=f"use a whole number, at least {least}",
                )
        if self.vnodes > VNODES_MAX:
            raise SchemaError(
                f"{self.vnodes} vnodes", field="vnodes", hint=f"use 1 to {VNODES_MAX}"
            )
