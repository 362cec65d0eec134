"""Retention: cutoffs, the guarded clock, refusal, removal, horizons."""

from __future__ import annotations

import numpy as np

from mainstem_engine.model import Rows
from mainstem_engine.retention import Cutoff


def _rows(device: list[int], time: list[int]) -> Rows:
    return Rows(np.array(device, np.uint32), np.array(time, np.int64))


def test_one_class_cuts_every_device_at_the_same_time() -> None:
    cutoff = Cutoff(np.array([100], np.int64))
    assert (cutoff.least_ns, cutoff.greatest_ns) == (100, 100)
    assert cutoff.of(np.array([0, 7], np.uint32)).tolist() == [100, 100]
    mask = cutoff.keeps(_rows([0, 1, 2], [99, 100, 101]))
    assert mask is not None
    assert mask.tolist() == [False, True, True]
    assert cutoff.keeps(_rows([0, 1], [100, 101])) is None
    assert cutoff.keeps(_rows([], [])) is None


def test_classes_cut_their_own_devices() -> None:
    cutoff = Cutoff(np.array([100, 50], np.int64), np.array([0, 1, 0], np.uint16))
    assert (cutoff.least_ns, cutoff.greatest_ns) == (50, 100)
    assert cutoff.of(np.array([0, 1, 2, 9], np.uint32)).tolist() == [100, 50, 100, 50]
    mask = cutoff.keeps(_rows([0, 1, 2], [60, 60, 100]))
    assert mask is not None
    assert mask.tolist() == [False, True, True]
