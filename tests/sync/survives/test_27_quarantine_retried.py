"""Case 27: quarantine is retried after later writes. The later writes stand."""

from __future__ import annotations

from typing import Any

from mainstem_engine.model import ColumnType, Measurement, Template
from mainstem_sync.receiving.quarantine import QuarantineItem
from mainstem_sync.testing.network import Link
from mainstem_sync.testing.tiers import START_MS, START_NS, Tiers

MINUTE_NS = 60 * 10**9


def retry_all(tiers: Tiers) -> list[dict[str, Any]]:
    federation = tiers.plant.federation
    ids = [item["id"] for item in federation.quarantine.items(limit=10_000)]
    return federation.retrying.retry(ids)


def settle(tiers: Tiers) -> None:
    for _ in range(4):
        tiers.clock.advance(6)
        tiers.run(2, check=False)
        tiers.plant.federation.run_verification()


def test_case_27_a_type_conflict_is_mended_and_what_its_owner_has_now_comes(tiers: Tiers) -> None:
    plant, edge = tiers.plant.engine, tiers.edge.engine
    plant.create_template(
        Template("meters", (Measurement(0, "current", ColumnType.BOOLEAN),)), foreign=True
    )
    tiers.write(rows=60, value=1.0)
    tiers.run()
    tiers.write(start_s=10, rows=5, value=2.0)
    edge.delete("meters", start=START_MS + 20_000, end=START_MS + 22_000).ack.wait()
    tiers.close()
    assert len(tiers.plant.federation.quarantine.items(limit=1000)) == 63, "two are deleted"
    assert {r["state"] for r in retry_all(tiers)} == {"kept"}, "nothing has changed yet"
    plant.alter_template("meters", rename={"current": "was_current"})
    plant.alter_template("meters", add=[Measurement(0, "current", ColumnType.DOUBLE)])
    assert {r["state"] for r in retry_all(tiers)} == {"asked"}
    settle(tiers)
    assert tiers.values(tiers.plant) == tiers.values(tiers.edge)
    assert tiers.plant.federation.quarantine.items() == [], "it is here, and leaves the quarantine"
    window = (START_NS, START_NS + MINUTE_NS)
    assert tiers.plant.federation.verify(*window, rescan=True)["slices"] == []
    # What comes from now on is stored at once, also after a restart.
    tiers.plant.restart()
    tiers.write(start_s=700, rows=3, value=4.0)
    settle(tiers)
    assert tiers.values(tiers.plant) == tiers.values(tiers.edge)
    assert tiers.plant.federation.quarantine.items() == []


def test_case_27_a_measurement_that_was_renamed_since_comes(tiers: Tiers) -> None:
    """What was put aside has the old name; under its new one nothing speaks against it."""
    tiers.plant.engine.create_template(
        Template("meters", (Measurement(0, "current", ColumnType.BOOLEAN),)), foreign=True
    )
    tiers.write(rows=30, value=1.0)
    tiers.close()
    assert len(tiers.plant.federation.quarantine.items(limit=1000)) == 30
    tiers.edge.engine.alter_template("meters", rename={"current": "power"})
    tiers.run()
    assert {r["state"] for r in retry_all(tiers)} == {"asked"}
    settle(tiers)
    assert tiers.plant.federation.quarantine.items() == []
    window = (START_NS, START_NS + MINUTE_NS)
    assert tiers.plant.federation.verify(*window, rescan=True)["slices"] == []


def test_case_27_a_device_of_somebody_else_is_allowed_after_all(tiers: Tiers) -> None:
    tiers.up = Link(
        tiers.edge.sender, tiers.plant.receiver, tiers.up._child.__class__("edge", ["root.p.e.a"])
    )
    tiers.write("root.p.e.a.d1", rows=30)
    tiers.write("root.p.e.b.d1", rows=30, value=1.0)
    tiers.run()
    tiers.write("root.p.e.b.d1", start_s=5, rows=3, value=7.0)
    tiers.close()
    assert len(tiers.values(tiers.plant)) == 30
    assert len(tiers.plant.federation.quarantine.items(limit=1000)) == 33
    assert {r["state"] for r in retry_all(tiers)} == {"asked"}
    settle(tiers)
    assert tiers.values(tiers.plant) == tiers.values(tiers.edge)
    assert tiers.plant.federation.quarantine.items() == []


def test_case_27_at_the_door_of_a_node_a_present_value_stands(tiers: Tiers) -> None:
    """Items of the node's own intake: only what has no value yet is written."""
    store, engine = tiers.edge.federation.quarantine, tiers.edge.engine
    tiers.write(rows=3, value=1.0)
    items = [
        QuarantineItem("edge", "meters", "root.p.e.d1", START_MS + 1000, "current", "out_of_range",
                       99.0, 5),
        QuarantineItem("edge", "meters", "root.p.e.d1", START_MS + 1000, "note", "wrong_type",
                       "late", 5),
        QuarantineItem("edge", "meters", "root.p.e.d9", START_MS + 9000, "", "not_owner",
                       '{"current": 3.0, "voltage": 4}', 5),
        QuarantineItem("edge", "meters", "root.p.e.d1", None, "", "malformed", "{", 5),
        QuarantineItem("edge", "meters", "root.p.e.d1", START_MS, "nothing", "unknown", 1, 5),
    ]  # fmt: skip
    (only, *_) = ids = store.add(items)
    retry = tiers.edge.federation.retrying.retry
    found = retry(ids)
    assert [r["state"] for r in found] == ["retried", "retried", "retried", "kept", "kept"]
    assert found[0]["message"] == "what was written since stands"
    assert retry([only])[0]["message"] == "there is no such item"
    assert {row[:3] for row in tiers.values(tiers.edge)} == {
        ("root.p.e.d1", 0.0, 1.0), ("root.p.e.d1", 1.0, 1.0), ("root.p.e.d1", 2.0, 1.0),
        ("root.p.e.d9", 9.0, 3.0),
    }  # fmt: skip
    notes = engine.scan("meters", columns=["note"]).read_all().column("note").to_pylist()
    assert notes == [None, "late", None, None]
    assert len(store.items()) == 2
