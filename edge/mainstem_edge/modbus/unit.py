"""A unit of a line: whether it answers, and when one that does not is asked again.

One that is dead costs the line a single timeout every now and then, at growing distances, so that
the others on it are not held up.
"""

from __future__ import annotations

BACKOFF_S_MIN = 1.0
BACKOFF_S_MAX = 60.0
"""A unit that was switched on is heard within a minute."""


class Unit:
    """``number`` on the line. ``silent``: how often it did not answer, in a row."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.silent = 0
        self._asked_again_s = 0.0

    @property
    def is_alive(self) -> bool:
        return self.silent == 0

    def hold_s(self, now_s: float) -> float:
        """For how long it is not asked."""
        return max(0.0, self._asked_again_s - now_s) if self.silent else 0.0

    def answered(self) -> None:
        self.silent = 0

    def failed(self, now_s: float) -> None:
        self.silent += 1
        doubled = BACKOFF_S_MIN * 2 ** min(self.silent - 1, 10)
        self._asked_again_s = now_s + min(doubled, BACKOFF_S_MAX)
