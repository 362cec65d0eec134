"""Points without end: every row once, late ones a batch later; and the curves drawn of them."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from curves import Panel, curves, power
from telemetry import SENSORS, START_MS, STEP_MS
from telemetry_stream import Kinds, TelemetryStream


@pytest.mark.parametrize(("devices", "batch_rows"), [(50, 1_000), (700, 200)])
def test_each_device_has_one_row_a_round(devices: int, batch_rows: int) -> None:
    stream = TelemetryStream(devices)
    batches = list(stream.batches(20_000 * SENSORS, batch_rows))
    assert all(len(batch) <= 2 * batch_rows for batch in batches)
    device = np.concatenate([batch.device for batch in batches])
    time = np.concatenate([batch.time for batch in batches])
    keys = (time - START_MS) // STEP_MS * 1_000_000 + device
    assert len(np.unique(keys)) == len(keys) >= 20_000
    per_device = np.bincount(device, minlength=devices)
    # What is late waits with the fleet.
    assert per_device.max() - per_device.min() <= 10
    # Those that waited stand first in the next batch: the step back is where it begins.
    assert np.count_nonzero(np.diff(keys) < 0) >= len(batches) // 2


def test_a_walk_goes_on_from_batch_to_batch() -> None:
    batches = list(TelemetryStream(10).batches(5_000 * SENSORS, 500))
    mine = [batch.columns["m0"][batch.device == 3] for batch in batches]
    steps = np.abs(np.diff(np.concatenate(mine)))
    assert steps.max() < 1, "late rows are out of their place by some rounds"
    counter = np.concatenate([batch.columns["m8"][batch.device == 3] for batch in batches])
    assert counter[-1] > counter[0]


def test_columns_beside_the_sensors() -> None:
    stream = TelemetryStream(10, Kinds(nulls=True, text=True))
    batch = next(stream.batches(1_000 * SENSORS, 500))
    columns = stream.beside(batch)
    values, missing = columns["m2"]
    assert values is batch.columns["m2"]
    assert 0 < np.count_nonzero(missing) < len(batch) / 2
    assert len(columns["t0"]) == len(columns["t1"]) == len(batch)


def test_curves_carry_each_figure() -> None:
    document = curves(
        "Two <curves>",
        [
            Panel("Rate", "M points/s", "devices", [(1e3, 12.5), (1e6, 4.25)]),
            Panel("Nothing", "ms", "points", [(5e8, 0.0)]),
        ],
    )
    root = ElementTree.fromstring(document)
    texts = ["".join(item.itertext()) for item in root.iter("{http://www.w3.org/2000/svg}text")]
    for wanted in ("12.5", "4.25", "1e3", "1e6", "5e8", "0"):
        assert wanted in texts
    assert "Two <curves>" in "".join(root.itertext())


def test_powers() -> None:
    assert [power(1e6), power(5e8), power(20_010_410), power(1_500)] == [
        "1e6",
        "5e8",
        "2e7",
        "1.5e3",
    ]
