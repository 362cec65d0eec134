"""Who still needs the log, and how long it is kept.

1. A segment goes when the checkpoint covers it and no *hold* asks for it. A hold says the highest
   LSN that it lets go; one that cannot say so keeps everything.
2. With a byte cap, the oldest segments that the checkpoint covers go all the same once the log is
   larger. Who may have needed them is told which LSNs are gone, it is counted, and logged once.
   What the checkpoint does not cover never goes: those rows are nowhere else; nor does what a
   *firm* hold asks for, such as a backup that is being written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from mainstem_engine.log.log import Log

logger = logging.getLogger(__name__)

LSN_MAX = (1 << 63) - 1
"""Every LSN: nothing holds it."""

Released = Callable[[int, int], None]
"""Told the first and last LSN that went although somebody asked for them."""


class Holds:
    """The holds on one log. ``log_bytes_max``: the cap, None for none."""

    def __init__(self, log: Log, log_bytes_max: int | None) -> None:
        self._log = log
        self._bytes_max = log_bytes_max
        self._holds: dict[str, Callable[[], int]] = {}
        self._firm: set[str] = set()
        self._released: list[Released] = []
        self._told = False

    @property
    def names(self) -> list[str]:
        """The holds that there are."""
        return list(self._holds)

    def add(self, name: str, function: Callable[[], int], *, firm: bool = False) -> None:
        """``function()`` says the highest LSN that may go. A hold of the same name is replaced.

        ``firm``: the cap does not touch what it asks for; for what ends soon."""
        self._holds[name] = function
        if firm:
            self._firm.add(name)

    def remove(self, name: str) -> None:
        """The hold asks for nothing more."""
        self._holds.pop(name, None)
        self._firm.discard(name)

    def on_released(self, function: Released) -> None:
        """Calls ``function`` after the cap took what a hold asked for."""
        self._released.append(function)

    def held_lsn(self) -> int:
        """The last LSN that every hold lets go."""
        through = LSN_MAX
        for name, hold in list(self._holds.items()):
            try:
                through = min(through, hold())
            except Exception:
                # What a hold cannot say, it may still need.
                logger.exception("hold %s failed: nothing is released", name)
                return 0
        return through

    def release(self, checkpoint_lsn: int) -> None:
        """Lets go of what nobody needs, and of what is beyond the cap. Raises OSError."""
        held = self.held_lsn()
        through = min(checkpoint_lsn, held)
        if through >= self._log.first_lsn:
            self._log.release(through)
        if self._bytes_max is None:
            return
        if self._firm:
            return
        gone = self._log.shrink(self._bytes_max, checkpoint_lsn)
        if gone is None:
            return
        first, last = max(gone[0], held + 1), gone[1]
        if not self._told:
            self._told = True
            logger.warning(
                "the log is larger than %d bytes: records %d to %d were released although a hold "
                "asks for them; what they held is in the parts",
                self._bytes_max, first, last,
            )  # fmt: skip
        for function in self._released:
            function(first, last)
