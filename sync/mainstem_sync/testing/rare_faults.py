"""What happens to few systems, and to none twice a day: kinds of the wider script.

Each method is a kind. Disks that are full or damaged, parents that come back without what was
delivered, other export rules, clocks of parents that are wrong by hours, requests that proxies
repeat, columns of a type that does not fit.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from mainstem_engine.log.records import RecordKind
from mainstem_engine.model import ColumnType, Measurement, Template
from mainstem_sync.state.exports import Export
from mainstem_sync.testing.memory_nodes import MemoryNode
from mainstem_sync.testing.rolled_tables import RAW_AND_ROLLED
from mainstem_sync.testing.truth import SLICE_MS, TABLE
from mainstem_sync.testing.wires import Weather
from mainstem_sync.testing.world import TYPES, Node, World

NS_PER_MS = 1_000_000
ROWS_OF_A_RECORD = (RecordKind.PTS, RecordKind.DEL)
DAMAGED_MAX = 3
"""Records next to each other."""
RESTORE_S_MAX = 30.0
"""A node that is restored is down for less."""
HOURS = (-7.0, -2.0, 1.0, 5.0)
REPLAYS = Weather(duplicate=0.8, latency_s=3.0, replay=True)
CONFLICT = "c"
"""The column that the plant has with another type, until somebody mends it."""


@dataclass
class RareFaults(World):
    """See the module. ``kinds``: the further kinds that may happen here."""

    kinds: tuple[str, ...] = ()
    faults_until_s: float = 0.0
    """When the last fault that a script's entry put off is over: only then a run settles."""

    # Disks

    def pressure(self, rng: random.Random) -> None:
        """The disk of an edge is full: its oldest rows go, delivered or not."""
        node = rng.choice(self.edges)
        if not node.up:
            return
        node.commit()
        node.engine.flush()
        before_ns = self.agenda.now_ns - int(rng.uniform(120.0, 900.0) * 1e9)
        if node.engine.give_way(TABLE, before_ns, held=True).parts:  # also without visible rows
            truth = self.truths[node.name]
            horizon_ms = -(-node.engine.horizon_ns(TABLE) // NS_PER_MS)
            truth.whole_from_ms = max(truth.whole_from_ms, horizon_ms)
            truth.rests.add(horizon_ms // SLICE_MS)
            self.miscounted.add(node.name)  # some of it stays for a while, and nobody reads it
            self.note(f"{node.name} gave way up to {horizon_ms}")

    def log_damage(self, rng: random.Random) -> None:
        """Some records of an edge's log can be read no more when it starts again. What is in data
        files already is not lost by that."""
        node = rng.choice(self.edges)
        if not node.up or not isinstance(node, MemoryNode) or node.name in self.shared:
            return
        node.commit()
        records = [r for r in node.disk.log.records if r.kind in ROWS_OF_A_RECORD]
        if not records:
            return
        first = rng.choice(records).lsn
        wanted = {first + n for n in range(rng.randint(1, DAMAGED_MAX))}
        lsns = {r.lsn for r in records if r.lsn in wanted}
        in_parts = node.engine._store.checkpoint_lsn  # noqa: SLF001 - nobody else needs to know
        node.crash()
        for lsn in lsns:
            node.disk.log.damage(lsn, lsn)
        lost = self.truths[node.name].forget({lsn for lsn in lsns if lsn > in_parts})
        self.note(f"{node.name}: records {sorted(lsns)} damaged, -{lost}")
        self.agenda.after(rng.random() * 10.0, lambda: self._up(node))

    def late_restore(self, rng: random.Random) -> None:
        """A parent comes back from a backup when the logs below it were released meanwhile."""
        parent = rng.choice([self.plant, self.group])
        if not parent.up:
            return
        self._back_up(parent)
        own = random.Random(rng.getrandbits(64))

        def release() -> None:
            for child, above in self.links:
                if above is parent and child.up:
                    child.commit()
                    child.engine.flush()
                    child.engine.log.rotate()
                    child.engine.flush()

        late_s = rng.uniform(120.0, 400.0)
        for share in (0.5, 0.9):
            self.agenda.after(share * late_s, release)
        self.agenda.after(late_s, lambda: self._restore(parent, own))
        ends_s = self.agenda.now_s + late_s + RESTORE_S_MAX
        self.faults_until_s = max(self.faults_until_s, ends_s)

    # Rules, clocks, wires

    def widen(self, rng: random.Random) -> None:
        """The rules of a child change: its table goes up, or stays, from its next start on."""
        node = rng.choice([*self.edges, self.plant])
        if node.up and node.name not in self.shared:
            self._export(node, () if node.exports else self.exports, rng.random() * 5.0)

    def _export(self, node: Node, exports: Sequence[Export], after_s: float) -> None:
        node.commit()
        node.crash()
        node.exports = exports
        self.note(f"{node.name} exports {len(exports)} tables")
        self.agenda.after(after_s, lambda: self._begin(node))

    def _begin(self, node: Node) -> None:
        """A start with other rules: they are in force within a second."""
        self._up(node)
        node.federation.exchange.owe()

    def clock_parent(self, rng: random.Random) -> None:
        """The clock of a parent is wrong by hours, for some minutes."""
        node = rng.choice([self.plant, self.group])
        node.wrong_ns = int(rng.choice(HOURS) * 3600 * 1e9)
        self.note(f"{node.name} is off by {node.wrong_ns / 3.6e12:.0f} h")
        self.agenda.after(rng.uniform(60.0, 600.0), lambda: setattr(node, "wrong_ns", 0))

    def replay(self, rng: random.Random) -> None:
        """A proxy repeats requests late, also to the next process of the parent."""
        wire, own = rng.choice(self.wires), random.Random(rng.getrandbits(64))
        wire.weather = REPLAYS
        parent = rng.choice([self.plant, self.group])
        self.agenda.after(rng.uniform(5.0, 60.0), lambda: self._down(parent, own, power=True))

    # Types that do not fit

    def _prepare(self) -> None:
        if "conflict" in self.kinds:
            # Before any edge is heard: the plant's own idea of a column.
            column = Measurement(0, CONFLICT, ColumnType.BOOLEAN)
            self.plant.engine.create_template(Template(TABLE, (column,)), foreign=True)

    def conflict(self, rng: random.Random) -> None:
        """Somebody looks at what was put aside; one in three mends the reason first."""
        if not self.plant.up:
            return
        if rng.random() < 0.3:
            self._mend()
        self._retry()

    def _mend(self) -> None:
        """Also once more: a backup may be from before it was mended."""
        engine = self.plant.engine
        known = engine.catalog.templates.get(TABLE)
        column = None if known is None else known.measurement(CONFLICT)
        if column is not None and column.type is not TYPES[CONFLICT]:
            engine.alter_template(TABLE, rename={CONFLICT: f"was_{CONFLICT}"})
            engine.alter_template(TABLE, add=[Measurement(0, CONFLICT, TYPES[CONFLICT])])
            self.note("the conflict is mended")

    def _retry(self) -> None:
        federation = self.plant.federation
        ids = [item["id"] for item in federation.quarantine.items(limit=1000)]
        if ids:
            federation.retrying.retry(ids)

    # The end

    def _calm(self) -> None:
        """The causes end before everything is to be delivered."""
        if "conflict" in self.kinds:
            self._up(self.plant)
            self._mend()
        for node in (*self.edges, self.plant):
            if not node.exports:
                self._up(node)
                self._export(node, self.exports, 0.0)

    @property
    def exports(self) -> Sequence[Export]:
        """What every child sends, unless its rules were changed."""
        return RAW_AND_ROLLED if "rollup" in self.kinds else (Export(TABLE),)

    @property
    def shared(self) -> set[str]:
        """Names of which there are two processes."""
        return set()

    def note(self, what: str) -> None:
        """For whoever looks at a failing run."""
        self.notes.append(f"{self.agenda.now_s:.0f}: {what}")
