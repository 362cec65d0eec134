"""The clients of InfluxDB 1, 2 and 3, unmodified, write to a real node; the rows are read back."""

from __future__ import annotations

import asyncio
import base64
import datetime
import gzip
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

import aiohttp
import pytest

from mainstem_node.auth import WRITE
from mainstem_node.node import Node

# None of them has types that hold.
influxdb: Any = import_module("influxdb")
influxdb_client: Any = import_module("influxdb_client")
influxdb_client_3: Any = import_module("influxdb_client_3")
SYNCHRONOUS: Any = import_module("influxdb_client.client.write_api").SYNCHRONOUS

StartNode = Callable[..., Awaitable[Node]]
T_S = 1_700_000_040
MOMENT = datetime.datetime.fromtimestamp(T_S, datetime.UTC)


@pytest.fixture
async def guarded(start_node: StartNode) -> tuple[Node, str]:
    """A node that wants a credential, and one."""
    node = await start_node(auth={"loopback": "closed"})
    _, token = node.authenticator.tokens.create("client", WRITE)
    return node, token


def rows(node: Node, table: str) -> list[dict[str, Any]]:
    found = node.engine.sql(f"SELECT * FROM {table} ORDER BY time, device")
    names = [str(column["name"]) for column in found.columns]
    return [dict(zip(names, row, strict=True)) for row in found.rows()]


async def test_influxdb(guarded: tuple[Node, str]) -> None:
    node, token = guarded

    def work() -> None:
        client = influxdb.InfluxDBClient("127.0.0.1", node.port, "anybody", token, "plant")
        assert client.ping().startswith("1.8")
        client.create_database("plant")
        assert {"name": "plant"} not in client.get_list_database()  # the node has paths of its own
        points = [
            {
                "measurement": "press",
                "tags": {"line": "l 1", "machine": f"m{n}"},
                "time": (T_S + n) * 1000,
                "fields": {"temperature": 20.5 + n, "count": n, "ok": n > 0, "note": 'a "b", c=d'},
            }
            for n in range(3)
        ]
        assert client.write_points(points, time_precision="ms", batch_size=2)
        with pytest.raises(influxdb.exceptions.InfluxDBClientError, match="api/v1/sql"):
            client.query("SELECT * FROM press")
        client.close()

    await asyncio.to_thread(work)
    assert [
        {name: row[name] for name in ("time", "device", "temperature", "count", "ok", "note")}
        for row in rows(node, "press")
    ] == [
        {
            "time": (T_S + n) * 1000, "device": f"root.plant.edge.press.l 1.m{n}",
            "temperature": 20.5 + n, "count": n, "ok": n > 0, "note": 'a "b", c=d',
        }
        for n in range(3)
    ]  # fmt: skip


async def test_influxdb_as_it_comes(node: Node) -> None:
    """With its own user root:root, at a node that asks this machine for nothing."""

    def work() -> None:
        client = influxdb.InfluxDBClient("127.0.0.1", node.port, database="plant")
        client.create_database("plant")
        client.write_points([{"measurement": "m", "fields": {"v": 1.0}}])
        client.close()

    await asyncio.to_thread(work)
    assert [row["v"] for row in rows(node, "m")] == [1.0]


async def test_influxdb_client(guarded: tuple[Node, str]) -> None:
    node, token = guarded

    def work() -> None:
        url = f"http://127.0.0.1:{node.port}"
        with influxdb_client.InfluxDBClient(url, token, org="o", enable_gzip=True) as client:
            assert client.ping()
            assert client.version().startswith("1.8")
            write = client.write_api(write_options=SYNCHRONOUS)
            points = [
                influxdb_client.Point("press").tag("machine", f"m{n}").field("temperature", 1.5 * n)
                .field("count", n).time(MOMENT + datetime.timedelta(seconds=n))
                for n in range(3)
            ]  # fmt: skip
            write.write(bucket="plant", record=points)
            write.write(bucket="plant", record=f"press,machine=m9 count=9i {T_S}",
                        write_precision=influxdb_client.WritePrecision.S)  # fmt: skip
            with pytest.raises(influxdb_client.rest.ApiException, match="unable to parse line 2"):
                write.write(bucket="plant", record=[f"press count=1i {T_S}", "press count="])
        client = influxdb_client.InfluxDBClient(url, token, org="o")
        with client, client.write_api() as batching:  # in the background, with retries
            for n in range(100):
                point = influxdb_client.Point("batch").field("n", n).time(MOMENT)
                batching.write(bucket="plant", record=point.tag("d", str(n)))

    await asyncio.to_thread(work)
    found = rows(node, "press")
    assert [(row["device"], row["temperature"], row["count"]) for row in found] == [
        ("root.plant.edge.press", None, 1),
        ("root.plant.edge.press.m0", 0.0, 0),
        ("root.plant.edge.press.m9", None, 9),
        ("root.plant.edge.press.m1", 1.5, 1),
        ("root.plant.edge.press.m2", 3.0, 2),
    ]
    assert sorted(row["n"] for row in rows(node, "batch")) == list(range(100))


async def test_influxdb3(guarded: tuple[Node, str]) -> None:
    node, token = guarded

    def work() -> None:
        url = f"http://127.0.0.1:{node.port}"
        client = influxdb_client_3.InfluxDBClient3(host=url, token=token, database="plant")
        point = influxdb_client_3.Point("press").tag("machine", "m1").field("temperature", 2.5)
        client.write(point.time(MOMENT))
        client.write([f"press,machine=m2 temperature=3.5 {T_S}"], write_precision="s")
        client.close()

    await asyncio.to_thread(work)
    assert [(row["time"], row["machine"], row["temperature"]) for row in rows(node, "press")] == [
        (T_S * 1000, "m1", 2.5), (T_S * 1000, "m2", 3.5),
    ]  # fmt: skip


TELEGRAF_LINES = """\
cpu,cpu=cpu-total,host=press-1 usage_user=3.25,usage_system=1.5,usage_idle=95.1 1700000040000000000
mem,host=press-1 total=8123456789i,available=4123456789i,used_percent=49.2 1700000040000000000
disk,device=sda1,fstype=ext4,host=press-1,mode=rw,path=/ total=1i,free=1i,used=0i 1700000040000000000
disk,device=sda2,fstype=ext4,host=press-1,mode=rw,path=/var total=2i,free=1i 1700000040000000000
system,host=press-1 load1=0.4,n_cpus=4i,n_users=1i 1700000040000000000
system,host=press-1 uptime=86400i 1700000040000000000
system,host=press-1 uptime_format="1 day,  0:00" 1700000040000000000
modbus,host=press-1,name=Press\\ 1,slave_id=1,type=holding_register temp=21.5,state=3u 1700000040000000000
"""  # noqa: E501


async def test_telegraf(guarded: tuple[Node, str]) -> None:
    """What Telegraf's output for InfluxDB 1 sends at start and then every flush."""
    node, token = guarded
    basic = base64.b64encode(f"telegraf:{token}".encode()).decode()
    agent = {"User-Agent": "Telegraf/1.36.0 Go/1.25.0", "Authorization": f"Basic {basic}"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{node.port}", headers=agent) as http:
        async with http.post("/query", data={"q": 'CREATE DATABASE "telegraf"'}) as answer:
            assert answer.status == 200
            assert (await answer.json())["results"][0].get("error") is None
        headers = {"Content-Type": "text/plain; charset=utf-8", "Content-Encoding": "gzip"}
        body = gzip.compress(TELEGRAF_LINES.encode())
        query = {"db": "telegraf", "rp": "", "consistency": "any", "precision": "ns"}
        async with http.post("/write", params=query, data=body, headers=headers) as answer:
            assert (answer.status, await answer.read()) == (204, b"")
    assert node.federation.quarantine.items() == []
    assert rows(node, "cpu")[0]["usage_idle"] == 95.1
    assert [row["path"] for row in rows(node, "disk")] == ["/", "/var"]
    (system,) = rows(node, "system")
    assert (system["load1"], system["uptime"], system["uptime_format"]) == (
        0.4, 86400, "1 day,  0:00",
    )  # fmt: skip
    (modbus,) = rows(node, "modbus")
    assert modbus["device"] == "root.plant.edge.modbus.press-1.Press 1.1.holding_register"
    assert (modbus["name"], modbus["temp"], modbus["state"]) == ("Press 1", 21.5, 3)
