"""A wider world: two edges under one plant, and what happens to few systems.

Every kind of ``wide_script`` is a method here. See ``world`` for what is checked; what a kind needs
besides is said there.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from mainstem_engine.testing.memory_engine import MemoryDisk
from mainstem_sync.proof.completeness import due_slice
from mainstem_sync.state.exports import Export
from mainstem_sync.testing.claims import claimed_slices, content_of, require
from mainstem_sync.testing.clones import Clone, cloned, goes_on
from mainstem_sync.testing.memory_nodes import MemoryNode
from mainstem_sync.testing.rare_faults import RareFaults
from mainstem_sync.testing.rolled_tables import (
    check_above,
    check_computed,
    definition,
    run_rollups,
)
from mainstem_sync.testing.rot import rot_a_row
from mainstem_sync.testing.truth import SLICE_MS, TABLE, Content, Key, Truth
from mainstem_sync.testing.world import HOMES, Node

NS_PER_MS = 1_000_000
NO_OWN_ROWS = frozenset({"wipe_relay", "conflict"})
"""Kinds beside which the plant writes nothing itself: what an emptied node wrote is nobody's any
more, and it has no column for values that conflict."""
CLONE_S = (60.0, 400.0)
"""How long it takes until somebody finds two processes."""


@dataclass
class WideWorld(RareFaults):
    """See the module."""

    may_differ = True

    clones: dict[str, Clone] = field(default_factory=dict)
    closed_ns: int = 0
    tampered: dict[str, set[Key]] = field(default_factory=dict)
    """By node: rows that were changed behind its back, and are not known to be mended."""
    handed_on: set[Key] = field(default_factory=set)
    """Rows that were changed so at the plant. Before their slice is stated it cannot know, and may
    hand them on as images; they go when there is a statement."""

    def _build(self) -> None:
        durability = self.rng.choice(["always", "interval:100ms"])
        exports = (Export(TABLE),)
        self.edge = self._node("edge", exports, ("root.p.e",), durability)
        self.press = self._node("press", exports, ("root.p.f",), durability)
        self.plant = self._node("plant", exports, ("root.p",), "always")
        self.group = self._node("group", (), (), "always")
        self.edges = [self.edge, self.press]
        self.nodes = [*self.edges, self.plant, self.group]
        self.links = [(self.edge, self.plant), (self.press, self.plant), (self.plant, self.group)]
        self.wires = [self._wire(child, parent) for child, parent in self.links]
        if "rollup" in self.kinds:
            for edge in self.edges:
                if isinstance(edge, MemoryNode):
                    edge.rollups = (definition(edge.lateness_ns),)
                edge.exports = self.exports
            self.plant.exports = self.exports

    def _writer(self, rng: random.Random) -> tuple[Node, Truth]:
        chance = rng.random()
        node = self.edge if chance < 0.5 else self.press if chance < 0.8 else self.plant
        if node is self.plant and not NO_OWN_ROWS.isdisjoint(self.kinds):
            node = self.edge
        clone = self.clones.get(node.name)
        if clone is not None and rng.random() < 0.5:
            return clone.node, clone.truth
        return node, self.truths[node.name]

    def rollup(self, rng: random.Random) -> None:
        """An edge computes what is closed, and says what is in it."""
        node = rng.choice(self.edges)
        if node.up:
            self._state(node)

    def _state(self, node: Node) -> None:
        node.commit()
        run_rollups(node, self.agenda.now_ns)
        super()._state(node)

    def check_end(self) -> None:
        super().check_end()
        if "rollup" in self.kinds:
            for edge in self.edges:
                if self.truths[edge.name].is_whole:
                    check_computed(edge, self.truths[edge.name], self._computed_ms)
                for node in (self.plant, self.group):
                    check_above(node, edge, HOMES[edge.name])

    @property
    def _computed_ms(self) -> int:
        """Windows that end by then were computed when slices were closed last."""
        return int(self.closed_ns - self.edge.lateness_ns) // NS_PER_MS // SLICE_MS * SLICE_MS

    def _definer(self, rng: random.Random) -> Node:
        return rng.choice([self.edge, self.press])

    def _stater(self, rng: random.Random) -> Node:
        return rng.choice([self.edge, self.press, self.edge, self.press, self.plant])

    def _check_names(self, node: Node) -> None:
        """Two edges may give a column different names."""

    # Clones

    def clone(self, rng: random.Random) -> None:
        """Somebody copies the disk of an edge, and starts the copy as well."""
        node = rng.choice(self.edges)
        if not node.up or node.name in self.clones or not isinstance(node, MemoryNode):
            return
        second = cloned(node, rng)
        truth = self.truths[node.name]
        wire = self._wire(second, self.plant)
        self.clones[node.name] = Clone(second, truth.copy(), wire, second.disk.log.last_lsn)
        second.start()
        wire.wake()
        original_stays = rng.random() < 0.5
        self.note(f"{node.name} cloned")
        self.agenda.after(rng.uniform(*CLONE_S), lambda: self._found_out(node.name, original_stays))

    def _found_out(self, name: str, original_stays: bool) -> None:
        """One of the two processes is stopped, the other is started anew."""
        clone = self.clones.pop(name, None)
        if clone is None:
            return
        node = next(node for node in self.edges if node.name == name)
        assert isinstance(node, MemoryNode)
        for process in (node, clone.node):
            if process.up:
                process.commit()
                process.crash()
        if original_stays:
            clone.truth.given_up(clone.parted_lsn)
        else:
            self.truths[name].given_up(clone.parted_lsn)
            self.truths[name] = clone.truth
            goes_on(node, clone)
        self.note(f"{name}: the {'original' if original_stays else 'clone'} goes on")
        self._up(node)

    # Empty disks

    def wipe_relay(self, rng: random.Random) -> None:
        self._wipe(self.plant, rng)

    def wipe_group(self, rng: random.Random) -> None:
        self._wipe(self.group, rng)

    def _wipe(self, node: Node, rng: random.Random) -> None:
        """A new disk under the old name, without anything, not even the identity."""
        if not isinstance(node, MemoryNode):
            return
        if node.up:
            node.crash()
        node.disk, node.saved = MemoryDisk(), None
        self.restored.add(node.name)
        self.tampered.pop(node.name, None)
        self.note(f"{node.name} wiped")
        self.agenda.after(rng.random() * 60.0, lambda: self._up(node))

    # Behind the engine's back

    def tamper(self, rng: random.Random) -> None:
        """A stored row of a node below is changed, removed or added; ``verify`` names it."""
        node = rng.choice([self.plant, self.group])
        if not node.up or node.engine.catalog.templates.get(TABLE) is None:
            return
        origin = rng.choice([edge.name for edge in self.edges])
        node.commit()
        before = content_of(node, TABLE, HOMES[origin])
        keys = rot_a_row(node.engine, TABLE, HOMES[origin], rng)
        changed = before ^ content_of(node, TABLE, HOMES[origin])
        if not changed:
            return
        slices = {time_ms // SLICE_MS for _, time_ms, _ in changed}
        self.tampered.setdefault(node.name, set()).update(keys)
        if node is self.plant:
            self.handed_on.update(keys)
        self.miscounted.add(node.name)
        self.note(f"{node.name}: {keys} tampered with")
        named = slices & self._claimed_and_due(node, origin)
        told = node.federation.verify(rescan=True)
        left = named & self._claimed_and_due(node, origin)
        require(not left, f"{node.name} claims slices {left} of {origin}, which were changed")
        for slice_ in named if told["rescanned"] else ():
            listed = any(
                item["node"] == origin
                and item["table"] == TABLE
                and item["from"] <= slice_ * SLICE_MS < item["to"]
                for item in told["slices"]
            )
            require(listed, f"{node.name}: verify does not name slice {slice_} of {origin}")

    def _claimed_and_due(self, node: Node, origin: str) -> set[int]:
        """Slices that a node calls complete, and so long ago that it may be asked."""
        due = due_slice(node.wall_ns(), node.lateness_ns, SLICE_MS * NS_PER_MS)
        claimed = claimed_slices(node, origin, self.truths[origin])
        return {slice_ for slice_, _ in claimed if slice_ < due}

    def _spoiled(self, node: Node, origin: str, content: Content) -> set[Key]:
        spoiled = self.tampered.get(node.name)
        if not spoiled:
            return set()
        held = {(device, time): values for device, time, values in content}
        rows = self.truths[origin].rows
        mended = {
            key
            for key in spoiled
            if key[0].startswith(HOMES[origin])
            and held.get(key, frozenset()) == frozenset(rows.get(key, {}).values())
        }
        spoiled -= mended
        return spoiled

    def _foreign(self, node: Node) -> set[Key]:
        return self.handed_on if node is self.group else set()

    @property
    def shared(self) -> set[str]:
        return set(self.clones)

    def settle(self) -> None:
        """A restore that was put off comes first: faults that go on while a run settles would
        have it write to a node that is down, or end before the restore."""
        if self.faults_until_s > self.agenda.now_s:
            self.agenda.run_until(self.faults_until_s)
        for name in list(self.clones):
            self._found_out(name, original_stays=True)
        self._calm()
        super().settle()

    def _prove(self) -> None:
        self.closed_ns = self.agenda.now_ns
        for node in (self.plant, self.group):
            if node.up and self.tampered.get(node.name):
                # When it was asked at once, its clock may have said that the slice is not due.
                node.federation.verify(rescan=True)
        super()._prove()
        if "conflict" in self.kinds and self.plant.up:
            self._retry()
