"""The write protocol of InfluxDB: what is stored, what is put aside, and what clients are told."""

from __future__ import annotations

import gzip
import io
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from mainstem_engine.errors import LogFailedError, OverloadedError, SchemaError
from mainstem_engine.model import ColumnType
from mainstem_node.auth import READ, WRITE
from mainstem_node.line_protocol.storing import LineStore
from mainstem_node.node import Node
from mainstem_sync.state import accounting

StartNode = Callable[..., Awaitable[Node]]
T = 1_700_000_040_000_000_000


async def send(
    http: aiohttp.ClientSession, lines: str | bytes, query: str = "?db=plant", **headers: str
) -> tuple[int, Any]:
    data = io.BytesIO(lines.encode() if isinstance(lines, str) else lines)
    async with http.post(f"/write{query}", data=data, headers=headers) as answer:
        return answer.status, await answer.json() if answer.content_length else None


async def send_2(
    http: aiohttp.ClientSession, lines: str, query: str = "?org=o&bucket=plant"
) -> tuple[int, Any]:
    async with http.post(f"/api/v2/write{query}", data=lines.encode()) as answer:
        return answer.status, await answer.json() if answer.content_length else None


def rows(node: Node, table: str) -> list[dict[str, Any]]:
    found = node.engine.sql(f"SELECT * FROM {table} ORDER BY time, device")
    names = [str(column["name"]) for column in found.columns]
    return [dict(zip(names, row, strict=True)) for row in found.rows()]


def aside(node: Node) -> list[tuple[str, str, str]]:
    items = node.federation.quarantine.items()
    return sorted((item["table"], item["measurement"] or "", item["reason"]) for item in items)


async def test_measurements_become_templates(node: Node, http: aiohttp.ClientSession) -> None:
    lines = (
        f'cpu,host=a,cpu=cpu0 usage=1.5,n=3i,u=4u,on=t,note="x y" {T}\n'
        f"cpu,cpu=cpu0,host=a usage=2 {T + 10**9}\n"
        f"mem free=12i {T}\n"
    )
    assert await send(http, lines) == (204, None)
    first, second = rows(node, "cpu")
    assert first["device"] == "root.plant.edge.cpu.cpu0.a"  # values in the order of the keys
    assert (first["host"], first["cpu"]) == ("a", "cpu0")
    assert [first[name] for name in ("usage", "n", "u", "on", "note")] == [1.5, 3, 4, True, "x y"]
    assert (second["usage"], second["n"]) == (2.0, None)
    assert rows(node, "mem")[0]["device"] == "root.plant.edge.mem"
    types = {m.name: m.type for m in node.engine.catalog.table("cpu").shown}
    assert types == {
        "usage": ColumnType.DOUBLE, "n": ColumnType.INT64, "u": ColumnType.UINT64,
        "on": ColumnType.BOOLEAN, "note": ColumnType.TEXT,
    }  # fmt: skip
    assert accounting.check(node.federation.accounting()) == []
    assert node.engine.durable_lsn >= node.engine.committed_lsn


async def test_columns_and_tags_are_added_at_first_sight(
    node: Node, http: aiohttp.ClientSession
) -> None:
    assert (await send(http, f"m a=1 {T}"))[0] == 204
    assert (await send(http, f"m,line=x b=2i {T}"))[0] == 204
    table = node.engine.catalog.table("m")
    assert [m.name for m in table.shown] == ["a", "b"]
    assert [tag.name for tag in table.template.tags] == ["line"]
    assert [(r["device"], r["a"], r["b"]) for r in rows(node, "m")] == [
        ("root.plant.edge.m", 1.0, None), ("root.plant.edge.m.x", None, 2),
    ]  # fmt: skip


async def test_numbers_of_several_types_in_one_request_are_doubles(
    node: Node, http: aiohttp.ClientSession
) -> None:
    assert (await send(http, f"m,t=a f=1i {T}\nm,t=b f=1.5 {T}"))[0] == 204
    assert [row["f"] for row in rows(node, "m")] == [1.0, 1.5]


async def test_times(node: Node, http: aiohttp.ClientSession) -> None:
    for name, unit in (("ns", 1), ("u", 1000), ("ms", 10**6), ("s", 10**9)):
        status, _ = await send(http, f"m,p={name} f=1 {T // unit}", f"?db=x&precision={name}")
        assert status == 204
    assert {row["time"] for row in rows(node, "m")} == {T // 10**6}
    before = node.clock_ns() // 10**6
    assert (await send(http, "now f=1"))[0] == 204
    assert before <= rows(node, "now")[0]["time"] <= node.clock_ns() // 10**6
    status, body = await send(http, "m f=1", "?db=x&precision=fortnight")
    assert status == 400
    assert "precision" in body["error"]


async def test_names_that_a_path_cannot_hold(node: Node, http: aiohttp.ClientSession) -> None:
    lines = (
        f"disk,device=sda1,path=/var/log free=1i,time=5 {T}\n"
        f"disk,device=sda1,path=%2Fvar%2Flog free=2i {T}\n"
        f"disk,device=a.b,path=.. free=3i {T}\n"
    )
    assert await send(http, lines) == (204, None)
    found = {row["device"]: row for row in rows(node, "disk")}
    assert sorted(found) == [
        "root.plant.edge.disk.`a.b`.`.%2E`",
        "root.plant.edge.disk.sda1.%252Fvar%252Flog",
        "root.plant.edge.disk.sda1.%2Fvar%2Flog",
    ]
    row = found["root.plant.edge.disk.sda1.%2Fvar%2Flog"]
    assert (row["device_tag"], row["path"], row["time_value"]) == ("sda1", "/var/log", 5.0)


async def test_a_bad_line_costs_that_line(node: Node, http: aiohttp.ClientSession) -> None:
    lines = f"m f=1 {T}\nm f=\nbroken\nm f=2 {T + 10**9}\n"
    assert await send(http, lines) == (204, None)
    assert [row["f"] for row in rows(node, "m")] == [1.0, 2.0]
    items = node.federation.quarantine.items()
    assert {(item["table"], item["reason"]) for item in items} == {
        ("m", "malformed"), ("", "malformed"),
    }  # fmt: skip
    assert any(str(item["value"]).startswith("line 2: ") for item in items)
    assert any(str(item["value"]) == "line 3: no fields: broken" for item in items)
    sums = node.federation.accounting()
    assert accounting.check(sums) == []
    assert sums["m"]["intake"] == {
        "received": 3, "accepted": 2, "filtered": 0, "quarantined": 1, "refused": 0,
    }  # fmt: skip


async def test_version_1_is_told_when_it_asks_or_nothing_is_stored(
    node: Node, http: aiohttp.ClientSession
) -> None:
    status, body = await send(http, f"m f=1 {T}\nm f=\n", "?db=x&strict=1")
    assert status == 400
    assert body["error"].startswith("partial write: unable to parse line 2 'm f='")
    assert len(rows(node, "m")) == 1
    status, body = await send(http, "nothing of use")
    assert (status, "unable to parse line 1" in body["error"]) == (400, True)
    assert len(node.federation.quarantine.items()) == 2


async def test_version_2_is_told_unless_it_does_not_want_to(
    node: Node, http: aiohttp.ClientSession
) -> None:
    status, body = await send_2(http, f"m f=1 {T}\nm f=\n")
    assert (status, body["code"], body["line"]) == (400, "invalid", 2)
    assert "partial write" in body["message"]
    assert len(rows(node, "m")) == 1
    status, _ = await send_2(http, f"m f=2 {T}\nm f=\n", "?bucket=plant&strict=0")
    assert status == 204
    assert rows(node, "m")[0]["f"] == 2.0


async def test_a_value_of_another_type_costs_that_value(
    node: Node, http: aiohttp.ClientSession
) -> None:
    assert (await send(http, f"m a=1i,b=1 {T}"))[0] == 204
    assert await send(http, f'm a=1.5,b=2 {T + 10**9}\nm a="x" {T + 2 * 10**9}') == (204, None)
    assert [(row["a"], row["b"]) for row in rows(node, "m")] == [(1, 1.0), (None, 2.0)]
    assert aside(node) == [("m", "a", "out_of_range"), ("m", "a", "wrong_type")]
    sums = node.federation.accounting()
    assert accounting.check(sums) == []
    assert sums["m"]["intake"]["quarantined"] == 1  # the row that had nothing else
    assert sums["m"]["values_quarantined"] == 2


async def test_a_declared_template_is_not_extended(node: Node, http: aiohttp.ClientSession) -> None:
    assert await send(http, f"pump,line=l1 flow=1,other=2 {T}") == (204, None)
    (row,) = rows(node, "pump")
    assert (row["device"], row["line"], row["flow"]) == ("root.plant.edge.pump.l1", "l1", 1.0)
    assert aside(node) == [("pump", "other", "unknown_measurement")]


async def test_without_auto_template_nothing_is_made(start_node: StartNode) -> None:
    node = await start_node(intake={"auto_template": False})
    async with aiohttp.ClientSession(f"http://127.0.0.1:{node.port}") as http:
        assert await send(http, f"pump flow=1 {T}\ncpu,host=a f=1 {T}") == (204, None)
        status, body = await send(http, f"cpu,host=a f=1 {T}")
    assert (status, "unknown_template" in body["error"]) == (400, True)
    assert node.engine.catalog.templates.find("cpu") is None
    assert aside(node)[0] == ("", "", "unknown_template")
    assert len(rows(node, "pump")) == 1


async def test_a_platform_makes_no_templates_unless_told(start_node: StartNode) -> None:
    node = await start_node(id="plant", tier="platform")
    async with aiohttp.ClientSession(f"http://127.0.0.1:{node.port}") as http:
        assert (await send(http, f"cpu f=1 {T}"))[0] == 400
        assert (await send(http, f"pump flow=1 {T}"))[0] == 204


async def test_rows_of_another_node_are_put_aside(start_node: StartNode) -> None:
    other = {
        "id": "other", "tier": "edge", "listen": "127.0.0.1:1", "data_dir": "other",
        "paths": ["root.plant.edge.cpu.b"],
    }  # fmt: skip
    node = await start_node(others=[other])
    async with aiohttp.ClientSession(f"http://127.0.0.1:{node.port}") as http:
        assert (await send(http, f"cpu,host=a f=1 {T}\ncpu,host=b f=2 {T}"))[0] == 204
    assert [row["f"] for row in rows(node, "cpu")] == [1.0]
    assert aside(node) == [("cpu", "", "not_owner")]
    assert accounting.check(node.federation.accounting()) == []


async def test_new_devices_above_the_bound_are_put_aside(start_node: StartNode) -> None:
    node = await start_node(intake={"max_new_devices_per_minute": 3})
    async with aiohttp.ClientSession(f"http://127.0.0.1:{node.port}") as http:
        lines = "\n".join(f"cpu,host=h{n} f={n} {T}" for n in range(5))
        assert (await send(http, lines))[0] == 204
        assert (await send(http, lines))[0] == 204
    assert [row["f"] for row in rows(node, "cpu")] == [0.0, 1.0, 2.0]
    assert set(aside(node)) == {("cpu", "", "device_limit")}


async def test_series_with_the_same_values_under_other_keys_are_kept_apart(
    node: Node, http: aiohttp.ClientSession
) -> None:
    assert (await send(http, f"m,a=x f=1 {T}"))[0] == 204
    assert (await send(http, f"m,b=x f=2 {T}\nm,a=x f=3 {T + 10**9}"))[0] == 204
    assert [row["f"] for row in rows(node, "m")] == [1.0, 3.0]
    assert aside(node) == [("m", "", "tags_differ")]


async def test_what_is_too_old_is_put_aside(start_node: StartNode) -> None:
    node = await start_node(databases={"root.plant": {"keep": "10d", "duration": "1d"}})
    now = node.clock_ns()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{node.port}") as http:
        assert (await send(http, f"m f=1 {T}\nm f=2 {now}"))[0] == 204
    assert [row["f"] for row in rows(node, "m")] == [2.0]
    assert aside(node) == [("m", "", "expired")]
    assert accounting.check(node.federation.accounting()) == []


async def test_without_paths_the_database_is_the_prefix(start_node: StartNode) -> None:
    node = await start_node(paths=[])
    async with aiohttp.ClientSession(f"http://127.0.0.1:{node.port}") as http:
        async with http.post("/query", data={"q": 'CREATE DATABASE "power"'}) as answer:
            assert (answer.status, await answer.json()) == (200, {"results": [{"statement_id": 0}]})
        assert (await send(http, f"m,t=a f=1 {T}", "?db=power"))[0] == 204
        assert (await send_2(http, f"m,t=a f=1 {T}", "?bucket=other/autogen"))[0] == 204
        async with http.get("/query", params={"q": "SHOW DATABASES"}) as answer:
            (result,) = (await answer.json())["results"]
    assert ["power"] in result["series"][0]["values"]
    assert [row["device"] for row in rows(node, "m")] == ["root.other.m.a", "root.power.m.a"]


async def test_other_queries_are_refused_with_the_way_to_sql(http: aiohttp.ClientSession) -> None:
    for query in ("SELECT * FROM cpu", "SHOW MEASUREMENTS", "DROP DATABASE x", ""):
        async with http.post("/query", params={"q": query}) as answer:
            assert answer.status == 400
            assert "/api/v1/sql" in (await answer.json())["error"]
    async with http.get("/query", params={"q": "CREATE DATABASE x"}) as answer:
        assert answer.status == 400


async def test_a_ping_has_a_version(http: aiohttp.ClientSession) -> None:
    for method in ("GET", "HEAD"):
        async with http.request(method, "/ping") as answer:
            assert answer.status == 204
            assert answer.headers["X-Influxdb-Version"].startswith("1.8")
            assert answer.headers["X-Influxdb-Build"] == "mainstem"


async def test_bodies_have_bounds(http: aiohttp.ClientSession) -> None:
    status, body = await send(http, b"m f=1 1\n" * (5 << 20))
    assert (status, "larger than" in body["error"]) == (413, True)
    packed = gzip.compress(b"m f=1 1\n" * (5 << 20))
    status, _ = await send(http, packed, **{"Content-Encoding": "gzip"})
    assert status == 413
    status, body = await send(http, b"m f=1", **{"Content-Encoding": "br"})
    assert (status, isinstance(body["error"], str)) == (415, True)
    status, body = await send(http, b"m f=1", "")
    assert (status, body["error"].startswith("database is required")) == (400, True)


async def test_what_the_engine_refuses_after_all_is_put_aside(
    node: Node, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent again it would not fit either, and would stand in the way of all that follows."""
    assert (await send(http, f"m f=1 {T}"))[0] == 204
    write_rows = node.engine.write_rows

    def refuse(table: Any, some: Any, **more: Any) -> Any:
        if len(some):
            raise SchemaError("it has changed meanwhile")
        return write_rows(table, some, **more)

    monkeypatch.setattr(node.engine, "write_rows", refuse)
    assert (await send(http, f"m f=2 {T + 10**9}"))[0] == 400
    assert len(rows(node, "m")) == 1
    assert aside(node) == [("m", "", "refused_by_store")]
    assert accounting.check(node.federation.accounting()) == []


@pytest.mark.parametrize(
    ("error", "status"),
    [(OverloadedError("full", retry_after_s=3), 503), (LogFailedError("disk"), 503),
     (ValueError("a secret detail"), 500)],
)  # fmt: skip
async def test_what_may_succeed_later_is_503(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(LineStore, "store", fail)
    async with http.post("/write?db=x", data=b"m f=1") as answer:
        assert answer.status == status
        assert ("Retry-After" in answer.headers) == (status == 503)
        assert "secret" not in (await answer.json())["error"]
    async with http.post("/api/v2/write?bucket=x", data=b"m f=1") as answer:
        assert answer.status == status
        body = await answer.json()
        assert body["code"] == ("unavailable" if status == 503 else "internal error")


@pytest.fixture
async def closed(start_node: StartNode) -> AsyncIterator[tuple[Node, aiohttp.ClientSession]]:
    """A node that wants a credential even from this machine."""
    node = await start_node(auth={"loopback": "closed"})
    async with aiohttp.ClientSession(f"http://127.0.0.1:{node.port}") as http:
        yield node, http


async def test_credentials(closed: tuple[Node, aiohttp.ClientSession]) -> None:
    node, http = closed
    _, token = node.authenticator.tokens.create("telegraf", WRITE)
    _, reader = node.authenticator.tokens.create("reader", READ)
    basic = b64encode(f"anybody:{token}".encode()).decode()
    for header in (f"Token {token}", f"Bearer {token}", f"Basic {basic}", f"Token x:{token}"):
        assert (await send(http, f"m f=1 {T}", Authorization=header))[0] == 204, header
    assert (await send(http, f"m f=1 {T}", f"?db=x&u=anybody&p={token}"))[0] == 204
    for header in ("Token wrong", "Basic wrong", "Digest x", f"Basic {token}"):
        status, body = await send(http, f"m f=1 {T}", Authorization=header)
        assert (status, isinstance(body["error"], str)) == (401, True), header
    assert (await send(http, f"m f=1 {T}"))[0] == 401
    assert (await send(http, f"m f=1 {T}", Authorization=f"Token {reader}"))[0] == 403
    assert (await send_2(http, f"m f=1 {T}"))[1]["code"] == "unauthorized"


async def test_where_none_is_needed_an_unknown_one_counts_as_none(
    http: aiohttp.ClientSession,
) -> None:
    """The clients of version 1 send root:root unasked."""
    basic = b64encode(b"root:root").decode()
    assert (await send(http, f"m f=1 {T}", Authorization=f"Basic {basic}"))[0] == 204
    assert (await send(http, f"m f=1 {T}", Authorization="Token my-token"))[0] == 204
    page = {"Sec-Fetch-Site": "cross-site", "Authorization": f"Basic {basic}"}
    assert (await send(http, f"m f=1 {T}", **page))[0] == 403
