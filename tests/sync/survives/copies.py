"""What happens to the disks of nodes: snapshots, restores, clones, empty ones, released logs."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

from mainstem_engine.log.records import RecordKind
from mainstem_sync.testing.nodes import TestNode
from mainstem_sync.testing.tiers import Tiers

_numbers = itertools.count()


def snapshot(node: TestNode) -> Path:
    """A copy of the files as they are on disk now, as a snapshot of a virtual machine has them."""
    node.engine.log.barrier()  # whatever was appended before is on disk
    copy = node.base / f"{node.name}-copy-{next(_numbers)}"
    shutil.copytree(node.directory, copy)
    return copy


def roll_back(node: TestNode, copy: Path) -> None:
    """The node goes on from a copy; what it did since is gone. The copy can be used again."""
    if node.up:
        node.stop()
    directory = node.base / f"{node.name}-back-{next(_numbers)}"
    shutil.copytree(copy, directory)
    node.directory = directory
    node.start()


def wipe(node: TestNode) -> None:
    """A new disk under the old name: nothing is left, not even the identity."""
    if node.up:
        node.stop()
    node.directory = node.base / f"{node.name}-new-{next(_numbers)}"
    node.start()


def release(tiers: Tiers, node: TestNode) -> None:
    """Everything that the parent acknowledged leaves the log."""
    for _ in range(3):
        tiers.run(2)
        node.engine.flush()
        node.engine.log.rotate()
        tiers.clock.advance(1)
        node.engine.append(RecordKind.EVT, {"op": "note"}).wait()
        tiers.run(2)
        node.engine.flush()


def clone(tiers: Tiers, copy: Path) -> TestNode:
    """A second process of the edge on a copy of its disk."""
    base = tiers.base / f"clone-{next(_numbers)}"
    node = TestNode(
        "edge", base, tiers.clock, exports=tiers.edge_exports, parent=True, paths=["root.p.e"],
        seed=next(_numbers) + 99,
    )  # fmt: skip
    node.stop()
    shutil.rmtree(node.directory)
    shutil.copytree(copy, node.directory)
    node.start()
    return node


def wait(tiers: Tiers, seconds: float = 6.0) -> None:
    """Long enough for pauses after refusals, and for all of it to arrive."""
    for _ in range(3):
        tiers.clock.advance(31)
        tiers.run(seconds / 3)


def epoch_of(node: TestNode) -> int:
    """The epoch that a node writes in."""
    sender = node.federation.sender
    assert sender is not None
    return sender.own.epoch
