"""Who may call what, under which headers, with which bodies."""

from __future__ import annotations

import asyncio
import gzip
import io
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from mainstem_node.api import ROUTES
from mainstem_node.api.route import Route
from mainstem_node.auth import ADMIN, READ, WRITE
from mainstem_node.credentials import read_token
from mainstem_node.node import Node

StartNode = Callable[..., Awaitable[Node]]
OPEN = {"/", "/app.js", "/style.css", "/icon.svg", "/health", "/ready", "/ping",
        "/api/v1/openapi.json", "/api/v1/nodes/join"}  # fmt: skip


def bodies(route: Route) -> dict[str, Any]:
    if not route.media:
        return {}
    return {"data": b"{}", "headers": {"Content-Type": route.media[0]}}


@pytest.fixture
async def closed(start_node: StartNode) -> Node:
    """A node that wants a credential even from this machine."""
    return await start_node(auth={"loopback": "closed"})


def session(node: Node, token: str | None = None) -> aiohttp.ClientSession:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return aiohttp.ClientSession(f"http://127.0.0.1:{node.port}", headers=headers)


def path_of(route: Route) -> str:
    return route.path.replace("{id}", "nobody")


async def test_every_route_but_the_open_ones_needs_a_credential(closed: Node) -> None:
    async with session(closed) as http:
        for route in ROUTES:
            if route.path in OPEN:
                assert route.role is None
                continue
            async with http.request(route.method, path_of(route), **bodies(route)) as answer:
                assert answer.status == 401, route.path
                if route.failed is None:  # else the words are those of another protocol
                    assert (await answer.json())["error"]["code"] == "UNAUTHORIZED"
                assert answer.headers["WWW-Authenticate"] == "Bearer"
        for path in ("/sync/v1/hello", "/sync/v1/batches"):
            async with http.post(path, data=b"x") as answer:
                assert answer.status == 401


async def test_open_routes_are_open(closed: Node) -> None:
    async with session(closed) as http:
        for path in sorted(OPEN - {"/api/v1/nodes/join"}):
            async with http.get(path) as answer:
                assert answer.status in (200, 204), path


async def test_roles_open_exactly_their_routes(closed: Node) -> None:
    store = closed.authenticator.tokens
    allowed = {READ: {READ}, WRITE: {READ, WRITE}, ADMIN: {READ, WRITE, ADMIN}}
    for role, may in allowed.items():
        _, token = store.create(role, role)
        async with session(closed, token) as http:
            for route in ROUTES:
                if route.role is None or route.path == "/api/v1/live":
                    continue
                async with http.request(route.method, path_of(route), **bodies(route)) as answer:
                    refused = answer.status in (401, 403)
                    assert refused == (route.role not in may), (role, route.path, answer.status)


async def test_the_admin_token_of_the_first_start_works(closed: Node) -> None:
    token = read_token(closed.config.data_dir / "admin.token")
    async with session(closed, token) as http, http.get("/api/v1/tokens") as answer:
        assert answer.status == 200
        text = await answer.text()
    assert token not in text
    assert "hash" not in text


async def test_a_read_token_runs_reading_statements_only(closed: Node) -> None:
    _, token = closed.authenticator.tokens.create("r", READ)
    async with session(closed, token) as http:
        for statement, status in (
            ("SHOW TEMPLATES", 200), ("SELECT 1", 200), ("DESCRIBE pump", 200),
            ("CREATE DATABASE root.x", 403),
            ("INSERT INTO root.plant.edge.p USING pump TAGS ('a') VALUES (1, 1, 1, true, '')", 403),
            ("SELECT 1; CREATE DATABASE root.x", 403),
        ):  # fmt: skip
            async with http.post("/api/v1/sql", json={"sql": statement}) as answer:
                assert answer.status == status, (statement, await answer.text())
    assert [d.name for d in closed.engine.databases if d.name == "root.x"] == []


async def test_pages_of_other_sites_are_refused(node: Node) -> None:
    url = f"http://127.0.0.1:{node.port}/api/v1/status"
    async with aiohttp.ClientSession() as http:
        async with http.get(url, headers={"Host": "evil.example"}) as answer:
            assert answer.status == 401
        async with http.get(url, headers={"Sec-Fetch-Site": "cross-site"}) as answer:
            assert answer.status == 403
        async with http.get(url, headers={"Sec-Fetch-Site": "same-origin"}) as answer:
            assert answer.status == 200
            assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", None])
async def test_bodies_that_a_form_could_send_are_refused(
    http: aiohttp.ClientSession, media: str | None
) -> None:
    skip = ["Content-Type"] if media is None else []
    headers = {} if media is None else {"Content-Type": media}
    async with http.post(
        "/api/v1/sql", data=b'{"sql": "SELECT 1"}', headers=headers, skip_auto_headers=skip
    ) as answer:
        assert answer.status == 415
        assert (await answer.json())["error"]["field"] == "Content-Type"


async def test_every_answer_has_the_headers_of_a_careful_server(
    http: aiohttp.ClientSession,
) -> None:
    for path in ("/", "/app.js", "/api/v1/status", "/no-such-thing", "/health"):
        async with http.get(path) as answer:
            assert answer.headers["X-Content-Type-Options"] == "nosniff", path
            policy = answer.headers["Content-Security-Policy"]
            assert "script-src 'self'" in policy
            assert "unsafe" not in policy
            assert answer.headers["Server"] == "mainstem"


async def test_unknown_routes_and_methods_are_json_errors(http: aiohttp.ClientSession) -> None:
    async with http.get("/nope") as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (404, "NO_ROUTE")
    async with http.delete("/api/v1/status") as answer:
        assert answer.status == 405
        assert "GET" in answer.headers["Allow"]


async def test_a_body_over_its_limit_is_refused_before_it_is_read(
    http: aiohttp.ClientSession,
) -> None:
    body = io.BytesIO(b'{"sql": "' + b"x" * 2_000_000 + b'"}')
    async with http.post(
        "/api/v1/sql", data=body, headers={"Content-Type": "application/json"}
    ) as answer:
        assert answer.status == 413
    headers = {"Content-Type": "application/json", "Content-Length": str(33 << 20)}
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(http))
    lines = ["POST /api/v1/write HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    await writer.drain()
    status = await asyncio.wait_for(reader.readline(), 10)
    assert b" 413 " in status
    writer.close()
    await writer.wait_closed()


def port_of(http: aiohttp.ClientSession) -> int:
    base = http._base_url
    assert base is not None
    assert base.port is not None
    return base.port


async def test_a_gzip_bomb_stays_small(http: aiohttp.ClientSession) -> None:
    bomb = gzip.compress(b" " * (64 << 20))
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    async with http.post("/api/v1/write", data=bomb, headers=headers) as answer:
        assert answer.status == 413
    async with http.post("/api/v1/sql", data=bomb, headers=headers) as answer:
        assert answer.status == 413


async def test_gzip_is_understood_and_other_encodings_are_not(
    http: aiohttp.ClientSession,
) -> None:
    body = gzip.compress(b'{"sql": "SELECT 1 AS one"}')
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    async with http.post("/api/v1/sql", data=body, headers=headers) as answer:
        assert (await answer.json())["rows"] == [[1]]
    for bad, status in ((b"no gzip", 400), (body[:-4], 400), (body + b"x", 400)):
        async with http.post("/api/v1/sql", data=bad, headers=headers) as answer:
            assert answer.status == status
    headers["Content-Encoding"] = "br"
    async with http.post("/api/v1/sql", data=body, headers=headers) as answer:
        assert answer.status == 415


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[1]", b"nope", b"\xff", b'{"sql": NaN}', b"[" * 100_000, b'{"a":' * 50_000],
)
async def test_what_is_no_json_is_a_400(http: aiohttp.ClientSession, body: bytes) -> None:
    for path in ("/api/v1/sql", "/api/v1/write", "/api/v1/nodes", "/api/v1/tokens"):
        async with http.post(
            path, data=body, headers={"Content-Type": "application/json"}
        ) as answer:
            assert answer.status == 400, (path, await answer.text())


async def test_a_half_sent_body_is_given_up(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainstem_node.api.route.RECEIVE_S_MAX", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write(
        b"POST /api/v1/sql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: 100\r\n\r\n{"
    )
    await writer.drain()
    assert b" 408 " in await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    await writer.wait_closed()


async def test_half_sent_headers_are_given_up(
    start_node: StartNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainstem_node.server.IDLE_S_MAX", 0.05)
    node = await start_node()
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write(b"GET /health HTTP/1.1\r\nHost: ")
    await writer.drain()
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()
    await writer.wait_closed()
