"""Raw rows live at three edges below two plants; the group asks for what it never received."""

from __future__ import annotations

import re

import pytest
from tests.node.federated.conftest import EDGES, ROWS, Fleet
from tests.node.federated.moved import a_device_that_was_moved_is_asked_of_both_owners

HOURLY = (
    "SELECT time_bucket(INTERVAL 1 HOUR, time) AS hour, count(flow), min(flow), max(flow), "
    "avg(flow), count(count), min(count), max(count), sum(count) FROM pump GROUP BY 1 ORDER BY 1"
)


async def hourly_figures_of_the_group_are_those_of_one_store(fleet: Fleet) -> None:
    before = fleet.travelled()
    found = await fleet.ask(HOURLY)
    truth = fleet.truth(HOURLY)
    assert len(found["rows"]) == len(truth) == 2
    for row, true in zip(found["rows"], truth, strict=True):
        assert row[1:4] == true[1:4]
        assert row[5:] == true[5:]
        assert row[4] == pytest.approx(true[4], rel=1e-12)
    assert {item["node"]: item["state"] for item in found["completeness"]} == dict.fromkeys(
        EDGES, "complete"
    )
    assert found["warnings"] == []
    raw_bytes = len(EDGES) * ROWS * 4 * 8
    assert 0 < fleet.travelled() - before <= raw_bytes / 100
    # Nothing of it stays here.
    assert len(fleet.nodes["group"].engine.scan_rows("pump")) == 0


async def test_what_the_group_asks_for_is_what_one_store_says(fleet: Fleet) -> None:
    """One fleet for all of it: it takes seconds to start."""
    await only_the_owner_of_a_device_is_asked(fleet)
    await explain_names_every_site(fleet)
    await hourly_figures_of_the_group_are_those_of_one_store(fleet)
    await rows_come_in_the_order_of_device_and_time(fleet)
    await the_newest_values_are_the_owners(fleet)
    await windows_and_walks_are_the_same_as_in_one_store(fleet)
    await the_time_of_a_statement_is_that_of_its_questions(fleet)
    await a_kept_answer_is_shown_and_a_late_row_makes_it_anew(fleet)
    await a_device_that_was_moved_is_asked_of_both_owners(fleet)


async def test_an_edge_that_is_away_is_named_and_its_rows_are_not_made_up(fleet: Fleet) -> None:
    await fleet.nodes["edge_a2"].stop()
    found = await fleet.ask("SELECT device, count(*), sum(count) FROM pump GROUP BY 1 ORDER BY 1")
    truth = fleet.truth("SELECT device, count(*), sum(count) FROM pump GROUP BY 1 ORDER BY 1")
    assert found["rows"] == [row for row in truth if "edge_a2" not in row[0]]
    items = {item["node"]: item for item in found["completeness"]}
    assert items["edge_a1"]["state"] == items["edge_b1"]["state"] == "complete"
    away = items["edge_a2"]
    assert (away["state"], away["held_at"]) == ("not_held", "edge_a2")
    assert away["complete_through"] is not None
    assert [text for text in found["warnings"] if "edge_a2" in text]


async def rows_come_in_the_order_of_device_and_time(fleet: Fleet) -> None:
    first = fleet.start_ms + 1_000_000
    sql = (
        f"SELECT device, time, flow, count, running, note FROM pump "
        f"WHERE time >= {first} AND time < {first + 20_000}"
    )
    found = await fleet.ask(sql)
    assert found["rows"] == fleet.truth(sql + " ORDER BY device, time")
    assert len(found["rows"]) == 60


async def only_the_owner_of_a_device_is_asked(fleet: Fleet) -> None:
    path = "root.plant_b.edge_b1.p1"
    sql = f"SELECT count(flow), max(note) FROM {path} WHERE flow > 10"
    found = await fleet.ask(sql)
    assert found["rows"] == fleet.truth(sql)
    assert fleet.nodes["plant_a"].questions.answered == 0
    assert fleet.nodes["plant_b"].questions.answered > 0


async def the_newest_values_are_the_owners(fleet: Fleet) -> None:
    sql = "SELECT device, LAST(flow), LAST(note), LAST_ROW(count) FROM pump PARTITION BY device"
    found = await fleet.ask(sql)
    assert sorted(found["rows"]) == sorted(fleet.truth(sql))


async def windows_and_walks_are_the_same_as_in_one_store(fleet: Fleet) -> None:
    at = f"time >= {fleet.start_ms} AND time < {fleet.start_ms + 600_000}"
    for sql in (
        f"SELECT device, _wstart, count(*), last(note) FROM pump WHERE {at} "
        "PARTITION BY device INTERVAL(2m)",
        f"SELECT time, DIFF(count) FROM root.plant_a.edge_a1.p1 WHERE {at}",
    ):
        assert sorted((await fleet.ask(sql))["rows"]) == sorted(fleet.truth(sql)), sql


async def explain_names_every_site(fleet: Fleet) -> None:
    before = fleet.travelled()
    plan = "\n".join(row[0] for row in (await fleet.ask("EXPLAIN " + HOURLY))["rows"])
    for edge, plant in EDGES.items():
        assert f"would ask {plant} for {edge} (not_held)" in plan
    assert fleet.travelled() == before
    found = await fleet.ask("EXPLAIN ANALYZE " + HOURLY)
    plan = "\n".join(row[0] for row in found["rows"])
    # Two where the rows, which end now, lie on both sides of the end of a partition.
    assert re.search("of [12] blocks read", plan)
    assert "asked plant_a for pump of edge_a1, edge_a2: 1 spans of time, 2 rows, " in plan
    assert "  asked edge_b1 for pump of edge_b1: 1 spans of time, 2 rows, " in plan


async def the_time_of_a_statement_is_that_of_its_questions(fleet: Fleet) -> None:
    runner = fleet.nodes["edge_b1"].questions
    with runner.one_reads:  # nobody reads there meanwhile
        found = await fleet.ask("SELECT count(*) FROM pump", timeout_ms=2000)
    assert found["rows"] == [[2 * ROWS]]
    assert [text for text in found["warnings"] if "edge_b1" in text]
    found = await fleet.ask("SELECT count(*) FROM pump")
    assert found["rows"] == [[3 * ROWS]]


async def a_kept_answer_is_shown_and_a_late_row_makes_it_anew(fleet: Fleet) -> None:
    sql = "SELECT count(*), max(flow) FROM pump WHERE flow < 1000000"
    assert (await fleet.ask(sql))["rows"][0][0] == len(EDGES) * ROWS
    plan = [row[0] for row in (await fleet.ask("EXPLAIN ANALYZE " + sql))["rows"]]
    asked = [line for line in plan if "asked " in line]
    assert asked
    assert any(line.startswith("asked plant_b") and "still holds" in line for line in asked)
    engine = fleet.nodes["edge_b1"].engine
    ids = engine.device_ids("pump", ["root.plant_b.edge_b1.p1"])
    engine.write("pump", ids, [fleet.start_ms + 500], {"flow": [999_999.0]}).wait()
    assert (await fleet.ask(sql))["rows"] == [[len(EDGES) * ROWS + 1, 999_999.0]]
    plan = [row[0] for row in (await fleet.ask("EXPLAIN ANALYZE " + sql))["rows"]]
    assert any(line.startswith("asked plant_b") and "still holds" in line for line in plan)
