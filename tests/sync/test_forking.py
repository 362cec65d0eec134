"""The fork decision against a model: logs that are copied, restored and cloned at random.

The model knows every record of every log. Whatever happened, once a parent says that a log is the
one that it knows, every record that it holds of the line is the one that the child has under that
LSN; and no epoch is given out twice.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field

import pytest

from mainstem_sync.lines.epochs import EpochTable
from mainstem_sync.lines.forking import Claim, Verdict, judge
from mainstem_sync.lines.trail import POINTS_MAX, POINTS_NEWEST, Trail
from mainstem_sync.wire.ranges import LSN_MAX


def chain_of(before: bytes, token: int) -> bytes:
    return hashlib.blake2b(before + token.to_bytes(8, "big"), digest_size=16).digest()


@dataclass
class Log:
    """One copy of a node's disk. ``tokens``: a number per record that no other record has."""

    tokens: list[int] = field(default_factory=list)
    chain: list[bytes] = field(default_factory=lambda: [bytes(16)])
    table: EpochTable = field(default_factory=EpochTable)
    boots: dict[int, bytes] = field(default_factory=dict)
    first: int = 1
    lost: set[int] = field(default_factory=set)

    def copy(self) -> Log:
        return Log(
            list(self.tokens), list(self.chain), self.table, dict(self.boots), self.first,
            set(self.lost),
        )  # fmt: skip

    def append(self, token: int, boot: bool = False) -> None:
        self.tokens.append(token)
        self.chain.append(chain_of(self.chain[-1], token))
        if boot:
            self.boots[len(self.tokens)] = token.to_bytes(16, "big")

    def claim(self, asked: set[int]) -> Claim:
        end = len(self.tokens)
        trail = Trail()
        for lsn in sorted(asked | {end}):
            if self.first - 1 <= lsn <= end and lsn not in self.lost:
                trail.note_point(lsn, self.chain[lsn])
        for lsn, ident in self.boots.items():
            trail.note_boot(lsn, ident)
        trail.head = end
        told = frozenset(lsn for lsn in asked if lsn not in trail.points)
        return Claim(self.table, trail, self.first, end, told)


@dataclass
class Parent:
    """``held``: token by (epoch, LSN)."""

    table: EpochTable = field(default_factory=EpochTable)
    trail: Trail = field(default_factory=Trail)
    held: dict[tuple[int, int], int] = field(default_factory=dict)

    def copy(self) -> Parent:
        return Parent(self.table, self.trail.copy(), dict(self.held))


@dataclass
class World:
    seed: int
    parents_restored: bool = False

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.token = 0
        self.logs = [Log()]
        self.backups: list[Log] = []
        self.parent = Parent()
        self.parent_backups = [self.parent.copy()]
        self.epochs_given: set[int] = {0}
        self.forks = 0
        self.start(self.logs[0])

    def next(self) -> int:
        self.token += 1
        return self.token

    def start(self, log: Log) -> None:
        log.append(self.next(), boot=True)

    def act(self) -> None:
        log = self.rng.choice(self.logs)
        what = self.rng.random()
        if what < 0.35:
            for _ in range(self.rng.randrange(1, 9)):
                log.append(self.next())
        elif what < 0.45:
            self.start(log)
        elif what < 0.55:
            self.backups.append(log.copy())
        elif what < 0.62 and self.backups:
            self.logs = [self.rng.choice(self.backups).copy()]
            self.start(self.logs[0])
        elif what < 0.66 and len(self.logs) < 3:
            self.logs.append(log.copy())
            self.start(self.logs[-1])
        elif what < 0.70 and self.rng.random() < 0.3:
            # The child only lets go of what is acknowledged: below its parent's own top.
            line = [lsn for e, lsn in self.parent.held if lsn <= self.parent.table.end_of(e)]
            top = max(line, default=0)
            log.first = min(max(log.first, self.rng.randint(1, top + 1)), len(log.tokens))
        elif what < 0.72 and self.parents_restored:
            self.parent_backups.append(self.parent.copy())
        elif what < 0.73 and self.parents_restored:
            self.parent = self.rng.choice(self.parent_backups).copy()
        else:
            self.connect(log)

    def connect(self, log: Log) -> None:
        """HELLO until the parent agrees, then some records are delivered."""
        asked: set[int] = set()
        for _ in range(8):
            claim = log.claim(asked)
            verdict = judge(self.parent.table, self.parent.trail, claim)
            if verdict.ask:
                assert not asked.issuperset(verdict.ask), "asked twice"
                asked |= set(verdict.ask)
            elif verdict.fork is not None:
                self.fork(log, verdict)
            else:
                break
        else:
            raise AssertionError(f"seed {self.seed}: they never agree")
        if verdict.adopt:
            common = self.parent.table.common(log.table)
            self.parent.table = log.table
            self.parent.trail.cut(common)
        self.parent.trail.join(claim.trail)
        self.check(log)
        self.deliver(log)
        self.check(log)

    def fork(self, log: Log, verdict: Verdict) -> None:
        self.forks += 1
        assert verdict.fork is not None
        assert verdict.epoch not in self.epochs_given or self.parents_restored, "given out twice"
        self.epochs_given.add(verdict.epoch)
        table = self.parent.table.with_fork(verdict.epoch, verdict.fork)
        assert table.common(log.table) >= verdict.fork, "of another epoch below the fork"
        self.parent.trail.cut(self.parent.table.common(table))
        self.parent.table = log.table = table

    def deliver(self, log: Log) -> None:
        end = len(log.tokens)
        top = 0
        for lsn in range(max(1, log.first), end + 1):
            if self.rng.random() < 0.7:
                self.parent.held.setdefault((log.table.epoch_of(lsn), lsn), log.tokens[lsn - 1])
                top = lsn
        if top:
            self.parent.trail.note_point(top, log.chain[top])

    def check(self, log: Log) -> None:
        for (epoch, lsn), token in self.parent.held.items():
            if lsn <= self.parent.table.end_of(epoch) and lsn > self.parent.table.begin_of(epoch):
                assert log.table.epoch_of(lsn) == epoch
                assert log.tokens[lsn - 1] == token, f"seed {self.seed}: LSN {lsn} is another one"


@pytest.mark.parametrize("parents_restored", [False, True])
def test_what_a_parent_holds_of_the_line_is_what_the_child_has(parents_restored: bool) -> None:
    forks = 0
    for seed in range(80):
        world = World(seed, parents_restored)
        for _ in range(60):
            world.act()
        forks += world.forks
    assert forks > 60, "the worlds hardly ever fork"


def test_a_restored_backup_forks_exactly_where_it_was_taken() -> None:
    world = World(1)
    (log,) = world.logs
    for _ in range(60):
        log.append(world.next())
    world.connect(log)
    backup = log.copy()
    for _ in range(40):
        log.append(world.next())
    world.connect(log)
    world.start(backup)
    asked: set[int] = set()
    verdict = judge(world.parent.table, world.parent.trail, backup.claim(asked))
    if verdict.ask:
        verdict = judge(world.parent.table, world.parent.trail, backup.claim(set(verdict.ask)))
    assert (verdict.fork, verdict.epoch) == (61, 1)
    assert "ends at 62" in verdict.why


def test_points_become_rarer_with_age_and_never_too_many() -> None:
    trail = Trail()
    for lsn in range(1, 5000):
        trail.note_point(lsn, bytes(16))
        assert len(trail.points) <= POINTS_MAX
    kept = sorted(trail.points)
    assert kept[0] == 1
    assert kept[-POINTS_NEWEST:] == list(range(5000 - POINTS_NEWEST, 5000))
    assert Trail.from_wire(trail.to_wire()).points == trail.points


def test_a_new_parent_takes_any_log_and_its_epochs() -> None:
    table = EpochTable().with_fork(3, 20)
    claim = Claim(table, Trail(), 1, 50)
    assert judge(EpochTable(), Trail(), claim) == Verdict(adopt=True)
    assert EpochTable().common(table) == 20
    assert LSN_MAX > 20
