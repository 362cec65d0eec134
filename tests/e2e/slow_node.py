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
DISK_BYTES_PER_S = float(os.environ.get("MAINSTEM_TEST_DISK_BYTES_PER_S", "0"))
"""0: as fast as the disk is."""
SLOW_SHARE = 0.3
"""Share of syncs that are slowed: bursts get through fast, then a stall, as on a flash card."""


def slowed(sync: Any, rng: random.Random) -> Any:
    """``sync`` with a random delay before it."""

    def call(descriptor: int) -> None:
        if rng.random() < SLOW_SHARE:
            time.sleep(rng.random() * SYNC_DELAY_S_MAX)
        sync(descriptor)

    return call


class Metered:
    """A disk that takes ``bytes_per_s``: a sync takes as long as what was written since needs."""

    def __init__(self, bytes_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._unsynced = 0
        self._free_at = 0.0

    def write(self, call: Any) -> Any:
        def write(descriptor: int, buffers: Any) -> int:
            written = int(call(descriptor, buffers))
            self._unsynced += written
            return written

        return write

    def sync(self, call: Any) -> Any:
        def sync(descriptor: int) -> None:
            size, self._unsynced = self._unsynced, 0
            # One disk for all: what another sync has still to write comes first.
            self._free_at = max(self._free_at, time.monotonic()) + size / self._bytes_per_s
            time.sleep(max(0.0, self._free_at - time.monotonic()))
            call(descriptor)

        return sync


def main() -> None:
    group = os.environ.get("MAINSTEM_TEST_CGROUP")
    if group:  # see memory_ceiling.py
        with open(group, "w", encoding="ascii") as processes:
            processes.write(str(os.getpid()))
    if DISK_BYTES_PER_S:
        disk = Metered(DISK_BYTES_PER_S)
        os.writev = disk.write(os.writev)
        os.fdatasync = disk.sync(os.fdatasync)
        os.fsync = disk.sync(os.fsync)
    rng = random.Random(int(os.environ.get("MAINSTEM_TEST_SEED", "1")))
    os.fdatasync = slowed(os.fdatasync, rng)
    os.fsync = slowed(os.fsync, rng)
    from mainstem_node.__main__ import main as mainstem

    sys.argv[0] = "mainstem"
    mainstem()


if __name__ == "__main__":
    main()
