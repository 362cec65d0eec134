"""Clones: two processes with one identity, each with rows of its own.

1. The disk of an edge is copied, and a second process starts on the copy, with a wire of its own.
   Both write, close slices and say HELLO; the parent lets in whom it heard last.
2. Later somebody finds it out and stops one of the two; the other is started anew. What the stopped
   one accepted is a line that was given up, as after a backup that was brought back.
3. Until then nobody can say which of the two will have been right: a claim may be of either.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from mainstem_sync.testing.memory_nodes import MemoryNode
from mainstem_sync.testing.truth import Truth
from mainstem_sync.testing.wires import Wire


@dataclass
class Clone:
    """The second process. ``parted_lsn``: the last LSN that both have."""

    node: MemoryNode
    truth: Truth
    wire: Wire
    parted_lsn: int


def cloned(original: MemoryNode, rng: random.Random) -> MemoryNode:
    """A second process on a copy of the disk; it is not started yet."""
    original.commit()
    return MemoryNode(
        original.name,
        original.agenda,
        random.Random(rng.getrandbits(64)),
        original.exports,
        original.parent,
        original.paths,
        original.lateness_ns,
        original.durability,
        original.log_bytes_max,
        disk=original.disk.copy(),
    )


def goes_on(original: MemoryNode, clone: Clone) -> None:
    """The clone's disk is the node's from now on. Both processes must be down."""
    original.disk = clone.node.disk
    if original.saved_lsn is not None and original.saved_lsn > clone.parted_lsn:
        original.saved = None  # a backup of the other line
