"""Case 12: one device is silent, one is far late. Only its table waits, then it closes with the
missing source named; the late rows make their slices REVISED, and verified again."""

from __future__ import annotations

from mainstem_edge.sources import held_frontier_ns
from mainstem_engine.model import ColumnType, Measurement, Template
from mainstem_sync.testing.nodes import START_NS
from mainstem_sync.testing.tiers import MINUTE_NS, START_MS, Tiers

EVERY_NS = 10 * 10**9
PUMPS = Template("pumps", (Measurement(0, "current", ColumnType.DOUBLE),
                           Measurement(0, "voltage", ColumnType.INT32)))  # fmt: skip


def close(tiers: Tiers) -> None:
    """As an edge does: every table by the frontier of its own sources."""
    now_ns = tiers.clock.now_ns
    engine = tiers.edge.engine
    ids = engine.catalog.devices.of_family("meters")
    newest = engine.newest_times("meters", ids)
    held = held_frontier_ns(now_ns, newest, EVERY_NS)
    missing = [
        engine.catalog.devices.path(int(device))
        for device, time in zip(ids, newest.tolist(), strict=True)
        if time < now_ns - EVERY_NS
    ]
    tiers.edge.federation.run_manifests(
        now_ns,
        table_frontiers={} if held is None else {"meters": held},
        missing_sources={"meters": missing} if missing else {},
    )
    tiers.run(3, check=False)
    tiers.plant.federation.run_verification()


def through(tiers: Tiers, table: str) -> int:
    found = tiers.state(tiers.plant, table)["complete_through"]
    return 0 if found is None else (found - START_MS) // 60_000


def test_case_12_only_its_table_waits_and_then_closes_without_it(tiers: Tiers) -> None:
    tiers.edge.engine.create_template(PUMPS)
    ids = tiers.edge.engine.device_ids("pumps", ["root.p.e.p1"], create=True)

    def both(start_s: int, rows: int, *, silent: bool) -> None:
        for minute in range(rows // 60):
            at = START_MS + (start_s + minute * 60) * 1000
            tiers.edge.engine.write("pumps", ids, [at], {"current": [1.0]}).wait()
        tiers.write("root.p.e.d1", start_s=start_s, rows=rows)
        if not silent:
            tiers.write("root.p.e.d2", start_s=start_s, rows=rows)
        tiers.clock.now_ns = START_NS + (start_s + rows) * 10**9
        tiers.clock.elapsed_s += rows

    both(0, 120, silent=False)
    close(tiers)
    assert (through(tiers, "meters"), through(tiers, "pumps")) == (2, 2)
    both(120, 240, silent=True)
    close(tiers)
    assert (through(tiers, "meters"), through(tiers, "pumps")) == (2, 6), "d2 is waited for"
    assert tiers.state(tiers.plant)["state"] == "incomplete"
    both(360, 120, silent=True)
    close(tiers)
    assert (through(tiers, "meters"), through(tiers, "pumps")) == (8, 8), "but not for ever"
    state = tiers.state(tiers.plant)
    assert state["missing_sources"] == ["root.p.e.d2"]
    assert tiers.state(tiers.plant, "pumps")["missing_sources"] == []
    # It comes back with all that it had: closed slices change.
    tiers.write("root.p.e.d2", start_s=120, rows=360)
    tiers.run(1, check=False)
    tiers.clock.advance(180)
    listed = tiers.plant.federation.verify(end_ns=START_NS + 8 * MINUTE_NS)["slices"]
    assert {each["state"] for each in listed} == {"REVISED"}
    assert len(listed) == 6
    close(tiers)
    assert tiers.plant.federation.verify(end_ns=START_NS + 8 * MINUTE_NS)["slices"] == []
    assert tiers.values(tiers.plant) == tiers.values(tiers.edge)
