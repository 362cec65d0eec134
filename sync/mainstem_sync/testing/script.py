"""The script of a run: what happens when, made from a seed before anything happens.

Every entry has a seed of its own for what it draws, so that leaving one out changes no other: a run
that fails is made short by leaving entries out for as long as it still fails.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MINUTES = 28
"""Virtual minutes of a script, at least. Until everything is delivered and proven it takes some
more, so that no run is shorter than half an hour."""

MEAN_S: dict[str, float] = {
    "write": 25.0,
    "delete": 240.0,
    "define": 420.0,
    "state": 50.0,
    "verify": 90.0,
    "check": 150.0,
    "flush": 420.0,
    "weather": 90.0,
    "crash": 500.0,
    "power_cut": 700.0,
    "clock": 800.0,
    "backup": 400.0,
    "restore_edge": 900.0,
    "restore_parent": 1200.0,
}
"""Seconds between two of a kind, on average."""

FAULTS: dict[str, float] = {
    "weather": 0.25,
    "crash": 0.25,
    "power_cut": 0.25,
    "clock": 0.25,
    "restore_edge": 0.7,
    "restore_parent": 0.8,
}
"""Kinds that a run may lack, with the chance that it does: so that faults are also seen alone."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happens. ``seed``: of everything that it draws."""

    at_s: float
    kind: str
    seed: int


def script_of(seed: int, kinds: Sequence[str] = tuple(MEAN_S)) -> list[Entry]:
    """The script of a seed, in order of time."""
    rng = random.Random(seed)
    end_s = 60.0 * MINUTES * rng.uniform(1.0, 1.15)
    left_out = {kind for kind, chance in FAULTS.items() if rng.random() < chance}
    entries = []
    for kind, mean_s in MEAN_S.items():
        speed = rng.choice([0.5, 1.0, 1.0, 2.0]) if kind in FAULTS else 1.0
        at_s = rng.expovariate(speed / mean_s)
        while at_s < end_s:
            entry = Entry(at_s, kind, rng.getrandbits(64))
            if kind in kinds and kind not in left_out:
                entries.append(entry)
            at_s += rng.expovariate(speed / mean_s)
    return sorted(entries, key=lambda entry: entry.at_s)


def shortened(entries: list[Entry], fails: Callable[[Sequence[Entry]], bool]) -> list[Entry]:
    """A script that still fails and of which no single piece can be left out: first the end, then
    whole kinds, then halves, quarters and so on of what is left."""
    low, high = 0, len(entries)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fails(entries[:middle]) else (middle + 1, high)
    entries = entries[:high]
    for kind in dict.fromkeys(entry.kind for entry in entries):
        some = [entry for entry in entries if entry.kind != kind]
        if len(some) < len(entries) and fails(some):
            entries = some
    size = max(1, len(entries) // 2)
    while True:
        at = 0
        while at < len(entries):
            some = entries[:at] + entries[at + size :]
            if fails(some):
                entries = some
            else:
                at += size
        if size == 1:
            return entries
        size //= 2
