"""Simulations of a wider world: two edges under one plant, and what happens to few systems."""

from __future__ import annotations

import pytest

from mainstem_sync.testing.script import script_of
from mainstem_sync.testing.simulation import simulate
from mainstem_sync.testing.wide_script import WIDE_MEAN_S, wide_script_of

ALONE = [("clone", 0), ("wipe_relay", 0), ("tamper", 0), ("log_damage", 0), ("conflict", 0)]
MORE = [("wipe_group", 0), ("clock_parent", 0), ("replay", 0)]


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


def test_leaving_a_kind_out_changes_no_other() -> None:
    some = wide_script_of(3, ["clone", "tamper"])
    assert [e for e in some if e.kind != "tamper"] == wide_script_of(3, ["clone"])
    assert {entry.kind for entry in some} >= {"clone", "tamper", "write"}
    plain = [entry for entry in some if entry.kind not in WIDE_MEAN_S]
    assert set(plain) <= set(script_of(3))
