"""Simulations of three tiers with every fault; and proof that they can fail, and repeat themselves.

``python -m mainstem_sync.testing.simulation SEED --short`` shows what a failing seed needs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from mainstem_sync.testing.broken import VARIANTS, broken
from mainstem_sync.testing.script import Entry, script_of, shortened
from mainstem_sync.testing.simulation import NOBODY_READS, simulate

SEEDS = 6
SEEDS_REAL = 1
SEEDS_CI = 160
"""In two processes: they have three minutes, also where a run takes 1.8 s of processor time."""
SEEDS_MANY = 1000
SEEDS_BROKEN = 200

CAUGHT = {
    "arrival-order merge": 1,
    "acknowledge before fsync": 0,
    "image without floor": 20,
    "image without refusal": 4,
    "tombstones dropped early": 12,
    "epoch repeated": 4,
    "watermark on time-out": 0,
    "digest of arriving rows": 0,
}
"""A mistake and the first seed that finds it."""

AGAIN = (12, 6, 5, 17, 0, 10)
"""Seeds with thin links, restored backups, or neither, that find most of them."""

EASY = ("watermark on time-out", "acknowledge before fsync", "digest of arriving rows")
"""Variants that nearly every run finds."""


def run(*arguments: str, hash_seed: int = 0) -> str:
    """The command line, in a process of its own."""
    found = subprocess.run(
        [sys.executable, "-m", "mainstem_sync.testing.simulation", *arguments],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout


def test_the_command_line_ends_quietly_when_nobody_reads() -> None:
    """As `... | head -1` leaves it, and with the status that others end with."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as pipe:
        found = subprocess.run(
            [sys.executable, "-m", "mainstem_sync.testing.simulation", "0", "0"],
            stdout=pipe, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    assert (found.returncode, found.stderr) == (NOBODY_READS, b"")


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_tier_holds_each_row_once_whatever_happened(seed: int) -> None:
    outcome = simulate(seed)
    assert outcome.error is None
    assert outcome.minutes >= 30
    assert outcome.claimed > 0


@pytest.mark.parametrize("seed", range(SEEDS_REAL))
def test_so_it_is_on_real_engines(tmp_path: Path, seed: int) -> None:
    assert simulate(seed, base=tmp_path).error is None


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(SEEDS_REAL, 30))
def test_so_it_is_on_real_engines_for_more_seeds(tmp_path: Path, seed: int) -> None:
    assert simulate(seed, base=tmp_path).error is None


def in_two_processes(first: int, end: int) -> None:
    """All seeds in [first, end); fails with what the processes say of those that fail."""
    half = (first + end) // 2
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "mainstem_sync.testing.simulation", str(a), str(b)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for a, b in ((first, half), (half, end))
    ]
    told = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(told)


@pytest.mark.slow
def test_every_tier_holds_each_row_once_in_hundreds_of_runs() -> None:
    in_two_processes(SEEDS, SEEDS_CI)


@pytest.mark.nightly
def test_a_thousand_seeds() -> None:
    in_two_processes(SEEDS_CI, SEEDS_MANY)


def test_a_seed_is_always_the_same_run() -> None:
    first, second = (run("5", hash_seed=seed).partition(" runs,")[0] for seed in (1, 2))
    assert "fingerprint" in first
    assert first == second


def test_leaving_an_entry_out_changes_no_other() -> None:
    script = script_of(3)
    without = simulate(3, [entry for entry in script if entry.kind != "delete"])
    assert without.error is None
    assert {entry.kind for entry in script} >= {"write", "delete", "state", "verify", "flush"}


def test_a_failing_script_is_made_short() -> None:
    script = script_of(1)
    writes = [entry for entry in script if entry.kind == "write"]
    culprits = {writes[3], writes[8]}

    def fails(some: Sequence[Entry]) -> bool:
        return culprits <= set(some)

    assert shortened(script, fails) == sorted(culprits, key=lambda entry: entry.at_s)


def is_caught(variant: str, seed: int) -> bool:
    """True if a seed fails with a mistake in place, and not without it."""
    with broken(variant):
        failed = simulate(seed).error is not None
    return failed and simulate(seed).error is None


@pytest.mark.parametrize("variant", EASY)
def test_a_mistake_is_caught(variant: str) -> None:
    assert is_caught(variant, CAUGHT[variant])


@pytest.mark.slow
@pytest.mark.parametrize("variant", sorted(set(CAUGHT) - set(EASY)))
def test_rarer_mistakes_are_caught(variant: str) -> None:
    # The protocol changes, and with it what happens in a run: one of some seeds is enough.
    assert any(is_caught(variant, seed) for seed in (CAUGHT[variant], *AGAIN))


@pytest.mark.nightly
@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_every_mistake_is_caught_within_some_seeds(variant: str) -> None:
    assert any(is_caught(variant, seed) for seed in range(SEEDS_BROKEN))
