"""The Modbus collector: a client at one line that polls its devices.

1. Devices are polled at multiples of their period (schedule.py); each poll is one row (device.py).
2. A unit that does not answer is asked at growing distances (unit.py); the others go on.
3. When no unit has answered for SILENT_MAX requests in a row the connection is made anew: one whose
   other end has lost its power looks as good as any.
4. The line is asked nothing while the queue is full.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.supervised import SupervisedCollector
from mainstem_edge.modbus.device import Device
from mainstem_edge.modbus.errors import LineError
from mainstem_edge.modbus.line import Line
from mainstem_edge.modbus.schedule import Schedule
from mainstem_edge.reader import Reader

TOPIC = "modbus"
SILENT_MAX = 5
DEVICES_SHOWN = 100
"""In status: those that have problems first."""
NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Polled:
    """A device, and the topic of its rows."""

    device: Device
    topic: str


class ModbusCollector(SupervisedCollector):
    """``polled``: the devices of the line."""

    kind: ClassVar[str] = "modbus"
    source_holds: ClassVar[bool] = False

    def __init__(
        self,
        name: str,
        readers: Sequence[Reader],
        queue: MessageQueue,
        *,
        line: Line,
        polled: Sequence[Polled],
        monotonic: Callable[[], float] = time.monotonic,
        **options: Any,
    ) -> None:
        super().__init__(name, readers, queue, **options)
        self.line = line
        self.polled = tuple(polled)
        self._monotonic = monotonic
        self._schedule = Schedule([each.device.every_ns for each in polled], 0)
        self._missed = 0
        self._silent = 0
        self._encode = msgspec.msgpack.Encoder().encode

    def session(self) -> None:
        self.line.open()
        self.health.connected()
        for each in self.polled:
            each.device.begin()
        self._schedule = Schedule([each.device.every_ns for each in self.polled], self.clock_ns())
        self._silent = 0
        try:
            self._poll_until_stopped()
        except LineError as error:
            if self.stopping:
                return
            self._say_gone()
            raise ConnectionError(error.message) from error
        finally:
            self._missed += self._schedule.missed
            self._schedule.missed = 0
            self.line.close()

    def _poll_until_stopped(self) -> None:
        schedule = self._schedule
        while True:
            number, rest_ns = schedule.next(self.clock_ns())
            if self.wait(max(0, rest_ns) / NS_PER_S):
                return
            if schedule.next(self.clock_ns())[1] > 0:
                continue  # the clock was set back
            each = self.polled[number]
            held_s = each.device.unit.hold_s(self._monotonic())
            if not held_s and not self._poll(each):
                return
            held_s = each.device.unit.hold_s(self._monotonic())
            schedule.polled(number, self.clock_ns(), round(held_s * NS_PER_S))

    def _poll(self, each: Polled) -> bool:
        """False if nobody takes what it brought."""
        device = each.device
        before = device.problem
        outcome = device.poll(self.line)
        for problem in outcome.problems:
            if problem != before:
                self.health.trouble(f"{device.path}: {problem}")
        self._silent = 0 if device.unit.is_alive else self._silent + 1
        if self.stopping:  # nobody takes it any more
            return False
        taken = outcome.row is None or self.deliver(
            [self.message(each.topic, self._encode(outcome.row))]
        )
        if self._silent >= SILENT_MAX:
            raise LineError("no device answers: the connection is made anew")
        return taken

    def _say_gone(self) -> None:
        for each in self.polled:
            row = each.device.gone()
            if row is not None:
                self.deliver([self.message(each.topic, self._encode(row))])

    def _wake(self) -> None:
        super()._wake()
        if self._stop.is_set():
            self.line.interrupt()

    # For commands, from any thread

    def find(self, device: str) -> Polled | None:
        """The device of a path."""
        return next((each for each in self.polled if each.device.path == device), None)

    # For people

    def details(self) -> dict[str, Any]:
        shown = sorted(self.polled, key=lambda each: not each.device.problem)[:DEVICES_SHOWN]
        return {
            "line": str(self.line.settings),
            "requests": self.line.requests,
            "missed_polls": self._missed + self._schedule.missed,
            "devices": len(self.polled),
            "devices_silent": sum(not each.device.unit.is_alive for each in self.polled),
            "units": [_shown(each.device) for each in shown],
        }


def _shown(device: Device) -> dict[str, Any]:
    last = device.answered_ns
    return {
        "device": device.path,
        "unit": device.unit.number,
        "state": "answers" if device.unit.is_alive else "silent",
        "polls": device.polls,
        "requests_a_poll": device.requests,
        "errors": device.errors,
        "refused": device.refused,
        "last_error": device.problem or None,
        "last_answer_ms": None if last is None else last // NS_PER_MS,
    }
