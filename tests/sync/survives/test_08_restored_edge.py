"""Case 8: an edge is restored from a backup, its machine is rolled back, or other content comes
under the same LSNs. A new epoch begins at the fork; what the parent held stays; the slices are
FORKED and said to be; nothing is used again and nothing is deleted."""

from __future__ import annotations

import pytest

from mainstem_engine.model import ColumnType, Measurement
from mainstem_engine.restore import restore
from mainstem_sync.sending.session import LinkState
from mainstem_sync.testing.tiers import MINUTE_NS, START_MS, START_NS, Tiers

from .copies import epoch_of, roll_back, snapshot, wait


def rows(tiers: Tiers, node: object) -> set[tuple[object, ...]]:
    return set(tiers.values(node))  # type: ignore[arg-type]


def uuid_of_edge(tiers: Tiers) -> str:
    return tiers.edge.engine.node_uuid


@pytest.mark.parametrize("again", [0, 1, 9])
def test_case_8_a_rolled_back_edge_goes_on_in_a_new_epoch(tiers: Tiers, again: int) -> None:
    """``again``: records written after the restore, fewer or more than were lost."""
    tiers.write(rows=3)
    tiers.run(1)
    copy = snapshot(tiers.edge)
    for number in range(4):
        tiers.write(rows=3, start_s=100 + 10 * number, value=2.0)
    tiers.run(2)
    before = {node.name: rows(tiers, node) for node in tiers.nodes}
    assert len(before["group"]) == 15
    roll_back(tiers.edge, copy)
    for number in range(again):
        tiers.write(rows=2, start_s=300 + 10 * number, value=3.0)
    wait(tiers)
    assert epoch_of(tiers.edge) == 1
    link = tiers.edge.federation.link()
    assert link is not None
    assert link["state"] == "connected"
    own = rows(tiers, tiers.edge)
    assert len(own) == 3 + 2 * again
    for node in (tiers.plant, tiers.group):
        assert rows(tiers, node) == before[node.name] | own, node.name
        assert [a["code"] for a in tiers.plant.federation.alarms()] == ["FORKED"]


def test_case_8_new_values_stand_above_those_of_the_lost_line(tiers: Tiers) -> None:
    """The same times are written again, with fewer records than before: (epoch, LSN) decides."""
    tiers.write(rows=2, start_s=0)
    tiers.run(1)
    copy = snapshot(tiers.edge)
    for number in range(5):
        tiers.write(rows=4, start_s=60, value=float(10 + number))
    tiers.run(2)
    roll_back(tiers.edge, copy)
    tiers.write(rows=2, start_s=61, value=99.0)
    wait(tiers)
    for node in (tiers.plant, tiers.group):
        by_time = {row[1]: row[2] for row in tiers.values(node)}
        assert by_time == {0.0: 1.0, 1.0: 1.0, 60.0: 14.0, 61.0: 99.0, 62.0: 99.0, 63.0: 14.0}


def test_case_8_slices_beyond_the_fork_are_declared_and_the_others_proven(tiers: Tiers) -> None:
    tiers.write(rows=10, start_s=0)
    tiers.write(rows=10, start_s=60)
    tiers.close(3)
    copy = snapshot(tiers.edge)
    tiers.write(rows=10, start_s=120, value=2.0)
    tiers.write(rows=10, start_s=90, value=2.0)
    tiers.close(3)
    roll_back(tiers.edge, copy)
    tiers.write(rows=10, start_s=240, value=3.0)
    wait(tiers)
    tiers.close(4)
    for node in (tiers.plant, tiers.group):
        found = tiers.state(node)
        forked = [(item["from"], item["to"]) for item in found["lost"]]
        assert {item["reason"] for item in found["lost"]} == {"forked"}, node.name
        assert forked == [(START_MS + 60_000, START_MS + 180_000)], node.name
        assert found["holes"] == [], node.name
        listed = node.federation.verify()["slices"]
        assert {item["state"] for item in listed} == {"FORKED"}
        assert sorted(item["from"] for item in listed)[0] == START_MS + 60_000
        stretches = node.federation.forked_slices(uuid_of_edge(tiers), "meters")
        assert stretches == [(START_NS + MINUTE_NS, START_NS + 3 * MINUTE_NS)]


def test_case_8_a_delete_of_the_new_epoch_covers_what_the_lost_line_wrote(tiers: Tiers) -> None:
    tiers.write(rows=3)
    tiers.run(1)
    copy = snapshot(tiers.edge)
    for number in range(6):
        tiers.write(rows=3, start_s=100, value=float(number))
    tiers.run(2)
    roll_back(tiers.edge, copy)
    # The edge writes the rows again and deletes the range: its LSN is below the orphans'.
    tiers.write(rows=3, start_s=100, value=7.0)
    tiers.edge.engine.delete("meters", start=START_MS + 99_000, end=START_MS + 110_000).ack.wait()
    wait(tiers)
    for node in tiers.nodes:
        assert {row[1] for row in tiers.values(node)} == {0.0, 1.0, 2.0}, node.name
        node.engine.flush()
        node.engine.compact()
        assert {row[1] for row in tiers.values(node)} == {0.0, 1.0, 2.0}, node.name
    tiers.check()


def test_case_8_ids_that_are_given_out_again_mean_what_they_mean_now(tiers: Tiers) -> None:
    """After the backup a device and a measurement were made; the restored edge makes others, which
    get the same ids."""
    tiers.write("root.p.e.d1", rows=2)
    tiers.run(1)
    copy = snapshot(tiers.edge)
    tiers.write("root.p.e.lost", rows=2, start_s=10, value=5.0)
    tiers.edge.engine.alter_template("meters", add=[_measurement("lost")])
    tiers.run(2)
    roll_back(tiers.edge, copy)
    tiers.write("root.p.e.kept", rows=2, start_s=20, value=6.0)
    tiers.edge.engine.alter_template("meters", add=[_measurement("kept")])
    tiers.edge.engine.write("meters", "root.p.e.kept", [START_MS + 30_000], {"kept": [1.5]}).wait()
    wait(tiers)
    for node in (tiers.plant, tiers.group):
        assert {(row[0], row[2]) for row in tiers.values(node)} == {
            ("root.p.e.d1", 1.0), ("root.p.e.lost", 5.0), ("root.p.e.kept", 6.0),
            ("root.p.e.kept", None),
        }, node.name  # fmt: skip
        found = node.engine.scan("meters", columns=["kept"]).read_all().to_pydict()
        assert [v for v in found["kept"] if v is not None] == [1.5], node.name


def _measurement(name: str) -> Measurement:
    return Measurement(0, name, ColumnType.DOUBLE)


def test_case_8_what_was_announced_and_nobody_holds_is_loss(tiers: Tiers) -> None:
    tiers.write(rows=3)
    tiers.run(1)
    copy = snapshot(tiers.edge)
    tiers.up.cut()
    lost = [tiers.write(rows=1, start_s=100 + number) for number in range(5)]
    # It says HELLO, so its head is known, and dies before it sends.
    tiers.up.restore()
    tiers.edge.restart()
    tiers.up.step()
    tiers.up.step()
    roll_back(tiers.edge, copy)
    wait(tiers)
    (found,) = tiers.plant.federation.fork_losses()
    assert (found["node"], found["epoch"]) == ("edge", 0)
    (first, last), *_ = found["lsns"]
    assert first <= lost[0]
    assert last >= lost[-1]
    assert tiers.group.federation.fork_losses() == [found]
    records = sum(last - first + 1 for first, last in found["lsns"])
    for node in (tiers.plant, tiers.group):
        listed = [s for s in node.federation.verify()["slices"] if s["table"] == "*"]
        assert [(s["node"], s["state"]) for s in listed] == [("edge", "LOST")] * len(found["lsns"])
        assert sum(s["count"] for s in listed) == records
        assert all(0 < s["from"] <= s["to"] for s in listed)
        assert node.federation.drops()["lost_by_forks"] == records
        early = node.federation.verify(end_ns=START_NS)["slices"]
        assert [s for s in early if s["table"] == "*"] == [], node.name


def test_case_8_backups_restored_again_and_again(tiers: Tiers) -> None:
    tiers.write(rows=2)
    tiers.run(1)
    copies = [snapshot(tiers.edge)]
    seen: set[tuple[object, ...]] = set()
    for number in range(6):
        tiers.write(rows=2, start_s=100 * (number + 1), value=float(number))
        wait(tiers, 3)
        seen |= rows(tiers, tiers.edge)
        copies.append(snapshot(tiers.edge))
        roll_back(tiers.edge, copies[[0, 2, 1, 3, 0, 4][number]])
    wait(tiers)
    assert epoch_of(tiers.edge) == 5  # one of the copies was the newest
    for node in (tiers.plant, tiers.group):
        assert rows(tiers, node) == seen | rows(tiers, tiers.edge), node.name
        node.engine.flush()
        node.restart()
        assert rows(tiers, node) == seen | rows(tiers, tiers.edge), node.name
    wait(tiers)
    assert epoch_of(tiers.edge) == 5


def test_case_8_everything_is_as_it_was_after_starts_on_all_sides(tiers: Tiers) -> None:
    tiers.write(rows=3)
    tiers.run(1)
    copy = snapshot(tiers.edge)
    tiers.write(rows=3, start_s=70, value=2.0)
    tiers.close(4)
    roll_back(tiers.edge, copy)
    tiers.write(rows=3, start_s=200, value=3.0)
    wait(tiers)
    tiers.close(4)
    before = [(tiers.values(node), tiers.state(node)["lost"]) for node in tiers.nodes[1:]]
    for flushed in (False, True):
        for node in tiers.nodes:
            if flushed:
                node.engine.flush()
            node.restart()
        wait(tiers)
        tiers.clock.advance(60)
        tiers.write(rows=1, start_s=400 + flushed, value=4.0)
        wait(tiers)
        for node, (values, lost) in zip(tiers.nodes[1:], before, strict=True):
            assert set(tiers.values(node)) >= set(values)
            assert tiers.state(node)["lost"] == lost
        assert epoch_of(tiers.edge) == 1
        assert tiers.plant.federation.accounting().keys() == {"meters"}


def test_case_8_a_backup_made_by_the_engine(tiers: Tiers) -> None:
    """mainstem backup, and mainstem restore a while later."""
    tiers.edge.real_disk = True
    tiers.edge.restart()
    tiers.write(rows=5)
    tiers.run(1)
    backup = tiers.base / "backup"
    tiers.edge.engine.backup(backup)
    tiers.write(rows=5, start_s=100, value=2.0)
    tiers.run(1)
    tiers.edge.stop()
    directory = tiers.base / "restored"
    restore(backup, directory)
    tiers.edge.directory = directory
    tiers.edge.start()
    tiers.write(rows=5, start_s=200, value=3.0)
    wait(tiers)
    assert epoch_of(tiers.edge) == 1
    assert {row[2] for row in tiers.values(tiers.group)} == {1.0, 2.0, 3.0}
    sender = tiers.edge.federation.sender
    assert sender is not None
    assert sender.state is LinkState.CONNECTED
    sums = tiers.forward(tiers.edge)
    assert (sums["pending"], sums["lost"]) == (0, 0)
