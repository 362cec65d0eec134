"""Simulations of a wider world: two edges under one plant, and what happens to few systems."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mainstem_sync.testing.script import script_of
from mainstem_sync.testing.simulation import simulate
from mainstem_sync.testing.wide_script import WIDE_MEAN_S, wide_script_of

ALONE = [("clone", 0), ("wipe_relay", 0), ("tamper", 0), ("widen", 0), ("rollup", 0)]
SEEDS_ALONE = 40
SEEDS_MIXED = 400
CLEAN = ("clone", "late_restore", "replay", "rollup", "tamper", "widen", "wipe_group", "wipe_relay")
MORE = [(kind, seed) for kind in CLEAN for seed in (100, 101)]
# Owed for ever, or asked for in vain.
MORE += [("widen", 45), ("late_restore", 3), ("late_restore", 43), ("late_restore", 89)]
MORE.append(("widen", 105))  # records that were not synced when other export rules judged the log


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "seed"), MORE)
def test_every_tier_holds_each_row_once_whatever_else_happens(kind: str, seed: int) -> None:
    assert simulate(seed, wide=True, kinds=[kind]).error is None


@pytest.mark.parametrize(("kind", "seed"), ALONE)
def test_every_tier_holds_each_row_once(kind: str, seed: int) -> None:
    outcome = simulate(seed, wide=True, kinds=[kind])
    assert outcome.error is None
    assert outcome.minutes >= 30
    assert outcome.claimed > 0


@pytest.mark.slow
def test_a_run_is_the_same_in_every_process() -> None:
    """Nothing goes by the order of a set, which is another one in each process."""
    module = "mainstem_sync.testing.simulation"
    arguments = ["1", "--wide", "--kinds", "late_restore"]
    outcomes = {
        subprocess.run(
            [sys.executable, "-m", module, *arguments], env={**os.environ, "PYTHONHASHSEED": seed},
            check=True, capture_output=True, timeout=300,
        ).stdout.splitlines()[0]
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(outcomes) == 1


@pytest.mark.nightly
@pytest.mark.parametrize("kind", sorted(WIDE_MEAN_S))
def test_each_kind_alone_in_many_runs(kind: str) -> None:
    failed = {}
    for seed in range(SEEDS_ALONE):
        outcome = simulate(seed, wide=True, kinds=[kind])
        if outcome.error is not None:
            failed[seed] = outcome.error
    assert failed == {}


@pytest.mark.nightly
def test_many_mixed_runs() -> None:
    outcomes = [simulate(seed, wide=True) for seed in range(SEEDS_MIXED)]
    assert {o.seed: o.error for o in outcomes if o.error is not None} == {}


def test_leaving_a_kind_out_changes_no_other() -> None:
    some = wide_script_of(3, ["clone", "tamper"])
    assert [e for e in some if e.kind != "tamper"] == wide_script_of(3, ["clone"])
    assert {entry.kind for entry in some} >= {"clone", "tamper", "write"}
    plain = [entry for entry in some if entry.kind not in WIDE_MEAN_S]
    assert set(plain) <= set(script_of(3))
