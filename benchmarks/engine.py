"""The storage engine beside DuckDB, ClickHouse, TsFile, Parquet and SQLite, in one run.

1. One generated data set (telemetry.py) is loaded by everyone in turns, several rounds, each time
   in a fresh process: batches of 100,000 rows in the order of arrival, one durable commit each. The
   clock runs until everything is in data files and closed. What cannot take late rows gets them
   sorted, which is not timed.
2. Everyone does what makes its files small and quick: ours is compacted, others are sorted,
   optimised, indexed. peers/ says for each how it is used, and where that is written.
3. A process for each then asks the same questions in turns. Before any time is taken, the answers
   of all must be the same.
4. A ratio is of two figures of the same round (lines.py). Of a peer's forms the best one counts.

Peers that are not installed are named, never left out in silence.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from chart import chart
from contests import (
    MIB,
    SMALL_ROWS,
    Kind,
    Room,
    answer,
    apart,
    ask,
    close_here,
    crash,
    ingest,
    open_here,
    opening,
    replay,
    row_calls,
    settle,
    small_commits,
    span,
)
from lines import KINDS, Line
from peers import PEERS, Mainstem
from peers.store import differences
from report import shown
from tables import print_json, print_markdown, print_text
from telemetry import SENSORS, DataSet, first_devices, make_dataset, sort_dataset

POINTS, POINTS_QUICK = 20_000_000, 400_000
ROUNDS, ROUNDS_QUICK = 3, 1
LIMITS_MIB = (512, 256)
REPLAY_POINTS = 20_000_000
"""A log of about 2 GB at most, and a second of reading it."""
SEED = 7
HOW_TO_GET = "`make bench` installs it, or `pip install -c constraints.txt --group bench`"

QUESTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "last": ("last", ("time",)),
    "range": ("range", ("time",)),
    "windows": ("windows", ("time",)),
    "groups": ("groups", ("device",)),
    "filtered groups": ("filtered_groups", ("device",)),
    "all windows": ("all_windows", ("device", "time")),
    "day windows": ("day_windows", ("device", "time")),
    "rollup windows": ("rollup_windows", ("device", "time")),
}
"""Line -> method of a store, and the columns that identify a row of its answer."""
OF_ONE_DEVICE = ("last", "range", "windows")


class Contest:
    """One run; ``place`` is a scratch directory, which holds some 20 bytes a point at most."""

    def __init__(
        self, place: Path, points: int, rounds: int, quick: bool, peers: Sequence[Kind]
    ) -> None:
        self.place = place
        self.rounds = rounds
        self.quick = quick
        self.kinds: tuple[Kind, ...] = (Mainstem, *peers)
        self.peers = peers
        self.lines: list[Line] = []
        say(f"making {points:,} points")
        self.data = make_dataset(place / "data", points)
        self._others: dict[tuple[bool, int], DataSet] = {(False, self.data.devices): self.data}

    def run(self) -> list[Line]:
        self.ingest()
        self.small()
        self.single()
        self.sizes()
        self.questions()
        self.opening()
        self.replay()
        return self.lines

    def devices(self, kind: Kind) -> int:
        return max(1, int(self.data.devices * kind.device_share))

    def data_for(self, kind: Kind) -> DataSet:
        """The rows that a contestant gets, in the order that it takes."""
        key = (kind.sorted_input, self.devices(kind))
        if key not in self._others:
            say(f"rows for {kind.title}")
            found = self.data
            if key[1] != self.data.devices:
                found = first_devices(found, self.place / f"data-{key[1]}", key[1])
            if kind.sorted_input:
                found = sort_dataset(found, self.place / f"sorted-{key[1]}")
            self._others[key] = found
        return self._others[key]

    def store(self, kind: Kind) -> Path:
        return self.place / kind.name

    def add(self, key: str, figures: Mapping[str, Sequence[float]]) -> None:
        """A line; ``figures`` by contestant, ours among them."""
        theirs = {kind.name: figures[kind.name] for kind in self.peers if kind.name in figures}
        missing = {kind.name: kind.cannot[key] for kind in self.peers if key in kind.cannot}
        notes = {kind.name: kind.notes[key] for kind in self.peers if key in kind.notes}
        line = Line(KINDS[key], figures[Mainstem.name], theirs, missing, notes)
        self.lines.append(line)
        others = ", ".join(
            f"{PEERS[peer].title} {shown(line.peer_figure(peer))} ({line.ratio(peer):.2f})"
            for peer in theirs
        )
        say(f"{line.kind.name}: {shown(line.figure)} {line.kind.unit}; {others}")

    def ingest(self) -> None:
        """Leaves the last stores of a round for what follows."""
        runs: dict[str, list[dict[str, float]]] = {}
        for _ in range(self.rounds):
            for kind in self.peers:
                data = self.data_for(kind)
                found = apart(ingest, kind, data, fresh(self.store(kind)), {})
                found["points"] = data.points
                runs.setdefault(kind.name, []).append(found)
            for limit in LIMITS_MIB:
                path = fresh(self.store(Mainstem))
                options = {"memory_limit_bytes": limit * MIB}
                found = apart(ingest, Mainstem, self.data, path, options)
                found["points"] = self.data.points
                runs.setdefault(f"{Mainstem.name} {limit}", []).append(found)
        for limit in LIMITS_MIB:
            every = {**runs, Mainstem.name: runs[f"{Mainstem.name} {limit}"]}
            self.add(f"ingest {limit}", {
                name: [run["points"] / 1e6 / run["s"] for run in found]
                for name, found in every.items()
            })  # fmt: skip
            if limit == max(LIMITS_MIB):
                self.add("acknowledged", {
                    name: [run["points"] / 1e6 / run["acknowledged_s"] for run in found]
                    for name, found in self.able("acknowledged", every).items()
                })  # fmt: skip
            self.add(f"peak {limit}", {
                name: [run["bytes"] / MIB for run in found] for name, found in every.items()
            })  # fmt: skip

    def able(self, key: str, figures: Mapping[str, Any]) -> dict[str, Any]:
        """``figures`` without those of peers that do something else."""
        unable = {kind.name for kind in self.peers if key in kind.cannot}
        return {name: found for name, found in figures.items() if name not in unable}

    def small(self) -> None:
        commits = min(20 if self.quick else 300, self.data.rows // SMALL_ROWS)
        self._in_turns(
            "commits", small_commits, commits, 1 / (commits * SMALL_ROWS * SENSORS / 1e6)
        )

    def single(self) -> None:
        count = min(2_000 if self.quick else 20_000, self.data.rows)
        self._in_turns("calls", row_calls, count, None)

    def _in_turns(self, key: str, work: Any, count: int, scale: float | None) -> None:
        """Rounds of ``work``, which returns the seconds of so many commits, or rows a second."""
        rates: dict[str, list[float]] = {}
        for _ in range(self.rounds):
            for kind in self.kinds:
                if key in kind.cannot:
                    continue
                path = fresh(self.place / "small")
                found = apart(work, kind, self.data, path, count)
                rate = found * SENSORS / 1e6 if scale is None else 1 / (found * scale)
                rates.setdefault(kind.name, []).append(rate)
        fresh(self.place / "small")
        self.add(key, rates)

    def sizes(self) -> None:
        sizes: dict[str, list[float]] = {}
        for kind in self.kinds:
            say(f"settling {kind.title}")
            found = apart(settle, kind, self.store(kind), self.devices(kind))
            sizes[kind.name] = [found / self.data_for(kind).points]
        self.add("size", sizes)

    def questions(self) -> None:
        rooms: dict[tuple[str, str], Room] = {}
        try:
            for kind in self.kinds:
                for form in kind.forms:
                    room = rooms[kind.name, form] = Room()
                    room.run(open_here, kind, self.store(kind), self.devices(kind), form)
            for key in QUESTIONS:
                self._agree(key, rooms)
            for key in QUESTIONS:
                self._question(key, rooms)
        finally:
            for room in rooms.values():
                room.run(close_here)
                room.__exit__()

    def asked(self, key: str) -> list[tuple[Kind, str]]:
        """Who is asked, and of which form."""
        return [(kind, form) for kind in self.kinds for form in kind.forms_for(key)]

    def arguments(self, key: str, device: int) -> tuple[Any, ...]:
        start, end = span(self.data)
        return {
            "last": (device,), "range": (device, start, end, "m3"), "windows": (device, "m0"),
        }.get(key, ())  # fmt: skip

    def _agree(self, key: str, rooms: Mapping[tuple[str, str], Room]) -> None:
        """Raises SystemExit when an answer is not ours."""
        method, keys = QUESTIONS[key]
        device = min(self.devices(kind) for kind in self.kinds) - 1
        ours: list[Any] = []
        for kind, form in self.asked(key):
            found = rooms[kind.name, form].run(answer, method, self.arguments(key, device), keys)
            if kind is Mainstem:
                ours = found
                continue
            # Of a peer with fewer devices only those are compared.
            some = ours[0] < self.devices(kind) if keys[0] == "device" else slice(None)
            wrong = differences([column[some] for column in ours], found)
            if wrong:
                name = KINDS[key].name
                raise SystemExit(f"benchmark: {name}: {kind.title} ({form}) differs: {wrong}")

    def _question(self, key: str, rooms: Mapping[tuple[str, str], Room]) -> None:
        method, _ = QUESTIONS[key]
        times = (20 if self.quick else 100) if key in OF_ONE_DEVICE else 3
        rng = np.random.default_rng(SEED)
        found: dict[str, list[float]] = {}
        for _ in range(self.rounds):
            random = rng.random(times)
            best: dict[str, float] = {}
            for kind, form in self.asked(key):
                devices = (random * self.devices(kind)).astype(int).tolist()
                calls = [self.arguments(key, device) for device in devices]
                median = float(np.median(rooms[kind.name, form].run(ask, method, calls)))
                if key not in OF_ONE_DEVICE:
                    median *= self.data.devices / self.devices(kind)
                best[kind.name] = min(median * 1e3, best.get(kind.name, np.inf))
            for name, figure in best.items():
                found.setdefault(name, []).append(figure)
        self.add(key, found)

    def opening(self) -> None:
        found: dict[str, list[float]] = {}
        for _ in range(self.rounds):
            for kind in self.kinds:
                place = self.store(kind)
                seconds = min(
                    apart(opening, kind, place, self.data, form) for form in kind.general_forms()
                )
                found.setdefault(kind.name, []).append(seconds * 1e3)
        self.add("open", found)

    def replay(self) -> None:
        rows = min(self.data.rows, REPLAY_POINTS // SENSORS)
        context = multiprocessing.get_context("spawn")
        rates = []
        for _ in range(self.rounds):
            path = fresh(self.place / "crashed")
            process = context.Process(target=crash, args=(self.data, path, rows))
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(f"benchmark: writing before a crash ended by {process.exitcode}")
            seconds = apart(replay, path, self.data.devices, rows)
            rates.append(rows * SENSORS / 1e6 / seconds)
            fresh(path)
        self.add("replay", {Mainstem.name: rates})


def fresh(path: Path) -> Path:
    """``path`` without what was there."""
    if path.is_dir():
        shutil.rmtree(path)
    return path


def say(text: str) -> None:
    """Progress: a run takes minutes."""
    print(text, file=sys.stderr, flush=True)


def chosen_peers(names: str | None) -> tuple[list[Kind], dict[str, str]]:
    """Peers that are here, and why others are not. SystemExit for a name that is none, and in CI
    (MAINSTEM_CI), where everything must have been installed, for one that is not here."""
    wanted = list(PEERS) if names is None else [name.strip() for name in names.split(",") if name]
    unknown = [name for name in wanted if name not in PEERS]
    if unknown:
        raise SystemExit(f"there is no peer {unknown[0]!r}: there are {', '.join(PEERS)}")
    missing = {name: PEERS[name].missing() for name in wanted}
    absent = {
        name: f"{', '.join(packages)} not installed: {HOW_TO_GET}"
        for name, packages in missing.items()
        if packages
    }
    for name, why in absent.items():
        say(f"{PEERS[name].title} is missing: {why}")
    if absent and os.environ.get("MAINSTEM_CI"):
        raise SystemExit("every peer must be there")
    return [PEERS[name] for name in wanted if name not in absent], absent


def main() -> None:
    parser = argparse.ArgumentParser(description="The storage engine beside its peers.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true", help="the table for the documentation")
    parser.add_argument("--points", type=int, default=0, help="about (default 20 million)")
    parser.add_argument("--rounds", type=int, default=0, help="of each line (default 3)")
    parser.add_argument("--peers", help=f"of {', '.join(PEERS)}; default: all that are installed")
    parser.add_argument("--svg", type=Path, help="where to write the chart")
    arguments = parser.parse_args()
    quick = bool(arguments.quick)
    points = arguments.points or (POINTS_QUICK if quick else POINTS)
    rounds = arguments.rounds or (ROUNDS_QUICK if quick else ROUNDS)
    peers, absent = chosen_peers(arguments.peers)
    place = Path(tempfile.mkdtemp(prefix="mainstem-bench-"))
    try:
        contest = Contest(place, points, rounds, quick, peers)
        lines = contest.run()
        points = contest.data.points
    finally:
        shutil.rmtree(place)
    titles = {peer.name: peer.title for peer in peers}
    if arguments.svg is not None:
        arguments.svg.write_text(chart(lines, titles, points), encoding="utf-8")
    if arguments.json:
        print_json(lines, titles, absent, points, rounds, quick)
    elif arguments.markdown:
        print_markdown(lines, titles)
    else:
        print_text(lines, titles, absent, points, rounds, quick)


if __name__ == "__main__":
    main()
