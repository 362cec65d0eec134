"""Values of a real server become rows: times, types, qualities, outages."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from typing import Any

import pytest
from asyncua import ua
from asyncua.server.monitored_item_service import MonitoredItemService

from mainstem_edge.opcua import watching
from mainstem_edge.testing.opcua_plant import NOW, Edge, until
from mainstem_edge.testing.opcua_server import URI, OpcuaServer

BAD_SENSOR = int(ua.StatusCodes.BadSensorFailure)
UNCERTAIN = int(ua.StatusCodes.UncertainLastUsableValue)
OVERFLOW = 0x0480


def listed(server: OpcuaServer, template: str = "machine", more: str = "", **nodes: str) -> str:
    """A collector of one device, root.m1."""
    found = ", ".join(f'{name}: "{node}"' for name, node in nodes.items())
    return (
        f"{{type: opcua, url: '{server.url}', publish_every: 20ms, watchdog: 10s, {more}"
        f"devices: [{{device: root.m1, template: {template}, nodes: {{{found}}}}}]}}"
    )


def at(seconds: float) -> dt.datetime:
    """A time, by its distance to NOW."""
    return NOW + dt.timedelta(seconds=seconds)


def of(rows: list[dict[str, Any]], when: dt.datetime) -> dict[str, Any]:
    """What the row of a time has; nothing without one."""
    found = [row for row in rows if row["time"] == when.timestamp() * 1000]
    return {k: v for row in found for k, v in row.items() if k not in ("time", "device")}


def test_values_of_one_time_are_one_row_of_their_types(
    server: OpcuaServer, collecting: Any
) -> None:
    nodes = {
        "temperature": "ns=2;s=M1.T", "speed": f"nsu={URI};s=M1.Speed",
        "state": "ns=2;s=M1.State", "on": "ns=2;s=M1.Running",
    }  # fmt: skip
    with collecting(listed(server, **nodes)) as edge:
        until(lambda: edge.rows())
        server.write("ns=2;s=M1.T", 21.5, at=at(-9))
        server.write("ns=2;s=M1.Speed", ua.Variant(-7, ua.VariantType.Int32), at=at(-9))
        server.write("ns=2;s=M1.State", "läuft", at=at(-9))
        server.write("ns=2;s=M1.Running", True, at=at(-9))
        wanted = {"temperature": 21.5, "speed": -7, "state": "läuft", "on": True}
        until(lambda: of(edge.rows(), at(-9)) == wanted, edge.rows)
        first = {"temperature": 20.0, "speed": 100, "state": "idle", "on": False}
        assert of(edge.rows(), at(-60)) == first
        assert {row["device"] for row in edge.rows()} == {"root.m1"}
        assert edge.status["nodes"] == 4


def test_a_fast_value_comes_through_the_queue_of_the_server(
    server: OpcuaServer, collecting: Any
) -> None:
    more = "queue: 50, "
    with collecting(listed(server, more=more, temperature="ns=2;s=M1.T")) as edge:
        for number in range(40):
            server.write("ns=2;s=M1.T", float(number), at=at(-50 + number))
        until(lambda: len(edge.rows()) == 41, edge.rows)
        assert of(edge.rows(), at(-30)) == {"temperature": 20.0}


def test_qualities_are_stored_where_the_template_has_them(
    server: OpcuaServer, collecting: Any
) -> None:
    node = "ns=2;s=M1.T"
    with collecting(listed(server, "judged", temperature=node)) as edge:
        server.write(node, 1.0, at=at(-9), status=UNCERTAIN)
        server.write(node, ua.Variant(None), at=at(-8), status=BAD_SENSOR)
        server.write(node, 2.0, at=at(-7), status=OVERFLOW)
        until(lambda: of(edge.rows("judged"), at(-7)), lambda: edge.rows("judged"))
        rows = edge.rows("judged")
        assert of(rows, at(-9)) == {"temperature": 1.0, "temperature_quality": 1}
        assert of(rows, at(-8)) == {"temperature_quality": 2}
        assert of(rows, at(-7)) == {"temperature": 2.0}
        assert edge.status["lost_values"] == 1
        assert edge.status["values_not_good"] == 2


def test_nulls_are_counted_where_no_quality_is_stored(server: OpcuaServer, collecting: Any) -> None:
    node = "ns=2;s=M1.T"
    with collecting(listed(server, temperature=node)) as edge:
        server.write(node, ua.Variant(None), at=at(-8), status=BAD_SENSOR)
        server.write(node, 3.0, at=at(-7), status=UNCERTAIN)
        until(lambda: of(edge.rows(), at(-7)) == {"temperature": 3.0}, edge.rows)
        assert not of(edge.rows(), at(-8))
        assert edge.status["valueless"] == 1


def test_a_time_that_is_missing_is_replaced_by_the_next(
    server: OpcuaServer, collecting: Any
) -> None:
    node = "ns=2;s=M1.T"
    with collecting(listed(server, more="time: server, ", temperature=node)) as edge:
        server.write(node, 5.0, at=at(-9), server_at=at(-4))
        until(lambda: of(edge.rows(), at(-4)) == {"temperature": 5.0}, edge.rows)
        assert not of(edge.rows(), at(-9))


def test_a_node_that_is_refused_keeps_no_other_out(server: OpcuaServer, collecting: Any) -> None:
    nodes = {"temperature": "ns=2;s=M1.T", "speed": "ns=2;s=Nobody"}
    with collecting(listed(server, **nodes)) as edge:
        until(lambda: edge.rows())
        assert edge.status["refused"] == {"ns=2;s=Nobody": "BadNodeIdUnknown"}
        assert "ns=2;s=Nobody: BadNodeIdUnknown (1 of 2 nodes)" in edge.status["last_error"]
        assert edge.status["errors"] == 1


def test_without_any_node_it_is_tried_again(server: OpcuaServer, collecting: Any) -> None:
    with collecting(listed(server, temperature="ns=2;s=Nobody"), connected=False) as edge:
        until(lambda: edge.status["last_error"])
        assert "none of 1 nodes: ns=2;s=Nobody is BadNodeIdUnknown" in edge.status["last_error"]


def test_a_namespace_that_is_not_there_is_named(server: OpcuaServer, collecting: Any) -> None:
    with collecting(listed(server, temperature="nsu=urn:gone;s=T"), connected=False) as edge:
        until(lambda: edge.status["last_error"])
        assert "no namespace 'urn:gone'; it has http://opcfoundation" in edge.status["last_error"]


def test_the_deadband_is_the_server_s(server: OpcuaServer, collecting: Any) -> None:
    node, more = "ns=2;s=M1.T", "deadband: {temperature: 0.5}, "
    with collecting(listed(server, more=more, temperature=node)) as edge:
        until(lambda: edge.rows())
        for second, value in ((-9, 20.3), (-8, 20.1), (-7, 21.0)):
            server.write(node, value, at=at(second))
        until(lambda: of(edge.rows(), at(-7)), edge.rows)
        assert [row["temperature"] for row in edge.rows()] == [20.0, 21.0]


def test_a_node_without_deadband_is_watched_all_the_same(
    server: OpcuaServer, collecting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = MonitoredItemService._create_data_change_monitored_item

    async def refuse(self: Any, item: Any) -> Any:
        if getattr(item.RequestedParameters.Filter, "DeadbandType", 0):
            result = ua.MonitoredItemCreateResult()
            result.StatusCode = ua.StatusCode(ua.StatusCodes.BadFilterNotAllowed)
            return result
        return await create(self, item)

    monkeypatch.setattr(MonitoredItemService, "_create_data_change_monitored_item", refuse)
    node, more = "ns=2;s=M1.T", "deadband: {temperature: 0.5}, "
    with collecting(listed(server, more=more, temperature=node)) as edge:
        until(lambda: edge.rows())
        assert edge.status["refused"] == {}
        server.write(node, 20.1, at=at(-7))
        until(lambda: of(edge.rows(), at(-7)), edge.rows)


@pytest.mark.parametrize(("trigger", "rows"), [("value", [-60, -7]), ("timestamp", [-60, -9, -7])])
def test_a_value_with_only_a_new_time_is_sent_if_asked_for(
    server: OpcuaServer, collecting: Any, trigger: str, rows: list[int]
) -> None:
    node, more = "ns=2;s=M1.T", f"trigger: {trigger}, "
    with collecting(listed(server, more=more, temperature=node)) as edge:
        until(lambda: edge.rows())
        server.write(node, 20.0, at=at(-9))
        server.write(node, 21.0, at=at(-7))
        until(lambda: of(edge.rows(), at(-7)), edge.rows)
        times = [row["time"] / 1000 - NOW.timestamp() for row in edge.rows()]
        assert times == rows


def lose(server: OpcuaServer, edge: Edge) -> None:
    server.stop()
    until(lambda: edge.status["disconnects"], lambda: edge.status)


def test_an_outage_makes_stale_and_what_still_holds_is_said_again(
    server: OpcuaServer, collecting: Any
) -> None:
    with collecting(listed(server, "judged", temperature="ns=2;s=M1.T")) as edge:
        until(lambda: edge.rows("judged"))
        lose(server, edge)
        until(lambda: len(edge.rows("judged")) == 2, lambda: edge.rows("judged"))
        server.start()
        until(lambda: len(edge.rows("judged")) == 3, lambda: edge.rows("judged"))
        first, stale, again = edge.rows("judged")
        assert first["temperature"] == again["temperature"] == 20.0
        assert stale["temperature_quality"] == 3
        assert "temperature" not in stale
        assert first["time"] < stale["time"] < again["time"]
        assert edge.status["connects"] == 2
        server.write("ns=2;s=M1.T", 22.0, at=dt.datetime.now(dt.UTC))
        until(lambda: edge.rows("judged")[-1].get("temperature") == 22.0)


def test_a_refused_node_is_watched_once_it_exists(
    server: OpcuaServer, collecting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "RETRY_S", 0.05)
    monkeypatch.setattr(watching, "TICK_S", 0.02)
    nodes = {"temperature": "ns=2;s=M1.T", "speed": "ns=2;s=Late"}
    with collecting(listed(server, **nodes)) as edge:
        assert edge.status["nodes_refused"] == 1

        async def add() -> None:
            parent = server.server.nodes.objects
            await parent.add_variable(ua.NodeId("Late", 2), "2:Late", 7, ua.VariantType.Int32)

        server.run(add())
        until(lambda: any(row.get("speed") == 7 for row in edge.rows()), edge.rows)
        until(lambda: edge.status["nodes_refused"] == 0, lambda: edge.status)
        assert edge.status["nodes"] == 2


def test_a_server_that_hangs_is_left_and_called_again(
    server: OpcuaServer, collecting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "TICK_S", 0.02)
    text = listed(server, temperature="ns=2;s=M1.T").replace("watchdog: 10s", "watchdog: 300ms")
    with collecting(text) as edge, server.hanging():
        until(lambda: edge.status["disconnects"], lambda: edge.status)
        assert edge.status["state"] != "connected"
    with collecting(text) as edge:
        until(lambda: edge.rows())


def test_history_fills_an_outage(server: OpcuaServer, collecting: Any) -> None:
    node = "ns=2;s=M2.T"
    historian = server.server.get_node(ua.NodeId.from_string(node))
    server.run(server.server.historize_node_data_change(historian))
    try:
        nodes = {"temperature": node, "speed": "ns=2;s=M2.Speed"}
        with collecting(listed(server, more="history: 10m, ", **nodes)) as edge:
            until(lambda: edge.rows())
            lose(server, edge)
            for second in range(5):
                server.write(node, 30.0 + second, at=at(-20 + second))
            until(lambda: len(_recorded(server, node)) >= 5)
            server.start()
            until(lambda: of(edge.rows(), at(-18)), edge.rows)
            until(lambda: edge.status["history_values"] >= 5, lambda: edge.status)
            found = [of(edge.rows(), at(-20 + second)) for second in range(5)]
            assert found == [{"temperature": 30.0 + second} for second in range(5)]
    finally:
        server.run(server.server.dehistorize_node_data_change(historian))


def _recorded(server: OpcuaServer, node: str) -> list[Any]:
    storage: Any = server.server.iserver.history_manager.storage
    return list(storage._datachanges[ua.NodeId.from_string(node)])


def test_a_full_queue_holds_the_server_back_and_nothing_is_lost(
    server: OpcuaServer, configured: Any
) -> None:
    more = "queue_bytes: 1, queue: 100, "
    (intake,) = configured(listed(server, more=more, temperature="ns=2;s=M1.T")).intakes()
    collector, queue = intake.collector, intake.collector.queue
    collector.start()
    try:
        until(lambda: queue.statistics().messages)
        for number in range(30):
            server.write("ns=2;s=M1.T", float(number), at=at(-50 + number))
        until(lambda: queue.statistics().full)
        assert queue.statistics().messages <= 2
        intake.start()
        until(lambda: collector.status()["values"] == 31, collector.status)
    finally:
        collector.pause()
        intake.drain(5)
        collector.stop(5)
    assert collector.status()["lost_values"] == 0


def test_the_library_is_not_imported_by_who_does_not_use_it() -> None:
    code = (
        "import sys, mainstem_edge.node, mainstem_edge.assembly.opcua;"
        "print([m for m in ('asyncua', 'cryptography') if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
