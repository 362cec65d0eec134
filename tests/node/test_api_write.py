"""Rows over HTTP: durable when answered, bad values put aside, back-pressure, repeats."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import msgpack
import numpy as np
import pyarrow as pa
import pytest

from mainstem_engine.errors import LogFailedError, OverloadedError
from mainstem_node.node import Node
from mainstem_sync.state import accounting

T0 = 1_700_000_040_000
ARROW = "application/vnd.apache.arrow.stream"


def group(*rows: dict[str, Any], device: str = "root.plant.edge.p1", **more: Any) -> dict[str, Any]:
    return {"template": "pump", "device": device, "rows": list(rows), **more}


async def post(
    http: aiohttp.ClientSession, body: Any, query: str = "", **headers: str
) -> tuple[int, dict[str, Any]]:
    async with http.post(f"/api/v1/write{query}", json=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def test_one_object_or_an_array(node: Node, http: aiohttp.ClientSession) -> None:
    status, body = await post(http, group({"time": T0, "flow": 1.5}))
    assert (status, body["accepted"], body["quarantined"]) == (200, 1, 0)
    assert node.engine.durable_lsn >= body["lsn"] > 0
    status, body = await post(
        http,
        [group({"time": T0 + 1, "flow": 2}), group({"time": T0, "flow": 3}, device="root.x.d")],
    )
    assert (status, body["accepted"]) == (200, 2)
    rows = node.engine.last_rows("pump")
    assert [(row["device"], row["flow"]) for row in rows] == [
        ("root.plant.edge.p1", 2.0), ("root.x.d", 3.0),
    ]  # fmt: skip


async def test_messagepack(node: Node, http: aiohttp.ClientSession) -> None:
    body = msgpack.packb(group({"time": T0, "flow": float("nan"), "note": "ü"}, tags={"line": "a"}))
    async with http.post(
        "/api/v1/write", data=body, headers={"Content-Type": "application/msgpack"}
    ) as answer:
        assert (answer.status, (await answer.json())["accepted"]) == (200, 1)
    row = node.engine.last_rows("pump")[0]
    assert np.isnan(row["flow"])
    assert row["note"] == "ü"
    assert node.engine.catalog.devices.tags(0) == {"line": "a"}


@pytest.mark.parametrize(
    "body",
    [b"", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x91" * 20_000, b"\x01\x01"],
)
async def test_what_is_no_messagepack_is_a_400(http: aiohttp.ClientSession, body: bytes) -> None:
    async with http.post(
        "/api/v1/write", data=body, headers={"Content-Type": "application/msgpack"}
    ) as answer:
        assert answer.status == 400


def stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


async def post_arrow(
    http: aiohttp.ClientSession, table: pa.Table, query: str = "?template=pump"
) -> tuple[int, dict[str, Any]]:
    async with http.post(
        f"/api/v1/write{query}", data=stream(table), headers={"Content-Type": ARROW}
    ) as answer:
        return answer.status, await answer.json()


async def test_an_arrow_stream(node: Node, http: aiohttp.ClientSession) -> None:
    table = pa.table(
        {
            "device": pa.array(["root.plant.edge.a", "root.plant.edge.b"] * 50).dictionary_encode(),
            "time": pa.array(range(T0, T0 + 100), pa.int64()),
            "flow": pa.array([n / 3 for n in range(100)]),
            "count": pa.array([None if n % 10 == 0 else n for n in range(100)], pa.int32()),
            "line": pa.array(["x", "y"] * 50),
        }
    )
    status, body = await post_arrow(http, table)
    assert (status, body["accepted"], body["quarantined"]) == (200, 100, 0)
    rows = node.engine.scan_rows("pump")
    assert len(rows) == 100
    assert rows.columns[0].values.tolist() == [
        n / 3 for n in (*range(0, 100, 2), *range(1, 100, 2))
    ]
    assert [node.engine.catalog.devices.tags(n)["line"] for n in range(2)] == ["x", "y"]


async def test_arrow_times_may_be_timestamps_with_a_zone(
    node: Node, http: aiohttp.ClientSession
) -> None:
    table = pa.table(
        {
            "device": ["root.plant.edge.a"],
            "time": pa.array([T0 * 1000], pa.timestamp("us", tz="Europe/Berlin")),
            "flow": [1.0],
        }
    )
    assert (await post_arrow(http, table))[0] == 200
    assert node.engine.last_rows("pump")[0]["time"] == T0
    naive = table.set_column(1, "time", pa.array([T0 * 1000], pa.timestamp("us")))
    status, body = await post_arrow(http, naive)
    assert (status, body["error"]["field"]) == (400, "time")


async def test_arrow_streams_that_cannot_be_used(http: aiohttp.ClientSession) -> None:
    good = {"device": ["root.plant.edge.a"], "time": [T0], "flow": [1.0]}
    cases: list[tuple[dict[str, Any], str, int]] = [
        (good, "", 400),
        (good, "?template=nope", 404),
        ({"time": [T0], "flow": [1.0]}, "?template=pump", 400),
        ({"device": ["d"], "flow": [1.0]}, "?template=pump", 400),
        ({**good, "device": [5]}, "?template=pump", 400),
        ({**good, "device": ["no.root"]}, "?template=pump", 400),
        ({**good, "device": [None]}, "?template=pump", 400),
        ({**good, "speed": [1.0]}, "?template=pump", 400),
        ({**good, "flow": [[1.0]]}, "?template=pump", 400),
    ]
    for columns, query, expected in cases:
        status, body = await post_arrow(http, pa.table(columns), query)
        assert status == expected, (columns, body)


async def test_bad_values_are_put_aside_listed_and_counted(
    node: Node, http: aiohttp.ClientSession
) -> None:
    rows = [{"time": T0 + n, "flow": 1.0, "count": "x"} for n in range(150)]
    status, body = await post(http, group(*rows, {"flow": 1.0}, {"time": T0 + 999, "flow": "no"}))
    assert status == 200
    assert (body["accepted"], body["quarantined"], len(body["rejected"])) == (150, 152, 100)
    async with http.get("/api/v1/quarantine?limit=1000") as answer:
        found = await answer.json()
    assert len(found["items"]) == 152
    assert found["bytes"] > 0
    assert {item["reason"] for item in found["items"]} == {"wrong_type", "no_time"}
    sums = node.federation.accounting()
    assert accounting.check(sums) == []
    assert sums["pump"]["intake"] == {
        "received": 152, "accepted": 150, "filtered": 0, "quarantined": 2, "refused": 0,
    }  # fmt: skip
    assert sums["pump"]["values_quarantined"] == 151


async def test_strict_stores_nothing_when_one_value_is_bad(
    node: Node, http: aiohttp.ClientSession
) -> None:
    body = [group({"time": T0, "flow": 1.0}), group({"time": T0, "count": 1.5}, device="root.a.b")]
    status, found = await post(http, body, "?strict=1")
    assert (status, found["error"]["code"]) == (400, "BAD_VALUES")
    assert found["rejected"][0]["measurement"] == "count"
    assert len(node.engine.scan_rows("pump")) == 0
    assert node.federation.quarantine.items() == []
    assert node.engine.catalog.devices.id_of("root.a.b") is None


async def test_everything_bad_is_still_accounted_for(
    node: Node, http: aiohttp.ClientSession
) -> None:
    status, body = await post(http, group({"flow": 1.0}, {"time": "soon"}))
    assert (status, body["accepted"], body["quarantined"]) == (200, 0, 2)
    sums = node.federation.accounting()
    assert accounting.check(sums) == []
    assert sums["pump"]["intake"]["quarantined"] == 2


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (group({"time": T0}, device="plant.p"), 400, "SCHEMA"),
        (group({"time": T0}, device="root.a..b"), 400, "SCHEMA"),
        (group({"time": T0}, device="root.a/../b"), 400, "SCHEMA"),
        ({**group({"time": T0}), "template": "nope"}, 404, "NOT_FOUND"),
        ({**group({"time": T0, "flow": 1.0}), "tags": {"nope": 1}}, 404, "NOT_FOUND"),
        ({**group({"time": T0}), "extra": 1}, 400, "BAD_REQUEST"),
        ({"rows": []}, 400, "BAD_REQUEST"),
        ([1], 400, "BAD_REQUEST"),
    ],
)
async def test_requests_that_cannot_be_used(
    node: Node, http: aiohttp.ClientSession, body: Any, status: int, code: str
) -> None:
    found_status, found = await post(http, body)
    assert (found_status, found["error"]["code"]) == (status, code), found
    assert len(node.engine.scan_rows("pump")) == 0


async def test_a_device_of_another_node_is_refused_by_name(
    node: Node, http: aiohttp.ClientSession
) -> None:
    node.ownership.learn("paint", ["root.plant.paint"])
    status, body = await post(http, group({"time": T0, "flow": 1}, device="root.plant.paint.p"))
    assert (status, body["error"]["code"]) == (403, "NOT_OWNER")
    assert "paint" in body["error"]["message"]


async def test_changed_tags_are_a_warning(http: aiohttp.ClientSession) -> None:
    await post(http, group({"time": T0, "flow": 1}, tags={"line": "a"}))
    status, body = await post(http, group({"time": T0 + 1, "flow": 1}, tags={"line": "b"}))
    assert status == 200
    assert body["warnings"] == ["root.plant.edge.p1: tag line stays 'a', not 'b'"]


async def test_a_repeated_key_is_answered_without_writing_again(
    node: Node, http: aiohttp.ClientSession
) -> None:
    body = group({"time": T0, "flow": 1.0})
    first = await post(http, body, **{"Idempotency-Key": "a"})
    again = await post(http, body, **{"Idempotency-Key": "a"})
    assert first == again
    assert node.federation.accounting()["pump"]["log"]["logged"] == 1
    other = group({"time": T0, "flow": 2.0})
    status, found = await post(http, other, **{"Idempotency-Key": "a"})
    assert (status, found["error"]["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (OverloadedError("full", retry_after_s=3), 503, "OVERLOADED"),
        (LogFailedError("disk"), 503, "LOG_FAILED"),
        (ValueError("a secret detail"), 500, "INTERNAL"),
    ],
)
async def test_what_the_store_raises_has_its_status(
    node: Node,
    http: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
    code: str,
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(node.engine, "write_rows", fail)
    async with http.post("/api/v1/write", json=group({"time": T0, "flow": 1})) as answer:
        found = await answer.json()
        assert (answer.status, found["error"]["code"]) == (status, code)
        if status == 503:
            assert int(answer.headers["Retry-After"]) >= 1
    assert "secret" not in str(found)


async def test_too_many_new_devices_a_minute_are_back_pressure(
    start_node: Any,
) -> None:
    node = await start_node(intake={"max_new_devices_per_minute": 2})
    async with aiohttp.ClientSession(f"http://127.0.0.1:{node.port}") as http:
        for number, expected in ((1, 200), (2, 200), (3, 503), (1, 200)):
            status, body = await post(
                http, group({"time": T0, "flow": 1}, device=f"root.plant.edge.d{number}")
            )
            assert status == expected, body


async def test_a_full_pool_of_writers_is_back_pressure(
    node: Node, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node.runtime.write_workers, "_busy_max", 0)
    status, body = await post(http, group({"time": T0, "flow": 1}))
    assert (status, body["error"]["code"]) == (503, "OVERLOADED")


async def test_writers_side_by_side_lose_nothing(node: Node, http: aiohttp.ClientSession) -> None:
    answers = await asyncio.gather(
        *(post(http, group({"time": T0 + n, "flow": n})) for n in range(30))
    )
    assert all(status == 200 for status, _ in answers)
    assert len(node.engine.scan_rows("pump")) == 30


async def test_a_row_that_is_too_old_is_refused_with_the_whole_call(
    node: Node, http: aiohttp.ClientSession
) -> None:
    year_ns = 365 * 86_400 * 10**9
    node.engine.set_keep("pump", year_ns)
    fresh = node.engine.options.clock() // 1_000_000
    rows: list[dict[str, Any]] = [
        {"time": fresh, "flow": "bad"},
        {"time": 1_000_000_000_000, "flow": 1.0},
    ]
    status, answer = await post(http, group(*rows))
    assert (status, answer["error"]["code"]) == (400, "OUT_OF_RETENTION")
    assert "root.plant.edge.p1" in answer["error"]["message"]
    assert "KEEP" in answer["error"]["hint"]
    assert len(node.engine.scan_rows("pump")) == 0
    assert not node.federation.quarantine.items()
