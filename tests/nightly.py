"""The nightly run: the long versions of the tests, in groups, with a report.

1. Each group is a run of pytest of its own, with MAINSTEM_NIGHTLY set and a seed that changes from
   night to night. A group that fails, hangs or finds no test does not keep the others from running.
2. What tests count (``record_property("count:kills", n)``) is added up by name.
3. The report, as text and as JSON: date, commit, machine and versions; per group the tests, counts
   and seconds; per failure what is needed to see it again.
4. The exit status is 0 if every group passed.

``make nightly``, ``make nightly GROUPS="cuts rot"``, ``make nightly ARGS="--into DIR --seed 7"``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INTO = ROOT / "dist" / "nightly"

HOURS_MAX = 6.0
"""A group that takes longer hangs."""

PACKAGES = (
    "numpy",
    "pyarrow",
    "duckdb",
    "pcodec",
    "msgpack",
    "marisa-trie",
    "hypothesis",
    "pytest",
)
"""Whose versions the report names."""

SEED_VARIABLES = ("MAINSTEM_SEED", "MAINSTEM_KILL_SEED", "MAINSTEM_CUT_SEED")
"""What tests draw from; without them they draw the same every time."""

_SEEDS = re.compile(
    r"seed[ =:]+\d+|@reproduce_failure\([^)]*\)|MAINSTEM_\w*SEED=\d+", re.IGNORECASE
)
_MESSAGE_CHARS_MAX = 600


@dataclass(frozen=True)
class Group:
    """Arguments of one run of pytest, and what it is about."""

    title: str
    arguments: tuple[str, ...]
    asked_only: bool = False
    """True: runs only if it is named."""
    hours_max: float = HOURS_MAX
    is_shuffled: bool = False
    """True: modules, and the tests of each, run in an order that the night's seed draws. No test
    may depend on what ran before it."""


REPORT = ("-o", "junit_family=xunit1")
"""The default family has no place for what tests record, and warns, which fails the test."""

_LONG = ("-m", "nightly")
_ALL = ("-m", "not bench")

GROUPS: Mapping[str, Group] = {
    "fast": Group(
        "everything that is neither slow nor long",
        ("-m", "not slow and not bench and not nightly", "tests"),
        is_shuffled=True,
    ),
    "slow": Group("what CI runs besides", ("-m", "slow and not bench and not nightly", "tests")),
    "model": Group(
        "the engine against a store of dictionaries, in random order",
        (*_LONG, "tests/engine/test_model.py"),
    ),
    "kills": Group("a process is killed under load", (*_LONG, "tests/engine/test_kill.py")),
    "cuts": Group(
        "every disk that a power cut may leave",
        (*_LONG, "tests/engine/test_crash_engine.py"),
    ),
    "rot": Group(
        "damage to every kind of file, and the table of damages to a log",
        (*_LONG, "tests/engine/test_bitrot.py", "tests/engine/log/test_damage.py"),
    ),
    "variants": Group(
        "engines that are broken on purpose are found out",
        (*_ALL, "tests/engine/test_broken_variants.py"),
    ),
    "faults": Group("every operation of a disk fails", (*_LONG, "tests/engine/test_faults.py")),
    "disks": Group("real kernels: faults by strace, cuts on ext4", (*_ALL, "tests/engine/disks")),
    "encodings": Group(
        "a million values through every encoding",
        (*_LONG, "tests/engine/encoding/test_million.py"),
    ),
    "statements": Group(
        "random statements, each compared with a model",
        (*_LONG, "tests/engine/sql"),
    ),
    "federation": Group(
        "simulations of three tiers with every fault, and broken variants of them",
        (*_LONG, "tests/sync"),
    ),
    "soak": Group(
        "real processes, three tiers and an edge alone: kills, dead lines, full disks",
        (*_LONG, "tests/e2e/test_soak.py", "tests/e2e/test_edge_soak.py"),
    ),
    "bench": Group("benchmarks that are tests", ("-m", "bench", "tests"), asked_only=True),
}


@dataclass
class Failure:
    """One test that failed. ``seeds``: whatever in its message looks like one."""

    test: str
    message: str
    seeds: list[str]
    again: str


@dataclass
class Result:
    """What became of one group."""

    group: str
    title: str
    passed: bool
    seconds: float
    tests: int = 0
    skipped: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    problem: str = ""


def run_group(name: str, group: Group, into: Path, seed: int) -> Result:
    """Runs a group; its output is in ``into/<name>.log``."""
    xml, log = into / f"{name}.xml", into / f"{name}.log"
    xml.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", *REPORT, f"--junitxml={xml}"]
    if group.is_shuffled:
        command += ["--random-order-bucket=module", f"--random-order-seed={seed}"]
    command += group.arguments
    environment = {
        **os.environ,
        "MAINSTEM_NIGHTLY": "1",
        **dict.fromkeys(SEED_VARIABLES, str(seed)),
    }
    started, problem = time.monotonic(), ""
    with log.open("w", encoding="utf-8") as output:
        output.write(f"{shlex.join(command)}\n")
        output.flush()
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            code = process.wait(group.hours_max * 3600)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
            problem = f"stopped after {group.hours_max:g} hours"
    result = Result(name, group.title, code == 0, round(time.monotonic() - started, 1))
    if xml.is_file():
        read_results(xml, result, seed)
    if not result.tests:
        problem = problem or f"no test ran (exit status {code}); see {log.name}"
    elif code and not result.failures:
        problem = problem or f"exit status {code}; see {log.name}"
    result.problem = problem
    result.passed = result.passed and not problem
    return result


def read_results(xml: Path, result: Result, seed: int) -> None:
    """Adds what pytest wrote down to ``result``."""
    counts: Counter[str] = Counter()
    for case in ElementTree.parse(xml).iter("testcase"):
        result.tests += 1
        test = f"{case.get('classname', '')}.{case.get('name', '')}"
        for item in case.iter("property"):
            found = item.get("name", "")
            if found.startswith("count:"):
                counts[found.removeprefix("count:")] += int(item.get("value", "0"))
        for skip in case.iter("skipped"):
            result.skipped.append(f"{test}: {skip.get('message', '')}")
        for tag in ("failure", "error"):
            result.failures += [_failure(case, entry, test, seed) for entry in case.iter(tag)]
    result.counts = dict(sorted(counts.items()))


def _failure(
    case: ElementTree.Element, entry: ElementTree.Element, test: str, seed: int
) -> Failure:
    text = f"{entry.get('message', '')}\n{entry.text or ''}"
    seeds = [f"MAINSTEM_SEED={seed}", *sorted(set(_SEEDS.findall(text)))]
    path = case.get("classname", "").replace(".", "/")
    variables = " ".join(f"{name}={seed}" for name in SEED_VARIABLES)
    again = (
        f"MAINSTEM_NIGHTLY=1 {variables} python -m pytest "
        + shlex.quote(f"{path}.py::{case.get('name', '')}")
        + ' -m "nightly or not nightly"'
    )
    return Failure(test, text.strip()[:_MESSAGE_CHARS_MAX], seeds, again)


def surroundings(seed: int) -> dict[str, object]:
    """Date, commit, machine and versions."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD") or "unknown",
        "changed_files": len(_git("status", "--porcelain", "--untracked-files=no").splitlines()),
        "seed": seed,
        "machine": f"{platform.system()} {platform.release()}, {platform.machine()}, "
        f"{os.cpu_count()} cores",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""  # an unpacked archive
    return done.stdout.strip()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def as_text(about: Mapping[str, object], results: Sequence[Result]) -> str:
    """The report for people."""
    passed = all(result.passed for result in results)
    lines = [
        f"nightly run: {'passed' if passed else 'FAILED'}",
        *(f"{key}: {_plain(value)}" for key, value in about.items()),
        "",
        f"{'group':<11}{'result':<9}{'tests':>7}{'skipped':>9}{'seconds':>10}  counts",
    ]
    for result in results:
        counts = ", ".join(f"{count:,} {what}" for what, count in result.counts.items())
        lines.append(
            f"{result.group:<11}{'passed' if result.passed else 'FAILED':<9}{result.tests:>7}"
            f"{len(result.skipped):>9}{result.seconds:>10.1f}  {counts}".rstrip()
        )
    totals: Counter[str] = Counter()
    for result in results:
        totals.update(result.counts)
    if totals:
        lines += ["", "in all: " + ", ".join(f"{n:,} {what}" for what, n in sorted(totals.items()))]
    for result in results:
        if result.problem:
            lines += ["", f"{result.group}: {result.problem}"]
        for failure in result.failures:
            lines += ["", f"{result.group}: {failure.test}", f"  again: {failure.again}"]
            lines += [f"  seeds: {', '.join(failure.seeds)}"]
            lines += [f"  {line}" for line in failure.message.splitlines()[:12]]
        lines += [f"{result.group}: skipped: {reason}" for reason in result.skipped]
    return "\n".join(lines) + "\n"


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return str(value)


def main(arguments: Sequence[str] | None = None, groups: Mapping[str, Group] = GROUPS) -> int:
    """Runs the groups, writes the report, prints it; the exit status."""
    parser = argparse.ArgumentParser(prog="nightly", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--groups", nargs="+", choices=sorted(groups), metavar="GROUP")
    parser.add_argument(
        "--into", type=Path, help="directory of the report, else dist/nightly/<date>"
    )
    parser.add_argument("--seed", type=int, help="the night's seed, else the day's number")
    chosen = parser.parse_args(arguments)
    seed = int(time.time() // 86_400) if chosen.seed is None else chosen.seed
    names = chosen.groups or [name for name, group in groups.items() if not group.asked_only]
    into = (chosen.into or INTO / datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")).resolve()
    into.mkdir(parents=True, exist_ok=True)
    about, results = surroundings(seed), list[Result]()
    for name in names:
        print(f"{datetime.now(UTC):%H:%M:%S} {name}: {groups[name].title}", flush=True)
        results.append(run_group(name, groups[name], into, seed))
        # After every group: a night that is cut short leaves what it found.
        text = as_text(about, results)
        (into / "report.txt").write_text(text, encoding="utf-8")
        report = {**about, "groups": [asdict(result) for result in results]}
        (into / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"\n{text}\nreport: {into}")
    return 0 if all(result.passed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
