"""Three tiers for tests: edge -> plant -> group, with short ways to write, deliver and compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mainstem_engine.model import ColumnType, Measurement, Tag, Template
from mainstem_sync.state import accounting
from mainstem_sync.state.exports import Export
from mainstem_sync.testing import agenda
from mainstem_sync.testing.network import Link
from mainstem_sync.testing.nodes import ManualClock, TestNode

_FORWARD = ("not_exported", "delivered", "pending", "parked", "lost")

START_NS = agenda.START_NS
START_MS = START_NS // 10**6
MINUTE_NS = 60 * 10**9

METERS = Template(
    "meters",
    (
        Measurement(0, "current", ColumnType.DOUBLE),
        Measurement(0, "voltage", ColumnType.INT32),
        Measurement(0, "note", ColumnType.TEXT),
    ),
    (Tag("line"), Tag("number", ColumnType.INT64)),
)


@dataclass
class Tiers:
    """edge -> plant -> group with perfect links, unless a test makes them worse."""

    base: Path
    edge_exports: Sequence[Export] = (Export("meters"),)
    plant_exports: Sequence[Export] = (Export("meters"),)
    clock: ManualClock = field(default_factory=ManualClock)
    edge_options: Mapping[str, Any] = field(default_factory=dict)
    plant_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.edge = TestNode(
            "edge", self.base, self.clock, exports=self.edge_exports, parent=True,
            paths=["root.p.e"], **self.edge_options,
        )  # fmt: skip
        self.plant = TestNode(
            "plant", self.base, self.clock, exports=self.plant_exports, parent=True,
            paths=["root.p"], **self.plant_options,
        )  # fmt: skip
        self.group = TestNode("group", self.base, self.clock)
        self.up = self.edge.link_to(self.plant, paths=["root.p.e"])
        self.up2 = self.plant.link_to(self.group, paths=["root.p"])
        self.edge.engine.create_template(METERS)

    @property
    def nodes(self) -> list[TestNode]:
        return [self.edge, self.plant, self.group]

    @property
    def links(self) -> list[Link]:
        return [self.up, self.up2]

    def write(
        self,
        device: str = "root.p.e.d1",
        start_s: float = 0.0,
        rows: int = 10,
        *,
        value: float = 1.0,
        node: TestNode | None = None,
        table: str = "meters",
        **options: Any,
    ) -> int:
        """One durable record of rows a second apart; returns its LSN."""
        engine = (node or self.edge).engine
        ids = engine.device_ids(table, [device], {"line": ["a"]}, create=True)
        times = START_MS + int(start_s * 1000) + np.arange(rows) * 1000
        ack = engine.write(
            table,
            np.repeat(ids, rows),
            times,
            {"current": np.full(rows, value), "voltage": np.arange(rows, dtype=np.int32)},
            **options,
        )
        ack.wait()
        return int(ack.lsn)

    def run(self, seconds: float = 3.0, check: bool = True) -> None:
        """Let the links work, and threads commit what came; all sums must hold at every step."""
        for _ in range(int(seconds / 0.12)):
            self.clock.advance(0.12)
            for link in self.links:
                link.step()
            self.commit()
            if check:
                self.check()

    def until(
        self, condition: Callable[[], bool], what: str, seconds: float = 120.0, verify: bool = False
    ) -> None:
        """Let the links work until it holds, at most so long: how many steps something takes
        depends on threads. ``verify``: the parents look at their slices, too."""
        left = seconds
        while not condition():
            assert left > 0, f"not within {seconds:g} s: {what}"
            left -= 0.12
            self.run(0.12)
            if verify:
                for node in (self.plant, self.group):
                    if node.up:
                        node.federation.run_verification()

    def commit(self) -> None:
        """What threads were given is done: time here does not wait for them by itself."""
        for node in self.nodes:
            if node.up:
                node.engine.log.barrier()

    def check(self) -> None:
        for node in self.nodes:
            if node.up:
                assert accounting.check(node.federation.accounting()) == [], node.name

    def close(self, minutes: int = 10) -> None:
        """Let so much time pass, close every slice, deliver and verify."""
        self.clock.advance(minutes * 60)
        for node in (self.edge, self.plant):
            if node.up:
                node.federation.run_manifests(self.clock.now_ns)
        self.run()
        for node in (self.plant, self.group):
            if node.up:
                node.federation.run_verification()

    def values(self, node: TestNode, table: str = "meters") -> list[tuple[Any, ...]]:
        """Every row as (device, second, current, voltage)."""
        found = node.engine.scan(table, columns=["current", "voltage"]).read_all().to_pydict()
        return [
            (device, (time - START_MS) / 1000, current, voltage)
            for device, time, current, voltage in zip(
                found["device"], found["time"], found["current"], found["voltage"], strict=True
            )
        ]

    def state(self, node: TestNode, table: str = "meters", origin: str = "edge") -> dict[str, Any]:
        """The completeness object of one origin's table."""
        found = [
            item
            for item in node.federation.completeness()
            if (item["node"], item["table"]) == (origin, table)
        ]
        assert len(found) == 1, found
        return found[0]

    def forward(self, node: TestNode, table: str = "meters") -> dict[str, int]:
        """What became of the rows of ``table``; zeros before the first of them."""
        found = node.federation.accounting().get(table)
        sums: dict[str, int] = found["forward"] if found else dict.fromkeys(_FORWARD, 0)
        return sums

    def stop(self) -> None:
        for node in self.nodes:
            if node.up:
                node.stop()
