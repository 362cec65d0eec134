"""A hasty world: links so thin that a backlog takes many requests, stores that flush all the time,
logs that do not wait, and owners that delete what they have just written.

So deletes arrive before the rows that they cover, rows after the image of their slice, and what
remembers either has been through a flush meanwhile. One seed in HASTY has such a world.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from mainstem_sync.state.exports import Export
from mainstem_sync.testing.memory_nodes import MemoryNode
from mainstem_sync.testing.truth import Key
from mainstem_sync.testing.world import LATENESS_NS, Node, World

HASTY = 8
FIRST = 4
"""Seeds 4, 12, 20 and so on."""

LOG_BYTES: Sequence[tuple[int | None, int | None]] = (
    (3000, 3000),
    (3000, 1200),
    (1200, 3000),
    (None, 1200),
)
"""Of the edge's log and of the plant's, by seed: 3,000 are a few minutes, 1,200 one or two."""

DELETED = 0.4
"""Chance that a write is followed by a delete."""
DELETED_AFTER_S = 30.0
NEWEST = 12
"""Rows of which one is deleted."""


@dataclass
class HastyWorld(World):
    """See the module. In memory only."""

    def _node(
        self, name: str, exports: Sequence[Export], paths: Sequence[str], durability: str
    ) -> Node:
        rng = random.Random(self.rng.getrandbits(64))
        edge, plant = LOG_BYTES[self.seed // HASTY % len(LOG_BYTES)]
        capped = None if not exports else plant if name == "plant" else edge
        rest = (exports, bool(exports), paths, LATENESS_NS, durability, capped)
        return MemoryNode(name, self.agenda, rng, *rest, hasty=True)

    def write(self, rng: random.Random) -> None:
        super().write(rng)
        if rng.random() < DELETED:
            later = random.Random(rng.getrandbits(64))
            self.agenda.after(rng.random() * DELETED_AFTER_S, lambda: self.delete(later))

    def _victim(self, known: Sequence[Key], rng: random.Random) -> Key:
        return rng.choice(sorted(known, key=lambda key: (key[1], key[0]))[-NEWEST:])


def is_hasty(seed: int) -> bool:
    return seed % HASTY == FIRST
