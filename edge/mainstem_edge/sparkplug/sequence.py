"""The sequence numbers of one edge node: what was lost on the way is counted.

1. All messages of an edge node but its death share one counter of eight bits, which begins with the
   birth. A number that is skipped is waited for: messages may overtake one another.
2. What has not come within REORDER_S is lost: counted, and the births are asked for again.
3. More than 255 lost messages in a row look like fewer: what is counted is the least that was lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field

MODULUS = 256
REORDER_S = 2.0
"""Messages of one connection keep their order; brokers in clusters are out by milliseconds."""


@dataclass(slots=True)
class Sequence:
    """``lost``: messages. ``gaps``: places where some are missing. ``without``: messages that had
    no number, though they must."""

    lost: int = 0
    gaps: int = 0
    without: int = 0
    _next: int | None = None
    _missing: dict[int, float] = field(default_factory=dict)
    """Number to when it is given up (monotonic seconds)."""

    def begin(self, number: int | None) -> None:
        """A birth: what was still missing of the time before will not come."""
        self.lost += len(self._missing)
        self._missing.clear()
        if number is None or number >= MODULUS:
            self.without += 1
            number = 0
        self._next = (number + 1) % MODULUS

    def take(self, number: int | None, now_s: float) -> None:
        """A message that has arrived."""
        if number is None or number >= MODULUS:
            self.without += 1
            return
        if self._next is None or number == self._next:
            self._next = (number + 1) % MODULUS
        elif number in self._missing:
            del self._missing[number]
            if not self._missing:
                self.gaps -= 1
        else:
            self.gaps += not self._missing
            for step in range((number - self._next) % MODULUS):
                self._missing.setdefault((self._next + step) % MODULUS, now_s + REORDER_S)
            self._next = (number + 1) % MODULUS

    @property
    def is_waiting(self) -> bool:
        return bool(self._missing)

    def give_up(self, now_s: float) -> int:
        """How many are lost by now that were not before."""
        late = [number for number, until in self._missing.items() if until <= now_s]
        for number in late:
            del self._missing[number]
        self.lost += len(late)
        return len(late)
