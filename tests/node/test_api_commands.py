"""Commands and audit over HTTP at one node."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from mainstem_node.audit import AuditTrail, verify
from mainstem_node.node import Node
from mainstem_sync.wire.order import Order

URL = "/api/v1/commands"


class Lamp:
    name = "lamp.set"

    def check(self, arguments: Mapping[str, Any]) -> None:
        del arguments

    def run(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {"set": arguments["on"]}


@pytest.fixture
async def node(start_node: Any, monkeypatch: pytest.MonkeyPatch) -> Node:
    monkeypatch.setattr(Node, "actions", lambda self: [Lamp()])
    found: Node = await start_node()
    return found


def body(**more: Any) -> dict[str, Any]:
    return {
        "target": "root.plant.edge.l1", "action": "lamp.set", "arguments": {"on": True},
        "mode": "actuate", **more,
    }  # fmt: skip


async def test_a_command_is_sent_listed_and_audited(
    node: Node, http: aiohttp.ClientSession
) -> None:
    async with http.post(URL, json=body(id="c1")) as answer:
        assert answer.status == 202
        sent = await answer.json()
    assert (sent["id"], sent["node"]) == ("c1", "edge")
    found = sent
    async with asyncio.timeout(30):
        while found["state"] not in {"DONE", "FAILED", "EXPIRED", "UNKNOWN"}:
            async with http.get(f"{URL}/c1") as answer:
                found = await answer.json()
    assert found["state"] == "DONE"
    assert found["result"] == {"set": True}
    assert found["issued_by"]["node"] == "edge"
    async with http.post(URL, json=body(id="c1")) as answer:
        assert answer.status == 202  # sent again: the same one
    async with http.post(URL, json=body(id="c1", arguments={"on": False})) as answer:
        assert answer.status == 409
    async with http.get(URL, params={"state": "done"}) as answer:
        assert [each["id"] for each in (await answer.json())["commands"]] == ["c1"]
    async with http.get(URL, params={"target": "other"}) as answer:
        assert (await answer.json())["commands"] == []
    async with http.get("/api/v1/audit") as answer:
        entries = (await answer.json())["entries"]
    assert [(each["what"], each["detail"]["id"]) for each in entries] == [("command", "c1")]
    async with http.get("/api/v1/audit/verify") as answer:
        assert (await answer.json())["problems"] == []
    async with http.get(f"{URL}/c9") as answer:
        assert answer.status == 404


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"mode": None}, 400, "mode"),
        ({"mode": "twice"}, 400, "mode"),
        ({"target": ""}, 400, "target"),
        ({"target": "node:nobody"}, 404, "target"),
        ({"target": "root.elsewhere.d1"}, 404, "target"),
        ({"expires_in": "soon"}, 400, "expires_in"),
        ({"expires_in": "40d"}, 400, "expires_in"),
        ({"expires_in": "1m", "not_after": 1}, 400, "not_after"),
        ({"not_after": 1}, 400, "not_after"),
        ({"id": "x" * 65}, 400, "id"),
        ({"color": 1}, 400, "color"),
        ({"precondition": {"measurement": "x"}}, 400, "precondition"),
    ],
)
async def test_bad_commands_are_refused(
    node: Node, http: aiohttp.ClientSession, change: dict[str, Any], status: int, field: str
) -> None:
    async with http.post(URL, json=body(**change)) as answer:
        assert answer.status == status
        assert (await answer.json())["error"]["field"] == field
    assert node.federation.down.orders.all() == []


async def test_a_command_that_was_not_told_is_overdue(
    node: Node, http: aiohttp.ClientSession
) -> None:
    order = Order("c1", "command", "far", {"target": "node:far", "action": "x"}, 1, "edge",
                  not_after_ms=5)  # fmt: skip
    node.federation.down.give(order).wait()
    async with http.get(f"{URL}/c1") as answer:
        found = await answer.json()
    assert (found["state"], found["overdue"]) == ("QUEUED", True)


def test_a_changed_line_of_the_audit_is_named(tmp_path: Path) -> None:
    trail = AuditTrail(tmp_path, clock_ns=lambda: 5_000_000)
    for number in range(5):
        trail.note("ann", "command", {"number": number})
    trail.close()
    again = AuditTrail(tmp_path, clock_ns=lambda: 6_000_000)
    again.note("bob", "command", {"number": 5})
    assert verify(tmp_path) == (6, [])
    assert [each["who"] for each in again.newest(2)] == ["bob", "ann"]
    again.close()
    path = tmp_path / "audit.jsonl"
    lines = path.read_text().splitlines()
    for change in ("edit", "remove", "insert"):
        changed = list(lines)
        if change == "edit":
            entry = json.loads(changed[2])
            changed[2] = json.dumps({**entry, "who": "eve"})
        elif change == "remove":
            del changed[2]
        else:
            changed.insert(2, changed[1])
        path.write_text("\n".join(changed) + "\n")
        assert verify(tmp_path)[1][0].line == 3


def test_an_audit_that_ends_within_a_line_goes_on(tmp_path: Path) -> None:
    trail = AuditTrail(tmp_path, clock_ns=lambda: 5_000_000)
    trail.note("ann", "a", {})
    trail.close()
    with (tmp_path / "audit.jsonl").open("ab") as file:
        file.write(b'{"n": 2, "who"')
    again = AuditTrail(tmp_path, clock_ns=lambda: 5_000_000)
    again.note("ann", "b", {})
    again.close()
    assert verify(tmp_path) == (2, [])


def test_a_full_file_of_the_audit_begins_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mainstem_node import audit

    monkeypatch.setattr(audit, "FILE_BYTES_MAX", 300)
    trail = AuditTrail(tmp_path, clock_ns=lambda: 5_000_000)
    for number in range(10):
        trail.note("ann", "a", {"number": number})
    trail.close()
    assert len(list(tmp_path.glob("audit*.jsonl"))) > 2
    assert verify(tmp_path) == (10, [])
    assert AuditTrail(tmp_path, clock_ns=lambda: 0).head == trail.head
