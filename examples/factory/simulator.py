"""Sixty simulated devices that publish to MQTT: the factory's press line, paint shop and boilers.

    python simulator.py --broker mqtt://127.0.0.1:8490

1. Once per ``--every`` the physics of the three workshops go one step on.
2. Each device publishes one JSON message at QoS 1: ``ts`` in ms, and its readings. What a device
   cannot say (the efficiency of a cold boiler) is absent.
3. The ledger counts, per device, what the broker acknowledged and over which time. It is written at
   the end, and lets anybody compare what was sent with what every tier holds.

It ends after ``--seconds``, or cleanly at SIGTERM or Ctrl-C. The same ``--seed`` and start time
give the same readings.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boiler_house
import msgspec
import numpy as np
import paint_shop
import press_line

from mainstem_node.replay import BrokerAddress, BrokerError, Publisher

Readings = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True, slots=True)
class DeviceGroup:
    """Devices of one template: their topics and the paths under which they are stored."""

    template: str
    topics: tuple[str, ...]
    paths: tuple[str, ...]


def group(template: str, topics: list[str], below: str) -> DeviceGroup:
    paths = [f"{below}.{topic.rpartition('/')[2]}" for topic in topics]
    return DeviceGroup(template, tuple(topics), tuple(paths))


PRESSES = group(
    "press_machine",
    [f"plant_a/press/line_{name[6]}/{name}" for name in press_line.device_names()],
    "root.plant_a.press",
)
OVENS = group(
    "paint_oven",
    [f"plant_a/paint/oven/{name[:6]}/{name}" for name in paint_shop.zone_names()],
    "root.plant_a.paint",
)
BOOTHS = group(
    "paint_booth",
    [f"plant_a/paint/booth/{name}" for name in paint_shop.booth_names()],
    "root.plant_a.paint",
)
BOILERS = group(
    "steam_boiler",
    [f"plant_b/boiler/boiler/{name}" for name in boiler_house.boiler_names()],
    "root.plant_b.boiler",
)
PUMPS = group(
    "feed_pump",
    [f"plant_b/boiler/pump/{name}" for name in boiler_house.pump_names()],
    "root.plant_b.boiler",
)
GROUPS = (PRESSES, OVENS, BOOTHS, BOILERS, PUMPS)


class Factory:
    """The three workshops in one time. ``step`` returns the readings of every group of devices."""

    def __init__(self, seed: int, now_s: float) -> None:
        self._rng = np.random.default_rng(seed)
        self._now_s = now_s
        self._presses = press_line.initial(self._rng)
        self._paint = paint_shop.initial(now_s, self._rng)
        self._boilers = boiler_house.initial(now_s, self._rng)

    def step(self, dt_s: float) -> Iterator[tuple[DeviceGroup, Readings]]:
        """The readings ``dt_s`` seconds later."""
        # The physics are stable for steps of a second or two; longer ones are divided.
        for _ in range(steps := max(1, round(dt_s))):
            part_s = dt_s / steps
            self._now_s += part_s
            self._presses = press_line.step(self._presses, self._now_s, part_s, self._rng)
            self._paint = paint_shop.step(self._paint, self._now_s, part_s, self._rng)
            self._boilers = boiler_house.step(self._boilers, self._now_s, part_s, self._rng)
        yield PRESSES, press_line.readings(self._presses, self._rng)
        yield OVENS, paint_shop.zone_readings(self._paint, self._rng)
        yield BOOTHS, paint_shop.booth_readings(self._paint, self._rng)
        yield BOILERS, boiler_house.boiler_readings(self._boilers, self._rng)
        yield PUMPS, boiler_house.pump_readings(self._boilers, self._rng)


def payloads(stamp_ms: int, readings: Readings) -> Iterator[bytes]:
    """One JSON object per device; NaN is absent."""
    columns = {name: values.tolist() for name, values in readings.items()}
    encoder = msgspec.json.Encoder()
    for row in zip(*columns.values(), strict=True):
        present = {name: v for name, v in zip(columns, row, strict=True) if v == v}
        yield encoder.encode({"ts": stamp_ms, **present})


class Ledger:
    """What the broker acknowledged: rows per device, and from when to when."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self._from_ms: int | None = None
        self._to_ms = 0

    def acknowledged(self, token: tuple[str, str, int]) -> None:
        """Called by the publisher for each message: (template, device path, time in ms)."""
        template, path, stamp_ms = token
        self._counts[template, path] = self._counts.get((template, path), 0) + 1
        self._from_ms = stamp_ms if self._from_ms is None else min(self._from_ms, stamp_ms)
        self._to_ms = max(self._to_ms, stamp_ms)

    @property
    def total(self) -> int:
        return sum(self._counts.values())

    def write(self, path: Path) -> None:
        """One JSON document: ``from_ms``, ``to_ms``, and rows per template and device."""
        rows: dict[str, dict[str, int]] = {}
        for (template, device), count in sorted(self._counts.items()):
            rows.setdefault(template, {})[device] = count
        document = {"from_ms": self._from_ms, "to_ms": self._to_ms, "rows": rows}
        path.write_text(json.dumps(document, indent=1), encoding="utf-8")


def run(arguments: argparse.Namespace, stopping: threading.Event) -> None:
    """Publishes until the time is over or ``stopping`` is set, then waits for every PUBACK."""
    ledger = Ledger()
    address = BrokerAddress.parse(arguments.broker)
    started = time.time()
    factory = Factory(arguments.seed, started)
    publisher = Publisher(address, on_acknowledged=ledger.acknowledged)
    ticks = 0
    try:
        publisher.connect()
        while arguments.seconds is None or ticks * arguments.every < arguments.seconds:
            due = started + ticks * arguments.every
            if stopping.wait(max(0.0, due - time.time())):
                break
            stamp_ms = round(due * 1000)
            for devices, readings in factory.step(arguments.every):
                messages = payloads(stamp_ms, readings)
                for topic, path, payload in zip(
                    devices.topics, devices.paths, messages, strict=True
                ):
                    publisher.publish(topic, payload, (devices.template, path, stamp_ms))
            ticks += 1
        publisher.drain()
    finally:
        publisher.close()
        if arguments.ledger is not None:
            ledger.write(arguments.ledger)
    print(f"{ledger.total:,} rows of {sum(len(g.paths) for g in GROUPS)} devices acknowledged")


def wait_for_end(stopping: threading.Event) -> None:
    """Reads standard input until it ends."""
    # Not through sys.stdin: a thread inside it would hold its lock at the program's end.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stopping.set()


def main() -> None:
    parser = argparse.ArgumentParser(description="Sixty simulated devices that publish to MQTT.")
    parser.add_argument("--broker", default="mqtt://127.0.0.1:8490")
    parser.add_argument("--every", type=float, default=1.0, help="seconds between readings")
    parser.add_argument("--seconds", type=float, help="default: until stopped")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ledger", type=Path, help="write what was acknowledged to this file")
    parser.add_argument("--until-stdin-ends", action="store_true", help="stop with the parent")
    arguments = parser.parse_args()
    if not arguments.every > 0:
        parser.error("--every must be positive")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    if arguments.until_stdin_ends:
        # The other end of the pipe closes when the process that started this one dies.
        threading.Thread(target=wait_for_end, args=(stopping,), daemon=True).start()
    try:
        run(arguments, stopping)
    except BrokerError as error:
        sys.exit(f"simulator: {error}")


if __name__ == "__main__":
    main()
