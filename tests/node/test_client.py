"""The client against a real node: every method, errors as exceptions."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from mainstem_node.client import Client, connect, connect_async
from mainstem_node.errors import (
    BadRequestError,
    ConflictError,
    MissingError,
    UnauthorizedError,
    UnavailableError,
)
from mainstem_node.node import Node

T0 = 1_700_000_040_000


async def using(node: Node, work: Callable[[Client], Any]) -> Any:
    """Runs ``work`` with a client, in a thread, while the node serves here."""

    def call() -> Any:
        with connect(f"http://127.0.0.1:{node.port}") as client:
            return work(client)

    return await asyncio.to_thread(call)


async def test_writing_and_asking(node: Node) -> None:
    def work(client: Client) -> None:
        rows = [{"time": T0 + n, "flow": n / 2} for n in range(4)]
        answer = client.write("pump", "root.plant.edge.p1", rows, tags={"line": "a"})
        assert (answer["accepted"], answer["quarantined"]) == (4, 0)
        found = client.sql("SELECT time, flow FROM pump WHERE flow > ?", [0.5])
        assert found.names == ["time", "flow"]
        assert found.rows == [[T0 + 2, 1.0], [T0 + 3, 1.5]]
        assert found.dicts()[0] == {"time": T0 + 2, "flow": 1.0}
        assert found.completeness[0]["table"] == "pump"
        assert client.sql_csv("SELECT flow FROM pump LIMIT 1") == "flow\n0.0\n"
        assert client.sql_arrow("SELECT flow FROM pump").num_rows == 4
        assert [v["value"] for v in client.last("pump")] == [1.5]
        series = client.series(["root.plant.edge.p1.flow"], start=T0, end=T0 + 10)
        assert series[0]["value"] == [0.0, 0.5, 1.0, 1.5]
        assert [c["table"] for c in client.completeness(["pump"])] == ["pump"]
        assert client.verify()["slices"] == []

    await using(node, work)


async def test_frames(node: Node) -> None:
    def work(client: Client) -> None:
        table = pa.table({"time": [T0, T0 + 1], "flow": [1.0, 2.0]})
        assert client.write("pump", "root.plant.edge.a", table)["accepted"] == 2
        batch = pa.record_batch({"time": [T0], "flow": [1.0], "device": ["root.plant.edge.b"]})
        assert client.write("pump", rows=batch)["accepted"] == 1
        with pytest.raises(BadRequestError, match="device"):
            client.write("pump", rows=[{"time": T0, "flow": 1.0}])

    await using(node, work)


async def test_what_the_node_knows(node: Node) -> None:
    def work(client: Client) -> None:
        assert client.is_ready()
        assert client.status()["node"] == "edge"
        assert client.federation()["children"] == []
        assert client.quarantine()["items"] == []
        assert [t["name"] for t in client.templates()] == ["pump"]
        assert client.devices() == []
        assert client.stop_intake() == {"intake": "stopped"}

    await using(node, work)


async def test_governance(node: Node) -> None:
    def work(client: Client) -> None:
        token = client.add_node("paint", "root.plant.paint")["join_token"]
        joined = client.join(token, "0" * 32)
        assert joined["id"] == "paint"
        assert [entry["state"] for entry in client.nodes()] == ["enrolled"]
        with pytest.raises(ConflictError, match="enrolled already"):
            client.add_node("paint", ["root.plant.paint"])
        assert client.revoke_node("paint")["state"] == "revoked"
        made = client.create_token("x", "read", "1d")
        assert [entry["name"] for entry in client.tokens()] == ["admin", "x"]
        with connect(client.url, made["token"]) as reader:
            assert reader.status()["node"] == "edge"
        client.revoke_token(made["id"])
        with connect(client.url, made["token"]) as reader, pytest.raises(UnauthorizedError):
            reader.status()

    await using(node, work)


async def test_watching(node: Node) -> None:
    node.runtime.live._tick_s = 0.01

    def work(client: Client) -> None:
        client.write("pump", "root.plant.edge.p1", [{"time": T0, "flow": 1.5}])
        seen = next(client.watch(["root.plant.edge.p1.flow"]))
        assert seen == {"signal": "root.plant.edge.p1.flow", "time": T0, "value": 1.5}
        assert next(client.watch_status())["node"] == "edge"
        with pytest.raises(MissingError):
            next(client.watch(["root.nope.flow"]))

    await using(node, work)


async def test_errors_carry_what_the_node_said(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node.federation, "completeness", lambda *_: [])

    def work(client: Client) -> None:
        with pytest.raises(MissingError) as caught:
            client.sql("SELECT * FROM nothing")
        assert (caught.value.code, caught.value.status) == ("NOT_FOUND", 404)
        assert caught.value.hint
        rows = [{"time": T0, "flow": "x"}]
        with pytest.raises(BadRequestError) as strict:
            client.write("pump", "root.plant.edge.p1", rows, strict=True)
        assert strict.value.detail["rejected"][0]["reason"] == "wrong_type"
        with pytest.raises(ConflictError) as incomplete:
            client.sql("SELECT * FROM pump", on_incomplete="fail")
        assert incomplete.value.code == "INCOMPLETE"

    await using(node, work)


async def test_a_repeated_write_with_its_key_counts_once(node: Node) -> None:
    def work(client: Client) -> None:
        rows = [{"time": T0, "flow": 1.0}]
        first = client.write("pump", "root.plant.edge.p1", rows, idempotency_key="k")
        assert client.write("pump", "root.plant.edge.p1", rows, idempotency_key="k") == first

    await using(node, work)


async def test_a_connection_that_the_node_closed_is_opened_again(
    start_node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainstem_node.server.IDLE_S_MAX", 0.05)
    node = await start_node()
    client = connect(f"http://127.0.0.1:{node.port}")
    for _ in range(3):
        assert (await asyncio.to_thread(client.status))["node"] == "edge"
        await asyncio.sleep(0.1)
    client.close()


def test_a_node_that_is_not_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with connect(f"http://127.0.0.1:{port}") as client:
        assert not client.is_ready()
        with pytest.raises(UnavailableError, match="is the node running") as caught:
            client.status()
        assert caught.value.code == "UNREACHABLE"


@pytest.mark.parametrize("url", ["", "127.0.0.1:8400", "ftp://x", "http://"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(BadRequestError, match="is not the address"):
        connect(url)


async def test_the_same_methods_to_await(node: Node) -> None:
    async with connect_async(f"http://127.0.0.1:{node.port}") as client:
        await client.write("pump", "root.plant.edge.p1", [{"time": T0, "flow": 1.0}])
        first, second = await asyncio.gather(
            client.sql("SELECT count(*) FROM pump"), client.status()
        )
        assert first.rows == [[1]]
        assert second["node"] == "edge"
