"""Devices that are expected: how far they have come, and how long their table waits for them.

1. A device of a template with ``expect_every`` has come as far as its newest row, and so much
   further: until then nothing of it is missing.
2. A table waits for the device that has come least far, so that its slices are not closed over
   what is only late.
3. It waits no longer than TIMEOUT_NS. A device that is silent for longer holds nothing up, until
   it is heard again; the slices are then stated with its name as a missing source.

Pure: times come in with every call.
"""

from __future__ import annotations

import numpy as np

from mainstem_edge.frontier import TIMEOUT_NS
from mainstem_engine.model import TimesNs


def held_frontier_ns(
    now_ns: int, newest_ns: TimesNs, expect_every_ns: int, timeout_ns: int = TIMEOUT_NS
) -> int | None:
    """Event time up to which every device that is waited for has come; None when none is.

    ``newest_ns``: int64[n], the newest row of each device.
    """
    behind = newest_ns[newest_ns < now_ns - expect_every_ns]
    waited_for = behind[behind >= now_ns - expect_every_ns - timeout_ns]
    return int(waited_for.min()) + expect_every_ns if len(waited_for) else None


def silent(newest_ns: TimesNs, frontier_ns: int, expect_every_ns: int) -> TimesNs:
    """Places of the devices whose newest row is older than expected at ``frontier_ns``."""
    places: TimesNs = np.flatnonzero(newest_ns < frontier_ns - expect_every_ns)
    return places
