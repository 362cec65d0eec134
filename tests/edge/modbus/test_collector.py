"""The collector of a configured edge at a real server: rows, dead units, refusals, reconnection."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from mainstem_edge.assembly import Assembly, Workbench
from mainstem_edge.assembly.actions import actions
from mainstem_edge.collectors.modbus import ModbusCollector
from mainstem_edge.intake import Intake
from mainstem_edge.modbus import device as device_module
from mainstem_edge.testing.modbus_server import ModbusServer
from mainstem_engine.engine import Engine
from mainstem_node import extras
from mainstem_node.commanding.action import ActionError
from mainstem_node.config import load_topology
from mainstem_node.config.schema import NodeConfig
from mainstem_node.declare import declare
from mainstem_node.errors import BadRequestError, MissingExtraError
from mainstem_sync.receiving.quarantine import QuarantineStore

DEADLINE_S = 20.0
TEMPLATES = {
    "meter": {
        "tags": {"line": "TEXT"},
        "measurements": {
            "voltage": {"type": "DOUBLE", "unit": "V"},
            "energy": {"type": "INT64", "from": "e_total"},
            "relay": {"type": "BOOLEAN"},
            "serial": {"type": "TEXT"},
        },
    },
    "rated": {"quality": True, "measurements": {"a": {"type": "INT32"}, "b": {"type": "INT32"}}},
}
REGISTERS: dict[str, Any] = {
    "voltage": {"address": 0, "scale": 0.1},
    "energy": {"address": 1, "type": "uint32", "word_order": "little"},
    "serial": {"address": 3, "type": "string", "length": 2},
    "relay": {"table": "coil", "address": 0},
}
METER = {"holding": {0: [2305, 7, 1, 0x4142, 0x4331]}, "coil": {0: [1] + [0] * 15}}


def eventually(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.005)
    return found


class Edge:
    """One collector with its intake, running."""

    def __init__(
        self, node: NodeConfig, intake: Intake, engine: Engine, quarantine: QuarantineStore
    ) -> None:
        self.intake = intake
        self.node = node
        self.engine = engine
        self.quarantine = quarantine
        assert isinstance(intake.collector, ModbusCollector)
        self.collector = intake.collector

    def rows(self, template: str = "meter", device: str | None = None) -> list[dict[str, Any]]:
        return list(self.engine.scan(template, devices=device).read_all().to_pylist())

    def unit(self, number: int) -> dict[str, Any]:
        found = self.collector.status()["units"]
        return next(dict(each) for each in found if each["unit"] == number)


@contextmanager
def edge(
    place: Path,
    engine: Engine,
    quarantine: QuarantineStore,
    url: str,
    *devices: Any,
    allow: Sequence[str] = (),
    **more: Any,
) -> Iterator[Edge]:
    config = {"type": "modbus", "url": url, "timeout": "100ms", "retries": 0, **more}
    node = {
        "id": "edge", "tier": "edge", "listen": "127.0.0.1:0", "data_dir": "data",
        "collectors": [{**config, "devices": list(devices)}],
        "actions": [{"type": "modbus.write", "allow": list(allow)}] if allow else [],
    }  # fmt: skip
    path = place / "t.yaml"
    path.write_text(yaml.safe_dump({"templates": TEMPLATES, "nodes": [node]}), encoding="utf-8")
    found = load_topology(path)
    declare(engine, found, found.nodes[0])
    (intake,) = Assembly(Workbench(found, found.nodes[0], engine, quarantine)).intakes()
    intake.start()
    intake.collector.start()
    try:
        yield Edge(found.nodes[0], intake, engine, quarantine)
    finally:
        intake.collector.stop(DEADLINE_S)
        assert intake.drain(DEADLINE_S)


def stored(running: Edge) -> set[tuple[Any, ...]]:
    return {
        (row["a"], row["a_quality"], row["b"], row["b_quality"]) for row in running.rows("rated")
    }


def meter(unit: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "device": f"root.plant.m{unit}", "unit": unit, "template": "meter", "every": "20ms",
        "registers": REGISTERS, **more,
    }  # fmt: skip


def rated(**more: Any) -> dict[str, Any]:
    registers = {"a": {"address": 0}, "b": {"address": 10}}
    return {
        "device": "root.plant.r", "template": "rated", "every": "20ms", "registers": registers,
        **more,
    }  # fmt: skip


def test_a_poll_is_a_row(tmp_path: Path, engine: Engine, quarantine: QuarantineStore) -> None:
    with (
        ModbusServer({1: METER}) as server,
        edge(tmp_path, engine, quarantine, server.url, meter(tags={"line": "L1"})) as running,
    ):
        before_ms = time.time() * 1000
        eventually(lambda: len(running.rows()) >= 3, "three rows")
        status = running.collector.status()
    row = running.rows()[0]
    assert (row["device"], row["line"]) == ("root.plant.m1", "L1")
    assert (row["voltage"], row["energy"], row["relay"], row["serial"]) == (
        230.5, 65_543, True, "ABC1",
    )  # fmt: skip
    times = [each["time"] for each in running.rows()]
    assert times == sorted(set(times))
    assert before_ms - 1000 < times[0] < before_ms + DEADLINE_S * 1000
    assert set(server.asked) == {(1, 3, 0, 5), (1, 1, 0, 1)}  # what lies together is one request
    assert status["state"] == "connected"
    assert status["units"][0]["requests_a_poll"] == 2
    assert status["errors"] == 0
    assert not quarantine.items()


def test_a_dead_unit_does_not_hold_up_the_others(
    tmp_path: Path, engine: Engine, quarantine: QuarantineStore
) -> None:
    with ModbusServer({1: METER, 2: METER}) as server:
        server.silent.add(2)
        with edge(tmp_path, engine, quarantine, server.url, meter(1), meter(2)) as running:
            eventually(lambda: len(running.rows()) >= 20, "twenty rows")
            dead = running.unit(2)
            assert dead["state"] == "silent"
            assert dead["polls"] <= 5  # it is asked again after 1, 2, 4, 8, 16 s
            assert "unit 2 does not answer" in dead["last_error"]
            assert running.unit(1)["state"] == "answers"
            assert running.collector.status()["connects"] == 1
            server.silent.clear()
            eventually(lambda: running.rows("meter", "root.plant.m2"), "the unit is back")
            assert running.unit(2)["last_error"] is None


def test_what_a_device_refuses_does_not_cost_the_rest(
    tmp_path: Path, engine: Engine, quarantine: QuarantineStore
) -> None:
    """Registers 0, 1 and 4, 5 are there; 2 and 3, which the map names too, are not."""
    registers = {
        "voltage": {"address": 0}, "energy": {"address": 4, "type": "uint32"},
        "serial": {"address": 2, "type": "string", "length": 2},
    }  # fmt: skip
    areas = {"holding": {0: [11, 12], 4: [0, 5]}}
    with (
        ModbusServer({1: areas}) as server,
        edge(
            tmp_path, engine, quarantine, server.url, meter(registers=registers, gap=2)
        ) as running,
    ):
        eventually(lambda: len(running.rows()) >= 3, "three rows")
        shown = running.unit(1)
        assert running.collector.status()["last_error"].startswith("root.plant.m1: unit 1 answers")
    assert shown["refused"] == ["serial"]
    assert shown["errors"] == 1  # it is not asked for again before a minute is over
    for row in running.rows():
        assert (row["voltage"], row["energy"], row["serial"]) == (11.0, 5, None)


def test_what_a_device_refused_is_asked_for_again(
    tmp_path: Path, engine: Engine, quarantine: QuarantineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_module, "REFUSED_S", 0.05)
    with ModbusServer({1: {"holding": {0: [1]}}}) as server:
        server.refuse[1] = 2
        with edge(
            tmp_path, engine, quarantine, server.url, rated(registers={"a": {"address": 0}})
        ) as e:
            eventually(lambda: e.unit(1)["refused"], "refused")
            server.refuse.clear()
            eventually(lambda: any(row["a"] == 1 for row in e.rows("rated")), "a value")
            assert e.unit(1)["refused"] == []


def test_quality_says_what_could_not_be_read(
    tmp_path: Path, engine: Engine, quarantine: QuarantineStore
) -> None:
    with (
        ModbusServer({1: {"holding": {0: [1], 10: [2]}}}) as server,
        edge(tmp_path, engine, quarantine, server.url, rated()) as running,
    ):
        eventually(lambda: (1, None, 2, None) in stored(running), "good")
        server.refuse[1] = 4
        eventually(lambda: (None, 2, None, 2) in stored(running), "bad")
        bad = sum(row["a_quality"] == 2 for row in running.rows("rated"))
        polls = running.unit(1)["polls"]
        eventually(lambda: running.unit(1)["polls"] > polls + 5, "more polls")
        assert sum(row["a_quality"] == 2 for row in running.rows("rated")) == bad == 1
        server.refuse.clear()
        eventually(lambda: running.rows("rated")[-1]["a"] == 1, "good again")
        server.stop()
        eventually(lambda: (None, 3, None, 3) in stored(running), "stale")
        count = len(running.rows("rated"))
        eventually(lambda: running.collector.status()["disconnects"] > 2, "tried again")
        assert len(running.rows("rated")) == count  # it is said once
        server.start()
        eventually(lambda: running.rows("rated")[-1]["a"] == 1, "good after a reconnection")
    assert not quarantine.items()


def test_only_the_part_that_cannot_be_read_is_bad(
    tmp_path: Path, engine: Engine, quarantine: QuarantineStore
) -> None:
    with (
        ModbusServer({1: {"holding": {0: [1]}}}) as server,
        edge(tmp_path, engine, quarantine, server.url, rated()) as running,
    ):
        eventually(lambda: len(running.rows("rated")) >= 3, "three rows")
    assert stored(running) == {(1, None, None, 2)}


def test_a_server_that_comes_later_is_found(
    tmp_path: Path, engine: Engine, quarantine: QuarantineStore
) -> None:
    server = ModbusServer({1: METER})
    server.start()
    server.stop()
    with edge(tmp_path, engine, quarantine, server.url, meter()) as running:
        eventually(lambda: running.collector.status()["disconnects"], "no connection")
        assert "refused" in running.collector.status()["last_error"]
        with server:
            eventually(running.rows, "a row")


def test_a_connection_without_any_answer_is_made_anew(
    tmp_path: Path, engine: Engine, quarantine: QuarantineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainstem_edge.modbus.unit.BACKOFF_S_MAX", 0.01)
    with ModbusServer({1: METER}) as server:
        server.silent.add(1)
        with edge(tmp_path, engine, quarantine, server.url, meter(), timeout="20ms") as running:
            eventually(lambda: running.collector.status()["disconnects"], "given up")
            server.silent.clear()
            eventually(running.rows, "a row")


def test_a_command_goes_over_the_line_of_the_collector(
    tmp_path: Path, engine: Engine, quarantine: QuarantineStore
) -> None:
    with (
        ModbusServer({1: METER}) as server,
        edge(
            tmp_path, engine, quarantine, server.url, meter(), allow=["root.plant.m1/voltage"]
        ) as running,
    ):
        (write,) = actions(running.node, lambda: [running.collector])
        wanted = {"device": "root.plant.m1", "measurement": "voltage", "value": 231.4}
        eventually(running.rows, "a row")
        write.check(wanted)
        assert write.run(wanted)["read_back"] == 231.4
        eventually(lambda: running.rows()[-1]["voltage"] == 231.4, "what was written is polled")
        with pytest.raises(BadRequestError, match="not allowed"):
            write.check({**wanted, "measurement": "energy"})
    with pytest.raises(ActionError, match="no connection"):
        write.run(wanted)


def test_without_the_extra_the_remedy_is_told(
    tmp_path: Path, engine: Engine, quarantine: QuarantineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "serial", None)
    with edge(tmp_path, engine, quarantine, "serial:/dev/ttyS99", meter()) as running:
        status = running.collector.status
        eventually(lambda: status()["last_error"], "an error")
        assert 'pip install "mainstem[modbus]"' in status()["last_error"]
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with (
        pytest.raises(MissingExtraError, match="pymodbus"),
        edge(tmp_path, engine, quarantine, "tcp://localhost:1", meter()),
    ):
        pass
