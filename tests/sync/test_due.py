"""A round looks at the tables of which something happened, and finds whatever is due in them."""

from __future__ import annotations

import random
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mainstem_sync.origins.origin_state import Origins, OriginState, TableMap
from mainstem_sync.proof.prover import Proof
from mainstem_sync.proof.rescan import compare, expect
from mainstem_sync.slices.manifest import SLICE_NS, Manifest
from mainstem_sync.slices.slice_states import VERIFIED_
from mainstem_sync.slices.watch import TableWatch
from mainstem_sync.slices.watched_slices import WAITING_TOUCHES_MAX
from mainstem_sync.wire.messages import OriginKey

NODES = 200
FIRST = 27_000_000


class Parent:
    """What a node knows of many children, each with a proven minute, and what its rounds read:
    one row in each minute, but in those ``lost``."""

    def __init__(self, origins: Origins, monkeypatch: pytest.MonkeyPatch) -> None:
        self.origins, self.looked, self.lost = origins, 0, set[int]()
        follower: Any = SimpleNamespace(origins=origins, lock=threading.RLock())
        nothing: Any = None
        self.proof = Proof(
            "plant", follower, nothing, lateness_ns=lambda table: 0, rng=random.Random(1)
        )
        scan = SimpleNamespace(of=self._rows)
        monkeypatch.setattr(self.proof, "_scan_of", lambda *_: scan)
        candidates = TableWatch.candidates

        def counted(watch: TableWatch, *args: Any) -> Any:
            self.looked += 1
            return candidates(watch, *args)

        monkeypatch.setattr(TableWatch, "candidates", counted)

    def _rows(self, keys: np.ndarray) -> tuple[Any, ...]:
        count = np.array([key not in self.lost for key in keys.tolist()], np.int64)
        digest = count.astype(np.uint64)
        return count, digest, digest, None

    def round(self) -> tuple[int, int, int]:
        """(watches looked at, slices verified so far, slices damaged)."""
        self.looked = 0
        engine: Any = SimpleNamespace(visible_from_ns=lambda table: -(1 << 62))
        self.proof.verify(engine)
        verified = sum(
            int((watch.slices["state"] == VERIFIED_).sum())
            for state in self.origins
            for watch in state.watches.values()
        )
        return self.looked, verified, len(self.proof.damaged_slices())


def manifest(key: int, lsn: int) -> Manifest:
    one = np.ones(1, np.int64)
    digest = np.ones(1, np.uint64)
    return Manifest(
        "meters", SLICE_NS, key * SLICE_NS, (key + 1) * SLICE_NS, 0, 0, one * key * SLICE_NS,
        one.astype(np.uint32), one, digest, digest, digest * np.uint64(lsn),
    )  # fmt: skip


def minute(state: OriginState, key: int) -> None:
    """A row of it arrives, and the statement about it."""
    lsn = state.received.last + 1
    state.received.add(lsn, lsn + 1)
    watch = state.watch("meters", SLICE_NS)
    watch.rows_applied(np.array([key * SLICE_NS]), lsn)
    watch.manifest_applied(manifest(key, lsn), lsn + 1)


def row(state: OriginState, key: int) -> None:
    lsn = state.received.last + 1
    state.received.add(lsn)
    state.watches["meters"].rows_applied(np.array([key * SLICE_NS]), lsn)


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> Parent:
    origins = Origins()
    for number in range(NODES):
        state = origins.open(OriginKey(f"{number:032x}", 0, f"edge_{number}"), f"edge_{number}")
        state.maps.put_table(TableMap("meters", "meters", SLICE_NS, {}))
        minute(state, FIRST)
    found = Parent(origins, monkeypatch)
    assert found.round() == (NODES, NODES, 0)
    assert found.round() == (NODES, NODES, 0), "once more: what is proven may be summed up"
    assert found.round() == (0, NODES, 0)
    return found


def some(parent: Parent) -> OriginState:
    return list(parent.origins)[NODES // 2]


def test_a_round_looks_at_what_changed(parent: Parent) -> None:
    for state in parent.origins:
        row(state, FIRST + 1)
    assert parent.round()[0] == 0, "nobody has stated that minute"
    for state in list(parent.origins)[:3]:
        state.watches["meters"].manifest_applied(manifest(FIRST + 1, 3), 4)
        state.received.add(4)
    assert parent.round() == (3, NODES + 3, 0)
    assert parent.round()[0] == 3
    assert parent.round()[0] == 0


def test_what_has_not_arrived_is_looked_at_until_it_has(parent: Parent) -> None:
    state = some(parent)
    state.watches["meters"].manifest_applied(manifest(FIRST + 1, 4), 5)
    for _ in range(3):
        assert parent.round() == (1, NODES, 0)
    state.received.add(3, 5)
    assert parent.round() == (1, NODES + 1, 0)


def test_what_differs_stays_due(parent: Parent) -> None:
    parent.lost.add(FIRST + 1)
    minute(some(parent), FIRST + 1)
    for _ in range(3):
        assert parent.round() == (1, NODES, 1)
    parent.lost.clear()
    some(parent).watches["meters"].damaged(FIRST * SLICE_NS, (FIRST + 2) * SLICE_NS)
    some(parent).watches["meters"].doubt(FIRST, FIRST + 2)
    assert parent.round() == (1, NODES + 1, 0)


@pytest.mark.parametrize(
    "what", ["late row", "delete", "doubt", "image", "differ", "lost", "audit", "fork", "gap"]
)
def test_whatever_happens_to_a_proven_slice_is_seen(parent: Parent, what: str) -> None:
    state = some(parent)
    watch, key, one = state.watches["meters"], np.array([FIRST]), np.ones(1, np.int64)
    span = FIRST * SLICE_NS, (FIRST + 1) * SLICE_NS
    if what == "late row":
        row(state, FIRST)
    elif what == "delete":
        watch.rows_deleted(np.array([span]), 3)
    elif what == "doubt":
        watch.damaged(*span)
    elif what == "image":
        watch.image_applied(*span, 2)
    elif what == "differ":
        watch.differ(key)
    elif what == "lost":
        watch.lost(key, one, None, None, "disk")
    elif what == "audit":
        none = np.empty(0, np.uint64)
        assert compare(watch, expect(watch, FIRST, FIRST + 1), one[:0], one[:0], none, none)
    elif what == "fork":
        assert len(watch.fork(0))
    else:
        watch.manifest_applied(manifest(FIRST + 9, 1), 3)
        state.received.add(3)
        assert watch.passed_over(1) == [FIRST + 1]
    assert parent.round()[0] == 1


def test_everything_is_due_after_a_start_and_in_a_new_epoch(
    parent: Parent, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = Origins()
    again.restore(parent.origins.snapshot())
    assert Parent(again, monkeypatch).round() == (NODES, NODES, 0)
    state = some(parent)
    state.repairs.want("meters", [FIRST])
    table = again.table_of(state.key.uuid)
    newer = SimpleNamespace(current=1, line=table.line)
    parent.origins.begin_epoch(state.key.uuid, state.key.name, state.via, newer, 2)  # type: ignore[arg-type]
    (after,) = (each for each in parent.origins.of(state.key.uuid) if each.key.epoch == 1)
    assert [each for each, _, _ in parent.origins.due_watches()] == [after]
    assert after.key in parent.origins.due.asking


def test_touches_that_wait_are_bounded(parent: Parent) -> None:
    watch = some(parent).watches["meters"]
    watch.rows_applied((FIRST + 1 + np.arange(WAITING_TOUCHES_MAX + 1)) * SLICE_NS, 3)
    assert watch.slices.touches > WAITING_TOUCHES_MAX
    assert parent.round()[0] == 1
    assert watch.slices.touches == 0
    assert parent.round()[0] == 0
