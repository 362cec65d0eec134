"""The script of a wide run: that of the seed, and besides what happens to few systems.

1. Entries of ``script_of`` stay what they are. Each further kind draws from a stream of its own:
   leaving a kind out changes no other.
2. Half of the seeds have one of the further kinds, so that each is also seen alone; the others
   have some of them.
3. Most runs lack restored backups: after these much cannot be compared, and is less looked at.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from mainstem_sync.testing.script import MEAN_S, MINUTES, Entry, script_of

WIDE_MEAN_S: dict[str, float] = {
    "clone": 500.0,
    "wipe_relay": 1000.0,
    "wipe_group": 1000.0,
    "tamper": 300.0,
    "pressure": 500.0,
    "log_damage": 500.0,
    "late_restore": 700.0,
    "widen": 500.0,
    "clock_parent": 500.0,
    "replay": 400.0,
    "conflict": 300.0,
    "rollup": 60.0,
}
"""Seconds between two of a kind, on average."""

KINDS = (*MEAN_S, *WIDE_MEAN_S)

RESTORES = ("restore_edge", "restore_parent")
WITHOUT_RESTORES = 0.7
TOGETHER = 0.4
"""Chance of each kind in a run that has several."""


def wide_kinds(seed: int) -> tuple[str, ...]:
    """The further kinds of a seed."""
    rng = random.Random(f"wide kinds {seed}")
    if rng.random() < 0.5:
        return (tuple(WIDE_MEAN_S)[seed % len(WIDE_MEAN_S)],)
    return tuple(kind for kind in WIDE_MEAN_S if rng.random() < TOGETHER)


def wide_script_of(seed: int, kinds: Sequence[str] | None = None) -> list[Entry]:
    """The script of a wide run, in order of time. ``kinds``: exactly these further ones; None:
    those of the seed."""
    rng = random.Random(f"wide {seed}")
    plain = tuple(MEAN_S)
    if rng.random() < WITHOUT_RESTORES:
        plain = tuple(kind for kind in MEAN_S if kind not in RESTORES)
    entries = script_of(seed, plain)
    for kind in wide_kinds(seed) if kinds is None else kinds:
        own = random.Random(f"wide {seed} {kind}")
        at_s = own.expovariate(1 / WIDE_MEAN_S[kind])
        while at_s < 60.0 * MINUTES:
            entries.append(Entry(at_s, kind, own.getrandbits(64)))
            at_s += own.expovariate(1 / WIDE_MEAN_S[kind])
    return sorted(entries, key=lambda entry: entry.at_s)
