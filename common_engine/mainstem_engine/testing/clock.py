"""A clock that moves when it is told to."""

from __future__ import annotations


class FakeClock:
    """Call it for the time in ns; pass it where a ``clock`` is asked for."""

    def __init__(self, now_ns: int = 1_790_000_000_000_000_000) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        return self.now_ns

    def advance(self, ns: int) -> None:
        """Moves the time forward; negative steps back, as real wall clocks do."""
        self.now_ns += ns
