"""One stored row that changes behind the engine's back, with every checksum right.

A row of a node below is changed, removed, or added in one part; all other rows stay as they are.
"""

from __future__ import annotations

import random

import numpy as np

from mainstem_engine.engine import Engine
from mainstem_engine.model import SELF_ORIGIN, VersionedRows
from mainstem_sync.testing.tampering import tamper, with_row_at, with_value, without
from mainstem_sync.testing.truth import Key

NS_PER_MS = 1_000_000

HOW = ("without", "value", "row")


def rot_a_row(engine: Engine, table: str, below: str, rng: random.Random) -> list[Key]:
    """Does it to a random row of the devices below a path; returns the keys that may differ now,
    none if there was no such row."""
    how, number = rng.choice(HOW), rng.getrandbits(32)
    devices, found = engine.catalog.devices, list[Key]()

    def change(rows: VersionedRows) -> VersionedRows:
        if found:
            return rows
        theirs = np.array([devices.path(d).startswith(below) for d in rows.device.tolist()], bool)
        usable = theirs & (rows.origin != SELF_ORIGIN)
        column = _float_column(rows)
        if how == "value":
            usable &= _present(rows, column)
        candidates = np.flatnonzero(usable)
        if not len(candidates):
            return rows
        at = int(candidates[number % len(candidates)])
        path, time_ns = devices.path(int(rows.device[at])), int(rows.time[at])
        found.append((path, time_ns // NS_PER_MS))
        if how == "without":
            return without(at)(rows)
        if how == "value":
            return with_value(at, column)(rows)
        found.append((path, time_ns // NS_PER_MS + 1))
        return with_row_at(at, time_ns + NS_PER_MS)(rows)

    tamper(engine, table, change)
    return found


def _float_column(rows: VersionedRows) -> int:
    """The measurement id of a column of floats; -1 without one."""
    found = (key for key, c in rows.columns.items() if c.values.dtype == np.float64)
    return next(found, -1)


def _present(rows: VersionedRows, column: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which rows have a value there."""
    if column < 0:
        return np.zeros(len(rows), np.bool_)
    valid = rows.columns[column].valid
    return np.ones(len(rows), np.bool_) if valid is None else np.asarray(valid, np.bool_)
