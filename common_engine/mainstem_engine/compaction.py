"""Compaction: few large parts instead of many small ones.

1. *Plan*, pure: parts are grouped by table, database and partition. A group is due when it has
   PARTS_MIN parts. Of a group the smallest are taken first, and a part joins only while it is not
   much larger than all before it together, so that a large part is not rewritten for every small
   one.
2. What is read at once stays below a quarter of the memory limit, for sorting copies it once more;
   larger inputs stay as they are.
3. *Execute*: read, sort, merge settled fragments of one origin, write one part, commit (one record
   of the part list adds it and removes the inputs), publish, unlink. A crash at any step leaves
   the old parts or the new one. Rows that were deleted are left out; what no row is left of becomes
   no part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mainstem_engine.catalog.templates import Table
from mainstem_engine.columns import conform_rows
from mainstem_engine.deletes import NONE, Tombstones
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.inventory import AnyPart, Inventory
from mainstem_engine.merge import concat_rows, merge_settled, part_sorted
from mainstem_engine.part.manifest import PartMeta
from mainstem_engine.part.reader import Part
from mainstem_engine.part.writer import write_part

PARTS_MIN = 8
"""A query of one device opens every part of its partitions: eight are still cheap to look through,
and a row is rewritten about once per eightfold growth."""
GROWTH_MAX = 4
"""A part joins when it has at most so many times the rows of all smaller ones together."""
_KEY_BYTES = 22
"""Device, time, origin and LSN of a row in memory."""
_VALUE_BYTES = 9
"""A value with its validity; what a string costs more is left to the factor of two."""


@dataclass(frozen=True, slots=True)
class Compaction:
    """Parts of one partition that become one."""

    table: str
    partition_start_ns: int
    parts: tuple[Part, ...]

    @property
    def names(self) -> list[str]:
        return [part.meta.name for part in self.parts]


def plan_compactions(
    parts: Sequence[AnyPart],
    database_of: Callable[[int], int],
    *,
    parts_min: int,
    memory_bytes: int,
    growth_max: float,
) -> list[Compaction]:
    """What to do, largest group first. ``parts_min``: parts that make a group due."""
    groups: dict[tuple[str, int, int, int, int], list[Part]] = {}
    for part in parts:
        if isinstance(part, Part):
            meta = part.meta
            database = database_of(meta.device_min)
            key = (meta.table, meta.partition_start_ns, database, meta.vnode, meta.vnodes)
            groups.setdefault(key, []).append(part)
    plans = []
    for (table, start_ns, *_), members in groups.items():
        if len(members) >= parts_min:
            chosen = _choose(members, memory_bytes, growth_max)
            if len(chosen) > 1:
                plans.append(Compaction(table, start_ns, tuple(chosen)))
    return sorted(plans, key=lambda plan: -len(plan.parts))


def _choose(parts: Sequence[Part], memory_bytes: int, growth_max: float) -> list[Part]:
    chosen: list[Part] = []
    rows = 0
    room = memory_bytes
    for part in sorted(parts, key=lambda part: (part.meta.rows, part.meta.name)):
        room -= part.meta.rows * (_KEY_BYTES + _VALUE_BYTES * len(part.types))
        if room < 0 or (rows and part.meta.rows > growth_max * rows):
            break
        chosen.append(part)
        rows += part.meta.rows
    # In order of age, which for most columns is nearly the order of the result.
    return sorted(chosen, key=lambda part: part.meta.name)


def write_compaction(
    plan: Compaction,
    *,
    fs: Filesystem,
    inventory: Inventory,
    table: Table,
    settled: Callable[[int], int],
    block_rows: int,
    tombstones: Tombstones = NONE,
) -> PartMeta | None:
    """Writes the part that replaces the plan's; None when every row was deleted.

    ``tombstones``: those in the checkpoint, so that what is erased stays deleted after a crash.
    Raises OSError, CorruptionError.
    """
    stored = [
        tombstones.erase(part.read(range(len(part.blocks)), part.types), part.meta.applied)
        for part in plan.parts
    ]
    rows = concat_rows([conform_rows(some, table.types) for some in stored])
    if not len(rows):
        return None
    rows = merge_settled(part_sorted(rows), settled, whole_rows=table.replaces_rows)
    meta = plan.parts[0].meta
    return write_part(
        fs,
        inventory.directory_for(meta.vnode, meta.vnodes),
        inventory.next_name(),
        table=plan.table,
        partition_start_ns=plan.partition_start_ns,
        rows=rows,
        measurements={m.id: m for m in table.template.measurements},
        block_rows=block_rows,
        vnode=meta.vnode,
        vnodes=meta.vnodes,
        applied=(
            min(part.meta.applied[0] for part in plan.parts),
            max(part.meta.applied[1] for part in plan.parts),
        ),
        erased_through=tombstones.newest_lsn,
    )
