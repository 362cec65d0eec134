"""Case 3: the receiver is killed before the sync, after it, or before it applies. What was not
acknowledged comes again, what is in the log is replayed; there is never half a batch."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mainstem_engine.testing.crash_states import crash_states
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem
from mainstem_sync.testing import nodes
from mainstem_sync.testing.tiers import Tiers

from .copies import roll_back, snapshot

STATES = 12
"""Disks that are opened, of those that a cut at any moment may leave."""


def test_case_3_after_a_cut_at_any_moment_it_is_all_of_a_batch_or_nothing(
    make_tiers: Callable[..., Tiers], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiers = make_tiers()
    tiers.run(1)
    tiers.plant.stop()
    root = tiers.plant.directory
    before = {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }
    disk = FaultyFilesystem(root)
    with monkeypatch.context() as patch:
        patch.setattr(nodes, "FaultyFilesystem", lambda _: disk)
        tiers.plant.start()
    edges: list[tuple[int, Path]] = []
    tiers.clock.advance(31)
    for number in range(10):
        tiers.write(rows=3, start_s=10 * number, value=float(number))
        # The edge as it is before anything of this step is acknowledged.
        edges.append((len(disk.journal), snapshot(tiers.edge)))
        tiers.run(1)
        if number == 6:
            tiers.plant.engine.flush()
    assert len(tiers.values(tiers.plant)) == 30
    cuts = [state for state in crash_states(disk.journal, before, tears=2)
            if state.operations > edges[0][0]]  # fmt: skip
    tiers.plant.stop()
    tiers.up2.cut()
    for number, state in enumerate(random.Random(3).sample(cuts, STATES)):
        place = tmp_path / f"after-{number}"
        place.mkdir()
        state.write(place)
        _, edge = max(item for item in edges if item[0] <= state.operations)
        roll_back(tiers.plant, place)
        counts: dict[float, int] = {}
        for row in tiers.values(tiers.plant) if tiers.plant.engine.catalog.templates else []:
            counts[row[2]] = counts.get(row[2], 0) + 1
        assert set(counts.values()) <= {3}, f"{state.label}: half a batch"
        roll_back(tiers.edge, edge)
        for _ in range(3):
            tiers.clock.advance(31)
            tiers.run(2, check=False)
        assert tiers.values(tiers.plant) == tiers.values(tiers.edge), state.label
        assert tiers.plant.federation.alarms() == [], state.label
        shutil.rmtree(place)


def test_case_3_killed_between_the_log_and_the_head(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record is durable, applying it is not done: the next start does it."""
    tiers.write(rows=3)
    tiers.run(1)
    tiers.write(rows=3, start_s=100, value=2.0)
    tiers.clock.advance(0.3)
    sender = tiers.edge.federation.sender
    assert sender is not None
    request = sender.next_request()
    assert request is not None
    with monkeypatch.context() as patch:
        # Nothing of what the receiver says arrives, and nothing of it is applied before the kill.
        patch.setattr(tiers.plant.federation._follower, "_received", lambda *_: None)
        tiers.plant.federation.receiver.batches(tiers.up._child, request.body)
        assert len(tiers.values(tiers.plant)) == 3
        tiers.plant.crash()
    tiers.plant.start()
    assert len(tiers.values(tiers.plant)) == 6
    sender.on_failure(request, "no answer")
    tiers.clock.advance(31)
    tiers.run(3)
    for node in (tiers.plant, tiers.group):
        assert tiers.values(node) == tiers.values(tiers.edge)
        assert node.federation.accounting()["meters"]["children"]["from_children"] == 6
