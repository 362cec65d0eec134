"""Compaction, the plan: which parts become one, and why.

1. Parts are grouped by table, database, partition and vnode. A group is due when it has PARTS_MIN
   parts. Of a group the smallest are taken first, and a part joins only while it is not much larger
   than all before it together: so a large part is not rewritten for every small one, and what is
   read at once does not grow with the data. At most PARTS_MAX join.
2. A part is due alone when much of it is deleted but still stored: rewriting it gives space back,
   and lets the tombstones go.
3. A plan is only a choice: it is pure, and part_join.py carries it out.

A plan with one vnode joins the parts of that vnode; parts that other numbers of vnodes wrote are
groups of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mainstem_engine.deletes import NONE, Tombstone, Tombstones
from mainstem_engine.inventory import AnyPart
from mainstem_engine.part.reader import Part

PARTS_MIN = 8
"""A query of one device opens every part of its partitions: eight are still cheap to look through,
and a row is rewritten about once per eightfold growth."""
PARTS_MAX = 64
"""Each part of a compaction is read a few blocks at a time; more are joined in several rounds."""
GROWTH_MAX = 4.0
"""A part joins when it has at most so many times the rows of all smaller ones together."""
DELETED_SHARE = 0.25
"""A part of which so many rows may be deleted is rewritten: a row of it is then copied about four
times in its life by deletes."""
TOMBSTONES_STANDING_MAX = 64
"""A part that keeps so many tombstones alive is rewritten, however little they cover: every scan
looks at them."""
BLOCKS_LOOKED_AT = 1024
"""Of one part, to say how much of it is deleted: a few milliseconds."""


@dataclass(frozen=True, slots=True)
class Compaction:
    """Parts of one table, database, partition and vnode that become one."""

    table: str
    partition_start_ns: int
    parts: tuple[Part, ...]

    @property
    def names(self) -> list[str]:
        return [part.meta.name for part in self.parts]

    @property
    def bytes(self) -> int:
        """What the parts take on disk."""
        return sum(part.meta.bytes for part in self.parts)


@dataclass(frozen=True, slots=True)
class Policy:
    """When parts are joined. ``deleted_share``: of one part, from which on it is rewritten."""

    parts_min: int = PARTS_MIN
    growth_max: float = GROWTH_MAX
    deleted_share: float = DELETED_SHARE
    tombstones_max: int = TOMBSTONES_STANDING_MAX


DUE = Policy()
"""What runs in the background."""
FULL = Policy(parts_min=2, growth_max=float("inf"), deleted_share=0.0, tombstones_max=0)
"""What a caller asks for: everything that can be joined, and all deletes applied."""


def plan_compactions(
    parts: Sequence[AnyPart],
    database_of: Callable[[int], int],
    policy: Policy = DUE,
    tombstones_of: Callable[[str], Tombstones] = lambda table: NONE,
) -> list[Compaction]:
    """What to do, largest group first. ``tombstones_of``: those of a table that may be applied."""
    groups: dict[tuple[str, int, int, int, int], list[Part]] = {}
    for part in parts:
        if isinstance(part, Part):
            meta = part.meta
            database = database_of(meta.device_min)
            key = (meta.table, meta.partition_start_ns, database, meta.vnode, meta.vnodes)
            groups.setdefault(key, []).append(part)
    plans = []
    for (table, start_ns, *_), members in groups.items():
        chosen: list[Part] = []
        if len(members) >= policy.parts_min:
            chosen = _choose(members, policy.growth_max)
            if len(chosen) > 1:
                plans.append(Compaction(table, start_ns, tuple(chosen)))
        standing = tombstones_of(table)
        if standing:
            alone = [part for part in members if len(chosen) < 2 or part not in chosen]
            plans += [
                Compaction(table, start_ns, (part,))
                for part in alone
                if _is_deleted(part, standing, policy)
            ]
    return sorted(plans, key=lambda plan: -len(plan.parts))


def rounds_needed(parts: int) -> int:
    """Rounds after which so many parts are one, at PARTS_MAX a round."""
    return max(1, -(-(parts - 1) // (PARTS_MAX - 1)))


def _choose(parts: Sequence[Part], growth_max: float) -> list[Part]:
    """The smallest parts that may be joined. One that is much smaller than all others, as the last
    flush before a stop leaves it, is passed over: it must not keep them from being joined."""
    ordered = sorted(parts, key=lambda part: (part.meta.rows, part.meta.name))
    chosen: list[Part] = []
    rows = 0
    for part in ordered:
        if len(chosen) == PARTS_MAX:
            break
        if rows and part.meta.rows > growth_max * rows:
            if len(chosen) > 1:
                break
            chosen, rows = [], 0
        chosen.append(part)
        rows += part.meta.rows
    # In order of age, which for most columns is nearly the order of the result.
    return sorted(chosen, key=lambda part: part.meta.name)


def _is_deleted(part: Part, standing: Tombstones, policy: Policy) -> bool:
    """Whether so much of a part is deleted that it is worth rewriting."""
    mine = standing.of_part(part.meta)
    if not mine:
        return False
    if len(mine) > policy.tombstones_max:
        return True
    rows = min(_rows_in_reach(part, mine), sum(_rows_at_most(item) for item in mine))
    return rows > policy.deleted_share * part.meta.rows


def _rows_in_reach(part: Part, deletes: Tombstones) -> float:
    """Rows of blocks that deletes may cover, from some of the blocks."""
    blocks = part.blocks
    some = slice(None, None, -(-len(blocks) // BLOCKS_LOOKED_AT))
    extents = zip(
        blocks.device_min[some].tolist(),
        blocks.device_max[some].tolist(),
        blocks.time_min_ns[some].tolist(),
        blocks.time_max_ns[some].tolist(),
        strict=True,
    )
    covered = np.array([deletes.covers_block(*extent) for extent in extents], np.bool_)
    rows = blocks.rows[some]
    return part.meta.rows * float(rows[covered].sum()) / max(1.0, float(rows.sum()))


def _rows_at_most(item: Tombstone) -> float:
    """How many rows a delete can have erased."""
    if item.rows is not None:
        return item.rows
    return math.inf if item.times is None or item.ends is not None else len(item.times)
