"""What can be said of a slice, and how a watch writes it down.

``SliceState`` is what people read. The numbers are what a column holds: they are in checkpoints,
so they are only ever added to.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

import numpy as np

from mainstem_engine.model import BoolMask


class SliceState(enum.StrEnum):
    """What people are told about a slice."""

    OPEN = "OPEN"
    PENDING = "PENDING"
    VERIFIED = "VERIFIED"
    REVISED = "REVISED"
    LOST = "LOST"
    MISMATCH = "MISMATCH"
    QUARANTINED = "QUARANTINED"
    EXPIRED = "EXPIRED"
    DELETED_HERE = "DELETED_HERE"
    NOT_HELD = "NOT_HELD"
    FORKED = "FORKED"
    RETIRED = "RETIRED"
    UNKNOWN = "UNKNOWN"


UNPROVEN = 0
VERIFIED_ = 1
QUARANTINED_ = 2
UNEQUAL = 3
EXPIRED_ = 4
LOST_ = 5
DELETED_HERE_ = 6
FORKED_ = 7

DECLARED = {
    QUARANTINED_: SliceState.QUARANTINED,
    EXPIRED_: SliceState.EXPIRED,
    LOST_: SliceState.LOST,
    DELETED_HERE_: SliceState.DELETED_HERE,
    FORKED_: SliceState.FORKED,
}
"""Not equal to the owner's statement, and said so: no hole, but listed as lost."""

SETTLED = (VERIFIED_, *DECLARED)
"""Nothing more is expected of such a slice."""

STICKY = (DELETED_HERE_, FORKED_)
"""No row and no statement that comes later makes them comparable again."""


def lookup(states: Iterable[int]) -> BoolMask:
    """bool[256]: indexed by a column of states, it says which rows have one of these."""
    found: BoolMask = np.zeros(256, np.bool_)
    found[list(states)] = True
    return found


IS_SETTLED = lookup(SETTLED)
IS_STICKY = lookup(STICKY)
IS_DECLARED = lookup(DECLARED)

REASONS: dict[SliceState, str] = {
    SliceState.OPEN: "the owner has not closed it, or its manifest has not arrived",
    SliceState.PENDING: "records of it are still to come, or it was not scanned yet",
    SliceState.REVISED: "rows arrived after its last manifest",
    SliceState.LOST: "its owner declared rows of it lost",
    SliceState.MISMATCH: "everything has arrived and the stored rows differ from the manifest",
    SliceState.QUARANTINED: "equal when the rows put aside here are added",
    SliceState.EXPIRED: "it is older than what is kept here",
    SliceState.DELETED_HERE: "rows of it were deleted at this tier",
    SliceState.NOT_HELD: "its rows are not sent to this tier",
    SliceState.FORKED: "its owner was restored from a backup or cloned while it held such rows",
    SliceState.RETIRED: "its owner was retired or replaced, or dropped the table",
    SliceState.UNKNOWN: "no manifest has arrived",
    SliceState.VERIFIED: "",
}
