"""Statements over HTTP: the three formats, completeness, errors with the right status."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from typing import Any

import aiohttp
import pyarrow as pa
import pytest

from mainstem_node.api.sql_answers import completeness_header
from mainstem_node.node import Node
from mainstem_node.statements import incomplete

T0 = 1_700_000_040_000
ARROW = "application/vnd.apache.arrow.stream"


async def ask(http: aiohttp.ClientSession, sql: str, **more: Any) -> tuple[int, dict[str, Any]]:
    async with http.post("/api/v1/sql", json={"sql": sql, **more}) as answer:
        return answer.status, await answer.json()


async def test_the_json_answer_has_the_keys_of_the_contract(filled: aiohttp.ClientSession) -> None:
    status, body = await ask(
        filled,
        "SELECT time, device, flow, count, running FROM pump WHERE count = 3 ORDER BY device",
    )
    assert status == 200
    assert set(body) >= {
        "columns", "rows", "row_count", "elapsed_ms", "rows_affected", "warnings", "completeness",
    }  # fmt: skip
    assert body["rows"] == [
        [T0 + 3000, "root.plant.edge.p1", 1.5, 3, False],
        [T0 + 3000, "root.plant.edge.p2", 1.5, 3, False],
    ]
    assert body["row_count"] == 2
    flow = next(column for column in body["columns"] if column["name"] == "flow")
    assert flow == {"name": "flow", "type": "DOUBLE", "unit": "l/min", "zone": None}
    time = body["columns"][0]
    assert (time["unit"], time["zone"]) == ("ms", "UTC")
    assert [c["table"] for c in body["completeness"]] == ["pump"]


async def test_parameters_zones_and_time_formats(filled: aiohttp.ClientSession) -> None:
    status, body = await ask(
        filled,
        "SELECT time FROM pump WHERE device = ? AND time < '2023-11-14 17:14:01'",
        params=["root.plant.edge.p1"],
        time_zone="America/New_York",
        time_format="rfc3339",
    )
    assert status == 200, body
    assert body["rows"] == [["2023-11-14T17:14:00.000-05:00"]]


async def test_numbers_that_json_lacks_are_texts(http: aiohttp.ClientSession) -> None:
    status, body = await ask(
        http,
        "SELECT 'nan'::DOUBLE AS a, 'inf'::DOUBLE AS b, '-inf'::FLOAT AS c, 9007199254740993 AS d,"
        " 18446744073709551615::UBIGINT AS e, '\\x00\\x01'::BLOB AS f, NULL AS g,"
        " ['nan'::DOUBLE, 1] AS h",
    )
    assert status == 200, body
    assert body["rows"] == [
        ["NaN", "Infinity", "-Infinity", 9007199254740993, 18446744073709551615, "AAE=", None,
         ["NaN", 1.0]],
    ]  # fmt: skip


async def test_csv(filled: aiohttp.ClientSession) -> None:
    async with filled.post(
        "/api/v1/sql",
        json={"sql": "SELECT time, flow, note FROM root.plant.edge.p1 LIMIT 2"},
        headers={"Accept": "text/csv"},
    ) as answer:
        assert answer.content_type == "text/csv"
        found = json.loads(answer.headers["Mainstem-Completeness"])
        rows = list(csv.reader(io.StringIO(await answer.text())))
    assert rows == [["time", "flow", "note"], [str(T0), "0.0", ""], [str(T0 + 1000), "0.5", ""]]
    assert found[0]["table"] == "pump"


async def test_arrow(filled: aiohttp.ClientSession) -> None:
    async with filled.post(
        "/api/v1/sql",
        json={"sql": "SELECT time, flow FROM pump ORDER BY time, device"},
        headers={"Accept": ARROW},
    ) as answer:
        assert answer.content_type == ARROW
        table = pa.ipc.open_stream(await answer.read()).read_all()
    assert table.num_rows == 300
    assert json.loads(table.schema.metadata[b"mainstem.completeness"])[0]["table"] == "pump"


BAD_REQUESTS: list[tuple[dict[str, Any], Any, str | None, str | None]] = [
    ({"sql": "SELEC 1"}, 400, "SQL_SYNTAX", None),
    ({"sql": "SELECT * FROM nothing"}, 404, "NOT_FOUND", None),
    ({"sql": "SELECT nope FROM pump"}, (400, 404), None, None),
    ({"sql": "SELECT 1", "time_zone": "Mars"}, 400, None, None),
    ({"sql": "SELECT 1", "on_incomplete": "maybe"}, 400, "BAD_REQUEST", "on_incomplete"),
    ({"sql": "SELECT 1", "timeout_ms": 0}, 400, "BAD_REQUEST", "timeout_ms"),
    ({"sql": "SELECT 1", "timeout_ms": "1"}, 400, "BAD_REQUEST", "timeout_ms"),
    ({"sql": 5}, 400, "BAD_REQUEST", "sql"),
    ({"statement": "SELECT 1"}, 400, "BAD_REQUEST", None),
    ({"sql": "SELECT 1", "zone": "UTC"}, 400, "BAD_REQUEST", "zone"),
    ({"sql": "SELECT 1; DROP TABLE nope"}, 404, "NOT_FOUND", "root.main.nope"),
    ({"sql": "CREATE DATABASE root"}, 400, "SCHEMA", "root"),
    ({}, 400, "BAD_REQUEST", None),
    ({"sql": "SELECT * FROM read_csv('/etc/passwd')"}, 400, None, None),
    ({"sql": "COPY (SELECT 1) TO '/tmp/x'"}, 400, None, None),
    ({"sql": "SELECT ?"}, 400, None, None),
]


async def test_errors(http: aiohttp.ClientSession) -> None:
    for body, status, code, field in BAD_REQUESTS:
        async with http.post("/api/v1/sql", json=body) as answer:
            found = await answer.json()
            wanted = status if isinstance(status, tuple) else (status,)
            assert answer.status in wanted, (body, found)
        assert set(found["error"]) == {"code", "message", "field", "hint"}
        if code is not None:
            assert found["error"]["code"] == code, body
        if field is not None:
            assert found["error"]["field"] == field, body


async def test_definitions_and_inserts(http: aiohttp.ClientSession) -> None:
    for statement in (
        "CREATE STABLE meters (ts TIMESTAMP, current FLOAT) TAGS (location TEXT)",
        "INSERT INTO root.plant.edge.m1 USING meters TAGS ('hall') VALUES (1000, 1.5), (2000, 2.5)",
    ):
        status, body = await ask(http, statement)
        assert status == 200, body
    assert body["rows_affected"] == 2
    _, body = await ask(http, "SELECT sum(current) FROM meters")
    assert body["rows"] == [[4.0]]


async def test_an_insert_for_a_device_of_another_node_is_refused(node: Node) -> None:
    node.ownership.learn("paint", ["root.plant.paint"])
    async with aiohttp.ClientSession(f"http://127.0.0.1:{node.port}") as http:
        status, body = await ask(
            http, "INSERT INTO root.plant.paint.p USING pump TAGS ('x') VALUES (1, 1, 1, true, '')"
        )
    assert (status, body["error"]["code"]) == (403, "NOT_OWNER")
    assert "paint" in body["error"]["message"]
    assert node.engine.catalog.devices.id_of("root.plant.paint.p") is None


async def test_nothing_is_defined_for_a_device_of_another_node(node: Node) -> None:
    node.ownership.learn("paint", ["root.plant.paint"])
    before = len(node.engine.catalog.templates)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{node.port}") as http:
        for statement in (
            "INSERT INTO root.plant.paint.x(time, a) VALUES (1, 1)",
            "CREATE TIMESERIES root.plant.paint.x.a INT32",
            "CREATE TABLE root.plant.paint.x (ts TIMESTAMP, a INT)",
        ):
            status, body = await ask(http, statement)
            assert (status, body["error"]["code"]) == (403, "NOT_OWNER"), statement
    assert len(node.engine.catalog.templates) == before


class Known:
    """Stands in for what the federation knows: ``state`` of the table pump."""

    def __init__(self, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state = "incomplete"
        self.asked: list[Any] = []
        monkeypatch.setattr(node.federation, "completeness", self.completeness)

    def completeness(
        self, tables: Any = None, start: Any = None, end: Any = None
    ) -> list[dict[str, Any]]:
        self.asked.append((tables, start, end))
        return [{"node": "edge", "table": "pump", "state": self.state, "complete_through": None}]


@pytest.fixture
def known(node: Node, monkeypatch: pytest.MonkeyPatch) -> Known:
    return Known(node, monkeypatch)


async def test_fail_answers_409_with_the_object(
    filled: aiohttp.ClientSession, known: Known
) -> None:
    status, body = await ask(filled, "SELECT count(*) FROM pump", on_incomplete="fail")
    assert status == 409
    assert body["error"]["code"] == "INCOMPLETE"
    assert body["completeness"][0]["table"] == "pump"
    status, _ = await ask(filled, "SELECT 1", on_incomplete="fail")
    assert status == 200
    known.state = "complete"
    status, _ = await ask(filled, "SELECT count(*) FROM pump", on_incomplete="fail")
    assert status == 200


async def test_wait_answers_when_the_data_is_complete(
    filled: aiohttp.ClientSession, known: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainstem_node.api.sql.WAIT_POLL_S", 0.01)
    waiting = asyncio.ensure_future(
        ask(
            filled,
            f"SELECT count(*) FROM pump WHERE time >= {T0} AND time < {T0 + 60_000}",
            on_incomplete="wait",
        )
    )
    async with asyncio.timeout(30):
        while sum(tables == ["pump"] for tables, _, _ in known.asked) < 3:  # noqa: ASYNC110 - polled
            await asyncio.sleep(0.01)
    assert not waiting.done()
    known.state = "complete"
    status, body = await waiting
    assert (status, body["rows"]) == (200, [[120]])
    assert body["completeness"][0]["state"] == "complete"
    assert known.asked[-1] == (["pump"], T0 * 1_000_000, (T0 + 60_000) * 1_000_000)


async def test_wait_ends_with_the_time_out(filled: aiohttp.ClientSession, known: Known) -> None:
    status, body = await ask(
        filled, "SELECT count(*) FROM pump", on_incomplete="wait", timeout_ms=50
    )
    assert (status, body["error"]["code"]) == (409, "INCOMPLETE")


async def test_a_script_is_not_begun_again_to_wait(
    filled: aiohttp.ClientSession, known: Known
) -> None:
    script = "CREATE TABLE root.plant.edge.once (ts TIMESTAMP, a INT); SELECT count(*) FROM pump"
    status, body = await ask(filled, script, on_incomplete="wait", timeout_ms=20_000)
    assert (status, body["error"]["code"]) == (409, "INCOMPLETE")
    assert body["error"]["message"].startswith("statement 2 of 2, those before it stand: ")
    status, body = await ask(filled, "SHOW DEVICES WHERE tbname = 'once' OR tbname = 'twice'")
    assert [row[0] for row in body["rows"]] == ["root.plant.edge.once"]


async def test_a_statement_that_takes_too_long_is_ended(http: aiohttp.ClientSession) -> None:
    status, body = await ask(
        http, "SELECT sum(a.range * b.range) FROM range(1000000) a, range(1000000) b",
        timeout_ms=300,
    )  # fmt: skip
    assert body["error"]["code"] in ("SQL_TIMEOUT", "SQL_UNSUPPORTED", "SQL_LIMIT"), body
    assert status in (504, 400, 422)
    status, _ = await ask(http, "SELECT 1")
    assert status == 200


def test_what_counts_as_incomplete() -> None:
    def entry(state: str, table: str = "pump") -> dict[str, Any]:
        return {"node": "n", "table": table, "state": state}

    assert incomplete([entry("complete"), entry("retired")], ["PUMP"]) is None
    for state in ("incomplete", "not_held", "forked", "unknown"):
        assert incomplete([entry("complete"), entry(state)], ["pump"]) == [entry(state)]
    assert incomplete([], ["pump"]) == []
    assert incomplete([entry("complete")], ["pump", "pump_1m"]) == []
    assert incomplete([], []) is None


def test_a_long_header_becomes_a_summary() -> None:
    objects = [
        {"node": f"node{n}", "table": "t" * 50, "state": "complete", "complete_through": 1000 + n}
        for n in range(500)
    ]
    assert json.loads(completeness_header(objects)) == {
        "summary": {"complete": 500}, "complete_through": 1000,
    }  # fmt: skip
    assert json.loads(completeness_header(objects[:2])) == objects[:2]


async def test_rows_and_columns_are_changed(filled: aiohttp.ClientSession) -> None:
    status, body = await ask(filled, "DELETE FROM pump WHERE count % 2 = 1 AND line = 'p1'")
    assert (status, body["rows_affected"]) == (200, 75), body
    status, body = await ask(filled, "ALTER STABLE pump ADD COLUMN x FLOAT, RENAME flow TO f")
    assert status == 200, body
    status, body = await ask(filled, "SELECT count(f), count(x), count(*) FROM pump")
    assert body["rows"] == [[225, 0, 225]]


async def test_what_is_older_than_keep_is_refused(filled: aiohttp.ClientSession) -> None:
    assert (await ask(filled, "ALTER STABLE pump KEEP 30d"))[0] == 200
    insert = f"INSERT INTO root.plant.edge.p1(time, flow) VALUES ({T0}, 1)"
    status, body = await ask(filled, insert)
    assert (status, body["error"]["code"], body["error"]["field"]) == (
        400, "OUT_OF_RETENTION", "time",
    )  # fmt: skip
    assert (await ask(filled, "SELECT count(*) FROM pump"))[1]["rows"] == [[0]]


async def test_what_the_node_knows_is_listed(http: aiohttp.ClientSession) -> None:
    async def rows(subject: str) -> list[list[Any]]:
        status, body = await ask(http, f"SHOW {subject}")
        assert status == 200, body
        found: list[list[Any]] = body["rows"]
        return found

    ((name, tier, parent, path, *_),) = await rows("NODES")
    assert (name, tier, parent, path) == ("edge", "edge", None, "root.plant.edge")
    assert "maintenance" in {row[0] for row in await rows("JOBS")}
    assert await rows("QUARANTINE") == []
    assert await rows("STREAMS") == []
