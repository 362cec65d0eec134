"""The generated data set: every row once, in the order of arrival, in bounded steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import telemetry
from telemetry import LATE_S_MAX, START_MS, STEP_MS, column_names, make_dataset, sort_dataset


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many steps for few rows."""
    monkeypatch.setattr(telemetry, "CHUNK_ROWS", 700)


@pytest.mark.usefixtures("small_steps")
def test_each_device_has_a_row_a_second_and_late_rows_come_later(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", 100 * 100 * telemetry.SENSORS, devices=100)
    second = (data.column("time") - START_MS) // STEP_MS
    device = data.column("device")
    assert data.rows == len(second) == 10_000
    assert len(np.unique(second * 100 + device)) == data.rows
    assert second.min() == 0
    assert second.max() == data.seconds - 1
    # What is behind the newest row so far is late; all else stands as it was measured.
    behind = np.maximum.accumulate(second) - second
    assert 0 < np.count_nonzero(behind) < 0.03 * data.rows
    assert behind.max() <= LATE_S_MAX
    # After the last second nothing is newer, so that its late rows do not show as behind.
    ontime = (behind == 0) & (second < data.seconds - 1)
    assert (np.diff((second * 100 + device)[ontime]) > 0).all()


@pytest.mark.usefixtures("small_steps")
def test_walks_go_on_from_step_to_step(tmp_path: Path) -> None:
    data = sort_dataset(make_dataset(tmp_path / "data", 20_000, 10), tmp_path / "sorted")
    of_first = slice(0, data.seconds)
    assert np.abs(np.diff(data.column("m0")[of_first])).max() < 1
    assert set(np.diff(data.column("m9")[of_first]).tolist()) == {0, 1}
    assert len(set(data.column("m6")[of_first].tolist())) == 1


@pytest.mark.usefixtures("small_steps")
def test_sorted_has_the_same_rows_by_device_and_time(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", 30_000, 7)
    other = sort_dataset(data, tmp_path / "sorted")
    order = np.lexsort((data.column("time"), data.column("device")))
    for name in column_names():
        assert other.column(name).tolist() == data.column(name)[order].tolist()
    assert (np.diff(other.column("device").astype(np.int64)) >= 0).all()


def test_batches_are_every_row_in_turn(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", 5_000, 10)
    batches = list(data.batches(64, 10, 300))
    assert [len(batch) for batch in batches] == [64, 64, 64, 64, 34]
    times = np.concatenate([batch.time for batch in batches])
    assert times.tolist() == data.column("time")[10:300].tolist()
    assert {str(each.dtype) for each in batches[0].columns.values()} == {"int64", "float64"}


def test_one_row_each_of_many_devices(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", 1, devices=5_000)
    assert (data.rows, data.seconds) == (5_000, 1)
    assert sorted(data.column("device").tolist()) == list(range(5_000))
