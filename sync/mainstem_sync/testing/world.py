"""The world of a simulation: edge -> plant -> group, their wires and clocks, and what happens.

A world is a function of its seed and its script. Edge and plant both write rows of their own;
what each has accepted is in its Truth. Every row, in the end, lies at every tier above, once.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mainstem_engine.model import ColumnType, Measurement, Tag, Template
from mainstem_sync.state.exports import Export
from mainstem_sync.testing.agenda import START_NS, Agenda
from mainstem_sync.testing.claims import (
    check_acknowledged,
    check_claims,
    check_content,
    check_declared,
    check_sums,
    contents_of,
    declared_slices,
    require,
)
from mainstem_sync.testing.equality import check_equal
from mainstem_sync.testing.memory_nodes import MemoryNode
from mainstem_sync.testing.real_nodes import RealNode
from mainstem_sync.testing.replayed import check_replayed
from mainstem_sync.testing.script import Entry
from mainstem_sync.testing.truth import SLICE_MS, TABLE, Content, Key, Truth, value_of
from mainstem_sync.testing.wires import BUSY_S, CALM, Weather, Wire

START_MS = START_NS // 10**6
CAPPED = 0.3
"""Of the nodes with a parent: their log is released beyond a size, delivered or not."""
LOG_BYTES_MAX = 3000
"""A few minutes of a run; what is released is owed as slices."""
LATENESS_NS = 20 * 10**9

TYPES = {
    "a": ColumnType.INT32,
    "b": ColumnType.DOUBLE,
    "c": ColumnType.TEXT,
    "d": ColumnType.INT64,
}
HOMES = {"edge": "root.p.e.", "press": "root.p.f.", "plant": "root.p.q."}
"""Where the devices of each writing node lie."""

LATE_S_MAX = 900.0
"""Rows may be so much older than now."""

SETTLED = ("complete", "forked")
"""States of a table of which nothing is to come."""

SETTLE_S = 420.0
"""After the last fault everything is delivered, stated and proven within so long."""

Node = MemoryNode | RealNode

WEATHERS: Sequence[Weather] = (
    CALM,
    CALM,
    Weather(latency_s=3.0),
    Weather(lose_request=0.2, lose_reply=0.2, duplicate=0.2, latency_s=1.0),
    Weather(lose_reply=0.7),
    Weather(flip=0.3, duplicate=0.3),
    Weather(duplicate=0.8, latency_s=8.0),
    Weather(cut=True),
    Weather(half_open=True),
    Weather(portal=True),
)


@dataclass
class World:
    """See the module. ``base``: where the directories of real nodes are made; None for a world in
    memory."""

    seed: int
    base: Path | None = None
    agenda: Agenda = field(default_factory=Agenda)
    number: int = 0
    claimed: int = 0
    notes: list[str] = field(default_factory=list)
    restored: set[str] = field(default_factory=set)
    saved_from_ms: dict[str, int] = field(default_factory=dict)
    miscounted: set[str] = field(default_factory=set)
    """Nodes that have not what they have counted: somebody changed it, or it is not shown."""

    may_differ = False
    """True: something happens to what is stored, and is found and mended."""

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self._build()
        self.truths = {node.name: Truth() for node in (*self.edges, self.plant)}
        self.held = {
            **{node.name: [node.name] for node in self.edges},
            self.plant.name: list(self.truths),
            self.group.name: list(self.truths),
        }
        for node in self.nodes:
            node.start()
        self._prepare()
        for edge in self.edges:
            self._declare(edge)
        for wire in self.wires:
            wire.wake()

    def _build(self) -> None:
        """The nodes and the wires between them."""
        durability = self.rng.choice(["always", "interval:100ms"])
        exports = (Export(TABLE),)
        self.edge = self._node("edge", exports, ("root.p.e",), durability)
        self.plant = self._node("plant", exports, ("root.p",), "always")
        self.group = self._node("group", (), (), "always")
        self.edges = [self.edge]
        self.nodes = [self.edge, self.plant, self.group]
        self.links = [(self.edge, self.plant), (self.plant, self.group)]
        self.wires = [self._wire(child, parent) for child, parent in self.links]

    def _prepare(self) -> None:
        """What else is there at the beginning."""

    def _declare(self, edge: Node) -> None:
        columns = tuple(Measurement(0, column, TYPES[column]) for column in "abc")
        edge.engine.create_template(Template(TABLE, columns, (Tag("line"),)))

    def _node(
        self, name: str, exports: Sequence[Export], paths: Sequence[str], durability: str
    ) -> Node:
        rng = random.Random(self.rng.getrandbits(64))
        capped = LOG_BYTES_MAX if exports and self.rng.random() < CAPPED else None
        rest = (exports, bool(exports), paths, LATENESS_NS, durability, capped)
        if self.base is None:
            return MemoryNode(name, self.agenda, rng, *rest)
        # Its interval would be one of real time, and virtual minutes pass in less.
        rest = (exports, bool(exports), paths, LATENESS_NS, "always", capped)
        return RealNode(name, self.agenda, rng, self.base, *rest)

    def _wire(self, child: Node, parent: Node) -> Wire:
        return Wire(self.agenda, child, parent, random.Random(self.rng.getrandbits(64)))

    def run(self, script: Sequence[Entry]) -> None:
        """All entries, each at its time."""
        for entry in script:
            self.agenda.run_until(entry.at_s)
            getattr(self, entry.kind)(random.Random(entry.seed))
            self.check_cheaply(self.nodes[entry.seed % len(self.nodes)])

    def _writer(self, rng: random.Random) -> tuple[Node, Truth]:
        """Who writes, or deletes, next."""
        node = self.edge if rng.random() < 0.8 else self.plant
        return node, self.truths[node.name]

    def _definer(self, rng: random.Random) -> Node:
        """Who changes the template next."""
        del rng
        return self.edge

    def _stater(self, rng: random.Random) -> Node:
        """Who closes slices next."""
        return rng.choice([self.edge, self.edge, self.plant])

    # What happens

    def write(self, rng: random.Random) -> None:
        """One record: live rows, corrections, late ones, of some columns, of new devices."""
        node, truth = self._writer(rng)
        if not node.up:
            return
        if node.engine.catalog.templates.get(TABLE) is None:
            if node is self.plant:
                return  # the edge's template has not arrived yet
            self._declare(node)  # a power cut in the first seconds took it; a start declares it
        rows = self._rows(node, truth, rng)
        keys = list(rows)
        engine = node.engine
        names = _names(node)
        columns = {}
        for column in sorted({column for values in rows.values() for column in values}):
            if column in names:
                columns[names[column]] = [rows[key].get(column) for key in keys]
            else:
                for values in rows.values():
                    values.pop(column, None)
        paths = [device for device, _ in keys]
        ids = engine.device_ids(TABLE, paths, {"line": ["x"] * len(paths)}, create=True)
        filtered = rng.randrange(3)
        intake = {"received": len(keys) + filtered, "filtered": filtered}
        times = np.array([time for _, time in keys])
        ack = engine.write(TABLE, ids, times, columns, intake=intake)
        ack.wait()
        truth.write(ack.lsn, rows)

    def _rows(self, node: Node, truth: Truth, rng: random.Random) -> dict[Key, dict[str, object]]:
        count = rng.choice([1, 2, 4, 8])
        now_ms = self.agenda.now_ns // 10**6
        first_ms = max(START_MS, truth.whole_from_ms)
        known = [key for key in truth.rows if key[1] >= first_ms]
        rows: dict[Key, dict[str, object]] = {}
        for _ in range(count):
            kind = rng.random()
            if known and kind < 0.25:
                key = rng.choice(known)
            else:
                name = f"x{rng.randrange(10**6)}" if kind > 0.93 else f"d{rng.randrange(4)}"
                back_s = rng.random() * (LATE_S_MAX if kind > 0.75 else 10.0)
                key = (HOMES[node.name] + name, max(first_ms, now_ms - int(back_s * 1000)))
            self.number += 1
            some = rng.sample("abcd", rng.choice([1, 3, 4, 4]))
            if some == ["d"]:
                some = ["a", "d"]  # of a column that is not defined yet nothing would be left
            rows[key] = {column: value_of(column, self.number) for column in some}
        return rows

    def delete(self, rng: random.Random) -> None:
        """Rows of a stretch of time, of a device or of all, by value or not, whole or in part."""
        node, truth = self._writer(rng)
        known = sorted(key for key in truth.rows if key[1] >= truth.whole_from_ms)
        if not node.up or not known:
            return
        device, at = self._victim(known, rng)
        start, end = at - rng.randrange(60_000), at + 1 + rng.randrange(60_000)
        start = max(start, truth.whole_from_ms)
        # All devices are not all of this node's: others' rows must not be meant.
        paths = [device] if rng.random() < 0.7 else sorted({key[0] for key in truth.rows})
        odd = rng.random() < 0.3
        names = _names(node)
        column = rng.choice("abc") if not odd and rng.random() < 0.3 else None

        def meant(key: Key) -> bool:
            a = truth.rows[key].get("a")
            chosen = not odd or (isinstance(a, int) and a % 2 == 1)
            return key[0] in paths and start <= key[1] < end and chosen

        keys = [key for key in truth.rows if meant(key)]

        def where(batch: object) -> object:
            values = batch.column(names["a"]).to_pylist()  # type: ignore[attr-defined]
            return np.array([value is not None and value % 2 == 1 for value in values])

        deletion = node.engine.delete(
            TABLE,
            devices=paths,
            start=start,
            end=end,
            where=where if odd else None,
            measurements=None if column is None else [names[column]],
        )
        deletion.ack.wait()
        columns = None if column is None else frozenset([column])
        truth.delete(deletion.ack.lsn, keys, columns)

    def _victim(self, known: Sequence[Key], rng: random.Random) -> Key:
        """A row that is deleted, with those about it."""
        return rng.choice(known)

    def define(self, rng: random.Random) -> None:
        """An edge gets a column, renames one, or widens one."""
        node = self._definer(rng)
        if not node.up:
            return
        engine, names = node.engine, _names(node)
        what = rng.random()
        if what < 0.4:
            engine.alter_template(TABLE, add=[Measurement(0, names.get("d", "d"), TYPES["d"])])
        elif what < 0.7:
            column = rng.choice("abc")
            engine.alter_template(TABLE, rename={names[column]: f"{column}{self.number}"})
        else:
            engine.alter_template(TABLE, widen={names["a"]: ColumnType.INT64})

    def state(self, rng: random.Random) -> None:
        """A writing node closes slices and says what is in them."""
        node = self._stater(rng)
        if node.up:
            self._state(node)

    def _state(self, node: Node) -> None:
        node.commit()
        self.truths[node.name].state()
        node.federation.run_manifests(self.agenda.now_ns)

    def verify(self, rng: random.Random) -> None:
        node = rng.choice([self.plant, self.group])
        if node.up:
            node.federation.run_verification()

    def flush(self, rng: random.Random) -> None:
        node = rng.choice(self.nodes)
        if node.up:
            node.engine.flush()
            if rng.random() < 0.3:
                node.engine.compact()

    def weather(self, rng: random.Random) -> None:
        rng.choice(self.wires).weather = rng.choice(WEATHERS)

    def crash(self, rng: random.Random) -> None:
        self._down(rng.choice(self.nodes), rng, power=False)

    def power_cut(self, rng: random.Random) -> None:
        self._down(rng.choice(self.nodes), rng, power=True)

    def _down(self, node: Node, rng: random.Random, *, power: bool) -> None:
        if not node.up:
            return
        last_lsn = node.crash(power=power)
        truth = self.truths.get(node.name)
        if truth is not None and truth.back_to(last_lsn):
            require(node.durability != "always", f"{node.name} lost what it had acknowledged")
            self.notes.append(f"{self.agenda.now_s:.0f}: {node.name} lost what was not synced")
        self.agenda.after(rng.choice([0.1, 5.0, 120.0]) * rng.random(), lambda: self._up(node))

    def _up(self, node: Node) -> None:
        if not node.up:
            node.start()
            for wire in self.wires:
                wire.wake()

    def backup(self, rng: random.Random) -> None:
        node = rng.choice(self.nodes)
        if node.up:
            self._back_up(node)

    def _back_up(self, node: Node) -> None:
        node.commit()
        node.backup()
        if (truth := self.truths.get(node.name)) is not None:
            self.saved_from_ms[node.name] = truth.whole_from_ms
            truth.save()

    def restore_edge(self, rng: random.Random) -> None:
        """Somebody brings the edge's last backup back, or its machine was rolled back."""
        self._restore(self.edge, rng)

    def restore_parent(self, rng: random.Random) -> None:
        self._restore(rng.choice([self.plant, self.group]), rng)

    def _restore(self, node: Node, rng: random.Random) -> None:
        if not node.up or node.saved_lsn is None:
            return
        node.crash()
        last_lsn = node.restore()
        self.restored.add(node.name)
        truth = self.truths.get(node.name)
        lost = 0
        if truth is not None:
            truth.whole_from_ms = self.saved_from_ms[node.name]
            lost = truth.restored(last_lsn)
        self.notes.append(f"{self.agenda.now_s:.0f}: {node.name} back to {last_lsn}, -{lost}")
        self.agenda.after(rng.random() * 30.0, lambda: self._up(node))

    def clock(self, rng: random.Random) -> None:
        """A wall clock is set: a little off, or right again; that of the edge by years, too."""
        node = rng.choice(self.nodes)
        steps_s = [0.0, 0.0, 1.5, -20.0]
        if node is self.edge:
            steps_s += [3600.0, 400 * 86400.0, -50 * 365 * 86400.0]
        node.wrong_ns = int(rng.choice(steps_s) * 1e9)

    # What must hold

    def check(self, rng: random.Random) -> None:
        """A tier is looked at closely."""
        node = rng.choice([self.plant, self.group])
        if node.up:
            self._check_claims(node)

    def check_cheaply(self, node: Node) -> None:
        """After everything that happens: the sums of one node, and what is acknowledged."""
        if node.up:
            check_sums(node)
            if not self.may_differ:
                check_equal(node)
        for child, parent in self.links:
            # A parent that was restored says at the next HELLO how little it has.
            if child.up and parent.up and parent.name not in self.restored:
                check_acknowledged(child, parent)

    def _check_claims(self, node: Node) -> None:
        others = [origin for origin in self.truths if origin != node.name]
        for origin, content in self._contents(node, others).items():
            truth, spoiled = self.truths[origin], self._spoiled(node, origin, content)
            check_content(node, content, truth, spoiled | self._foreign(node))
            self.claimed += check_claims(node, origin, content, truth, spoiled)

    def _contents(self, node: Node, origins: Sequence[str]) -> dict[str, Content]:
        """What a query at a node reads of each origin's devices."""
        found = contents_of(node, TABLE, [HOMES[origin] for origin in origins])
        return {origin: found[HOMES[origin]] for origin in origins}

    def _spoiled(self, node: Node, origin: str, content: Content) -> set[Key]:
        """Rows of an origin that were changed behind the node's back, and are not mended."""
        del node, origin, content
        return set()

    def _foreign(self, node: Node) -> set[Key]:
        """Rows that may have values here that nobody wrote, and are claimed by nobody."""
        del node
        return set()

    # The end

    def settle(self) -> None:
        """The faults end; everything is delivered, stated and proven."""
        for wire in self.wires:
            wire.weather, wire.idle_s = CALM, BUSY_S
            wire.wake()
        for node in self.nodes:
            node.wrong_ns = 0
            self._up(node)
        end_s = self.agenda.now_s + SETTLE_S
        while self.agenda.now_s < end_s:
            self._pass(40.0)
            for node in (*self.edges, self.plant):
                self._state(node)
            self._prove()
            for node in self.nodes:
                self.check_cheaply(node)
            if self.agenda.now_s > end_s - SETTLE_S + 150 and self._is_settled():
                break

    def _prove(self) -> None:
        for node in (self.plant, self.group):
            node.federation.run_verification()

    def _pass(self, seconds: float) -> None:
        """Time goes by. Threads of real nodes tell nobody here when there is something to send."""
        end_s = self.agenda.now_s + seconds
        while self.base is not None and self.agenda.now_s + 1.0 < end_s:
            self.agenda.run_until(self.agenda.now_s + 1.0)
            for wire in self.wires:
                wire.wake()
        self.agenda.run_until(end_s)

    def _is_settled(self) -> bool:
        senders = [node.federation.sender for node in (*self.edges, self.plant)]
        return all(sender is not None and sender.is_drained() for sender in senders) and all(
            item["state"] in SETTLED
            for node in (self.plant, self.group)
            for item in node.federation.completeness()
        )

    def check_end(self) -> None:
        """Every tier holds exactly what was accepted below it, once, and says so; also if it were
        started now."""
        for node in self.nodes:
            if isinstance(node, MemoryNode):
                check_replayed(node)
        for node in self.nodes:
            rows = 0
            for origin, content in self._contents(node, self.held[node.name]).items():
                self._compare(node, origin, content)
                rows += len(content)
            node.engine.flush()
            counts = node.engine.store_accounting().get(TABLE)
            live = 0 if counts is None else counts.live
            counted = live == rows or node.name in self.miscounted
            require(counted, f"{node.name}: {rows} rows, counted {counts}")
            check_sums(node)
        for node in (self.plant, self.group):
            self._check_claims(node)
            self._check_names(node)
            for item in node.federation.completeness():
                require(item["state"] in SETTLED, f"{node.name}: {item}")
        for node in (*self.edges, self.plant):
            delivery = node.federation.delivery()
            require(delivery is not None and delivery["pending_rows"] == 0, f"{node.name} owes")

    def _check_names(self, node: Node) -> None:
        names = _names(node), _names(self.edge)
        # A parent keeps the names of a revision that a restored edge has lost.
        same = names[0] == names[1] or self.edge.name in self.restored
        require(same, f"{node.name} calls its columns {names[0]}")

    def _compare(self, node: Node, origin: str, content: Content) -> None:
        declared = [] if node.name == origin else declared_slices(node, origin)
        truth = self.truths[origin]
        wanted, found = truth.content, content
        for first, end in declared:
            # What was declared need not be equal; but nothing of the present line is missing.
            wanted = frozenset(row for row in wanted if not first <= row[1] < end)
            found = frozenset(row for row in found if not first <= row[1] < end)
        if node.name == origin:
            wanted = frozenset(row for row in wanted if row[1] >= truth.whole_from_ms)
            found = frozenset(row for row in found if row[1] >= truth.whole_from_ms)
        spoiled = self._spoiled(node, origin, content)
        check_declared(node, content - found, truth, declared, spoiled | self._foreign(node))
        lost, extra = sorted(wanted - found, key=repr), sorted(found - wanted, key=repr)
        require(
            not lost and not extra,
            f"{node.name}, rows of {origin}: {len(lost)} lost or wrong, such as {lost[:2]}; "
            f"{len(extra)} that should not be, such as {extra[:2]}",
        )


def _names(node: Node) -> dict[str, str]:
    """What each column is called at a node: its name begins as it did at first. Where nodes below
    have given one different names it is the first."""
    measurements = node.engine.catalog.table(TABLE).template.measurements
    return {measurement.name[0]: measurement.name for measurement in reversed(measurements)}


def minutes_of(world: World) -> float:
    """How long it has been, in virtual minutes."""
    return world.agenda.now_s / (SLICE_MS / 1000)
