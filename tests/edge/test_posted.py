"""Rows that programs post to a real edge, over HTTP and by SQL: ranges and alarm rules hold."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pyarrow as pa
import pytest
import yaml

from mainstem_edge import table_intake
from mainstem_edge.node import EdgeNode
from mainstem_edge.posted import EdgeRules
from mainstem_engine.errors import EngineError, LogFailedError, OverloadedError
from mainstem_engine.model import Rows
from mainstem_node.config import load_topology

T0_MS = 1_792_540_800_000
PATHS = ["line", "json", "arrow", "sql"]
ARROW = "application/vnd.apache.arrow.stream"
Http = aiohttp.ClientSession


def make_edge(place: Path, *, ruled: bool = True) -> EdgeNode:
    document = {
        "templates": {
            "press": {
                "measurements": {
                    "temperature": {"type": "DOUBLE", "range": [-40, 900]},
                    "turns": {"type": "INT64", "range": [0, None]},
                    "state": {"type": "TEXT"},
                    "level": {"type": "DOUBLE", "swinging_door": 0.5},
                    "flow": {"type": "DOUBLE", "deadband": 1.0},
                },
            },
            "plain": {"measurements": {"t": {"type": "DOUBLE"}}},
        },
        "nodes": [
            {
                "id": "edge", "tier": "edge", "listen": "127.0.0.1:0", "data_dir": "data",
                "auth": {"loopback": "open"}, "clock": {"future": "36500d"},
                "paths": ["root.plant"],
                "collectors": [
                    {"type": "http_push", "name": "scales", "template": "press",
                     "device": "root.plant.press"}
                ],
                "rules": [
                    {"name": "hot", "template": "press", "measurement": "temperature",
                     "above": 90, "hysteresis": 2}
                ] if ruled else [],
            }
        ],
    }  # fmt: skip
    path = place / "topology.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    topology = load_topology(path)
    return EdgeNode(topology, topology.nodes[0])


@asynccontextmanager
async def running(place: Path, **options: Any) -> AsyncIterator[tuple[EdgeNode, Http]]:
    async with AsyncExitStack() as stack:
        node = make_edge(place, **options)
        stack.push_async_callback(node.stop)
        await node.start()
        http = await stack.enter_async_context(Http(f"http://127.0.0.1:{node.port}/"))
        yield node, http


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[tuple[EdgeNode, Http]]:
    async with running(tmp_path) as found:
        yield found


async def answer_of(
    http: Http, path: str, body: Any, status: int = 200, kind: str = "application/json"
) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with http.post(path, data=data, headers={"Content-Type": kind}) as answer:
        text = await answer.text()
        assert answer.status == status, (answer.status, text)
        return json.loads(text) if text else {}


async def by_line(http: Http, at: int, value: float, status: int | None = None) -> Any:
    # Of a tag `id` alone nothing is left over: the device is PREFIX.MEASUREMENT.VALUE.
    line = f"press,id=m7 temperature={value} {T0_MS + at}".encode()
    return await answer_of(http, "api/v2/write?bucket=b&precision=ms", line, status or 204)


async def by_json(http: Http, at: int, value: float, status: int | None = None) -> Any:
    row = {"time": T0_MS + at, "temperature": value}
    group = {"template": "press", "device": "root.plant.press.m7", "rows": [row]}
    return await answer_of(http, "api/v1/write", group, status or 200)


async def by_arrow(http: Http, at: int, value: float, status: int | None = None) -> Any:
    time = pa.array([(T0_MS + at) * 1_000_000], pa.timestamp("ns", "UTC"))
    columns = {"time": time, "device": ["root.plant.press.m7"], "temperature": [float(value)]}
    table, sink = pa.table(columns), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    body = sink.getvalue().to_pybytes()
    return await answer_of(http, "api/v1/write?template=press", body, status or 200, ARROW)


async def by_sql(http: Http, at: int, value: float, status: int | None = None) -> Any:
    sql = (
        "INSERT INTO press (device, time, temperature)"
        f" VALUES ('root.plant.press.m7', {T0_MS + at}, {value})"
    )
    return await answer_of(http, "api/v1/sql", {"sql": sql}, status or 200)


Post = Callable[..., Awaitable[Any]]
POSTS: dict[str, Post] = {"line": by_line, "json": by_json, "arrow": by_arrow, "sql": by_sql}


def rows(node: EdgeNode, template: str = "press", *names: str) -> list[list[Any]]:
    found = node.engine.scan(template).read_all().to_pylist()
    return [[row[name] for name in names] for row in found]


def alarms(node: EdgeNode) -> list[bool]:
    """Raised or not, in order of time."""
    if node.engine.catalog.templates.find("alarms") is None:
        return []
    found = node.engine.scan("alarms").read_all().to_pylist()
    return [row["raised"] for row in sorted(found, key=lambda row: row["time"])]


def put_aside(node: EdgeNode) -> list[tuple[str, str, Any]]:
    listed = node.federation.quarantine.items()
    return sorted((each["measurement"], each["reason"], each["value"]) for each in listed)


async def accounts(http: Http) -> dict[str, int]:
    async with http.get("api/v1/status") as answer:
        found = (await answer.json())["accounting"]["press"]["intake"]
    assert found["received"] == (
        found["accepted"] + found["filtered"] + found["quarantined"] + found["refused"]
    )
    return {name: found[name] for name in ("received", "accepted", "quarantined")}


@pytest.mark.parametrize("path", PATHS)
async def test_a_posted_value_raises_an_alarm_and_clears_it(
    edge: tuple[EdgeNode, Http], path: str
) -> None:
    node, http = edge
    for at, value in enumerate((80, 95, 91, 87.5, 85)):
        await POSTS[path](http, at, value)
    assert alarms(node) == [True, False]
    assert rows(node, "press", "temperature") == [[80], [95], [91], [87.5], [85]]


@pytest.mark.parametrize("path", PATHS)
async def test_an_alarm_stands_over_a_restart(tmp_path: Path, path: str) -> None:
    async with running(tmp_path) as (node, http):
        await POSTS[path](http, 0, 95)
        assert alarms(node) == [True]
    async with running(tmp_path) as (node, http):
        await POSTS[path](http, 1, 96)
        assert alarms(node) == [True]
        await POSTS[path](http, 2, 50)
        assert alarms(node) == [True, False]


async def test_values_outside_their_range_are_put_aside(edge: tuple[EdgeNode, Http]) -> None:
    """One by one: the rest of the row is stored; a row without another value is not."""
    node, http = edge
    lines = "\n".join(
        f"press,id=m7 {fields} {T0_MS + at}"
        for at, fields in enumerate(
            ("temperature=20,turns=1i", "temperature=901,turns=2i", "temperature=-41",
             "temperature=900", "temperature=-40,turns=-1i")
        )
    )  # fmt: skip
    said = await answer_of(http, "api/v2/write?bucket=b&precision=ms", lines.encode(), 400)
    assert "out_of_range" in json.dumps(said)
    kept = [[20, 1], [None, 2], [900, None], [-40, None]]
    assert rows(node, "press", "temperature", "turns") == kept
    aside = [("temperature", "out_of_range", -41), ("temperature", "out_of_range", 901),
             ("turns", "out_of_range", -1)]  # fmt: skip
    assert put_aside(node) == aside
    assert await accounts(http) == {"received": 5, "accepted": 4, "quarantined": 1}
    assert alarms(node) == [True, False]  # 900 raises; what was put aside is no value


@pytest.mark.parametrize("path", ["json", "arrow"])
async def test_the_answer_lists_what_was_put_aside(edge: tuple[EdgeNode, Http], path: str) -> None:
    node, http = edge
    said = await POSTS[path](http, 0, 1000)
    assert (said["accepted"], said["quarantined"]) == (0, 1)
    (listed,) = said["rejected"]
    assert (listed["measurement"], listed["reason"]) == ("temperature", "out_of_range")
    assert (listed["device"], listed["time"], listed["value"]) == (
        "root.plant.press.m7", T0_MS, 1000
    )  # fmt: skip
    assert put_aside(node) == [("temperature", "out_of_range", 1000)]
    assert await accounts(http) == {"received": 1, "accepted": 0, "quarantined": 1}
    assert alarms(node) == []


async def test_a_strict_write_stores_nothing(edge: tuple[EdgeNode, Http]) -> None:
    node, http = edge
    group = {
        "template": "press", "device": "root.plant.press.m7",
        "rows": [{"time": T0_MS, "temperature": 20}, {"time": T0_MS + 1, "temperature": 1000}],
    }  # fmt: skip
    said = await answer_of(http, "api/v1/write?strict=1", group, 400)
    assert said["error"]["code"] == "BAD_VALUES"
    assert rows(node) == []
    assert put_aside(node) == []


async def test_a_statement_with_such_a_value_is_refused(edge: tuple[EdgeNode, Http]) -> None:
    node, http = edge
    sql = (
        "INSERT INTO press (device, time, temperature)"
        f" VALUES ('root.plant.a', {T0_MS}, 20), ('root.plant.b', {T0_MS}, 1000)"
    )
    said = (await answer_of(http, "api/v1/sql", {"sql": sql}, 400))["error"]
    assert said["code"] == "OUT_OF_RANGE"
    assert "1000.0 of temperature of root.plant.b" in said["message"]
    assert rows(node) == []


async def test_the_quarantine_is_written_before_the_rows(
    edge: tuple[EdgeNode, Http], monkeypatch: pytest.MonkeyPatch
) -> None:
    node, http = edge

    def full(items: Any) -> list[str]:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(node.federation.quarantine, "add", full)
    lines = f"press,id=m7 temperature=20 {T0_MS}\npress,id=m7 temperature=901 {T0_MS + 1}"
    await answer_of(http, "api/v2/write?bucket=b&precision=ms", lines.encode(), 503)
    group = {"template": "press", "device": "root.plant.press.m7"}
    row = {"time": T0_MS, "temperature": 1000}
    await answer_of(http, "api/v1/write", {**group, "rows": [row]}, 503)
    assert rows(node) == []


@pytest.mark.parametrize("path", ["line", "json"])
async def test_devices_that_could_not_be_made_do_not_count(
    edge: tuple[EdgeNode, Http], monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A disk that is full for minutes would use up the devices that may be new in one, and rows
    would be put aside for that."""
    node, http = edge

    def failed(*arguments: Any, **options: Any) -> Any:
        raise LogFailedError("the disk is full")

    monkeypatch.setattr(node.runtime.writer.new_devices, "_per_minute", 2)
    with monkeypatch.context() as patch:
        patch.setattr(node.engine, "device_ids", failed)
        for at in range(4):
            await POSTS[path](http, at, 20, 503)
    await POSTS[path](http, 0, 20)
    assert rows(node, "press", "temperature") == [[20]]
    assert put_aside(node) == []


async def test_an_overloaded_engine_is_passed_on_and_no_alarm_is_raised(
    edge: tuple[EdgeNode, Http], monkeypatch: pytest.MonkeyPatch
) -> None:
    node, http = edge
    await by_json(http, 0, 50)

    def overloaded(*arguments: Any, **options: Any) -> Any:
        raise OverloadedError("too fast", retry_after_s=1)

    with monkeypatch.context() as patch:
        patch.setattr(node.engine, "write_rows", overloaded)
        await by_line(http, 1, 95, 503)
    await by_json(http, 2, 60)
    assert alarms(node) == []
    await by_line(http, 1, 95)  # it comes again, and is late
    assert sorted(rows(node, "press", "temperature")) == [[50], [60], [95]]


async def test_a_row_that_the_engine_refuses_raises_no_alarm(
    edge: tuple[EdgeNode, Http], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of collectors, too: alarms are of rows that the log has."""
    node, http = edge
    write = node.engine.write_rows

    def refuses(table: Any, given: Rows, **options: Any) -> Any:
        if len(given):
            raise EngineError("not this one")
        return write(table, given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(node.engine, "write_rows", refuses)
        await answer_of(http, "collect/v1/scales", {"ts": T0_MS, "temperature": 95})
    assert rows(node) == []
    assert alarms(node) == []
    await answer_of(http, "collect/v1/scales", {"ts": T0_MS + 1, "temperature": 95})
    assert alarms(node) == [True]


async def test_collectors_and_programs_have_one_order(edge: tuple[EdgeNode, Http]) -> None:
    """What a program stored between two values of a collector is no value that the collector's
    filters know; what they hold is restored."""
    node, http = edge
    posted = {"template": "press", "device": "root.plant.press"}

    async def collect(at: int, **values: float) -> None:
        await answer_of(http, "collect/v1/scales", {"ts": T0_MS + at, **values})

    for at in range(3):
        await collect(at, flow=10.0, level=1.0)
    row = {"time": T0_MS + 3, "flow": 20.0, "level": 9.0}
    await answer_of(http, "api/v1/write", {**posted, "rows": [row]})
    await collect(4, flow=10.0, level=1.0)
    found = sorted(rows(node, "press", "time", "flow", "level"), key=lambda each: each[0])
    assert [each[1:] for each in found] == [[10, 1], [None, 1], [20, 9], [10, 1]]


async def test_without_rules_nothing_is_between_the_rows_and_the_engine(tmp_path: Path) -> None:
    async with running(tmp_path) as (node, http):
        line = f"plain,id=m7 t=95 {T0_MS}".encode()
        await answer_of(http, "api/v2/write?bucket=b&precision=ms", line, 204)
        assert rows(node, "plain", "t") == [[95]]
        bench = node._bench
        assert bench is not None
        assert bench.watching(node.engine.catalog.table("plain")) is None
        assert bench.watching(node.engine.catalog.table("press")) is not None


async def test_a_collector_that_waits_does_not_hold_programs_up(
    edge: tuple[EdgeNode, Http], monkeypatch: pytest.MonkeyPatch
) -> None:
    node, http = edge
    monkeypatch.setattr(table_intake, "POSTED_TIMEOUT_S", 0.01)
    bench = node._bench
    assert bench is not None
    intake = bench.watching(node.engine.catalog.table("press"))
    assert intake is not None
    with intake._lock:
        await by_json(http, 0, 95, 503)
    assert rows(node) == []
    await by_json(http, 0, 95)
    assert alarms(node) == [True]


def test_while_an_edge_starts_rows_are_to_come_again() -> None:
    rules = EdgeRules(lambda: None)
    with pytest.raises(OverloadedError, match="starting"):
        rules.in_range(None, {})  # type: ignore[arg-type]


async def test_rules_are_exchanged_between_rows(edge: tuple[EdgeNode, Http]) -> None:
    """An alarm that a posted row raised stands under the rules of after the exchange."""
    node, http = edge
    await by_json(http, 0, 95)
    await node.refit_intake()
    await by_json(http, 1, 50)
    assert alarms(node) == [True, False]


def test_the_log_and_the_alarms_know_one_set_of_rules() -> None:
    seen = []

    class Bench:
        def watching(self, table: Any) -> Any:
            return self

        def append(self, table: Any, given: Any, intake: Any) -> str:
            seen.append(rules.exchange.locked())
            return "ack"

    bench: Any = Bench()
    rules = EdgeRules(lambda: bench)
    nothing: Any = None
    found: Any = rules.append(nothing, nothing)
    assert found == "ack"
    assert seen == [True]
    assert not rules.exchange.locked()
