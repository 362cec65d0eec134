"""Simulations: half an hour and more of three tiers, every fault, in about 0.6 s.

    python -m mainstem_sync.testing.simulation 17         run one seed
    python -m mainstem_sync.testing.simulation 17 --short find a short script that still fails
    python -m mainstem_sync.testing.simulation 0 1000     run many
    python -m mainstem_sync.testing.simulation 0 200 --broken "arrival-order merge"
    python -m mainstem_sync.testing.simulation 0 200 --wide              a wider world
    python -m mainstem_sync.testing.simulation 7 --wide --kinds clone    with these kinds only

A run is a function of its seed: the same seed fails in the same way, with the same fingerprint.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import hashlib
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mainstem_sync.testing.broken import VARIANTS, broken
from mainstem_sync.testing.hasty_world import HastyWorld, is_hasty
from mainstem_sync.testing.script import Entry, script_of, shortened
from mainstem_sync.testing.wide_script import WIDE_MEAN_S, wide_kinds, wide_script_of
from mainstem_sync.testing.wide_world import WideWorld
from mainstem_sync.testing.world import World, minutes_of

NOBODY_READS = 141
"""What a shell says of a program that ended by SIGPIPE."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run. ``error``: what did not hold, None if all did. ``fingerprint``: equal
    for runs that went the same way."""

    seed: int
    error: str | None
    minutes: float
    events: int
    requests: int
    claimed: int
    fingerprint: str


def simulate(
    seed: int,
    script: Sequence[Entry] | None = None,
    base: Path | None = None,
    *,
    wide: bool = False,
    kinds: Sequence[str] | None = None,
) -> Outcome:
    """One run. Whatever goes wrong in it is told in the outcome. ``base``: for real engines.
    ``wide``: in the wider world, where ``kinds`` happen besides, or those of the seed."""
    if wide:
        further = wide_kinds(seed) if kinds is None else tuple(kinds)
        entries = wide_script_of(seed, further) if script is None else script
        world: World = WideWorld(seed, base, kinds=further)
    else:
        entries = script_of(seed) if script is None else script
        world = HastyWorld(seed) if is_hasty(seed) and base is None else World(seed, base)
    error = None
    try:
        world.run(entries)
        world.settle()
        world.check_end()
    except Exception as exc:
        error = f"{type(exc).__name__} at second {world.agenda.now_s:.1f}: {exc}"
    chains = [node.chain for node in world.nodes]
    for node in world.nodes:
        node.stop()
    told = [error, world.agenda.happened, [wire.requests for wire in world.wires], chains]
    return Outcome(
        seed,
        error,
        minutes_of(world),
        world.agenda.happened,
        sum(wire.requests for wire in world.wires),
        world.claimed,
        hashlib.blake2b(repr(told).encode(), digest_size=8).hexdigest(),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 1 if a run failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("first", type=int)
    parser.add_argument("end", type=int, nargs="?")
    parser.add_argument("--short", action="store_true", help="find a short script that fails")
    parser.add_argument("--broken", choices=VARIANTS, help="with a mistake in place")
    parser.add_argument("--wide", action="store_true", help="in the wider world")
    parser.add_argument("--kinds", nargs="+", choices=tuple(WIDE_MEAN_S), help="what happens there")
    options = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    with contextlib.nullcontext() if options.broken is None else broken(options.broken):
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    began = time.process_time()
    failed = 0
    seeds = range(options.first, options.first + 1 if options.end is None else options.end)
    run = functools.partial(simulate, wide=options.wide, kinds=options.kinds)
    gc.freeze()  # what the modules are made of is there to the end: no collection looks through it
    for seed in seeds:
        outcome = run(seed)
        if outcome.error is not None or len(seeds) == 1:
            failed += outcome.error is not None
            sys.stdout.write(f"{outcome}\n")
        if outcome.error is not None and options.short:
            kind = _kind(outcome.error)
            whole = wide_script_of(seed, options.kinds) if options.wide else script_of(seed)
            script = shortened(whole, functools.partial(_fails, run, seed, kind))
            sys.stdout.write(f"{len(script)} entries: {run(seed, script).error}\n")
            for entry in script:
                sys.stdout.write(f"  {entry}\n")
    seconds = time.process_time() - began
    sys.stdout.write(f"{len(seeds)} runs, {failed} failed, {seconds:.1f} s of processor time\n")
    return 1 if failed else 0


def _fails(run: Callable[..., Outcome], seed: int, kind: str, script: Sequence[Entry]) -> bool:
    error = run(seed, script).error
    return error is not None and _kind(error) == kind


def _kind(error: str) -> str:
    """What went wrong, without the numbers: a script is made short for one fault, not for any."""
    _, _, what = error.partition(": ")
    return re.sub(r"[\d.]+", "", what)[:24]


def _command() -> int:
    """``main``, for a shell."""
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader went away (`... | head -1`). What is buffered would be tried again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOBODY_READS
    return code


if __name__ == "__main__":
    sys.exit(_command())
