"""What a node tells systemd: that it is ready, that it stops, and, every moment, that it works.

1. The words go to the datagram socket that ``NOTIFY_SOCKET`` names (sd_notify(3)); without it
   nothing is said. A manager that cannot be reached is no reason to stop collecting.
2. The watchdog's word is said only while ``stuck()`` finds nothing: a process whose event loop
   turns, but whose committer or intake stands still, is started again by the manager.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping

from mainstem_node.logs import fields

log = logging.getLogger("mainstem.service")

READY = "READY=1"
STOPPING = "STOPPING=1"
ALIVE = "WATCHDOG=1"
STUCK_S = 60.0
"""Work that waits and has not moved for as long. A disk that syncs a full queue at 1 MiB/s is done
in less; what takes longer does not come back by itself."""
STEPS_MAX = 16
"""Commits that a message may wait for, of devices and rows: on a disk that takes a minute for each
of them its intake is slow, and not stuck."""


class ServiceManager:
    """The manager of this process, if there is one. ``environment``: that of the process."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        interval_us = environment.get("WATCHDOG_USEC", "")
        meant = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(interval_us) / 1e6 if interval_us.isdecimal() and meant else 0.0
        """Silence after which the manager ends the process; 0: there is no watchdog."""

    def say(self, word: str) -> None:
        """One datagram; never blocks, never raises."""
        family = getattr(socket, "AF_UNIX", None)  # not on Windows
        if not self._address or family is None:
            return
        # A leading @ stands for the zero byte of an abstract name.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as connection:
            connection.setblocking(False)
            connection.sendto(word.encode(), address)

    async def watch(self, stuck: Callable[[], str]) -> None:
        """Says ``ALIVE`` twice in an interval while nothing is stuck; returns without a watchdog.
        ``stuck()``: what stands still, or an empty text."""
        said = ""
        while self.watchdog_s > 0:
            found = stuck()
            if not found:
                self.say(ALIVE)
            elif found != said:
                log.error("the watchdog hears nothing any more", extra=fields(stuck=found))
            said = found
            await asyncio.sleep(self.watchdog_s / 2)


class Progress:
    """Since when each piece of work that waits has not moved."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seen: dict[str, tuple[object, float, int]] = {}

    def stuck(
        self, work: str, waits: bool, at: object, *, below: int = 0, below_waits: bool = False
    ) -> bool:
        """Whether ``work`` waits at the same place as ``STUCK_S`` ago.

        ``below``: the steps that were done of what the work itself may wait for, and
        ``below_waits``: whether there are more to do. While few are done the work is not stuck.
        """
        now = self._monotonic()
        seen = self._seen.get(work)
        if not waits or seen is None or seen[0] != at:
            self._seen[work] = (at, now, below)
            return False
        is_slow = below_waits and 0 < below - seen[2] <= STEPS_MAX
        return now - seen[1] > STUCK_S and not is_slow
