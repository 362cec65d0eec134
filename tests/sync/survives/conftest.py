"""Fixtures of the cases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .rollup_tiers import RollupTiers


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[RollupTiers]:
    made = RollupTiers(tmp_path)
    yield made
    made.stop()
