"""The storage engine beside DuckDB: ingest, size, last, range, windows, group-by, open, memory.

1. One generated data set (telemetry.py) is loaded by both in turns, several rounds, each time in
   a fresh process: batches of 100,000 rows in the order of arrival, one durable commit each. The
   clock runs until everything is in data files and closed.
2. Ours is compacted once; DuckDB's table is kept as loaded and copied sorted by device and time.
3. One process then holds all three and asks them the same questions in turns.
4. A ratio is of two figures of the same round; the median of the rounds counts, and the least and
   the greatest are shown. Where a goal does not say otherwise, DuckDB's better table is the peer.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from contests import (
    MIB,
    SMALL_ROWS,
    apart,
    ingest_duckdb,
    ingest_mainstem,
    open_duckdb,
    open_mainstem,
    queries,
    row_calls,
    settle_duckdb,
    settle_mainstem,
    small_commits,
)
from report import Figure, Report, machine, shown, versions
from telemetry import DEVICES, SENSORS, DataSet, make_dataset

POINTS, POINTS_QUICK = 20_000_000, 400_000
ROUNDS, ROUNDS_QUICK = 3, 1
LIMITS_MIB = (512, 256)


@dataclass(frozen=True, slots=True)
class Goal:
    """What the project promises of a line: of the ratio, or of our own figure."""

    of: str
    at_least: float | None = None
    at_most: float | None = None

    def __str__(self) -> str:
        bound = f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"
        return f"{bound}{'x' if self.of == 'ratio' else ''}"

    def verdict(self, value: float) -> str:
        """``met``, ``within 2x`` or ``missed``."""
        short = 0.0
        if self.at_least is not None:
            short = self.at_least / value
        elif self.at_most is not None:
            short = value / self.at_most
        return "met" if short <= 1 else "within 2x" if short <= 2 else "missed"


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table. ``ratios``: how much better ours is, or for sizes and group-bys ours
    divided by theirs; by round."""

    name: str
    unit: str
    ours: float
    theirs: float
    ratios: tuple[float, ...]
    goal: Goal | None
    how: str

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    def verdict(self) -> str:
        if self.goal is None:
            return ""
        return self.goal.verdict(self.ratio if self.goal.of == "ratio" else self.ours)


def rates(
    name: str,
    unit: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    goal: Goal | None,
    how: str,
) -> Line:
    """More is better."""
    ratios = tuple(a / b for a, b in zip(ours, theirs, strict=True))
    return Line(name, unit, statistics.median(ours), statistics.median(theirs), ratios, goal, how)


def costs(
    name: str, unit: str, ours: Sequence[float], theirs: Sequence[float], goal: Goal | None,
    how: str, *, faster: bool = False,
) -> Line:  # fmt: skip
    """Less is better; ``faster``: the ratio says how many times."""
    pairs = zip(ours, theirs, strict=True)
    ratios = tuple(b / a if faster else a / b for a, b in pairs)
    return Line(name, unit, statistics.median(ours), statistics.median(theirs), ratios, goal, how)


class Contest:
    """One run; ``place`` is a scratch directory."""

    def __init__(self, place: Path, points: int, rounds: int, quick: bool) -> None:
        self.place = place
        self.rounds = rounds
        self.quick = quick
        self.lines: list[Line] = []
        say(f"making {points:,} points")
        self.data: DataSet = make_dataset(place / "data", points)

    def run(self) -> list[Line]:
        self.ingest()
        self.small()
        self.single()
        self.sizes()
        self.questions()
        self.opening()
        return self.lines

    def add(self, line: Line) -> None:
        self.lines.append(line)
        say(f"{line.name}: {shown(line.ours)} | {shown(line.theirs)} {line.unit}, {line.ratio:.2f}")

    def ingest(self) -> None:
        """Leaves the last stores of a round for what follows."""
        ours: dict[int, list[dict[str, float]]] = {limit: [] for limit in LIMITS_MIB}
        theirs: list[dict[str, float]] = []
        for _ in range(self.rounds):
            path = fresh(self.place / "loaded.duckdb")
            theirs.append(apart(ingest_duckdb, self.data, path))
            for limit in LIMITS_MIB:
                path = fresh(self.place / "mainstem")
                ours[limit].append(apart(ingest_mainstem, self.data, path, limit * MIB))
        millions = self.data.points / 1e6
        for limit, at_least in zip(LIMITS_MIB, (1.2, 0.9), strict=True):
            self.add(rates(
                f"durable ingest, memory limit {limit} MiB", "M points/s",
                [millions / run["s"] for run in ours[limit]],
                [millions / run["s"] for run in theirs], Goal("ratio", at_least=at_least),
                "batches of 100,000 rows, one durable commit each, until flushed and closed",
            ))  # fmt: skip
            self.add(rates(
                f"the same until acknowledged, {limit} MiB", "M points/s",
                [millions / run["acknowledged_s"] for run in ours[limit]],
                [millions / run["acknowledged_s"] for run in theirs], None,
                "until the last batch is durable",
            ))  # fmt: skip
            self.add(costs(
                f"peak memory of ingest, {limit} MiB", "MiB",
                [run["bytes"] / MIB for run in ours[limit]],
                [run["bytes"] / MIB for run in theirs], Goal("ours", at_most=limit),
                "anonymous resident memory above that before the first batch",
            ))  # fmt: skip

    def small(self) -> None:
        commits = 20 if self.quick else 300
        pairs = [
            apart(small_commits, self.data, fresh_place(self.place / "commits"), commits)
            for _ in range(self.rounds)
        ]
        millions = commits * SMALL_ROWS * SENSORS / 1e6
        self.add(rates(
            "commits of 1,000 rows", "M points/s", [millions / a for a, _ in pairs],
            [millions / b for _, b in pairs], Goal("ratio", at_least=3),
            "one after the other, each durable before the next",
        ))  # fmt: skip

    def single(self) -> None:
        count = 2_000 if self.quick else 20_000
        pairs = [
            apart(row_calls, self.data, fresh_place(self.place / "calls"), count)
            for _ in range(self.rounds)
        ]
        self.add(rates(
            "one row of 10 measurements per call", "M points/s",
            [a * SENSORS / 1e6 for a, _ in pairs], [b * SENSORS / 1e6 for _, b in pairs],
            Goal("ours", at_least=0.8), "eight threads, group commit; DuckDB: one connection",
        ))  # fmt: skip

    def sizes(self) -> None:
        points = self.data.points
        size, _ = apart(settle_mainstem, self.place / "mainstem", self.data.devices)
        loaded, ordered = apart(
            settle_duckdb, self.place / "loaded.duckdb", fresh(self.place / "sorted.duckdb")
        )
        self.add(costs(
            "size, beside DuckDB as loaded", "bytes/point", [size / points], [loaded / points],
            None, "parts after compaction; DuckDB's file after a checkpoint",
        ))  # fmt: skip
        self.add(costs(
            "size, beside DuckDB sorted", "bytes/point", [size / points], [ordered / points],
            Goal("ratio", at_most=0.75), "DuckDB's table re-written by device and time",
        ))  # fmt: skip

    def questions(self) -> None:
        found = apart(
            queries, self.data, self.place / "mainstem", self.place / "loaded.duckdb",
            self.place / "sorted.duckdb", self.rounds, 20 if self.quick else 100,
        )  # fmt: skip
        for key, name in (
            ("last", "last row of a device"),
            ("range", "an hour of one sensor"),
            ("windows", "1-minute means of one device"),
        ):
            self.add(costs(
                name, "ms", [a * 1e3 for a, _, _ in found[key]],
                [min(b, c) * 1e3 for _, b, c in found[key]], Goal("ratio", at_least=10),
                "through the Python API, another device each time; the faster of DuckDB's tables",
                faster=True,
            ))  # fmt: skip
        for key, name, goal, how in (
            ("groups", "group-by over all devices", Goal("ratio", at_most=1.5), "through SQL"),
            ("filtered groups", "group-by, filtered by a value", None, "through SQL"),
            ("all windows", "1-minute means of all devices", None, "through the Python API"),
        ):
            self.add(costs(
                name, "ms", [a * 1e3 for a, _, _ in found[key]],
                [c * 1e3 for _, _, c in found[key]], goal, f"{how}; DuckDB on its sorted table",
            ))  # fmt: skip

    def opening(self) -> None:
        devices = self.data.devices
        pairs = [
            (apart(open_mainstem, self.place / "mainstem", devices),
             apart(open_duckdb, self.place / "sorted.duckdb", devices))
            for _ in range(self.rounds)
        ]  # fmt: skip
        self.add(costs(
            "open and first answer", "ms", [a * 1e3 for a, _ in pairs], [b * 1e3 for _, b in pairs],
            Goal("ours", at_most=20), "a fresh process, modules loaded, after a clean stop",
            faster=True,
        ))  # fmt: skip


def fresh(path: Path) -> Path:
    """``path`` without what was there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    return path


def fresh_place(path: Path) -> Path:
    fresh(path).mkdir()
    return path


def say(text: str) -> None:
    """Progress: a run takes minutes."""
    print(text, file=sys.stderr, flush=True)


def print_table(lines: Sequence[Line], points: int, quick: bool) -> None:
    """The lines for people."""
    wide = max(len(line.name) for line in lines)
    print(f"{'':<{wide}}  {'mainstem':>10}  {'DuckDB':>10}  {'':<11}  ratio (spread)         goal")
    for line in lines:
        spread = f"{line.ratio:.2f} ({min(line.ratios):.2f}-{max(line.ratios):.2f})"
        goal = "" if line.goal is None else f"{line.goal!s:<8} {line.verdict()}"
        print(
            f"{line.name:<{wide}}  {shown(line.ours):>10}  {shown(line.theirs):>10}"
            f"  {line.unit:<11}  {spread:<21}  {goal}"
        )
    print(f"{points:,} points: {DEVICES:,} devices x {SENSORS} sensors")
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    print(", ".join(f"{key} {value}" for key, value in versions().items()))
    if quick:
        print("a quick run: the figures show only that it works")


def print_json(lines: Sequence[Line], points: int, quick: bool) -> None:
    """Figures as every benchmark has them, and the whole lines."""
    report = Report("engine", quick)
    for line in lines:
        goal = None if line.goal is None else f"{line.goal} ({line.goal.of})"
        report.figures.append(Figure(line.name, line.ours, line.unit, line.how, goal))
    report.extra = {
        "points": points,
        "lines": [
            {**asdict(line), "goal": str(line.goal or ""), "ratio": line.ratio,
             "verdict": line.verdict()}
            for line in lines
        ],
    }  # fmt: skip
    report.print(as_json=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="The storage engine beside DuckDB.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--points", type=int, default=0, help="how many, about (default 20 million)"
    )
    arguments = parser.parse_args()
    quick = bool(arguments.quick)
    points = arguments.points or (POINTS_QUICK if quick else POINTS)
    place = Path(tempfile.mkdtemp(prefix="mainstem-bench-"))
    try:
        contest = Contest(place, points, ROUNDS_QUICK if quick else ROUNDS, quick)
        lines = contest.run()
        (print_json if arguments.json else print_table)(lines, contest.data.points, quick)
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
