"""Made-up devices, as a collector of a configured edge."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from mainstem_edge.assembly import Assembly, Workbench
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.simulator import Signal, SimulatorCollector, Values
from mainstem_edge.testing.parts import NOW_NS
from mainstem_engine.engine import Engine
from mainstem_node.config import load_topology
from mainstem_node.declare import declare
from mainstem_sync.receiving.quarantine import QuarantineStore

TOPOLOGY = """\
templates:
  machine:
    measurements:
      temperature: {type: DOUBLE, from: temp_f, source_unit: degF, unit: degC}
      count: {type: INT64}
      running: {type: BOOLEAN}
      note: {type: TEXT}
nodes:
  - id: edge
    tier: edge
    listen: 127.0.0.1:0
    data_dir: data
    collectors:
      - {type: simulator, template: machine, device: "root.plant.m{n}", devices: 3, every: 1s}
"""


def test_its_rows_go_the_way_of_all_rows(
    tmp_path: Path, engine: Engine, quarantine: QuarantineStore
) -> None:
    path = tmp_path / "topology.yaml"
    path.write_text(TOPOLOGY, encoding="utf-8")
    found = load_topology(path)
    declare(engine, found, found.nodes[0])
    bench = Workbench(found, found.nodes[0], engine, quarantine, clock_ns=lambda: NOW_NS)
    (intake,) = Assembly(bench).intakes()
    collector = intake.collector
    assert isinstance(collector, SimulatorCollector)
    for second in range(4):
        assert collector.step(NOW_NS - second * 10**9)
    intake.process(collector.queue.take(100, 1 << 20, 5))
    assert intake.drain(10)
    rows = engine.scan("machine").read_all().to_pylist()
    assert {row["device"] for row in rows} == {f"root.plant.m{n}" for n in (1, 2, 3)}
    assert len(rows) == 12
    assert all(row["count"] is not None and row["note"] is None for row in rows)
    # 50 +- 10 degF and some noise, as degC
    assert all(-20 < row["temperature"] < 40 for row in rows)
    assert not quarantine.items()


def test_the_same_seed_gives_the_same_values_and_devices_differ() -> None:
    signals = {"x": Signal("sine", 0.0, 1.0, 10.0, noise=0.1), "n": Signal("walk", 5, 1, 1)}
    one, other = Values(3, signals, 7), Values(3, signals, 7)
    for at in range(5):
        assert one.at(at * 10**9) == other.at(at * 10**9)
    assert len(set(one.at(9)["x"])) == 3


@pytest.mark.parametrize(
    ("signal", "expected"),
    [
        (Signal("constant", 4.0, 1.0, 1.0), [4.0, 4.0]),
        (Signal("counter", 10, 3, 1.0, whole=True), [13, 16]),
        (Signal("square", 0.5, 0.5, 2.0, boolean=True), None),
        (Signal("saw", 0.0, 1.0, 4.0), None),
    ],
)
def test_shapes(signal: Signal, expected: list[object] | None) -> None:
    values = Values(1, {"x": signal}, 1)
    found = [values.at(at * 10**9)["x"][0] for at in range(2)]
    if expected is not None:
        assert found == expected
    elif signal.boolean:
        assert sorted(found) == [False, True]
    else:
        assert (found[1] - found[0]) % 2.0 == pytest.approx(0.5)


def test_a_step_is_one_message_of_a_thousand_devices() -> None:
    collector = SimulatorCollector(
        "s", (), MessageQueue(100, 1 << 20), paths=[f"root.d{n}" for n in range(1500)],
        signals={"x": Signal("constant", 1.0, 0.0, 1.0)}, every_s=1, clock_ns=lambda: NOW_NS,
    )  # fmt: skip
    collector.step(NOW_NS)
    sizes = [len(msgspec.msgpack.decode(m.payload)) for m in collector.queue.take(10, 1 << 20, 1)]
    assert sizes == [1000, 500]
