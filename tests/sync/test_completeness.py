"""What is proven, at every tier: manifests, holes, late rows, tampering, what is not held."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mainstem_engine.model import ColumnType, Measurement, Template
from mainstem_sync import Export
from mainstem_sync.proof.completeness import HOLES_MAX, merged_runs
from mainstem_sync.slices.manifest import SLICE_NS, Manifest
from mainstem_sync.slices.watch import PROVEN_SLICES_KEPT
from mainstem_sync.testing.agenda import START_NS
from mainstem_sync.testing.tiers import METERS, START_MS, Tiers

from .survives.copies import epoch_of, roll_back, snapshot, wait

MakeTiers = Callable[..., Tiers]
MINUTE_MS = 60_000


def test_closed_slices_are_verified_at_every_tier(tiers: Tiers) -> None:
    tiers.write(rows=200)
    tiers.run()
    assert tiers.plant.federation.completeness()[0]["state"] == "unknown"
    tiers.close()
    for node in tiers.nodes:
        state = tiers.state(node)
        assert state["state"] == "complete", node.name
        assert state["complete_through"] >= START_MS + 10 * MINUTE_MS
        assert state["holes"] == []
    verified = tiers.group.federation.verify()
    assert verified["judged"] == verified["verified"] > 5
    assert verified["slices"] == []


def test_a_claim_is_of_the_moment_at_which_its_owner_last_spoke(tiers: Tiers) -> None:
    """Late rows of an outage: what is said of their slices is from before it, and says so."""
    tiers.write(rows=100)
    tiers.close()
    stated_ms = tiers.clock.now_ns // 10**6
    tiers.up.cut()
    tiers.clock.advance(30)
    tiers.write(start_s=300, rows=5)
    tiers.edge.federation.run_manifests(tiers.clock.now_ns)
    tiers.run()
    now_ms = tiers.clock.now_ns // 10**6
    for node in (tiers.plant, tiers.group):
        claimed = tiers.state(node)
        assert claimed["state"] == "complete"
        assert claimed["as_of"] <= stated_ms < now_ms
    assert tiers.state(tiers.edge)["as_of"] == now_ms
    tiers.up.restore()
    tiers.until(lambda: len(tiers.values(tiers.group)) == 105, "the late rows", verify=True)
    tiers.close(1)
    assert tiers.state(tiers.group)["as_of"] > stated_ms


def test_nothing_is_complete_before_it_is_scanned(tiers: Tiers) -> None:
    tiers.write(rows=100)
    tiers.run()
    tiers.clock.advance(600)
    tiers.edge.federation.run_manifests(tiers.clock.now_ns)
    tiers.run()
    state = tiers.state(tiers.plant)
    assert state["state"] == "incomplete"
    assert state["complete_through"] == START_MS
    assert state["holes"] == [[START_MS, START_MS + 2 * MINUTE_MS]]
    (first, second) = tiers.plant.federation.holes
    assert first["state"] == second["state"] == "PENDING"
    assert tiers.plant.federation.run_verification() == 2
    assert tiers.plant.federation.run_verification() == 0
    assert tiers.state(tiers.plant)["state"] == "complete"
    tiers.plant.restart()
    assert tiers.plant.federation.run_verification() == 2, "proof is not in the log: scanned again"


def test_proof_survives_a_restart_with_the_checkpoint(tiers: Tiers) -> None:
    tiers.write(rows=100)
    tiers.close()
    tiers.plant.engine.flush()
    tiers.plant.restart()
    assert tiers.state(tiers.plant)["state"] == "complete"
    assert tiers.plant.federation.run_verification() == 0


def test_what_a_tier_does_not_keep_is_expired_there_and_no_mismatch(tiers: Tiers) -> None:
    tiers.plant.engine.create_template(METERS)
    tiers.plant.engine.set_keep("meters", 510 * 10**9)
    tiers.write(rows=200)
    tiers.close()
    state = tiers.state(tiers.plant)
    assert (state["state"], state["holes"]) == ("complete", [])
    assert [(item["from"] - START_MS, item["rows"], item["reason"]) for item in state["lost"]] == [
        (0, 120, "expired")
    ]
    assert tiers.plant.federation.verify()["slices"] == []
    assert tiers.state(tiers.group)["state"] == "complete"
    assert tiers.state(tiers.group)["lost"] == []
    counts = tiers.plant.engine.store_accounting()["meters"]
    assert counts.balanced
    assert counts.live == 200, "what is not removed yet is only invisible"


def test_late_rows_take_completeness_back_until_they_are_stated(tiers: Tiers) -> None:
    tiers.write(rows=100)
    tiers.close()
    tiers.write(start_s=30, rows=1, device="root.p.e.d9")
    tiers.run()
    state = tiers.state(tiers.group)
    assert state["state"] == "incomplete"
    assert state["complete_through"] == START_MS
    assert [item["state"] for item in tiers.group.federation.holes] == ["REVISED"]
    tiers.close(1)
    assert tiers.state(tiers.group)["state"] == "complete"
    # And rows before everything that was closed extend it downward.
    tiers.write(start_s=-3600, rows=3)
    tiers.close(1)
    state = tiers.state(tiers.group)
    assert state["state"] == "complete"
    assert tiers.group.federation.verify()["judged"] > 60


def test_rows_of_a_hole_are_named_by_time(tiers: Tiers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Live data goes on while the backlog is missing: the answer says which minutes."""
    tiers.run(1)
    tiers.up.cut()
    tiers.write(start_s=0, rows=50)
    tiers.run(1)
    tiers.up.restore()
    tiers.clock.advance(40)
    assert tiers.up.step()
    sender = tiers.edge.federation.sender
    assert sender is not None
    with monkeypatch.context() as patch:
        # The history queue is held back: only control and live batches leave.
        patch.setattr(sender._lanes.scheduler, "history_share", lambda live_raw_bytes: 0)
        tiers.write(start_s=600, rows=50)
        tiers.clock.advance(1200)
        tiers.edge.federation.run_manifests(tiers.clock.now_ns)
        tiers.run(2)
        tiers.plant.federation.run_verification()
        state = tiers.state(tiers.plant)
        assert state["state"] == "incomplete"
        assert state["complete_through"] == START_MS
        assert state["holes"] == [[START_MS, START_MS + MINUTE_MS]]
        (late,) = tiers.plant.federation.completeness(start_ns=START_NS + 10 * SLICE_NS)
        assert late["state"] == "complete"
        (early,) = tiers.plant.federation.completeness(["METERS"], end_ns=START_NS + SLICE_NS)
        assert early["state"] == "incomplete"
        assert tiers.plant.federation.completeness(["other"]) == []
    tiers.run(2)
    tiers.plant.federation.run_verification()
    assert tiers.state(tiers.plant)["state"] == "complete"


@pytest.mark.parametrize("flushed", [False, True])
def test_a_value_changed_at_the_parent_is_found(tiers: Tiers, flushed: bool) -> None:
    tiers.write(rows=100)
    tiers.run()
    if flushed:
        tiers.plant.engine.flush()
        tamper_parts(tiers)
    else:
        tamper_head(tiers)
    tiers.close()
    assert tiers.state(tiers.group)["state"] == "complete"
    state = tiers.state(tiers.plant)
    assert state["state"] == "incomplete"
    (hole,) = tiers.plant.federation.holes
    assert hole["state"] == "MISMATCH"
    assert (hole["from"], hole["count"]) == (START_MS + MINUTE_MS, 40)


def tamper_head(tiers: Tiers) -> None:
    """One bit of one stored value."""
    head = tiers.plant.engine._store.vnodes[0].head.tables["meters"]
    column = head.chunks[0].columns[0]
    values = column.values.view(np.uint64)
    values[70] ^= np.uint64(1)


def tamper_parts(tiers: Tiers) -> None:
    """As if a part had changed in a way that its checksums miss."""
    engine = tiers.plant.engine
    scan = engine.slice_digests

    def lying(*args: Any, **options: Any) -> Any:
        found = scan(*args, **options)
        found.d1[found.start == START_NS + SLICE_NS] ^= np.uint64(1)
        return found

    engine.slice_digests = lying  # type: ignore[method-assign]


def test_a_rollup_only_export_says_where_the_rest_is(make_tiers: MakeTiers) -> None:
    tiers = make_tiers(
        edge_exports=[Export("meters"), Export("meters", "rollup", "1m")],
        plant_exports=[Export("meters", "rollup", "1m")],
    )
    engine = tiers.edge.engine
    engine.create_rollup("meters", "1m", 60 * 10**9)
    tiers.write(rows=180)
    ids = engine.device_ids("meters", ["root.p.e.d1"])
    for minute in range(3):
        engine.write(
            "meters_1m",
            ids,
            [START_MS + minute * MINUTE_MS],
            {"current_count": [60], "current_sum": [60.0]},
            derived=True,
        ).wait()
    tiers.close()
    tiers.run(6)
    assert tiers.state(tiers.plant)["state"] == "complete"
    assert tiers.state(tiers.plant, "meters_1m")["state"] == "complete"
    assert tiers.state(tiers.group, "meters_1m")["state"] == "complete"
    raw = tiers.state(tiers.group)
    assert (raw["state"], raw["held_at"]) == ("not_held", "plant")
    assert raw["complete_through"] is not None
    assert tiers.values(tiers.group) == []
    rollup = tiers.group.engine.scan("meters_1m", columns=["current_count"]).read_all()
    assert rollup.column("current_count").to_pylist() == [60, 60, 60]
    sums = tiers.plant.federation.accounting()
    assert sums["meters"]["forward"]["not_exported"] == 180
    assert sums["meters_1m"]["forward"]["delivered"] == 3
    # Late data: the rollup is written again, and proven again.
    tiers.write(start_s=30, rows=1, device="root.p.e.d1")
    engine.write(
        "meters_1m", ids, [START_MS], {"current_count": [61], "current_sum": [61.0]}, derived=True
    ).wait()
    tiers.close()
    assert tiers.state(tiers.group, "meters_1m")["state"] == "complete"
    rollup = tiers.group.engine.scan("meters_1m", columns=["current_count"]).read_all()
    assert rollup.column("current_count").to_pylist() == [61, 60, 60]


def test_an_export_below_a_path_sends_those_rows_only(make_tiers: MakeTiers) -> None:
    tiers = make_tiers(plant_exports=[Export("meters", under="root.p.e.a")])
    tiers.write("root.p.e.a.d1", rows=3)
    tiers.write("root.p.e.b.d1", rows=4)
    engine = tiers.edge.engine
    ids = engine.device_ids("meters", ["root.p.e.a.d1", "root.p.e.b.d1"])
    engine.write("meters", ids, [START_MS + 60_000] * 2, {"current": [7.0, 8.0]}).wait()
    tiers.run()
    assert [row[2] for row in tiers.values(tiers.group)] == [1.0, 1.0, 1.0, 7.0]
    sums = tiers.forward(tiers.plant)
    assert (sums["delivered"], sums["not_exported"]) == (4, 5)
    tiers.plant.engine.flush()
    tiers.plant.restart()
    tiers.check()
    tiers.write("root.p.e.b.d1", start_s=100, rows=2)
    tiers.clock.advance(40)
    tiers.close()
    assert tiers.forward(tiers.plant)["not_exported"] == 7
    # The edge's statement is about all of its rows: above, nothing can be proven with it.
    assert tiers.state(tiers.group)["state"] in ("unknown", "not_held")
    assert tiers.state(tiers.plant)["state"] == "complete"


def test_one_row_slices_of_history_close_in_few_records(tiers: Tiers) -> None:
    """Replaying years of sparse data touches one slice per row."""
    engine = tiers.edge.engine
    ids = engine.device_ids("meters", ["root.p.e.d1"], create=True)
    slices = 12_000
    times = START_MS - (slices - np.arange(slices)) * 15 * MINUTE_MS
    for piece in np.array_split(times, 60):
        engine.write("meters", np.repeat(ids, len(piece)), piece, {"current": piece / 1000})
    tiers.edge.federation.exchange.owe()  # the first time it says its export rules
    before = engine.log.barrier()
    assert tiers.edge.federation.run_manifests(tiers.clock.now_ns) == slices
    assert engine.log.barrier() - before == 3
    assert tiers.edge.federation.run_manifests(tiers.clock.now_ns) == 0
    tiers.clock.advance(400)
    tiers.run(6, check=False)
    assert tiers.group.federation.run_verification() == slices
    verified = tiers.group.federation.verify()
    assert verified["verified"] == slices * 15
    assert verified["judged"] == slices * 15 + 4
    assert tiers.state(tiers.group)["state"] == "incomplete", "nothing closed since"
    tiers.close(1)
    assert tiers.state(tiers.group)["state"] == "complete"
    # Long proven slices are forgotten one by one, and remembered when they are touched.
    (state,) = (s for s in tiers.group.federation._follower.origins if s.key.name == "edge")
    watch = state.watches["meters"]
    assert PROVEN_SLICES_KEPT <= len(watch.slices) < PROVEN_SLICES_KEPT + 8
    assert len(watch.rolled.hours) + 24 * len(watch.rolled.days) >= (slices - 1600) // 4
    assert int(watch.slices.keys[0]) * SLICE_NS > int(times[0]) * 10**6
    tiers.write(start_s=-slices * 900, rows=1, value=5.0)
    tiers.run(1, check=False)
    assert tiers.state(tiers.group)["complete_through"] == times[0] // MINUTE_MS * MINUTE_MS
    tiers.close(1)
    assert tiers.state(tiers.group)["state"] == "complete"


def test_rows_of_a_line_that_was_given_up_are_declared_though_nothing_is_stated_since(
    tiers: Tiers,
) -> None:
    """The plant goes on from a backup without rows of its own: the group has some of it."""
    tiers.write(rows=2)
    tiers.run()
    copy = snapshot(tiers.plant)
    tiers.write("root.p.q.d1", rows=3, node=tiers.plant)

    def received() -> int:
        return [row[0] for row in tiers.values(tiers.group)].count("root.p.q.d1")

    tiers.until(lambda: received() == 3, "rows of the plant are at the group")
    assert tiers.state(tiers.group, origin="plant")["state"] == "unknown"
    roll_back(tiers.plant, copy)
    wait(tiers)
    assert epoch_of(tiers.plant) == 1
    assert received() == 3
    state = tiers.state(tiers.group, origin="plant")
    assert (state["state"], state["complete_through"]) == ("forked", None)
    (lost,) = state["lost"]
    assert (lost["from"], lost["to"]) == (START_MS, START_MS + MINUTE_MS)
    assert lost["reason"].startswith("forked")
    listed = tiers.group.federation.verify()
    (found,) = (each for each in listed["slices"] if each["node"] == "plant")
    assert (found["from"], found["to"], found["state"]) == (lost["from"], lost["to"], "FORKED")
    assert listed["judged"] - listed["verified"] == len(listed["slices"])


def test_nothing_is_expected_of_a_node_that_is_retired(tiers: Tiers) -> None:
    tiers.write(rows=180)
    tiers.close()
    tiers.clock.advance(3600)
    assert tiers.state(tiers.plant)["state"] == "incomplete"
    end_ns = START_NS + 3 * SLICE_NS
    tiers.plant.federation.retired = {"edge": end_ns}.get
    state = tiers.state(tiers.plant)
    assert (state["state"], state["holes"]) == ("retired", [])
    judged = tiers.plant.federation.verify()
    assert (judged["judged"], judged["verified"], judged["slices"]) == (3, 3, [])
    tiers.plant.federation.retired = {"edge": end_ns + 3600 * 10**9}.get
    assert tiers.state(tiers.plant)["state"] == "incomplete", "it was still there then"


def test_a_busy_closed_slice_is_stated_once_a_second(tiers: Tiers) -> None:
    tiers.write(rows=10)
    tiers.clock.advance(600)
    manifests = tiers.edge.federation.run_manifests
    assert manifests(tiers.clock.now_ns) == 1
    tiers.write(rows=1, value=2.0)
    assert manifests(tiers.clock.now_ns) == 0
    tiers.clock.advance(0.5)
    assert manifests(tiers.clock.now_ns) == 0
    tiers.clock.advance(0.6)
    assert manifests(tiers.clock.now_ns) == 1
    assert manifests(tiers.clock.now_ns) == 0


def test_manifests_carry_what_was_missing(tiers: Tiers) -> None:
    tiers.write(rows=10, intake={"received": 13, "quarantined": 3, "late": 2})
    tiers.clock.advance(600)
    tiers.edge.federation.run_manifests(
        tiers.clock.now_ns,
        missing_sources={"meters": ["root.p.e.d7"]},
        collector_gaps={"meters": [(START_NS, START_NS + SLICE_NS)]},
    )
    tiers.run()
    tiers.plant.federation.run_verification()
    for node in (tiers.edge, tiers.plant):
        state = tiers.state(node)
        assert state["missing_sources"] == ["root.p.e.d7"]
        assert state["collector_gaps"] == [[START_MS, START_MS + MINUTE_MS]]
        assert state["quarantined"] == 3


def test_a_future_row_does_not_close_the_future(tiers: Tiers) -> None:
    tiers.write(rows=5)
    tiers.write(start_s=86_400 * 365, rows=1, device="root.p.e.clock")
    tiers.close()
    assert (
        tiers.state(tiers.edge)["complete_through"]
        == tiers.clock.now_ns // 10**6 // 60_000 * (60_000)
        or tiers.state(tiers.edge)["complete_through"] >= START_MS + 10 * MINUTE_MS
    )
    assert tiers.state(tiers.plant)["state"] == "complete"


def test_verification_needs_no_rows_of_an_origin(tiers: Tiers) -> None:
    """Everything of the slice was put aside: there is nothing stored to compare."""
    tiers.plant.engine.create_template(
        Template(
            "meters",
            tuple(Measurement(0, n, ColumnType.BOOLEAN) for n in ("current", "voltage", "note")),
        ),
        foreign=True,
    )
    tiers.write(rows=3)
    tiers.close()
    assert tiers.state(tiers.plant)["state"] == "complete"
    assert tiers.state(tiers.plant)["lost"][0]["rows"] == 6


def test_holes_are_merged_and_bounded() -> None:
    keys = np.arange(0, 1000, 2, dtype=np.int64)
    runs = merged_runs(keys, [(3000, 3010)])
    assert len(runs) == HOLES_MAX
    assert runs[0] == (0, 1)
    assert runs[-1] == (2 * (HOLES_MAX - 1), 3011)
    assert merged_runs(np.array([1, 2, 3, 7], dtype=np.int64), [(4, 5)]) == [(1, 6), (7, 8)]
    assert merged_runs(keys[:0], []) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 10**6), ("n", -1), ("slice_ns", 0), ("slice_ns", "x"), ("from", 7), ("through", -1),
        ("gaps", [[1]]), ("missing", None), ("lateness_ns", None),
    ],
)  # fmt: skip
def test_a_hostile_manifest_is_refused(field: str, value: object) -> None:
    from mainstem_engine.errors import CorruptionError
    from mainstem_engine.filesystem import byte_view
    from mainstem_engine.log.records import encode_payload
    from mainstem_sync.errors import WireError

    array = np.array([60, 120], np.int64)
    good = Manifest(
        "t", 60, 60, 180, 0, 5, array, array.astype(np.uint32), array, array.astype(np.uint64),
        array.astype(np.uint64), array.astype(np.uint64),
    )  # fmt: skip
    header, buffers = good.encode()
    back = Manifest.decode(b"".join(map(byte_view, encode_payload(header, buffers))))
    assert back.keys.tolist() == [1, 2]
    changed = b"".join(map(byte_view, encode_payload({**header, field: value}, buffers)))
    with pytest.raises((WireError, CorruptionError)):
        Manifest.decode(changed)
    with pytest.raises(WireError):
        Manifest.decode(b"".join(map(byte_view, encode_payload(header, buffers[:-1]))))
