"""A directory for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mainstem_edge.intake import Intake
from mainstem_edge.testing.file_site import FileSite


@pytest.fixture
def site(tmp_path: Path, make_intake: Callable[..., Intake]) -> Iterator[FileSite]:
    found = FileSite(tmp_path, make_intake)
    yield found
    found.stop_all()
