"""An edge that has taken the epoch it was told, and is then found to be another log once more."""

from __future__ import annotations

import pytest

from mainstem_sync.lines.epochs import EpochTable
from mainstem_sync.lines.forking import Claim, Verdict, judge
from mainstem_sync.lines.trail import Trail
from mainstem_sync.receiving import greeting
from mainstem_sync.testing.tiers import Tiers

from .copies import epoch_of, roll_back, snapshot


def test_case_8_an_offer_that_was_taken_is_not_made_again(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tier above knew of rows that the plant did not, and says so when the edge is in its new
    epoch. It was told the same epoch for ever, and said HELLO for ever."""
    tiers.write(rows=5)
    tiers.run()
    copy = snapshot(tiers.edge)
    tiers.write(start_s=60, rows=5)
    tiers.run()
    roll_back(tiers.edge, copy)
    tiers.write(start_s=120, rows=5)
    tiers.until(lambda: epoch_of(tiers.edge) == 1, "a new epoch")
    tiers.write(start_s=180, rows=5)
    tiers.run()

    def other_log(table: EpochTable, trail: Trail, claim: Claim) -> Verdict:
        if claim.table.current != 1:
            return judge(table, trail, claim)
        return Verdict(fork=claim.table.forks[-1][1], epoch=2, why="differs")

    monkeypatch.setattr(greeting, "judge", other_log)
    tiers.plant.federation._children.expel("edge")
    tiers.until(lambda: epoch_of(tiers.edge) == 2, "an epoch beyond the one that it has")
    tiers.write(start_s=240, rows=5)
    tiers.close()
    values = tiers.values(tiers.group)
    assert len(values) == 25
    assert set(tiers.values(tiers.edge)) < set(values)
