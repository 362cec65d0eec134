"""Case 6: rows of the owed range are overwritten and deleted, and arrive after newer live writes.
The final state is the origin's, whether they come from the log or as images."""

from __future__ import annotations

from typing import Any

import pytest

from mainstem_sync.testing.network import Link
from mainstem_sync.testing.nodes import TestNode
from mainstem_sync.testing.tiers import START_MS, Tiers
from mainstem_sync.wire.frames import decode_frames

from .outages import SMALL_LOG, MakeTiers, assert_whole, outage, reconnected, restored

LOGS = {"log": {}, "images": SMALL_LOG}


def test_case_6_overwrites_and_deletes_in_what_is_owed(make_tiers: MakeTiers) -> None:
    tiers = make_tiers(edge_options=SMALL_LOG)
    tiers.write(rows=30)
    tiers.write(start_s=60, rows=30)
    tiers.run()
    tiers.up.cut()
    tiers.edge.engine.sql("DELETE FROM root.p.e.d1 WHERE voltage > 20")
    tiers.write(start_s=60, rows=10, value=99.0)
    outage(tiers)
    tiers.edge.engine.sql("DELETE FROM root.p.e.d1 WHERE voltage = 3")
    # Newer live writes arrive before the images of the slices that they touch.
    tiers.write(start_s=62, rows=3, value=-1.0)
    restored(tiers)
    assert_whole(tiers)
    assert ("root.p.e.d1", 62.0, -1.0, 0) in tiers.values(tiers.group)


class Owner:
    """The edge, and beside it what its rows of the first minute must be in the end."""

    def __init__(self, tiers: Tiers) -> None:
        self._tiers = tiers
        self.rows: dict[float, float] = {}

    def write(self, start_s: int, rows: int, value: float) -> None:
        self._tiers.write(start_s=start_s, rows=rows, value=value)
        self.rows.update(dict.fromkeys(range(start_s, start_s + rows), value))

    def delete(self, start_s: int, end_s: int) -> None:
        start, end = (START_MS + second * 1000 for second in (start_s, end_s))
        engine = self._tiers.edge.engine
        engine.delete("meters", devices="root.p.e.d1", start=start, end=end).ack.wait()
        for second in range(start_s, end_s):
            self.rows.pop(second, None)


class HeldBack:
    """Requests with history stay on their way until ``let_go``, so that live rows and deletes are
    at the parent, and in its parts, before what they stand over."""

    def __init__(self, link: Link, patch: pytest.MonkeyPatch) -> None:
        self._link = link
        self._send = link._send
        self._patch = patch
        self.held: list[Any] = []
        patch.setattr(link, "_send", self._hold)

    def _hold(self, envelope: Any) -> None:
        frames = decode_frames(envelope.request.body)
        if any(frame.header.get("queue") == "history" for frame in frames):
            self.held.append(envelope)
        else:
            self._send(envelope)

    def let_go(self) -> None:
        self._patch.undo()
        for envelope in self.held:
            self._link._arrive(envelope)


@pytest.mark.parametrize("how", LOGS)
@pytest.mark.parametrize("flushes", [False, True])
def test_case_6_live_rows_stand_over_what_comes_later(
    make_tiers: MakeTiers, monkeypatch: pytest.MonkeyPatch, how: str, flushes: bool
) -> None:
    """Newer writes to the same rows are delivered live, before the outage's overwrites and deletes
    of them; a delete of the outage covers rows that the parent has had for long. It is right before
    anybody compares anything: what is wrong would be repaired then."""
    tiers = make_tiers(edge_options=LOGS[how])
    owner = Owner(tiers)
    owner.write(0, 60, 1.0)
    tiers.run()
    tiers.up.cut()
    owner.write(0, 30, 2.0)
    owner.delete(20, 40)
    outage(tiers, device="root.p.e.d2")
    owner.write(25, 5, 3.0)
    owner.delete(50, 55)
    if flushes:
        tiers.edge.engine.flush()
    # The link is back: an overwrite, rows where some were deleted, one more delete.
    reconnected(tiers)
    held = HeldBack(tiers.up, monkeypatch)
    owner.write(10, 3, 4.0)
    owner.write(32, 3, 4.0)
    owner.delete(26, 27)
    tiers.run(0.6)
    live = rows_of(tiers, tiers.plant)
    assert (live[10], live[32]) == (4.0, 4.0)
    assert 3.0 not in live.values(), "what was written before is still to come"
    if flushes:
        for node in (tiers.plant, tiers.group):
            node.engine.flush()
            node.engine.compact()
    assert held.held
    held.let_go()
    tiers.run(12)
    for node in tiers.nodes:
        assert rows_of(tiers, node) == owner.rows, node.name
    restored(tiers)
    for node in tiers.nodes:
        assert rows_of(tiers, node) == owner.rows, node.name
    assert_whole(tiers)


def rows_of(tiers: Tiers, node: TestNode) -> dict[float, float]:
    """Second to value, of the one device."""
    return {row[1]: row[2] for row in tiers.values(node) if row[0] == "root.p.e.d1"}
