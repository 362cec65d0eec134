"""Where the blocks of a part begin.

1. A device with at least DENSE_ROWS_MIN rows has blocks of its own, of nearly equal size; the rows
   of neighbouring devices with fewer share blocks.
2. Rows may come in pieces. What could still change with the next piece is held back: the last
   device, and sparse devices right before it. It is never more than two blocks of rows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mainstem_engine.model import DeviceIds
from mainstem_engine.part.layout import DENSE_ROWS_MIN

Starts = npt.NDArray[np.int64]


def block_starts(device: DeviceIds, block_rows: int) -> Starts:
    """First row of every block, for rows sorted by ``device``. ValueError if they are not."""
    if not len(device):
        return np.empty(0, np.int64)
    if (device[1:] < device[:-1]).any():
        raise ValueError("the rows of a part must be sorted by device")
    device_starts = np.flatnonzero(np.r_[True, device[1:] != device[:-1]])
    lengths = np.diff(np.r_[device_starts, len(device)])
    dense = lengths >= dense_rows_min(block_rows)
    # A run begins at every dense device, and where sparse ones follow a dense one.
    begins = dense | np.r_[True, dense[:-1]]
    run_starts = device_starts[begins]
    run_lengths = np.diff(np.r_[run_starts, len(device)])
    counts = -(-run_lengths // block_rows)
    # Block k of c in a run of n rows starts at k * n // c: sizes differ by at most one row.
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    offsets = number * np.repeat(run_lengths, counts) // np.repeat(counts, counts)
    return np.asarray(np.repeat(run_starts, counts) + offsets, np.int64)


def finished_blocks(device: DeviceIds, block_rows: int) -> tuple[Starts, int]:
    """(first row of every block that no later row can change, where the rows held back begin)."""
    rows = len(device)
    if not rows:
        return np.empty(0, np.int64), 0
    last = int(device.searchsorted(device[-1]))
    if rows - last >= dense_rows_min(block_rows):
        begin, end = last, rows
    else:
        begin, end = _sparse_run(device, last, block_rows), last
    # At least one whole block is held back, so that the rest of a device is never a sparse one.
    full = max(0, (end - begin) // block_rows - 1)
    cut = begin + full * block_rows
    starts = block_starts(device[:begin], block_rows)
    return np.concatenate([starts, np.arange(begin, cut, block_rows, dtype=np.int64)]), cut


def dense_rows_min(block_rows: int) -> int:
    """Rows from which on a device has blocks of its own."""
    return min(DENSE_ROWS_MIN, block_rows)


def _sparse_run(device: DeviceIds, end: int, block_rows: int) -> int:
    """Where the run of sparse devices begins that ends before row ``end``."""
    if not end:
        return 0
    starts = np.flatnonzero(np.r_[True, device[1:end] != device[: end - 1]])
    lengths = np.diff(np.r_[starts, end])
    dense = np.flatnonzero(lengths >= dense_rows_min(block_rows))
    if not len(dense):
        return 0
    after = int(dense[-1]) + 1
    return int(starts[after]) if after < len(starts) else end
