"""Enrolment and API tokens over HTTP."""

from __future__ import annotations

import aiohttp
import pytest

from mainstem_node.node import Node

UUID = "ab" * 16


async def test_a_node_is_invited_joins_and_is_revoked(
    node: Node, http: aiohttp.ClientSession
) -> None:
    body = {"id": "paint", "path": "root.plant.paint"}
    async with http.post("/api/v1/nodes", json=body) as answer:
        assert answer.status == 201
        invited = await answer.json()
    assert invited["state"] == "invited"
    async with aiohttp.ClientSession() as stranger:
        url = f"http://127.0.0.1:{node.port}/api/v1/nodes/join"
        join = {"token": invited["join_token"], "uuid": UUID}
        async with stranger.post(url, json=join) as answer:
            assert answer.status == 200
            joined = await answer.json()
        async with stranger.post(url, json=join) as answer:
            assert answer.status == 403
    assert (joined["id"], joined["paths"], joined["parent"]) == (
        "paint", ["root.plant.paint"], "edge",
    )  # fmt: skip
    found = node.registry.authenticate(joined["token"])
    assert found is not None
    assert found.uuid == UUID
    assert node.ownership.owner("root.plant.paint.d") == "paint"
    async with http.get("/api/v1/nodes") as answer:
        text = await answer.text()
        assert (await answer.json())["nodes"][0]["state"] == "enrolled"
    assert joined["token"] not in text
    assert "hash" not in text
    async with http.delete("/api/v1/nodes/paint") as answer:
        assert (await answer.json())["state"] == "revoked"
    assert node.registry.authenticate(joined["token"]) is None
    headers = {"Authorization": f"Bearer {joined['token']}"}
    async with http.post("/sync/v1/hello", data=b"x", headers=headers) as answer:
        assert answer.status == 401


async def test_a_node_that_is_gone_is_retired(node: Node, http: aiohttp.ClientSession) -> None:
    node.registry.ensure_link("paint", ("root.plant.paint",), "m" * 43)
    path = "/api/v1/nodes/paint/retire"
    async with http.post(path, json={"from": 60_000}) as answer:
        assert (await answer.json())["retired"] == 60_000
    assert node.registry.authenticate("m" * 43) is None
    assert node.federation.retired("paint") == 60_000 * 10**6
    assert node.federation.retired("other") is None
    async with http.get("/api/v1/nodes") as answer:
        assert (await answer.json())["nodes"][0]["state"] == "retired"
    async with http.post(path, json={}) as answer:
        assert (await answer.json())["retired"] > 60_000
    async with http.post("/api/v1/nodes", json={"id": "new", "path": "root.plant.paint"}) as answer:
        assert answer.status == 201, "its path is free"
    async with http.post("/api/v1/nodes/nobody/retire", json={}) as answer:
        assert answer.status == 404


async def test_a_link_token_opens_nothing_but_the_protocol(
    node: Node, http: aiohttp.ClientSession
) -> None:
    token = "m" * 43
    node.registry.ensure_link("paint", ("root.plant.paint",), token)
    headers = {"Authorization": f"Bearer {token}"}
    async with http.get("/api/v1/status", headers=headers) as answer:
        assert answer.status == 403
    async with http.post("/sync/v1/hello", data=b"x", headers=headers) as answer:
        assert answer.status == 400


@pytest.mark.parametrize(
    "body", [{}, {"id": "x"}, {"id": "x", "path": 5}, {"id": "x", "paths": []},
             {"id": "../x", "path": "root.a"}, {"id": "x", "path": "a"}, {"path": "root.a"}],
)  # fmt: skip
async def test_invitations_that_are_refused(http: aiohttp.ClientSession, body: object) -> None:
    async with http.post("/api/v1/nodes", json=body) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["field"] in ("id", "path")


@pytest.mark.parametrize(
    "body", [{}, {"token": "x"}, {"token": "x", "uuid": "y"}, {"token": 5, "uuid": UUID}]
)
async def test_joins_that_are_refused(http: aiohttp.ClientSession, body: object) -> None:
    async with http.post("/api/v1/nodes/join", json=body) as answer:
        assert answer.status == 400


async def test_tokens_are_made_listed_and_revoked(node: Node, http: aiohttp.ClientSession) -> None:
    body = {"name": "grafana", "role": "read", "expires": "90d"}
    async with http.post("/api/v1/tokens", json=body) as answer:
        assert answer.status == 201
        made = await answer.json()
    assert made["expires"] - made["created"] == 90 * 86_400_000
    headers = {"Authorization": f"Bearer {made['token']}"}
    async with http.get("/api/v1/status", headers=headers) as answer:
        assert answer.status == 200
    async with http.get("/api/v1/tokens", headers=headers) as answer:
        assert answer.status == 403
    async with http.get("/api/v1/tokens") as answer:
        names = [entry["name"] for entry in (await answer.json())["tokens"]]
    assert names == ["admin", "grafana"]
    async with http.delete(f"/api/v1/tokens/{made['id']}") as answer:
        assert answer.status == 200
    async with http.get("/api/v1/status", headers=headers) as answer:
        assert answer.status == 401
    async with http.delete("/api/v1/tokens/none") as answer:
        assert answer.status == 404


@pytest.mark.parametrize(
    "body",
    [{}, {"name": "x", "role": "root"}, {"name": "", "role": "read"},
     {"name": "x", "role": "read", "expires": "soon"}, {"name": "x", "role": 5}],
)  # fmt: skip
async def test_tokens_that_are_refused(http: aiohttp.ClientSession, body: object) -> None:
    async with http.post("/api/v1/tokens", json=body) as answer:
        assert answer.status == 400


async def test_intake_is_stopped_by_an_admin(node: Node, http: aiohttp.ClientSession) -> None:
    async with http.post("/api/v1/intake", json={"action": "start"}) as answer:
        assert answer.status == 400
    for _ in range(2):
        async with http.post("/api/v1/intake", json={"action": "stop"}) as answer:
            assert await answer.json() == {"intake": "stopped"}
