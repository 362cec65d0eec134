"""Case 21: an export is widened; history arrives as images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mainstem_sync.state.exports import Export
from mainstem_sync.testing.network import Faults
from mainstem_sync.testing.nodes import TestNode
from mainstem_sync.testing.tiers import START_MS, Tiers

MakeTiers = Callable[..., Tiers]


def restarted_with(node: TestNode, *exports: Export, parent: bool = True) -> None:
    node.stop()
    node.exports, node.parent = exports, parent
    node.start()


def changed_live(node: TestNode, *exports: Export) -> None:
    node.exports = exports
    node.federation.change_exports(exports)


Change = Callable[..., None]
changes = pytest.mark.parametrize("change", [restarted_with, changed_live])


def drained(tiers: Tiers) -> None:
    for node in (tiers.edge, tiers.plant):
        node.federation.run_manifests(tiers.clock.now_ns)
    tiers.run(10)
    tiers.close(12)
    tiers.run()
    for node in (tiers.plant, tiers.group):
        node.federation.run_verification()


def assert_everywhere(tiers: Tiers) -> None:
    expected = sorted(tiers.values(tiers.edge))
    for node in (tiers.plant, tiers.group):
        assert sorted(tiers.values(node)) == expected, node.name
        assert node.federation.holes == []
        assert tiers.state(node)["state"] == "complete"
    for node in (tiers.edge, tiers.plant):
        sums = tiers.forward(node)
        assert (sums["pending"], sums["not_exported"]) == (0, 0), (node.name, sums)
    tiers.check()


def history(tiers: Tiers) -> None:
    tiers.write(rows=100)
    tiers.write(device="root.p.e.d2", start_s=60, rows=30, value=2.0)
    tiers.write(rows=5, value=9.0)
    tiers.edge.engine.sql("DELETE FROM root.p.e.d2 WHERE voltage = 7")
    tiers.close()
    tiers.check()


@changes
def test_case_21_an_edge_exports_more(make_tiers: MakeTiers, change: Change) -> None:
    tiers = make_tiers(edge_exports=())
    history(tiers)
    assert tiers.forward(tiers.edge)["not_exported"] == 135
    change(tiers.edge, Export("meters"))
    drained(tiers)
    assert_everywhere(tiers)


@changes
def test_case_21_a_relay_exports_more(make_tiers: MakeTiers, change: Change) -> None:
    tiers = make_tiers(plant_exports=())
    history(tiers)
    assert tiers.forward(tiers.plant)["not_exported"] == 135
    change(tiers.plant, Export("meters"))
    drained(tiers)
    assert_everywhere(tiers)


def test_case_21_first_attach_of_old_history(make_tiers: MakeTiers) -> None:
    tiers = make_tiers(edge_exports=())
    restarted_with(tiers.edge, parent=False)
    history(tiers)
    restarted_with(tiers.edge, Export("meters"))
    tiers.write(start_s=300, rows=10, value=3.0)
    drained(tiers)
    assert_everywhere(tiers)


@changes
def test_case_21_more_devices_of_a_table(make_tiers: MakeTiers, change: Change) -> None:
    tiers = make_tiers(edge_exports=(Export("meters", under="root.p.e.d1"),))
    history(tiers)
    assert {row[0] for row in tiers.values(tiers.group)} == {"root.p.e.d1"}
    change(tiers.edge, Export("meters"))
    drained(tiers)
    expected = sorted(tiers.values(tiers.edge))
    for node in (tiers.plant, tiers.group):
        assert sorted(tiers.values(node)) == expected, node.name
        assert node.federation.holes == []
    tiers.check()


def write_both(tiers: Tiers, start_s: int) -> None:
    """One record with a row of either device."""
    engine = tiers.edge.engine
    ids = engine.device_ids("meters", ["root.p.e.d1", "root.p.e.d2"], {"line": ["a", "a"]})
    times = [START_MS + 1000 * start_s] * 2
    engine.write("meters", ids, times, {"current": np.array([3.0, 4.0])}).wait()


@changes
def test_case_21_other_rules_while_rows_are_under_way(
    make_tiers: MakeTiers, change: Change
) -> None:
    """Fewer, then more again, each time with requests that have no answer yet."""
    tiers = make_tiers(edge_exports=(Export("meters"),))
    history(tiers)
    rules = ((Export("meters", under="root.p.e.d1"),), (Export("meters"),)) * 3
    for step, exports in enumerate(rules):
        tiers.up.faults = Faults(delay=1.0)
        for number in range(3):
            write_both(tiers, 300 + 20 * step + number)
            tiers.run(0.12)
        tiers.until(lambda: bool(tiers.up._under_way), "rows are under way")
        change(tiers.edge, *exports)
        tiers.check()
        tiers.up.faults = Faults()
        write_both(tiers, 310 + 20 * step)
        tiers.run(2)
    drained(tiers)
    assert sorted(tiers.values(tiers.plant)) == sorted(tiers.values(tiers.edge))
    assert sorted(tiers.values(tiers.group)) == sorted(tiers.values(tiers.edge))
    assert tiers.forward(tiers.edge)["pending"] == 0
    tiers.check()


def test_case_21_rules_are_known_after_crashes(make_tiers: MakeTiers) -> None:
    """Nothing was flushed: what the rules were is only in the log."""
    tiers = make_tiers()
    tiers.write(rows=5)
    tiers.run()
    for exports, start_s in (((), 70), ((Export("meters"),), 800)):
        tiers.edge.federation.run_manifests(tiers.clock.now_ns)
        tiers.edge.crash()
        tiers.edge.exports = exports
        tiers.edge.start()
        tiers.write(start_s=start_s, rows=5, value=float(start_s))
        tiers.run()
        tiers.close()
    drained(tiers)
    assert_everywhere(tiers)


def test_case_21_a_crash_while_history_goes_up(make_tiers: MakeTiers) -> None:
    tiers = make_tiers(edge_exports=())
    history(tiers)
    restarted_with(tiers.edge, Export("meters"))
    tiers.edge.federation.run_manifests(tiers.clock.now_ns)
    tiers.run(0.5)
    tiers.edge.restart()
    tiers.plant.restart()
    tiers.check()
    drained(tiers)
    assert_everywhere(tiers)


@changes
def test_case_21_what_was_not_sent_is_no_difference(make_tiers: MakeTiers, change: Change) -> None:
    """Slices whose rows come because the export is wider were altered by nobody: no point of them
    is named, also where the statement about them is compared before their image is here."""
    tiers = make_tiers()
    tiers.write(rows=100)
    tiers.close()
    change(tiers.edge)
    tiers.run()
    tiers.write(device="root.p.e.d2", rows=100, value=3.0)
    tiers.edge.engine.sql(f"DELETE FROM root.p.e.d1 WHERE time < {START_MS + 5000}")
    tiers.close()
    change(tiers.edge, Export("meters"))
    for _ in range(60):
        tiers.edge.federation.run_manifests(tiers.clock.now_ns)
        tiers.run(0.24)
        tiers.clock.advance(2.0)
        for node in (tiers.plant, tiers.group):
            node.federation.run_verification()
    drained(tiers)
    assert_everywhere(tiers)
    for node in (tiers.plant, tiers.group):
        assert node.federation.verify()["points"] == [], node.name
