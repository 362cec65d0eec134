"""Runs ``mainstem run`` with a disk that is slow to sync.

Killing a process alone hides an acknowledgement that is sent too early: the page cache survives the
process. With a slow sync the window between "written" and "durable" is wide, and a batch that was
acknowledged inside it is missing from what the process had logged when it died.
"""

from __future__ import annotations

import os
import random
import sys
import time
from typing import Any

SYNC_DELAY_S_MAX = float(os.environ.get("MAINSTEM_TEST_SYNC_DELAY_S", "0.05"))
SLOW_SHARE = 0.3
"""Share of syncs that are slowed: bursts get through fast, then a stall, as on a flash card."""


def slowed(sync: Any, rng: random.Random) -> Any:
    """``sync`` with a random delay before it."""

    def call(descriptor: int) -> None:
        if rng.random() < SLOW_SHARE:
            time.sleep(rng.random() * SYNC_DELAY_S_MAX)
        sync(descriptor)

    return call


def main() -> None:
    rng = random.Random(int(os.environ.get("MAINSTEM_TEST_SEED", "1")))
    os.fdatasync = slowed(os.fdatasync, rng)
    os.fsync = slowed(os.fsync, rng)
    from mainstem_node.__main__ import main as mainstem

    sys.argv[0] = "mainstem"
    mainstem()


if __name__ == "__main__":
    main()
