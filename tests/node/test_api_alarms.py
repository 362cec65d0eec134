"""Alarms over HTTP, and how many there are in the status."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import numpy as np
import pytest

from mainstem_engine.log.records import RecordKind
from mainstem_engine.model import Column, Rows
from mainstem_node.alarms import journal
from mainstem_node.auth import WRITE
from mainstem_node.config.rules import ALARMS
from mainstem_node.node import Node
from mainstem_node.overview import flatten


async def test_alarms_are_listed_and_counted(node: Node, http: aiohttp.ClientSession) -> None:
    async with http.get("/api/v1/alarms") as answer:
        assert (answer.status, await answer.json()) == (200, [])
    told = {"code": "FENCED", "node": "press", "text": "two processes of press", "at": 5}
    node.engine.append(RecordKind.EVT, {"op": "alarm", **told}).wait()
    async with http.get("/api/v1/alarms") as answer:
        assert await answer.json() == [told]
    async with http.get("/api/v1/status") as answer:
        status = await answer.json()
    assert status["alarms"] == 1
    assert [line.alarms for line in flatten(status)] == [1]


HOT = "root.plant.edge.m1.alarms.hot"


@pytest.fixture
def raised(node: Node) -> Node:
    """A node with one alarm, raised at 10 ms."""
    engine = node.engine
    journal.make_table(engine)
    ids = engine.device_ids(ALARMS, [HOT], create=True)
    columns = {journal.column_ids(engine)[journal.RAISED]: Column(np.array([True]))}
    rows = Rows(ids, np.array([10 * 10**6], np.int64), columns)
    engine.write_rows(engine.catalog.table(ALARMS), rows, derived=True).wait()
    return node


async def rules(http: aiohttp.ClientSession, query: str = "") -> Any:
    async with http.get(f"/api/v1/alarms?source=rules{query}") as answer:
        return await answer.json()


async def test_an_alarm_of_a_rule_is_listed_and_acknowledged(
    raised: Node, http: aiohttp.ClientSession
) -> None:
    assert [each["id"] for each in (await rules(http))["alarms"]] == [HOT]
    async with http.get("/metrics") as answer:
        assert "mainstem_rule_alarms_active 1.0" in await answer.text()
    body = {"comment": "seen", "since": 10}
    async with http.post(f"/api/v1/alarms/{HOT}/ack", json=body) as answer:
        assert answer.status == 200
        told = await answer.json()
    assert told["command"] is None
    assert (told["alarm"]["state"], told["alarm"]["comment"]) == ("active_acknowledged", "seen")
    assert (await rules(http, "&state=unacknowledged"))["total"] == 0
    async with http.get("/api/v1/status") as answer:
        assert (await answer.json())["rule_alarms"] == {"active": 1, "unacknowledged": 0}
    async with http.get("/api/v1/audit") as answer:
        newest = (await answer.json())["entries"][0]
    assert (newest["what"], newest["detail"]["alarm"]) == ("alarm.ack", HOT)


@pytest.fixture
def ann(raised: Node) -> dict[str, str]:
    """Headers of somebody who may write."""
    _, token = raised.authenticator.tokens.create("ann", WRITE)
    return {"Authorization": f"Bearer {token}"}


def order(**arguments: Any) -> dict[str, Any]:
    """An acknowledgement as a command that was written by hand."""
    seen = {"alarm": HOT, "since_ns": 10 * 10**6, **arguments}
    return {
        "id": "c1", "target": HOT, "action": "alarm.ack", "arguments": seen, "mode": "idempotent",
    }  # fmt: skip


@pytest.mark.parametrize("arguments", [{}, {"by": "ann"}])
async def test_a_command_acknowledges_in_the_name_of_its_caller(
    raised: Node, http: aiohttp.ClientSession, ann: dict[str, str], arguments: dict[str, str]
) -> None:
    async with http.post("/api/v1/commands", json=order(**arguments), headers=ann) as answer:
        assert answer.status == 202, await answer.text()
        found = await answer.json()
    async with asyncio.timeout(30):
        while found["state"] not in {"DONE", "FAILED", "EXPIRED", "UNKNOWN"}:
            async with http.get("/api/v1/commands/c1") as answer:
                found = await answer.json()
    assert (found["state"], found["result"]["acknowledged_by"]) == ("DONE", "ann")


@pytest.mark.parametrize("by", ["bob", "loopback", "", None, 5])
async def test_nobody_acknowledges_in_the_name_of_another(
    raised: Node, http: aiohttp.ClientSession, ann: dict[str, str], by: object
) -> None:
    async with http.post("/api/v1/commands", json=order(by=by), headers=ann) as answer:
        assert (answer.status, (await answer.json())["error"]["field"]) == (400, "by")
    assert raised.federation.down.orders.all() == []
    assert (await rules(http, "&state=unacknowledged"))["total"] == 1


@pytest.mark.parametrize(
    ("query", "field"),
    [("source=people", "source"), ("state=active", "state"), ("source=rules&state=x", "state"),
     ("source=rules&severity=bad", "severity"), ("source=rules&limit=0", "limit")],
)  # fmt: skip
async def test_questions_that_make_no_sense(
    http: aiohttp.ClientSession, query: str, field: str
) -> None:
    async with http.get(f"/api/v1/alarms?{query}") as answer:
        assert (answer.status, (await answer.json())["error"]["field"]) == (400, field)


@pytest.mark.parametrize(
    ("body", "status"),
    [({"comment": 5}, 400), ({"why": "x"}, 400), ({"since": "now"}, 400), ({"since": 9}, 409),
     ({"comment": "x" * 1001}, 400)],
)  # fmt: skip
async def test_acknowledgements_that_are_refused(
    raised: Node, http: aiohttp.ClientSession, body: dict[str, Any], status: int
) -> None:
    async with http.post(f"/api/v1/alarms/{HOT}/ack", json=body) as answer:
        assert answer.status == status, await answer.text()
    assert (await rules(http, "&state=unacknowledged"))["total"] == 1


async def test_an_alarm_that_is_not_there(http: aiohttp.ClientSession) -> None:
    async with http.post(f"/api/v1/alarms/{HOT}/ack", json={}) as answer:
        assert answer.status == 404


async def test_rules_of_a_node(http: aiohttp.ClientSession) -> None:
    async with http.get("/api/v1/rules") as answer:
        assert await answer.json() == {"rules": []}
