"""Case 31: a device is handed over while its old owner's backlog is still to come.

Each row is under the owner of its event time, at every tier, whatever stops in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mainstem_sync.errors import MoveError
from mainstem_sync.testing.nodes import TestNode
from mainstem_sync.testing.tiers import METERS, MINUTE_NS

from .copies import epoch_of, release, roll_back, snapshot, wait, wipe
from .moving_tiers import DEVICE, MovingTiers, by_owner, put_aside, second, time_ns

MakeMoving = Callable[..., MovingTiers]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[MakeMoving]:
    made: list[MovingTiers] = []

    def moving(**options: object) -> MovingTiers:
        made.append(MovingTiers(tmp_path / str(len(made)), **options))  # type: ignore[arg-type]
        return made[-1]

    yield moving
    for tiers in made:
        tiers.stop()


def seconds(first: int, last: int, *, every: int = 6) -> list[float]:
    """The seconds of the rows that ``write`` writes for minutes [first, last)."""
    return [second(minute) + 10.0 * n for minute in range(first, last) for n in range(every)]


def write(tiers: MovingTiers, node: TestNode, first: int, last: int) -> None:
    """Six rows in each minute of [first, last)."""
    for at in seconds(first, last):
        tiers.write(DEVICE, at, 1, node=node, value=at)


def assert_whole(tiers: MovingTiers, expected: dict[str, list[float]]) -> None:
    above = [node for node in tiers.nodes if node not in (tiers.edge, tiers.paint)]
    for node in (tiers.edge, tiers.paint):
        assert by_owner(node) == {node.name: expected[node.name]}, node.name
    for node in above:
        theirs = expected
        if tiers.far and node is not tiers.group:
            below = "edge" if node is tiers.plant else "paint"
            theirs = {below: expected[below]}
        assert by_owner(node) == theirs, node.name
        assert node.federation.holes == [], node.name
        assert {tiers.state(node, origin=name)["state"] for name in theirs} == {"complete"}
    tiers.check()


@pytest.mark.parametrize("far", [pytest.param(False, marks=pytest.mark.slow), True])
def test_case_31_each_row_is_under_the_owner_of_its_event_time(make: MakeMoving, far: bool) -> None:
    """The old owner is cut off, knows of nothing, and still gets rows for a while."""
    tiers = make(far=far)
    giver = tiers.group if far else tiers.plant
    write(tiers, tiers.edge, 1, 3)
    tiers.run(4)
    tiers.cut(tiers.edge)
    write(tiers, tiers.edge, 3, 7)
    tiers.move(5, at=giver)
    tiers.run(6)
    assert tiers.states(giver) == {"edge": "QUEUED", "paint": "DONE"}
    write(tiers, tiers.paint, 5, 9)
    tiers.run(4)
    known = {"edge": seconds(1, 3), "paint": seconds(5, 9)}
    assert by_owner(tiers.group) == known
    tiers.mend(tiers.edge)
    wait(tiers)
    assert tiers.states(giver) == {"edge": "DONE", "paint": "DONE"}
    tiers.settle()
    assert_whole(tiers, {"edge": seconds(1, 5), "paint": seconds(5, 9)})
    aside = put_aside(tiers.edge)
    assert len(aside) == len(seconds(5, 7))
    assert {item["device"] for item in aside} == {DEVICE}
    assert put_aside(tiers.plant) == []  # gone with the rows, as their owner says
    found = tiers.group.federation.trace(DEVICE, "current", time_ns(6))
    assert {version["node"] for version in found["versions"]} == {"paint"}


def test_case_31_late_rows_of_the_former_owner_arrive_and_later_ones_do_not(
    make: MakeMoving,
) -> None:
    """``edge`` writes on after it was told, as a row does that was checked just before."""
    tiers = make()
    write(tiers, tiers.edge, 1, 3)
    tiers.run(2)
    tiers.move(5)
    tiers.run(4)
    assert tiers.states() == {"edge": "DONE", "paint": "DONE"}
    tiers.settle()
    write(tiers, tiers.edge, 3, 6)
    write(tiers, tiers.paint, 5, 7)
    tiers.settle()
    assert_whole(tiers, {"edge": seconds(1, 5), "paint": seconds(5, 7)})
    assert len(put_aside(tiers.edge)) == 6


def test_case_31_rows_of_another_ones_time_are_put_aside_where_they_arrive(
    make: MakeMoving,
) -> None:
    """Before their owner has been told, or if it never is."""
    tiers = make()
    write(tiers, tiers.edge, 1, 3)
    tiers.run(2)
    tiers.down_edge.up = False
    tiers.move(5)
    tiers.run(3)
    write(tiers, tiers.edge, 3, 7)
    tiers.run(3)
    assert by_owner(tiers.plant) == {"edge": seconds(1, 5)}
    assert by_owner(tiers.group) == {"edge": seconds(1, 5)}
    assert len(put_aside(tiers.plant)) == 12
    (item,) = tiers.plant.federation.quarantine.items(limit=1)
    told = tiers.plant.federation.retrying.retry([item["id"]])
    tiers.run(3)
    assert by_owner(tiers.plant) == {"edge": seconds(1, 5)}, told
    # As images it is no other.
    tiers.clock.advance(600)
    tiers.edge.federation.run_manifests(tiers.clock.now_ns)
    tiers.run(6)
    (watch,) = [
        state.watches["meters"]
        for state in tiers.plant.federation._follower.origins
        if state.key.name == "edge"
    ]
    assert watch.slices["parked"].sum() == 12
    assert by_owner(tiers.plant) == {"edge": seconds(1, 5)}
    tiers.down_edge.up = True
    wait(tiers)
    tiers.settle()
    assert by_owner(tiers.edge) == by_owner(tiers.plant) == {"edge": seconds(1, 5)}
    assert tiers.plant.federation.holes == []


@pytest.mark.slow
@pytest.mark.parametrize("who", ["edge", "paint"])
def test_case_31_a_move_waits_for_a_node_that_is_away(make: MakeMoving, who: str) -> None:
    tiers = make()
    write(tiers, tiers.edge, 1, 3)
    tiers.run(2)
    node = tiers.edge if who == "edge" else tiers.paint
    other = "paint" if who == "edge" else "edge"
    tiers.cut(node)
    tiers.move(3)
    tiers.run(3)
    assert tiers.states() == {who: "QUEUED", other: "DONE"}
    tiers.mend(node)
    wait(tiers)
    write(tiers, tiers.paint, 3, 5)
    tiers.settle()
    assert_whole(tiers, {"edge": seconds(1, 3), "paint": seconds(3, 5)})


@pytest.mark.parametrize("who", ["edge", pytest.param("paint", marks=pytest.mark.slow)])
def test_case_31_a_node_that_was_restored_is_told_again(make: MakeMoving, who: str) -> None:
    """From a backup of before the move."""
    tiers = make()
    write(tiers, tiers.edge, 1, 3)
    tiers.write("root.p.f.other", second(1), 1, node=tiers.paint)
    tiers.run(2)
    node = tiers.edge if who == "edge" else tiers.paint
    copy = snapshot(node)
    tiers.move(3)
    tiers.run(3)
    assert tiers.states() == {"edge": "DONE", "paint": "DONE"}
    roll_back(node, copy)
    assert len(node.federation.moving.moves) == 0
    write(tiers, tiers.edge, 4, 5)  # if it was restored, it does not know better
    wait(tiers)
    assert epoch_of(node) == 1
    assert len(node.federation.moving.moves) == 1
    assert tiers.states() == {"edge": "DONE", "paint": "DONE"}
    write(tiers, tiers.paint, 3, 5)
    tiers.settle()
    for above in (tiers.plant, tiers.group):
        found = by_owner(above)
        found["paint"] = [at for at in found["paint"] if at in seconds(3, 5)]
        assert found == {"edge": seconds(1, 3), "paint": seconds(3, 5)}, above.name
        unverified = {item["state"] for item in above.federation.holes}
        assert unverified <= {"FORKED"}, above.name
    assert by_owner(tiers.edge) == {"edge": seconds(1, 3)}


@pytest.mark.slow
@pytest.mark.parametrize("who", ["plant", "edge", "paint"])
def test_case_31_a_move_that_was_interrupted_is_finished(make: MakeMoving, who: str) -> None:
    """The process that gives it is killed when it is written down; one that is told, when it has
    the order and has not carried it out."""
    tiers = make()
    write(tiers, tiers.edge, 1, 5)
    tiers.run(2)
    tiers.works = False
    moving = tiers.plant.federation.moving
    if who == "plant":
        moving._orders.tell = lambda **_: None  # type: ignore[method-assign]
    tiers.move(3)
    tiers.run(2)
    node = {"plant": tiers.plant, "edge": tiers.edge, "paint": tiers.paint}[who]
    assert bool(node.federation.down.unfinished()) == (who != "plant")
    node.restart()
    tiers.works = True
    wait(tiers)
    assert tiers.states() == {"edge": "DONE", "paint": "DONE"}
    write(tiers, tiers.paint, 3, 5)
    tiers.settle()
    assert_whole(tiers, {"edge": seconds(1, 3), "paint": seconds(3, 5)})


def test_case_31_a_parent_that_was_restored_learns_it_from_the_former_owner(
    make: MakeMoving,
) -> None:
    """The new owner's rows are refused until the former one is back, and taken then."""
    tiers = make()
    write(tiers, tiers.edge, 1, 3)
    tiers.run(2)
    copy = snapshot(tiers.plant)
    tiers.move(3)
    tiers.run(3)
    write(tiers, tiers.paint, 3, 4)
    tiers.run(3)
    tiers.cut(tiers.edge)
    roll_back(tiers.plant, copy)
    assert len(tiers.plant.federation.moving.moves) == 0
    write(tiers, tiers.paint, 4, 5)
    wait(tiers)
    assert "paint" not in by_owner(tiers.plant)
    assert len(put_aside(tiers.plant)) == len(seconds(3, 5))
    tiers.mend(tiers.edge)
    wait(tiers)
    tiers.settle()
    assert_whole(tiers, {"edge": seconds(1, 3), "paint": seconds(3, 5)})
    assert put_aside(tiers.plant) == []


@pytest.mark.slow
def test_case_31_there_and_back_again(make: MakeMoving) -> None:
    tiers = make(far=True)
    write(tiers, tiers.edge, 1, 3)
    tiers.run(3)
    tiers.move(3, at=tiers.group)
    tiers.run(3)
    tiers.move(5, at=tiers.group, to="edge")
    tiers.run(3)
    write(tiers, tiers.edge, 3, 7)
    write(tiers, tiers.paint, 2, 6)
    wait(tiers)
    tiers.settle()
    mine = seconds(1, 3) + seconds(5, 7)
    assert_whole(tiers, {"edge": mine, "paint": seconds(3, 5)})
    assert tiers.group.federation.owner_of(DEVICE) == "edge"


def test_case_31_windows_of_rollups_have_one_owner(make: MakeMoving) -> None:
    """Both edges deliver rollups of two minutes: a move takes effect between two windows, and what
    the old owner computed beyond that goes with its rows."""
    tiers = make(rolled=2)
    write(tiers, tiers.edge, 0, 6)
    tiers.settle()
    moving = tiers.plant.federation.moving
    assert moving.step_ns(DEVICE, ("edge", "paint")) == 2 * MINUTE_NS
    first = -(time_ns(0) // MINUTE_NS) % 2  # a minute at which a window begins
    with pytest.raises(MoveError, match="at whole 120 s"):
        tiers.move(first + 3)
    assert windows(tiers.group)["edge"][-1] == time_ns(first + 4)
    tiers.move(first + 2)
    write(tiers, tiers.paint, first + 2, first + 4)
    tiers.settle()
    for node in (tiers.plant, tiers.group):
        found = windows(node)
        assert found["edge"][-1] == time_ns(first), node.name
        assert found["paint"] == [time_ns(first + 2)], node.name
        assert node.federation.holes == [], node.name
    tiers.check()


def windows(node: TestNode) -> dict[str, list[int]]:
    """Node to the starts of the windows of two minutes that are stored of it."""
    found = {}
    for index, origin in enumerate(node.engine.origins):
        rows = node.engine.scan_rows("meters_2m", origin=index)
        if len(rows):
            found[node.name if index == 0 else origin.node] = sorted(rows.time.tolist())
    return found


@pytest.mark.slow
def test_case_31_a_parent_that_lost_it_learns_it_though_the_logs_are_released(
    make: MakeMoving,
) -> None:
    tiers = make()
    write(tiers, tiers.edge, 1, 3)
    tiers.run(2)
    copy = snapshot(tiers.plant)
    tiers.move(3)
    tiers.run(4)
    write(tiers, tiers.paint, 3, 5)
    tiers.settle()
    (said,) = tiers.edge.federation.moving.moves.said.values()
    release(tiers, tiers.edge)
    assert said < tiers.edge.engine.log.first_lsn
    roll_back(tiers.plant, copy)
    for _ in range(3):
        wait(tiers)
        tiers.settle()
    assert len(tiers.plant.federation.moving.moves) == 1
    assert_whole(tiers, {"edge": seconds(1, 3), "paint": seconds(3, 5)})


@pytest.mark.slow
def test_case_31_a_node_with_a_new_disk_is_told_again(make: MakeMoving) -> None:
    """The old owner's machine is replaced: the new disk knows nothing of the move."""
    tiers = make()
    write(tiers, tiers.edge, 1, 3)
    tiers.run(2)
    tiers.move(5)
    tiers.run(3)
    write(tiers, tiers.paint, 5, 7)
    tiers.settle()
    wipe(tiers.edge)
    tiers.edge.engine.create_template(METERS)
    assert len(tiers.edge.federation.moving.moves) == 0
    write(tiers, tiers.edge, 4, 6)
    wait(tiers)
    assert tiers.states() == {"edge": "DONE", "paint": "DONE"}
    tiers.settle()
    assert by_owner(tiers.edge) == {"edge": seconds(4, 5)}
    for node in (tiers.plant, tiers.group):
        expected = {"edge": seconds(1, 3) + seconds(4, 5), "paint": seconds(5, 7)}
        assert by_owner(node) == expected, node.name
        assert {item["state"] for item in node.federation.holes} <= {"RETIRED"}


@pytest.mark.slow
def test_case_31_a_group_that_lost_everything_learns_it_from_the_relays(make: MakeMoving) -> None:
    """Their logs are released; the new owner is below another one, which may not say it."""
    tiers = make(far=True)
    write(tiers, tiers.edge, 1, 3)
    tiers.run(2)
    tiers.move(3, at=tiers.group)
    tiers.run(4)
    write(tiers, tiers.paint, 3, 5)
    tiers.settle()
    for node in (tiers.edge, tiers.paint, tiers.plant, tiers.second):
        release(tiers, node)
    wipe(tiers.group)
    for _ in range(4):
        wait(tiers)
        tiers.settle()
    assert len(tiers.group.federation.moving.moves) == 1
    assert_whole(tiers, {"edge": seconds(1, 3), "paint": seconds(3, 5)})
