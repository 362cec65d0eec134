"""What shows in a look at all blocks of a column at once: which are constant, straight, in runs.

Blocks are neighbouring rows: block i holds values[edges[i]:edges[i + 1]]. A pass over the column
finds where a value, or a step, differs from the one before; two binary searches for each block say
how often that is inside it. So a block costs no calls of its own.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mainstem_engine.encoding.bits import bits_of
from mainstem_engine.encoding.constant import is_constant
from mainstem_engine.model import AnyArray, BoolMask

Edges = npt.NDArray[np.int64]
Positions = npt.NDArray[np.intp]


def constant_blocks(values: AnyArray, edges: Edges) -> BoolMask:
    """Which blocks hold one value, by its bits, or none."""
    first, last = edges[:-1], edges[1:] - 1
    if values.dtype == object:
        pairs = zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
        return np.array([is_constant(values[a:b]) for a, b in pairs], np.bool_)
    found: BoolMask = last <= first
    if found.all():
        return found
    bits = bits_of(values)
    # Most columns differ early; looking there first keeps the test nearly free.
    some = np.flatnonzero(~found)
    begin = first[some]
    same = (bits[begin] == bits[last[some]]) & (bits[begin] == bits[begin + 1])
    if same.any():
        found[some] = same & (_inside(changes(values), begin + 1, last[some] + 1) == 0)
    return found


def straight_blocks(values: AnyArray, edges: Edges) -> BoolMask:
    """Which blocks of 64-bit integers have equal steps, modulo 2^64."""
    bits = bits_of(values)
    if len(bits) < 3:
        return np.ones(len(edges) - 1, np.bool_)
    steps = bits[1:] - bits[:-1]
    bends = np.flatnonzero(steps[1:] != steps[:-1]) + 2
    found: BoolMask = _inside(bends, np.minimum(edges[:-1] + 2, edges[1:]), edges[1:]) == 0
    return found


def changes(values: AnyArray) -> Positions:
    """Rows whose bits are not those of the row before, ascending."""
    bits = bits_of(values)
    return np.flatnonzero(bits[1:] != bits[:-1]) + 1


def runs_of_blocks(changed: Positions, edges: Edges) -> tuple[Positions, Positions]:
    """(first row of every run, where in these those of each block begin and the last end).

    ``changed``: as ``changes`` gives. A run ends with its block; no block is empty.
    """
    starts = np.union1d(changed, edges[:-1])
    return starts, starts.searchsorted(edges)


def _inside(positions: Positions, begin: AnyArray, end: AnyArray) -> npt.NDArray[np.intp]:
    """How many of ``positions`` are in each [begin, end)."""
    found: npt.NDArray[np.intp] = positions.searchsorted(end) - positions.searchsorted(begin)
    return found
