"""Random runs of three tiers: edge -> plant -> group, with every fault of the network and crashes.

A run is a function of its seed. Whatever happened, after the faults end:

1. Every tier holds exactly the rows that the edge accepted and did not delete, with the right
   values.
2. All sums hold, at every step and at every node; no parent acknowledged more than it applied.
3. Everything pending is delivered, and every closed slice is verified at plant and group.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mainstem_engine.engine import Engine
from mainstem_engine.errors import NotFoundError
from mainstem_engine.model import ColumnType, Measurement, Tag, Template
from mainstem_sync import accounting
from mainstem_sync.exports import Export
from mainstem_sync.testing.network import Faults, Link
from mainstem_sync.testing.nodes import START_NS, ManualClock, TestNode

TEMPLATE = Template(
    "meters",
    (
        Measurement(0, "n", ColumnType.INT64),
        Measurement(0, "half", ColumnType.DOUBLE),
        Measurement(0, "word", ColumnType.TEXT),
    ),
    (Tag("line"),),
)

FAULTS = Faults(lose_request=0.05, lose_reply=0.05, duplicate=0.1, delay=0.2, flip=0.02)

MINUTES = 8
"""Event time of a run: few slices that are touched again and again."""


@dataclass
class River:
    """Three tiers and what they must hold."""

    base: Path
    seed: int
    faults: Faults = FAULTS
    expected: dict[tuple[str, int], tuple[int, float, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.clock = ManualClock()
        exports = (Export("meters"),)
        self.edge = self._node("edge", exports, True, ["root.p.e"])
        self.plant = self._node("plant", exports, True, ["root.p"])
        self.group = self._node("group", (), False, [])
        self.links = [
            self.edge.link_to(self.plant, rng=self.rng, faults=self.faults, paths=["root.p.e"]),
            self.plant.link_to(self.group, rng=self.rng, faults=self.faults, paths=["root.p"]),
        ]
        self.edge.engine.create_template(TEMPLATE)
        self.number = 0

    def _node(
        self, name: str, exports: tuple[Export, ...], parent: bool, paths: list[str]
    ) -> TestNode:
        return TestNode(
            name, self.base, self.clock, exports=exports, parent=parent, paths=paths, seed=self.seed
        )

    @property
    def nodes(self) -> list[TestNode]:
        return [self.edge, self.plant, self.group]

    # What happens

    def act(self) -> None:
        """One random thing."""
        self.clock.advance(self.rng.choice([0.01, 0.05, 0.2, 1.0]))
        what = self.rng.random()
        if what < 0.22:
            self.write()
        elif what < 0.25:
            self.delete()
        elif what < 0.90:
            self.rng.choice(self.links).step()
        elif what < 0.93:
            self.flap(self.rng.choice(self.links))
        elif what < 0.95:
            engine = self.rng.choice(self.nodes).engine
            engine.flush()
            if self.rng.random() < 0.3:
                engine.compact()
        elif what < 0.98:
            self.edge.federation.run_manifests(START_NS + self.rng.randrange(MINUTES) * 60 * 10**9)
        else:
            self.rng.choice(self.nodes).restart()

    def write(self) -> None:
        """One record, sometimes of corrections; expected once it is durable."""
        engine = self.edge.engine
        paths = [f"root.p.e.d{self.rng.randrange(4)}" for _ in range(self.rng.randint(1, 6))]
        if self.rng.random() < 0.3:  # devices that no one has seen
            paths.append(f"root.p.e.x{self.rng.randrange(1000)}")
        times = [
            START_NS // 10**6 + self.rng.randrange(MINUTES * 60) * 1000 for _ in range(len(paths))
        ]
        numbers = list(range(self.number, self.number + len(paths)))
        self.number += len(paths)
        words = [f"w{n % 5}" for n in numbers]
        ids = engine.device_ids("meters", paths, {"line": ["a"] * len(paths)}, create=True)
        filtered = self.rng.randrange(3)
        ack = engine.write(
            "meters",
            ids,
            np.array(times),
            {"n": np.array(numbers), "half": np.array(numbers) / 2, "word": words},
            intake={"received": len(paths) + filtered, "filtered": filtered},
        )
        ack.wait()
        for path, time, n, word in zip(paths, times, numbers, words, strict=True):
            self.expected[(path, time)] = (n, n / 2, word)

    def delete(self) -> None:
        """Some rows of the edge: of a device, a range of time, or by value."""
        if not self.expected:
            return
        start = START_NS // 10**6 + self.rng.randrange(MINUTES * 60) * 1000
        end = start + self.rng.randrange(1, 120) * 1000
        path = self.rng.choice([None, f"root.p.e.d{self.rng.randrange(4)}"])
        where = None
        if self.rng.random() < 0.3:
            where = lambda rows: np.asarray(rows["n"]) % 2 == 1  # noqa: E731 - of this call only
        doomed = [
            (device, time)
            for (device, time), (n, _, _) in self.expected.items()
            if path in (None, device) and start <= time < end and (where is None or n % 2 == 1)
        ]
        deletion = self.edge.engine.delete(
            "meters", devices=path, start=start, end=end, where=where
        )
        deletion.ack.wait()
        assert deletion.rows == len(doomed), f"seed {self.seed}"
        for key in doomed:
            del self.expected[key]

    def flap(self, link: Link) -> None:
        if link.up:
            link.cut()
        else:
            link.restore()

    # What must hold

    def check(self) -> None:
        """Sums and watermarks, read as an outsider would: child before parent."""
        acked = {}
        for node in self.nodes:
            problems = accounting.check(node.federation.accounting())
            assert problems == [], f"seed {self.seed}: {node.name}: {problems}"
            delivery = node.federation.delivery()
            acked[node.name] = delivery["acked_lsn"] if delivery else 0
        for child, parent in ((self.edge, self.plant), (self.plant, self.group)):
            for seen in parent.federation.children():
                if seen["node"] == child.name:
                    applied = seen["delivery"]["applied_lsn"]
                    assert applied >= acked[child.name], f"seed {self.seed}: {child.name}"
                    assert applied >= seen["delivery"]["acked_lsn"]

    def settle(self) -> None:
        """The faults end, everything is delivered and proven."""
        for link in self.links:
            link.faults = Faults()
            link.restore()
        self.clock.advance(MINUTES * 60)
        self.drain()
        self.edge.federation.run_manifests(self.clock.now_ns)
        self.drain()
        for node in (self.plant, self.group):
            node.federation.run_verification()

    def drain(self) -> None:
        for _ in range(400):
            self.clock.advance(0.2)
            for link in self.links:
                link.step()
            senders = [node.federation.sender for node in (self.edge, self.plant)]
            if all(sender is not None and sender.is_drained() for sender in senders):
                return
        raise TimeoutError(f"seed {self.seed}: not drained: {self.plant.federation.link()}")

    def assert_equal(self) -> None:
        """Every tier holds exactly what was acknowledged, and says that it is complete."""
        for node in self.nodes:
            held = contents(node.engine)
            assert held == self.expected, f"seed {self.seed}: {node.name}"
            node.engine.flush()
            counts = node.engine.store_accounting()["meters"]
            assert counts.live == len(held), f"seed {self.seed}: {node.name}: {counts}"
        logged = self.edge.federation.accounting()["meters"]["log"]["logged"]
        for node in (self.plant, self.group):
            received = node.federation.accounting()["meters"]["log"]["from_children"]
            assert received == logged, f"seed {self.seed}: {node.name}: {received} of {logged}"
            assert node.federation.holes == [], f"seed {self.seed}: {node.name}"
            for item in node.federation.completeness():
                assert item["state"] == "complete", f"seed {self.seed}: {node.name}: {item}"
        for node in (self.edge, self.plant):
            delivery = node.federation.delivery()
            assert delivery is not None
            assert delivery["pending_rows"] == delivery["pending_bytes"] == 0

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()


def contents(engine: Engine) -> dict[tuple[str, int], tuple[int, float, str]]:
    """Every row of a node by (device, time in ms)."""
    try:
        table = engine.scan("meters", columns=["n", "half", "word"]).read_all().to_pydict()
    except NotFoundError:
        return {}
    return {
        (device, time): (n, half, word)
        for device, time, n, half, word in zip(
            table["device"], table["time"], table["n"], table["half"], table["word"], strict=True
        )
    }


def run(base: Path, seed: int, steps: int) -> River:
    """A run of so many steps; raises AssertionError naming the seed."""
    river = River(base, seed)
    for _ in range(steps):
        river.act()
        river.check()
    river.settle()
    river.check()
    river.assert_equal()
    return river
