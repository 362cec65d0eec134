"""Judging a damaged directory: what a check says, what an engine shows, what a repair leaves.

1. A damage to a byte that says something is noticed, but for the end of the log, which may look
   like a write that the power cut.
2. An engine refuses, or shows nothing that was not stored. Of a damaged block of a part a check
   names devices, times and rows, and the rows of every other block are still answered.
3. A repaired directory is whole and shows nothing that was not stored.
"""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from pathlib import Path
from random import Random

from mainstem_engine import Engine, MainstemError
from mainstem_engine.check import CheckReport, check_directory
from mainstem_engine.errors import CorruptionError
from mainstem_engine.repair import repair_directory

from .specimen import (
    MS,
    Block,
    blocks_of,
    matters,
    options,
    rows_of,
    shown,
    spoiled,
    stored,
)


def copied(source: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return target


class Rot:
    """Damages one directory after the other and judges what its users would see."""

    def __init__(self, data: Path, place: Path) -> None:
        self.data = data
        self.place = place
        self.before = shown(copied(data, place / "first"))
        self.blocks = blocks_of(data)
        self.seen: Counter[str] = Counter()

    def try_one(self, name: Path, seed: int) -> None:
        """One damage to a file, drawn with ``seed``."""
        content = (self.data / name).read_bytes()
        kind, after = spoiled(content, Random(seed))
        self.judge(name, content, after, f"seed {seed}: {kind} of {name}")

    def judge(self, name: Path, content: bytes, after: bytes, label: str) -> None:
        """Raises AssertionError if ``after`` in place of ``content`` breaks a promise."""
        copy = copied(self.data, self.place / "copy")
        (copy / name).write_bytes(after)
        report = check_directory(copy)
        if report.whole:
            self._unnoticed(copy, report, matters(name, content, after), label)
            return
        self.seen["noticed"] += 1
        self._opened(copied(copy, self.place / "opened"), label)
        if name in self.blocks:
            hit = [i for i in range(min(len(content), len(after))) if content[i] != after[i]]
            if hit and len(after) == len(content):
                self._costs_its_block(copy, name, report, hit, label)
        repaired = repair_directory(copy)
        assert repaired.after.whole, (label, repaired.after.damages)
        found = shown(copy)
        if not repaired.unknown:
            assert found <= self.before, label
        else:  # names or the part list are lost: what was overwritten or deleted may be back
            assert {row[1:] for row in found} <= {row[1:] for row in stored()}, label
        assert check_directory(copy).whole, label

    def _unnoticed(self, copy: Path, report: CheckReport, mattered: bool, label: str) -> None:
        """Only the end of the log may look torn; nothing else may change what is seen."""
        found = shown(copy)
        assert found <= self.before, label
        if not mattered:
            self.seen["did not matter"] += 1
            assert found == self.before, label
            return
        self.seen["looks like a torn write"] += 1
        assert any("torn write" in remark for remark in report.remarks), (label, report.remarks)

    def _opened(self, copy: Path, label: str) -> None:
        """Without a repair: refused, or answered with nothing that was not stored."""
        with contextlib.suppress(MainstemError):
            assert shown(copy) <= self.before, label

    def _costs_its_block(
        self, copy: Path, name: Path, report: CheckReport, hit: list[int], label: str
    ) -> None:
        blocks = self.blocks[name]
        if hit[-1] >= blocks[-1].end or hit[0] < blocks[0].start:
            self.seen["head or footer of a part"] += 1
            return
        self.seen["block of a part"] += 1
        damaged = [b for b in blocks if any(b.start <= place < b.end for place in hit)]
        for damage in report.damages:
            spans = {(b.times, b.devices) for b in damaged}
            assert damage.start_ns is not None, label
            assert damage.end_ns is not None, label
            assert damage.devices is not None, label
            devices = tuple(int(path.removeprefix("root.a.d")) for path in damage.devices)
            assert ((damage.start_ns, damage.end_ns), devices) in spans, (label, damage)
            assert damage.rows > 0, (label, damage)
        assert {d.block for d in report.damages} == {blocks.index(b) for b in damaged}, label
        with Engine.open(copied(copy, self.place / "opened"), options()) as engine:
            for block in blocks:
                self._ask(engine, block, damaged, label)

    def _ask(self, engine: Engine, block: Block, damaged: list[Block], label: str) -> None:
        """The rows of one block: there, unless they share device and time with a damaged one."""
        wanted = frozenset(row for row in self.before if block.may_hold(row))
        first, last = block.times
        devices = [f"root.a.d{n}" for n in range(block.devices[0], block.devices[1] + 1)]
        selection = {"devices": devices, "start": first // MS, "end": last // MS + 1}
        try:
            assert rows_of(engine, **selection) == wanted, label
        except CorruptionError:
            assert any(_overlap(block, other) for other in damaged), label
            self.seen["queries refused"] += 1
        else:
            self.seen["queries answered"] += 1


def _overlap(a: Block, b: Block) -> bool:
    return all(
        low <= last and first <= high
        for (low, high), (first, last) in ((a.devices, b.devices), (a.times, b.times))
    )
