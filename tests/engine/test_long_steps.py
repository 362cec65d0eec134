"""Rows in long equal steps: a day's step is so many nanoseconds that floats cannot count them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mainstem_engine import Engine, EngineOptions
from mainstem_engine.part.reader import in_steps

DAY_MS = 86_400_000
DAY_NS = DAY_MS * 1_000_000
DAYS = 3_650
START_MS = 1_420_070_400_000


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Two devices with ten years of daily rows, in blocks of years."""
    with Engine.open(tmp_path, EngineOptions(durability="os", background=False)) as engine:
        engine.sql("CREATE DATABASE root.x WITH (duration='36500d')")
        engine.sql("CREATE SCHEMA TEMPLATE m (v DOUBLE)")
        for device in "ab":
            times = START_MS + np.arange(DAYS) * DAY_MS
            engine.write("m", f"root.x.{device}", times, {"v": np.arange(DAYS) * 1.0}).wait()
        engine.flush()
        yield engine


@pytest.mark.parametrize("count", [1, 2, 129, 1_814, 5_000])
def test_every_step_is_there(count: int) -> None:
    first = START_MS * 1_000_000
    times = in_steps(first, first + (count - 1) * DAY_NS, DAY_NS)
    assert times.tolist() == [first + number * DAY_NS for number in range(count)]


def test_rows_of_one_device_and_of_all(engine: Engine) -> None:
    one = engine.scan("m", "root.x.b").read_all()
    assert one["v"].to_pylist() == list(range(DAYS))
    assert one["time"].to_pylist() == [START_MS + day * DAY_MS for day in range(DAYS)]
    assert engine.scan("m").read_all().num_rows == 2 * DAYS


@pytest.mark.parametrize("by", [None, "device"])
@pytest.mark.parametrize("devices", [None, ["root.x.a"]])
def test_windows_of_a_day_have_a_row_each(
    engine: Engine, by: str | None, devices: list[str] | None
) -> None:
    found = engine.aggregate(
        "m", {"v": ["count", "max", "last"]}, devices, every=DAY_MS, by=by
    ).to_pydict()
    each = 2 if by is None and devices is None else 1
    groups = 2 if by is not None and devices is None else 1
    assert set(found["v_count"]) == {each}
    assert found["v_max"] == found["v_last"] == [float(day) for day in range(DAYS)] * groups
