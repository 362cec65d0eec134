"""A device that is moved between two edges, over HTTP: who takes which rows, and who is asked."""

from __future__ import annotations

from typing import Any

import aiohttp
from tests.node.federated.conftest import ROWS, Fleet

DEVICE = "root.plant_a.edge_a1.p1"
BY_MINUTE = (
    "SELECT time_bucket(INTERVAL 1 MINUTE, time) AS m, count(*), min(flow), max(flow), sum(count) "
    f"FROM pump WHERE device = '{DEVICE}' GROUP BY 1 ORDER BY 1"
)


async def a_device_that_was_moved_is_asked_of_both_owners(fleet: Fleet) -> None:
    at = fleet.start_ms + (ROWS * 1000 // 60_000 + 2) * 60_000
    found = await _call(fleet, "group", "moves", {"device": DEVICE, "to": "edge_b1", "at": at})
    assert (found["from"], found["to"], found["at"]) == ("edge_a1", "edge_b1", at)
    moving = fleet.nodes["group"].federation.moving

    def is_over() -> bool:
        return all(told["state"] == "DONE" for told in moving.listed(DEVICE)[0]["nodes"])

    await fleet.until(is_over, "moved")
    await _rows_are_taken_by_the_owner_of_their_time(fleet, at)
    truth = fleet.truth(BY_MINUTE)
    answer = await fleet.ask(BY_MINUTE)
    assert [row[1:] for row in answer["rows"]] == [row[1:] for row in truth]
    assert answer["rows"][-1][1] == 2
    rows = f"SELECT time, flow FROM pump WHERE device = '{DEVICE}' AND time >= {at - 120_000}"
    whole = await fleet.ask(f"{rows} ORDER BY time")
    assert whole["rows"] == fleet.truth(f"{rows} ORDER BY time")
    # Of one owner's time only that one is asked.
    answer = await fleet.ask(f"SELECT count(*) FROM pump WHERE device = '{DEVICE}'")
    assert answer["rows"] == fleet.truth(f"SELECT count(*) FROM pump WHERE device = '{DEVICE}'")
    await _a_delete_reaches_both(fleet, at)


async def _rows_are_taken_by_the_owner_of_their_time(fleet: Fleet, at: int) -> None:
    """Rows of the other's time are put aside at the door; a third node takes none."""
    rows = [{"time": at - 1000, "flow": 1.0}, {"time": at + 1000, "flow": 2.0}]
    group = {"template": "pump", "device": DEVICE, "rows": rows}
    for node in ("edge_a1", "edge_b1"):
        told = await _call(fleet, node, "write", group)
        assert (told["accepted"], told["quarantined"]) == (1, 1), node
        assert told["rejected"][0]["reason"] == "not_owner"
        refused = await _call(fleet, node, "write?strict=1", group, status=400)
        assert refused["error"]["code"] == "BAD_VALUES"
    refused = await _call(fleet, "edge_a2", "write", group, status=403)
    assert refused["error"]["code"] == "NOT_OWNER"
    late = f"INSERT INTO {DEVICE} (time, flow) VALUES ({at + 2000}, 3.0)"
    refused = await _call(fleet, "edge_a1", "sql", {"sql": late}, status=403)
    assert refused["error"]["code"] == "NOT_OWNER"
    await _call(fleet, "edge_b1", "sql", {"sql": late})
    central = fleet.central
    ids = central.device_ids("pump", [DEVICE])
    for time, flow in ((at - 1000, 1.0), (at + 1000, 2.0), (at + 2000, 3.0)):
        central.write("pump", ids, [time], {"flow": [flow]}).wait()
    again = {"device": DEVICE, "to": "edge_b1"}
    refused = await _call(fleet, "group", "moves", again, status=409)
    assert "edge_b1 already" in refused["error"]["message"]
    refused = await _call(fleet, "group", "moves", {**again, "to": "edge_a1"} | {"at": at + 1}, 409)
    assert "whole 60 s" in refused["error"]["message"]
    refused = await _call(fleet, "plant_a", "moves", {**again, "to": "edge_a1"}, 409)
    assert "ask at a node above both" in refused["error"]["hint"]


async def _a_delete_reaches_both(fleet: Fleet, at: int) -> None:
    sql = f"DELETE FROM {DEVICE} WHERE time >= {at - 1000} AND time <= {at + 1000}"
    told = await _call(fleet, "group", "sql", {"sql": sql})
    assert told["rows_affected"] == 2
    fleet.central.sql(sql)
    answer = await fleet.ask(BY_MINUTE)
    assert [row[1] for row in answer["rows"]] == [row[1] for row in fleet.truth(BY_MINUTE)]


async def _call(
    fleet: Fleet, node: str, path: str, body: dict[str, Any], status: int | None = None
) -> dict[str, Any]:
    url = f"http://127.0.0.1:{fleet.nodes[node].port}/api/v1/{path}"
    async with aiohttp.ClientSession() as http, http.post(url, json=body) as answer:
        found: dict[str, Any] = await answer.json()
        if status is None:
            assert answer.status < 300, found
        else:
            assert answer.status == status, found
        return found
