"""Commands at a real server: what is allowed, done, refused, not answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mainstem_edge.actions.modbus_write import ModbusWrite
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.modbus import ModbusCollector, Polled
from mainstem_edge.modbus.device import Device
from mainstem_edge.modbus.line import Line, LineSettings
from mainstem_edge.modbus.register import Register
from mainstem_edge.modbus.unit import Unit
from mainstem_edge.testing.modbus_server import ModbusServer
from mainstem_node.commanding.action import ActionError, UncertainActionError
from mainstem_node.errors import BadRequestError

DEVICE = "root.plant.m1"
MAP = {
    each.name: each
    for each in (
        Register("setpoint", "holding", 0, "int16", scale=0.1, offset=-40.0),
        Register("long", "holding", 1, "float32", 2, words_little=True),
        Register("bit", "holding", 3, "bool", bit=3, bytes_little=True),
        Register("many", "holding", 4, many=True),
        Register("pulse", "holding", 5, read_back=False),
        Register("label", "holding", 6, "string", 2),
        Register("hidden", "holding", 0),
        Register("nowhere", "holding", 99),
        Register("relay", "coil", 0, "bool"),
        Register("measured", "input", 0),
    )
}
ALLOWED = [f"{DEVICE}/[!h]*"]
UNIT = {"holding": {0: [0] * 8}, "coil": {0: [0] * 16}}


@pytest.fixture
def server() -> Iterator[ModbusServer]:
    with ModbusServer({1: UNIT}) as started:
        yield started


@pytest.fixture
def collector(server: ModbusServer) -> Iterator[ModbusCollector]:
    """It is not started: only its line is open."""
    device = Device(DEVICE, Unit(1), list(MAP.values()), every_ns=10**9, timeout_s=0.2)
    line = Line(LineSettings("tcp", "localhost", server.port))
    line.open()
    yield ModbusCollector(
        "m", (), MessageQueue(10, 1 << 20), line=line, polled=[Polled(device, "modbus/m")]
    )
    line.close()


@pytest.fixture
def action(collector: ModbusCollector) -> ModbusWrite:
    return ModbusWrite(ALLOWED, {DEVICE: MAP}, lambda: [collector])


def arguments(measurement: str, value: Any, **more: Any) -> dict[str, Any]:
    return {"device": DEVICE, "measurement": measurement, "value": value, **more}


@pytest.mark.parametrize(
    ("measurement", "value", "address", "words"),
    [
        ("setpoint", 21.3, 0, [613]),
        ("long", 1.0, 1, [0, 0x3F80]),
        ("bit", True, 3, [1 << 11]),
        ("many", 7, 4, [7]),
        ("label", "AB", 6, [0x4142, 0]),
    ],
)
def test_what_is_written_is_there(
    action: ModbusWrite,
    server: ModbusServer,
    measurement: str,
    value: Any,
    address: int,
    words: list[int],
) -> None:
    wanted = arguments(measurement, value)
    action.check(wanted)
    assert action.run(wanted) == {"table": "holding", "address": address, "read_back": value}
    assert server.get(1, "holding", address, len(words)) == words


def test_a_coil_is_switched(action: ModbusWrite, server: ModbusServer) -> None:
    assert action.run(arguments("relay", True))["read_back"] is True
    assert server.get(1, "coil", 0) == [1]
    assert action.run(arguments("relay", False))["read_back"] is False
    assert server.get(1, "coil", 0) == [0]


def test_a_register_that_keeps_nothing_is_not_read_back(
    action: ModbusWrite, server: ModbusServer
) -> None:
    assert action.run(arguments("pulse", 1)) == {"table": "holding", "address": 5}
    assert [function for _, function, _, _ in server.asked if function == 3] == []


@pytest.mark.parametrize(
    ("wanted", "field", "problem"),
    [
        (arguments("hidden", 1), "measurement", "not allowed"),
        (arguments("setpoint", 1, device="root.plant.m2"), "measurement", "not allowed"),
        (arguments("measured", 1), "measurement", "no coil or holding register"),
        (arguments("other", 1), "measurement", "no coil or holding register"),
        (arguments("setpoint", 9999), "value", "beyond"),
        (arguments("setpoint", "hot"), "value", "number"),
        (arguments("setpoint", None), "value", "number"),
        (arguments("relay", 1), "value", "true or false"),
        ({"device": DEVICE, "value": 1}, "measurement", "missing"),
        ({"measurement": "relay", "value": 1}, "device", "missing"),
        (arguments("relay", True, unit=2), None, "no argument"),
    ],
)
def test_what_may_not_be_written_is_refused_before_anything_is_sent(
    action: ModbusWrite,
    server: ModbusServer,
    wanted: dict[str, Any],
    field: str | None,
    problem: str,
) -> None:
    with pytest.raises(BadRequestError, match=problem) as refused:
        action.check(wanted)
    assert refused.value.field == field
    assert server.asked == []


def test_what_the_device_refuses_was_not_done(action: ModbusWrite, server: ModbusServer) -> None:
    with pytest.raises(ActionError, match="illegal data address"):
        action.run(arguments("nowhere", 1))
    server.refuse[1] = 4
    with pytest.raises(ActionError, match="device failure"):
        action.run(arguments("setpoint", 1))


def test_what_is_not_answered_may_have_been_done_and_is_sent_once(
    action: ModbusWrite, server: ModbusServer
) -> None:
    server.late.add(1)
    with pytest.raises(UncertainActionError, match="does not answer"):
        action.run(arguments("many", 9))
    server.release()
    assert {each[1] for each in server.asked} == {16}
    assert server.get(1, "holding", 4) == [9]


def test_a_device_that_holds_something_else_is_not_done(
    action: ModbusWrite, collector: ModbusCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector.line, "write", lambda *_: None)
    with pytest.raises(UncertainActionError, match=r"then held -40\.0"):
        action.run(arguments("setpoint", 5))


def test_without_a_line_nothing_was_done(
    action: ModbusWrite, collector: ModbusCollector, server: ModbusServer
) -> None:
    action.run(arguments("setpoint", 4))
    server.stop()
    with pytest.raises(UncertainActionError, match="is lost"):  # it left before that was known
        action.run(arguments("setpoint", 5))
    with pytest.raises(ActionError, match="no connection"):
        action.run(arguments("setpoint", 5))
    with pytest.raises(ActionError, match="no collector"):
        ModbusWrite(ALLOWED, {DEVICE: MAP}, list).run(arguments("setpoint", 5))
