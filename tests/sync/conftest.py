"""Fixtures: tiers that are stopped when the test ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mainstem_sync.testing.tiers import Tiers


@pytest.fixture
def make_tiers(tmp_path: Path) -> Iterator[Callable[..., Tiers]]:
    made: list[Tiers] = []

    def make(**options: Any) -> Tiers:
        made.append(Tiers(tmp_path / str(len(made)), **options))
        return made[-1]

    yield make
    for tiers in made:
        tiers.stop()


@pytest.fixture
def tiers(make_tiers: Callable[..., Tiers]) -> Tiers:
    return make_tiers()
