"""What was refused: shown one by one, tried again, dropped, and that of the nodes below."""

from __future__ import annotations

from typing import Any

import aiohttp

from mainstem_node.node import Node
from mainstem_sync.receiving.quarantine import QuarantineItem

T0 = 1_700_000_040_000


def item(number: int, measurement: str = "flow", value: Any = 1.5) -> QuarantineItem:
    device = f"root.plant.edge.q{number}"
    return QuarantineItem("edge", "pump", device, T0 + number, measurement, "range", value, 5)


async def ask(
    http: aiohttp.ClientSession, method: str, path: str, body: Any = None
) -> tuple[int, Any]:
    async with http.request(method, f"/api/v1/quarantine{path}", json=body) as answer:
        return answer.status, await answer.json()


async def test_one_is_shown_retried_and_dropped(node: Node, http: aiohttp.ClientSession) -> None:
    store = node.federation.quarantine
    name = node.config.id
    made = [
        QuarantineItem(name, "pump", "root.plant.edge.q1", T0, "flow", "range", 2.5, 5),
        QuarantineItem(name, "pump", "root.plant.edge.q2", T0, "nothing", "unknown", 1, 5),
        item(3),
    ]
    first, second, third = store.add(made)
    status, shown = await ask(http, "GET", f"/{first}")
    assert (status, shown["value"], shown["device"]) == (200, 2.5, "root.plant.edge.q1")
    status, body = await ask(http, "POST", "/retry", {"ids": [first, second, "none"]})
    assert status == 200
    assert [each["state"] for each in body["results"]] == ["retried", "kept", "kept"]
    assert "no measurement nothing" in body["results"][1]["message"]
    stored = node.engine.scan("pump", devices=["root.plant.edge.q1"], columns=["flow"]).read_all()
    assert stored.column("flow").to_pylist() == [2.5]
    assert (await ask(http, "GET", f"/{first}"))[0] == 404
    assert (await ask(http, "DELETE", f"/{third}")) == (200, {"id": third, "state": "dropped"})
    assert (await ask(http, "DELETE", f"/{third}"))[0] == 404
    _, left = await ask(http, "GET", "")
    assert [each["id"] for each in left["items"]] == [second]


async def test_a_request_to_retry_names_items(node: Node, http: aiohttp.ClientSession) -> None:
    bodies: tuple[dict[str, object], ...] = (
        {}, {"ids": []}, {"ids": "x"}, {"ids": [1]}, {"ids": ["x"] * 1001},
    )  # fmt: skip
    for body in bodies:
        status, answer = await ask(http, "POST", "/retry", body)
        assert (status, answer["error"]["field"]) == (400, "ids"), body


async def test_those_of_nodes_below_come_with_their_status(
    node: Node, http: aiohttp.ClientSession
) -> None:
    def said(name: str, *children: Any) -> dict[str, Any]:
        listed = {"id": f"{name}-1", "node": name, "table": "pump", "device": "d", "time": T0,
                  "measurement": "flow", "reason": "range", "value": 1, "at": 5}  # fmt: skip
        return {"node": name, "quarantine": {"bytes": 10, "items": [listed]},
                "children": list(children)}  # fmt: skip

    node.federation.quarantine.add([item(1)])
    node.federation._children.said("plant", said("plant", said("press"), {"node": "old"}))
    _, own = await ask(http, "GET", "")
    _, tree = await ask(http, "GET", "?below=1")
    assert len(own["items"]) == 1
    assert [each["node"] for each in tree["items"]] == ["edge", "plant", "press"]
    assert tree["bytes"] == own["bytes"] + 20
    _, some = await ask(http, "GET", "?below=1&node=press")
    assert [each["id"] for each in some["items"]] == ["press-1"]
    async with http.get("/api/v1/status") as answer:
        status = await answer.json()
    assert len(status["quarantine"]["items"]) == 1
