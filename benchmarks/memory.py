"""The memory limit, kept: RssAnon of an engine at work, sampled from outside.

1. A child process opens an engine with a memory limit, writes points in batches as fast as they
   are taken, compacts, reads every row back, asks for a group-by of every row, closes.
2. This process reads the child's RssAnon from /proc every SAMPLE_S meanwhile. What is compared with
   the limit is the most that was seen, less what the open engine had before the first row: the
   interpreter and its libraries are no part of the limit, everything else is.
3. Beside it stands what the engine itself counted, and what its allocator held without need.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loading import MIB, TABLE, create_table, device_ids, parts_of, stored_bytes, write
from report import Report
from telemetry import SENSORS
from telemetry_stream import Kinds, TelemetryStream

from mainstem_engine import Engine, EngineOptions

POINTS, POINTS_QUICK = 200_000_000, 5_000_000
LIMIT_MIB, LIMIT_MIB_QUICK = 256, 64
BATCH_ROWS, BATCH_ROWS_SMALL = 100_000, 10_000
"""Of a limit of 256 MiB and more, and of a smaller one: a batch of 100,000 rows is 9 MB wherever it
is held, by the client, while it is copied and sorted, and in the head."""
BATCH_ROWS_FROM_MIB = 256
SAMPLE_S = 0.005
"""How often memory is looked at: a flush takes many times longer."""
PHASES = ("ingest", "flush", "compaction", "scan", "aggregate", "close")


@dataclass(frozen=True, slots=True)
class Load:
    """One run: what is written, and under which limit."""

    name: str
    devices: int
    points: int
    limit_mib: int
    nulls: bool = False
    text: bool = False

    @property
    def batch_rows(self) -> int:
        return BATCH_ROWS if self.limit_mib >= BATCH_ROWS_FROM_MIB else BATCH_ROWS_SMALL


@dataclass(slots=True)
class Curve:
    """RssAnon of one phase in bytes, above that of the open engine."""

    samples: list[int] = field(default_factory=list)

    @property
    def peak(self) -> int:
        return max(self.samples, default=0)

    def quantile(self, share: float) -> int:
        ordered = sorted(self.samples)
        return ordered[int(share * (len(ordered) - 1))] if ordered else 0


# The child


def say(phase: str, **facts: Any) -> None:
    """Tells the parent where this process is."""
    print(json.dumps({"phase": phase, **facts}), flush=True)


def child(place: Path, load: Load) -> None:
    """Carries a load out, phase by phase."""
    import pyarrow  # noqa: F401 - a library, to be there before the baseline is taken

    stream = TelemetryStream(load.devices, Kinds(load.nulls, load.text))
    with Engine.open(place, EngineOptions(memory_limit_bytes=load.limit_mib * MIB)) as engine:
        create_table(engine, load.text)
        engine.sql(f"SELECT count(*) FROM {TABLE}").arrow()
        say("open")
        started, used = time.perf_counter(), time.process_time()
        ids = device_ids(engine, load.devices)
        say("ingest")
        points = write(engine, ids, stream.batches(load.points, load.batch_rows), stream.beside)
        say("flush", points=points, s=time.perf_counter() - started,
            cpu_s=time.process_time() - used)  # fmt: skip
        engine.flush()
        say("compaction", parts=parts_of(engine))
        engine.compact()
        say("scan", parts=parts_of(engine), bytes=stored_bytes(place))
        rows = sum(len(batch) for batch in engine.scan(TABLE))
        if rows * SENSORS != points:
            raise SystemExit(f"benchmark: {rows} rows came back of {points} points")
        say("aggregate")
        found = engine.sql(
            f"SELECT device, count(*), avg(m0), max(m1) FROM {TABLE} WHERE m1 > 0 GROUP BY device"
        ).arrow()
        say("close", groups=len(found), memory=counted(engine), house=house(engine))
    say("end")


def counted(engine: Engine) -> dict[str, Any]:
    """The engine's own account of its memory."""
    memory = engine.statistics().memory
    return {"peak": dict(memory.peak), "limits": dict(memory.limits), "waits": dict(memory.waits),
            "trims": memory.trims}  # fmt: skip


def house(engine: Engine) -> dict[str, Any]:
    found = engine.statistics()
    kept = found.housekeeping
    return {
        "flushes": kept.flushes,
        "compactions": kept.compactions,
        "compaction_bytes": kept.compaction_bytes,
        "log_bytes": found.log.written_bytes,
        "error": kept.last_error,
    }


# The parent


@dataclass(slots=True)
class Watched:
    """What was seen of one child: a curve per phase, and what the child said."""

    base: int = 0
    curves: dict[str, Curve] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def peak(self) -> int:
        return max((curve.peak for curve in self.curves.values()), default=0)

    @property
    def counted_peak(self) -> int:
        """The sum of what the shares held at most, at whatever time each did."""
        memory = self.facts.get("memory", {})
        return sum(memory.get("peak", {}).values())


def watch(load: Load, place: Path) -> Watched:
    """Runs a load in a child and samples its memory. Raises SystemExit when the child fails."""
    fields = [str(getattr(load, name)) for name in load.__slots__]
    process = subprocess.Popen(
        [sys.executable, __file__, "--child", str(place), *fields],
        stdout=subprocess.PIPE,
        text=True,
    )
    found = Watched()
    phase = [""]

    def sample() -> None:
        while phase[0] != "end":
            if phase[0]:
                used = anonymous_bytes(process.pid)
                if used is not None:
                    found.curves.setdefault(phase[0], Curve()).samples.append(used - found.base)
            time.sleep(SAMPLE_S)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    assert process.stdout is not None
    for line in process.stdout:
        said = json.loads(line)
        name = said.pop("phase")
        if name == "open":
            found.base = anonymous_bytes(process.pid) or 0
        for key, value in said.items():
            found.facts[f"{name} {key}" if key == "parts" else key] = value
        phase[0] = "" if name == "end" else name
    phase[0] = "end"
    sampler.join()
    if process.wait():
        raise SystemExit("benchmark: the engine's process failed")
    return found


def anonymous_bytes(pid: int) -> int | None:
    """RssAnon of a process; None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return None


def loads(quick: bool, points: int, limit_mib: int) -> list[Load]:
    """The runs: few devices, many, wide rows with nulls and text; and a small limit."""
    many = 5_000 if quick else 100_000
    some = points // 4
    found = [
        Load("1,000 devices", 1_000, points, limit_mib),
        Load(f"{many:,} devices", many, points, limit_mib),
        Load("nulls and text", 1_000, some, limit_mib, nulls=True, text=True),
    ]
    if not quick:
        found += [Load(f"limit {small} MiB", 1_000, some, small) for small in (96, 64)]
    return found


def add(report: Report, load: Load, seen: Watched) -> None:
    """The figures of one run."""
    points = seen.facts["points"]
    how = (f"{load.devices:,} devices, {points:,} points, limit {load.limit_mib} MiB, "
           f"batches of {load.batch_rows:,} rows")  # fmt: skip
    report.add(f"{load.name}: most anonymous memory", seen.peak / MIB, "MiB",
               f"{how}; beyond the {seen.base / MIB:.0f} MiB of the open engine",
               f"<= {load.limit_mib} MiB")  # fmt: skip
    for phase in PHASES:
        curve = seen.curves.get(phase)
        if curve is not None and curve.samples:
            # fmt: off
            report.add(f"{load.name}: {phase}", curve.peak / MIB, "MiB",
                       f"most; median {curve.quantile(0.5) / MIB:.0f}, 99th percentile "
                       f"{curve.quantile(0.99) / MIB:.0f}, {len(curve.samples)} samples")
            # fmt: on
    memory = seen.facts["memory"]
    shares = ", ".join(f"{name} {size / MIB:.0f} of {memory['limits'][name] / MIB:.0f}"
                       for name, size in memory["peak"].items())  # fmt: skip
    report.add(f"{load.name}: counted by the engine", seen.counted_peak / MIB, "MiB", shares)
    waits = sum(memory["waits"].values())
    report.add(f"{load.name}: ingest", points / seen.facts["s"] / 1e6, "M points/s",
               f"until acknowledged, the generator included; {waits} waits for memory, free "
               f"memory given back {memory['trims']} times")  # fmt: skip
    report.add(f"{load.name}: ingest, CPU", seen.facts["cpu_s"] / points * 1e6, "s per M points",
               "all threads, flushes and compactions meanwhile included")  # fmt: skip
    kept = seen.facts["house"]
    report.add(f"{load.name}: bytes in parts", seen.facts["bytes"] / points, "bytes/point",
               f"{seen.facts['compaction parts']} parts after the last flush, "
               f"{seen.facts['scan parts']} after the compaction; {kept['flushes']} flushes, "
               f"{kept['compactions']} compactions")  # fmt: skip
    written = kept["log_bytes"] + kept["compaction_bytes"]
    report.add(f"{load.name}: bytes written, log and compactions", written / points, "bytes/point",
               f"log {kept['log_bytes'] / points:.2f}, compactions "
               f"{kept['compaction_bytes'] / points:.2f}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few points, a small limit")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--points", type=int, default=0, help="how many (default 200 million)")
    parser.add_argument("--limit", type=int, default=0, help="memory limit in MiB (default 256)")
    parser.add_argument("--only", default="", help="runs whose name contains this")
    parser.add_argument("--child", nargs=7, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        place, name, devices, points, limit, nulls, text = arguments.child
        load = Load(name, int(devices), int(points), int(limit), nulls == "True", text == "True")
        child(Path(place), load)
        return
    if not sys.platform.startswith("linux"):
        raise SystemExit("benchmark: memory is read from /proc, which only Linux has")
    quick = bool(arguments.quick)
    points = arguments.points or (POINTS_QUICK if quick else POINTS)
    limit = arguments.limit or (LIMIT_MIB_QUICK if quick else LIMIT_MIB)
    report = Report("memory", quick)
    for load in loads(quick, points, limit):
        if arguments.only in load.name:
            with tempfile.TemporaryDirectory(prefix="mainstem-memory-") as scratch:
                add(report, load, watch(load, Path(scratch) / "data"))
    report.print(arguments.json)


if __name__ == "__main__":
    main()
