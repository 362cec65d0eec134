"""What is put aside of received rows: one entry for one fact, gone with a delete of its owner, and
merged when its owner has it no more."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import pytest

from mainstem_engine.errors import StaleImageError
from mainstem_engine.images import SliceImage
from mainstem_engine.log.records import RecordKind
from mainstem_engine.model import ColumnType, Measurement, Template
from mainstem_sync.receiving.quarantine import QuarantineItem
from mainstem_sync.slices.loss import EXPIRED, Loss, LostTable
from mainstem_sync.slices.slice_states import SliceState
from mainstem_sync.testing.network import Link
from mainstem_sync.testing.nodes import TestNode
from mainstem_sync.testing.tiers import MINUTE_NS, START_MS, START_NS, Tiers

FIRST = START_NS // MINUTE_NS


def conflicting(tiers: Tiers) -> None:
    """The plant has a template of that name whose ``current`` is a BOOLEAN."""
    tiers.plant.engine.create_template(
        Template("meters", (Measurement(0, "current", ColumnType.BOOLEAN),)), foreign=True
    )


def mend(tiers: Tiers) -> None:
    tiers.plant.engine.alter_template("meters", rename={"current": "was_current"})
    tiers.plant.engine.alter_template("meters", add=[Measurement(0, "current", ColumnType.DOUBLE)])


def narrow(tiers: Tiers) -> None:
    """Only devices below root.p.e.a are the edge's."""
    child = tiers.up._child.__class__("edge", ["root.p.e.a"])
    tiers.up = Link(tiers.edge.sender, tiers.plant.receiver, child)


def aside(tiers: Tiers) -> list[dict[str, Any]]:
    return tiers.plant.federation.quarantine.items(limit=10_000)


def retry_all(tiers: Tiers) -> set[str]:
    results = tiers.plant.federation.retrying.retry([item["id"] for item in aside(tiers)])
    return {result["state"] for result in results}


def settle(tiers: Tiers, rounds: int = 4) -> None:
    for _ in range(rounds):
        tiers.clock.advance(6)
        tiers.run(2)
        tiers.plant.federation.run_verification()


def state_of(node: TestNode, minute: int = 0) -> SliceState:
    (state,) = [s for s in node.federation._follower.origins.lines() if s.key.name == "edge"]
    return state.watches["meters"].state_of(FIRST + minute, state.received.watermark)[0]


def want(tiers: Tiers) -> None:
    """The plant asks for the first minute, as for a repair."""
    (state,) = [s for s in tiers.plant.federation._follower.origins.lines() if s.key.name == "edge"]
    tiers.plant.federation.exchange.repair.want(state.key, "meters", [FIRST])


@pytest.mark.parametrize("kind", ["type", "path"])
def test_a_repair_adds_no_second_entry(tiers: Tiers, kind: str) -> None:
    conflicting(tiers) if kind == "type" else narrow(tiers)
    tiers.write("root.p.e.b.d1", rows=20)
    tiers.close()
    before = sorted(aside(tiers), key=lambda item: item["time"])
    assert len(before) == 20
    for _ in range(2):
        want(tiers)
        settle(tiers)
        assert state_of(tiers.plant) is SliceState.QUARANTINED
        assert sorted(aside(tiers), key=lambda item: item["time"]) == before
    # What its owner changed meanwhile is another fact, and stands for the one before it.
    tiers.write("root.p.e.b.d1", rows=2, start_s=3, value=9.0)
    want(tiers)
    settle(tiers)
    tiers.close()
    assert len(aside(tiers)) == 20
    again = tiers.plant.federation.quarantine.statistics().entries
    tiers.plant.restart()
    assert len(aside(tiers)) == 20
    assert tiers.plant.federation.quarantine.statistics().entries == again


def test_an_image_that_is_refused_takes_no_entry_along(tiers: Tiers) -> None:
    """The reason is mended and the slice asked for; the image comes too late, and is to come again.
    A parent that is started anew before that knows only by its quarantine what to ask for."""
    conflicting(tiers)
    tiers.write(rows=20)
    tiers.close()
    before = aside(tiers)
    assert len(before) == 20
    mend(tiers)
    refused = []

    def refuse(image: SliceImage, **options: Any) -> NoReturn:
        refused.append(image)
        raise StaleImageError(image.table, image.start_ns, image.as_of, image.as_of + 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiers.plant.engine, "apply_image", refuse)
        assert retry_all(tiers) == {"asked"}
        settle(tiers, rounds=1)
        assert refused
        assert aside(tiers) == before
    tiers.plant.restart()
    assert retry_all(tiers) == {"asked"}
    settle(tiers)
    assert aside(tiers) == []
    assert state_of(tiers.plant) is SliceState.VERIFIED
    assert len([row for row in tiers.values(tiers.plant) if row[2] is not None]) == 20


@pytest.mark.parametrize("kind", ["type", "path"])
def test_a_delete_of_the_owner_takes_them_along(tiers: Tiers, kind: str) -> None:
    conflicting(tiers) if kind == "type" else narrow(tiers)
    tiers.write("root.p.e.b.d1", rows=20)
    tiers.write("root.p.e.b.d2", rows=20)
    tiers.run()
    assert len(aside(tiers)) == 40
    low = START_MS + 5_000
    tiers.edge.engine.delete(
        "meters", devices="root.p.e.b.d1", start=low, end=low + 10_000
    ).ack.wait()
    tiers.run()
    left = [(item["device"], (item["time"] - START_MS) // 1000) for item in aside(tiers)]
    assert len(left) == 30
    assert [s for d, s in sorted(left) if d == "root.p.e.b.d1"] == [*range(5), *range(15, 20)]
    # By value, and of one measurement.
    tiers.edge.engine.delete(
        "meters", devices="root.p.e.b.d2", where=lambda rows: rows["voltage"].to_numpy() >= 18,
        columns=["voltage"],
    ).ack.wait()  # fmt: skip
    tiers.run()
    assert len(aside(tiers)) == 28
    # What was written again later is put aside again, and an older delete does not mean it.
    tiers.write("root.p.e.b.d1", rows=2, start_s=6)
    tiers.run()
    assert len(aside(tiers)) == 30
    tiers.close()
    settle(tiers)  # an image says what the sums of the slice are now
    assert state_of(tiers.plant) is SliceState.QUARANTINED
    assert len(aside(tiers)) == 30


@pytest.mark.parametrize("kind", ["type", "path"])
def test_of_an_owner_that_is_gone_the_parked_copy_is_merged(tiers: Tiers, kind: str) -> None:
    conflicting(tiers) if kind == "type" else narrow(tiers)
    tiers.write("root.p.e.b.d1", rows=20, value=2.5)
    tiers.write("root.p.e.a.d1", rows=20, value=3.5)
    tiers.close()
    assert state_of(tiers.plant) is SliceState.QUARANTINED
    put_aside = len(aside(tiers))
    if kind == "type":
        assert retry_all(tiers) == {"kept"}
        mend(tiers)
    tiers.plant.federation.retired = lambda node: START_NS * 2 if node == "edge" else None
    tiers.up.cut()
    assert retry_all(tiers) == {"retried"}
    tiers.check()
    assert aside(tiers) == []
    assert sorted(tiers.values(tiers.plant)) == sorted(tiers.values(tiers.edge))
    tiers.plant.federation.run_verification()
    assert state_of(tiers.plant) is SliceState.VERIFIED, "nothing is put aside any more"
    sums = tiers.plant.federation.accounting()["meters"]
    assert sums["children"]["quarantined_here"] == sums["values_quarantined"] == 0
    tiers.plant.restart()
    tiers.check()
    assert sorted(tiers.values(tiers.plant)) == sorted(tiers.values(tiers.edge))
    assert put_aside == (40 if kind == "type" else 20)


def test_a_present_value_is_not_replaced_by_a_parked_one(tiers: Tiers) -> None:
    conflicting(tiers)
    tiers.write(rows=3, value=1.0)
    tiers.run()
    mend(tiers)
    # From now on values fit: a later record writes one of the three again.
    tiers.plant.federation.retrying.retry([aside(tiers)[0]["id"]])
    tiers.write(rows=1, start_s=1, value=8.0)
    tiers.run(0.5)
    tiers.plant.federation.retired = lambda node: START_NS * 2 if node == "edge" else None
    if aside(tiers):
        assert retry_all(tiers) == {"retried"}
    assert {row[1]: row[2] for row in tiers.values(tiers.plant)} == {0.0: 1.0, 1.0: 8.0, 2.0: 1.0}
    tiers.check()


def test_what_its_owner_declares_lost_is_merged(tiers: Tiers) -> None:
    conflicting(tiers)
    tiers.write(rows=10, value=4.0)
    tiers.close()
    mend(tiers)
    tiers.up.cut()
    assert retry_all(tiers) == {"asked"}
    # The owner has removed it by its own retention, and says so when it is asked.
    lost = LostTable("meters", MINUTE_NS, np.array([FIRST]), np.array([10]))
    sender = tiers.edge.federation.sender
    assert sender is not None
    tiers.edge.engine.append(RecordKind.LOSS, Loss(EXPIRED, tables=(lost,)).to_header()).wait()
    sender.images = None
    tiers.up.restore()
    settle(tiers)
    assert aside(tiers) == []
    assert sorted(tiers.values(tiers.plant)) == sorted(tiers.values(tiers.edge))
    tiers.plant.federation.run_verification()
    assert state_of(tiers.plant) is SliceState.VERIFIED


def test_what_an_owner_deletes_leaves_its_own_quarantine_too(tiers: Tiers) -> None:
    store = tiers.edge.federation.quarantine
    tiers.write(rows=20)
    refused = [
        QuarantineItem("edge", "meters", "root.p.e.d1", START_MS + at, "current", "out_of_range",
                       99.0, 5)
        for at in (1000, 15_000)
    ]  # fmt: skip
    first, second = store.add(refused)
    tiers.edge.engine.delete("meters", end=START_MS + 10_000).ack.wait()
    tiers.edge.federation.run_verification()
    assert [item["id"] for item in store.items()] == [second]
    store.add(refused)
    tiers.edge.federation.run_verification()
    assert len(store.items()) == 2, "it came after the delete"
    assert first in {item["id"] for item in store.items()}


def test_nothing_is_merged_while_records_before_it_are_to_come(tiers: Tiers) -> None:
    narrow(tiers)
    tiers.write("root.p.e.b.d1", rows=5)
    tiers.run()
    tiers.plant.federation.retired = lambda node: START_NS * 2
    (state,) = [s for s in tiers.plant.federation._follower.origins.lines() if s.key.name == "edge"]
    state.received.remove(2, 2)
    ids = [item["id"] for item in aside(tiers)]
    results = tiers.plant.federation.retrying.retry(ids)
    assert {r["message"] for r in results} == {"records of edge before it are still to come"}
    assert len(aside(tiers)) == 5
