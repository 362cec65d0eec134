"""Statements over HTTP that are large, unwanted, or more than a role may."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import aiohttp
import pyarrow as pa
import pytest

from mainstem_engine.sql.running.executors import WorkerExecutor
from mainstem_node.api import sql as sql_api
from mainstem_node.node import Node

from .conftest import StartNode

ARROW = "application/vnd.apache.arrow.stream"
ENDLESS = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"
MANY = "SELECT range AS x, 'row ' || range AS y FROM range({rows})"
WAIT_S = 20.0


async def ask(
    http: aiohttp.ClientSession, sql: str, accept: str = "application/json", **more: Any
) -> tuple[int, bytes]:
    async with http.post(
        "/api/v1/sql", json={"sql": sql, **more}, headers={"Accept": accept}
    ) as answer:
        return answer.status, await answer.read()


async def until(condition: Any) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - polled
            await asyncio.sleep(0.01)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers of some kilobytes are large ones."""
    monkeypatch.setattr(sql_api, "HELD_BYTES", 4096)
    monkeypatch.setattr(sql_api, "PART_BYTES", 4096)
    monkeypatch.setattr("mainstem_engine.sql.result.HEAD_BYTES", 4096)
    monkeypatch.setattr("mainstem_engine.sql.result.PIECE_BYTES", 4096)


@pytest.mark.usefixtures("small_pieces")
async def test_a_large_answer_comes_in_pieces_and_whole(http: aiohttp.ClientSession) -> None:
    rows = 50_000
    status, body = await ask(http, MANY.format(rows=rows), ARROW)
    table = pa.ipc.open_stream(io.BytesIO(body)).read_all()
    assert (status, table.num_rows) == (200, rows)
    assert table.column("x").to_pylist() == list(range(rows))
    status, body = await ask(http, MANY.format(rows=rows), "text/csv")
    lines = body.decode().splitlines()
    assert (status, len(lines)) == (200, rows + 1)
    assert (lines[0], lines[-1]) == ("x,y", f"{rows - 1},row {rows - 1}")
    status, body = await ask(http, MANY.format(rows=rows))
    found = json.loads(body)
    assert (status, found["row_count"], len(found["rows"])) == (200, rows, rows)
    assert found["rows"][-1] == [rows - 1, f"row {rows - 1}"]


@pytest.mark.usefixtures("small_pieces")
async def test_half_an_answer_is_never_taken_for_a_whole_one(
    start_node: StartNode,
) -> None:
    node = await start_node(sql={"admin": {"row_limit": 40_000}})
    async with aiohttp.ClientSession(f"http://127.0.0.1:{node.port}") as http:
        for accept in (ARROW, "text/csv"):
            with pytest.raises(aiohttp.ClientError):
                await ask(http, MANY.format(rows=50_000), accept)
        status, body = await ask(http, MANY.format(rows=50_000))
        assert (status, json.loads(body)["error"]["code"]) == (422, "SQL_LIMIT")
        assert (await ask(http, "SELECT 1"))[0] == 200


async def test_a_client_that_goes_away_ends_its_statement(
    node: Node, http: aiohttp.ClientSession, sql_processes: WorkerExecutor
) -> None:
    asking = asyncio.ensure_future(ask(http, ENDLESS))
    await until(lambda: sql_processes.statistics().busy == 1)
    asking.cancel()
    await until(lambda: sql_processes.statistics().busy == 0)
    assert node.runtime.sql_workers.statistics().busy == 0


@pytest.mark.usefixtures("small_pieces")
async def test_a_client_that_stops_reading_ends_its_statement_too(
    http: aiohttp.ClientSession, sql_processes: WorkerExecutor
) -> None:
    body = {"sql": MANY.format(rows=900_000)}
    async with http.post("/api/v1/sql", json=body, headers={"Accept": ARROW}) as answer:
        assert answer.status == 200
        await answer.content.readany()
        assert sql_processes.statistics().busy == 1
        answer.close()
    await until(lambda: sql_processes.statistics().busy == 0)


async def test_roles_have_limits_of_their_own(start_node: StartNode) -> None:
    limits = {"row_limit": 10, "timeout": "60s", "memory_limit": "64MiB", "concurrency": 1}
    node = await start_node(sql={"read": limits})
    tokens = node.authenticator.tokens
    _, token = tokens.create("reader", "read")
    headers = {"Authorization": f"Bearer {token}"}
    hungry = "SELECT length(list(r)) FROM range(10000000) t(r)"
    async with aiohttp.ClientSession(f"http://127.0.0.1:{node.port}", headers=headers) as http:
        cases: list[tuple[str, int, dict[str, Any]]] = [
            ("SELECT * FROM range(10)", 200, {}),
            ("SELECT * FROM range(11)", 422, {}),
            (hungry, 422, {}),
            ("SELECT 1", 400, {"timeout_ms": 60_001}),
            ("DELETE FROM pump", 403, {}),
        ]
        for statement, status, more in cases:
            assert (await ask(http, statement, **more))[0] == status, statement
    async with aiohttp.ClientSession(f"http://127.0.0.1:{node.port}") as http:
        assert (await ask(http, "SELECT * FROM range(11)"))[0] == 200
        assert (await ask(http, hungry))[0] == 200


async def test_only_an_admin_has_parts_looked_after(start_node: StartNode) -> None:
    node = await start_node()
    url = f"http://127.0.0.1:{node.port}"
    statements = ("FLUSH", "COMPACT DATABASE main", "TRIM DATABASE main")
    for role, status in (("read", 403), ("write", 403), ("admin", 200)):
        _, token = node.authenticator.tokens.create(f"a {role}", role)
        headers = {"Authorization": f"Bearer {token}"}
        async with aiohttp.ClientSession(url, headers=headers) as http:
            for statement in statements:
                assert (await ask(http, statement))[0] == status, (role, statement)


@pytest.mark.usefixtures("small_pieces")
async def test_rows_of_a_query_are_inserted_in_pieces(http: aiohttp.ClientSession) -> None:
    rows = 50_000
    assert (await ask(http, "CREATE TABLE a (ts TIMESTAMP, v INT64)"))[0] == 200
    status, body = await ask(http, f"INSERT INTO a SELECT range, range FROM range({rows})")
    assert (status, json.loads(body)["rows_affected"]) == (200, rows)
    status, body = await ask(http, "INSERT INTO a SELECT ts, v + 1 FROM a")
    assert (status, json.loads(body)["rows_affected"]) == (200, rows)
    status, body = await ask(http, "SELECT count(*), sum(v) FROM a")
    assert json.loads(body)["rows"] == [[rows, rows * (rows + 1) // 2]]


async def test_status_says_what_confines_statements(
    start_node: StartNode, http: aiohttp.ClientSession
) -> None:
    await ask(http, "SELECT 1")
    async with http.get("/api/v1/status") as answer:
        found = (await answer.json())["sql"]
    assert set(found) == {
        "processes", "running", "waiting", "refused", "confinement", "kept_answers",
    }  # fmt: skip
    assert found["kept_answers"] == {"answers": 0, "bytes": 0, "held": 0, "made": 0}


async def test_a_condition_that_runs_in_the_node_cannot_grow(filled: aiohttp.ClientSession) -> None:
    status, body = await ask(filled, "DELETE FROM pump WHERE length(repeat(note, 1000000000)) > 1")
    assert (status, json.loads(body)["error"]["code"]) == (400, "SQL_UNSUPPORTED")
    status, body = await ask(filled, "DELETE FROM pump WHERE abs(flow) > 70 AND count IS NOT NULL")
    assert (status, json.loads(body)["rows_affected"]) == (200, 18)
