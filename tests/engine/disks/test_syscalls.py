"""Every system call that an engine makes on its files fails once, and nothing is lost.

1. A process carries out everything that changes files (procedure.py) under strace, which counts its
   calls: writes, syncs, renames, lengths, names, openings, mappings. Each call of each file is a
   point.
2. For every point and every fault (EIO, ENOSPC, EMFILE, ENOMEM, or SIGKILL right before the call)
   it is run again in an empty directory, and that one call fails.
3. The process must say so and go on, or end its log; what it shows meanwhile is what it
   acknowledged. Afterwards the directory is whole, shows every acknowledged row with its value and
   none that was not written, and a second start finds nothing more to mend.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from .capabilities import require, strace
from .injection import Point, points_of
from .sweep import Sweep, cases, sweeping

STRIDE = int(os.environ.get("MAINSTEM_STRIDE", "17"))
"""So few cases that continuous integration is done in two minutes. No number of faults divides it:
all faults of all calls come up."""
NIGHTLY_SHARES = 10
MET_MIN = 0.95
"""How a commit is cut into writes depends on threads: a few points do not come up again."""


Property = Callable[[str, object], None]


def run(
    sweep: Sweep,
    stride: int,
    first: int,
    say: pytest.CaptureFixture[str],
    record_property: Property,
) -> None:
    """Some of the cases; all that went wrong at the end."""
    points = sweep.points()
    every = cases(points)
    chosen = every[first::stride]
    outcomes = [sweep.outcome(point, fault) for point, fault in chosen]
    met = [outcome for outcome in outcomes if outcome.met]
    record_property("count:injected faults", len(met))
    with say.disabled():
        calls = Counter(point.call for point in points)
        print(
            f"\n{len(points)} calls, {len(every)} cases, {len(chosen)} tried, {len(met)} met"
            f" ({', '.join(f'{name} {count}' for name, count in calls.most_common())})"
        )
    unmet = [f"{o.fault} at {o.point}" for o in outcomes if not o.met]
    wrong = [f"{o.fault} at {o.point}: {o.wrong}" for o in outcomes if o.wrong is not None]
    assert not wrong, f"{len(wrong)} of {len(chosen)}:\n" + "\n\n".join(wrong[:5])
    assert len(met) >= MET_MIN * len(chosen), unmet


@pytest.mark.slow
@pytest.mark.crash
def test_some_calls_fail(capsys: pytest.CaptureFixture[str], record_property: Property) -> None:
    require(strace)
    with sweeping() as sweep:
        run(sweep, STRIDE, 0, capsys, record_property)


@pytest.mark.crash
@pytest.mark.nightly
@pytest.mark.parametrize("share", range(NIGHTLY_SHARES))
def test_every_call_fails(
    share: int, capsys: pytest.CaptureFixture[str], record_property: Property
) -> None:
    require(strace)
    with sweeping() as sweep:
        run(sweep, NIGHTLY_SHARES, share, capsys, record_property)


TRACED = """\
12 openat(AT_FDCWD</work>, "/d/data/a.tmp", O_WRONLY|O_CREAT|O_EXCL, 0644) = 9</d/data/a.tmp>
12 writev(9</d/data/a.tmp>, [{iov_base="x"..., iov_len=8}], 1 <unfinished ...>
13 fdatasync(7</d/data/log/1.log>) = 0
12 <... writev resumed>) = 8
12 writev(9</d/data/a.tmp>, [{iov_base="x"..., iov_len=8}], 1) = 8
12 rename("/d/data/a.tmp", "/d/data/a") = 0
12 mmap(NULL, 4096, PROT_READ, MAP_SHARED, 9</d/data/a>, 0) = 0x7f0
12 mmap(NULL, 4096, PROT_READ, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f0
12 openat(AT_FDCWD</work>, "/etc/hosts", O_RDONLY) = 10</etc/hosts>
12 fsync(11</d>) = 0
13 fsync(11</d>) = 0
12 fsync(11</d>) = 0
12 +++ exited with 0 +++
"""


def points(*expected: tuple[str, str, int]) -> Sequence[Point]:
    return [Point(*point) for point in expected]


def test_calls_are_told_apart_by_file() -> None:
    assert points_of(TRACED, Path("/d")) == points(
        ("openat", "data/a.tmp", 1),
        ("writev", "data/a.tmp", 1),
        ("fdatasync", "data/log/1.log", 1),
        ("writev", "data/a.tmp", 2),
        ("rename", "data/a.tmp", 1),
        ("mmap", "data/a", 1),
        ("fsync", ".", 1),  # of both threads
        ("fsync", ".", 2),
    )


def test_every_call_has_its_faults() -> None:
    found = cases([*points(("openat", "a", 1), ("mmap", "a", 1), ("fsync", "a", 1))])
    assert [fault for _, fault in found] == [
        "EMFILE", "EIO", "SIGKILL", "ENOMEM", "SIGKILL", "EIO", "ENOSPC", "SIGKILL",
    ]  # fmt: skip
