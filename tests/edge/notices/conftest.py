"""Fixtures for tests of notices: an engine with a book of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.edge.notices.site import Site


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(**options: Any) -> Site:
        made.append(Site(tmp_path / "data", **options))
        return made[-1]

    yield make
    for site in made:
        site.engine.close()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()
