"""What alarm rules cost: processor time of what an edge does with messages, without and with rules.

1. Messages of ten devices are decoded, checked, preprocessed and written to an engine, batch by
   batch, as the intake thread does it; nothing listens and nothing is on a network.
2. *Twenty rules* on three measurements: limits with and without hysteresis and delay, rates, stuck
   values. No alarm is raised: it is what watching costs. *One unusual*: a single rule `deviation`,
   which learns a value a second for each device.
3. Each round runs without, with the twenty, with the one. The least counts, of the processor time
   of the thread that processes messages: what else the machine does can only add to it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from report import Report

from mainstem_edge.alarms.book import AlarmBook
from mainstem_edge.alarms.rule import AlarmRule
from mainstem_edge.collectors.interface import Message
from mainstem_edge.device_book import DeviceBook, DeviceLimit
from mainstem_edge.device_memory import DeviceMemory
from mainstem_edge.intake import Intake
from mainstem_edge.last_stored import LastStored
from mainstem_edge.table_intake import TableIntake
from mainstem_edge.testing.parts import (
    NOW_NS,
    T0_MS,
    TEMPLATE,
    FakeCollector,
    message,
    rules,
    subscription,
)  # fmt: skip
from mainstem_edge.value_memory import ValueMemory
from mainstem_engine.engine import Engine
from mainstem_sync.receiving.quarantine import QuarantineStore

SECOND_NS = 10**9
DEVICES = 10
HISTORY_MS = 10**7
"""Rows begin so long before now, a millisecond apart."""
WATCHED = ((0, "temperature"), (1, "pressure"), (2, "count"))
NEVER = 1e9
ROUNDS, ROUNDS_QUICK = 7, 1


@dataclass(frozen=True, slots=True)
class Load:
    """``rows`` of a message, ``messages`` of a batch, ``batches`` of a round."""

    name: str
    rows: int
    messages: int
    batches: int


LOADS = (
    Load("single rows, 20 a batch", 1, 20, 400),
    Load("single rows, 500 a batch", 1, 500, 60),
    Load("messages of 100 rows, 20 a batch", 100, 20, 40),
)


def twenty_rules() -> list[AlarmRule]:
    found = []
    for number, name in WATCHED:
        found += [
            AlarmRule(f"{name} high", number, name, above=NEVER),
            AlarmRule(f"{name} higher", number, name, above=2 * NEVER),
            AlarmRule(f"{name} low", number, name, below=-NEVER, delay_ns=SECOND_NS),
            AlarmRule(f"{name} out", number, name, above=NEVER, below=-NEVER, hysteresis=1.0),
            AlarmRule(f"{name} fast", number, name, rate=NEVER),
            AlarmRule(f"{name} stuck", number, name, stuck_ns=3600 * SECOND_NS),
        ]
    number, name = WATCHED[0]
    more = (AlarmRule(f"{name} {n}", number, name, above=n * NEVER) for n in (3, 4))
    return [*found, *more]


def unusual() -> list[AlarmRule]:
    number, name = WATCHED[0]
    return [AlarmRule("odd", number, name, deviation=NEVER, memory_ns=60 * SECOND_NS,
                      every_ns=SECOND_NS)]  # fmt: skip


def batches(load: Load) -> list[list[Message]]:
    """Messages whose values go up and down and never repeat for long."""
    found: list[list[Message]] = []
    at = 0
    for _ in range(load.batches):
        batch = []
        for number in range(load.messages):
            rows = [
                {"ts": T0_MS - HISTORY_MS + row, "temperature": 20.0 + row % 7 * 0.1,
                 "pressure": 1.0 + row % 5 * 0.1, "count": row}
                for row in range(at, at + load.rows)
            ]  # fmt: skip
            payload = rows if load.rows > 1 else rows[0]
            batch.append(message(payload, f"plant/m{number % DEVICES}/t"))
            at += load.rows
        found.append(batch)
    return found


def processed_s(watching: Sequence[AlarmRule], load: Load) -> float:
    """Processor time of this thread for all batches but the first."""
    work = batches(load)
    with tempfile.TemporaryDirectory() as name, Engine.open(Path(name) / "engine") as engine:
        quarantine = QuarantineStore.open(Path(name) / "quarantine")
        engine.create_template(TEMPLATE)
        filters = rules()
        values = ValueMemory(filters.filters, filters.heartbeat_ns, LastStored(engine, "press"))
        table = TableIntake(
            engine, quarantine,
            DeviceMemory(values, lambda ids: engine.newest_times("press", ids)),
            DeviceBook(engine, "press", DeviceLimit(1000), None),
            node="edge", template="press", clock_ns=lambda: NOW_NS,
            alarms=AlarmBook(engine, "press", watching) if watching else None,
        )  # fmt: skip
        collector = FakeCollector(subscription())
        intake = Intake(
            collector, {"press": table}, quarantine, node="edge", clock_ns=lambda: NOW_NS
        )
        intake.process(work[0])
        started = time.thread_time()
        for each in work[1:]:
            intake.process(each)
        found = time.thread_time() - started
        quarantine.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report = Report("rules", options.quick)
    rounds = ROUNDS_QUICK if options.quick else ROUNDS
    kinds = {"": [], "twenty rules": twenty_rules(), "one unusual": unusual()}
    for load in LOADS:
        found: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(rounds):
            for kind, watching in kinds.items():
                found[kind].append(processed_s(watching, load))
        plain = min(found.pop(""))
        count = load.batches - 1
        report.add(f"{load.name}, no rules", plain / count * 1e6, "us a batch", "processor time")
        for kind, times in found.items():
            more = min(times) - plain
            report.add(f"{load.name}, {kind}", more / count * 1e6, "us a batch more",
                       f"{more / plain:+.0%} of it")  # fmt: skip
    report.print(options.json)


if __name__ == "__main__":
    main()
