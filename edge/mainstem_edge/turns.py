"""Times at which something is due: at multiples of its period, so that nothing drifts."""

from __future__ import annotations


def turn_ns(time_ns: int, every_ns: int, offset_ns: int = 0) -> int:
    """The first multiple of ``every_ns``, ``offset_ns`` later, that is not before a time."""
    return -(-(time_ns - offset_ns) // every_ns) * every_ns + offset_ns


def next_turn_ns(now_ns: int, every_ns: int, offset_ns: int = 0) -> int:
    """The first one after now."""
    return turn_ns(now_ns + 1, every_ns, offset_ns)
