"""What the tests of the engine share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mainstem_engine import ColumnType, Engine, EngineOptions, Measurement, Tag, Template

OpenEngine = Callable[..., Engine]


@pytest.fixture
def meters() -> Template:
    """A template with one measurement of most kinds, and two tags."""
    return Template(
        "meters",
        (
            Measurement(0, "current", ColumnType.FLOAT, unit="A"),
            Measurement(0, "voltage", ColumnType.INT32),
            Measurement(0, "on", ColumnType.BOOLEAN),
            Measurement(0, "note", ColumnType.TEXT),
        ),
        (Tag("location"), Tag("group", ColumnType.INT32)),
    )


@pytest.fixture
def open_engine(tmp_path: Path) -> Iterator[OpenEngine]:
    """Opens an engine in the test's directory, without a thread of its own; closed at the end."""
    opened: list[Engine] = []

    def open_one(
        path: Path | None = None, *, consumers: Any = (), fs: Any = None, **options: Any
    ) -> Engine:
        chosen = EngineOptions(**{"background": False, "durability": "os", **options})
        engine = Engine.open(path or tmp_path / "data", chosen, consumers=consumers, fs=fs)
        opened.append(engine)
        return engine

    yield open_one
    for engine in opened:
        engine.close()
