"""A poll of one device at a line that a test writes: how often it is asked, and for what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np

from mainstem_edge.modbus.device import REFUSED_S, Device
from mainstem_edge.modbus.errors import RefusedError, SilentError
from mainstem_edge.modbus.line import Line
from mainstem_edge.modbus.register import Register, Words
from mainstem_edge.modbus.unit import Unit


class ScriptedLine:
    """``answer``: what an address gives; raises what the line would."""

    def __init__(self, answer: Callable[[int], int]) -> None:
        self.answer = answer
        self.asked: list[tuple[int, int]] = []

    def read(self, unit: int, table: str, address: int, count: int, timeout_s: float) -> Words:
        self.asked.append((address, count))
        return np.array([self.answer(address + n) for n in range(count)], np.uint16)

    def take(self) -> list[tuple[int, int]]:
        asked, self.asked = self.asked, []
        return asked


class Clock:
    """``now_s`` is monotonic, and the wall's."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def clock_ns(self) -> int:
        return int(self.now_s * 1e9)


def device(clock: Clock, *places: int, **options: Any) -> Device:
    registers = [Register(f"m{place}", "holding", place) for place in places]
    return Device(
        "root.d", Unit(1), registers, every_ns=10**9, timeout_s=1.0,
        clock_ns=clock.clock_ns, monotonic=clock.monotonic, **options,
    )  # fmt: skip


def poll(one: Device, line: ScriptedLine) -> dict[str, Any] | None:
    row = one.poll(cast("Line", line)).row
    return None if row is None else {k: v for k, v in row.items() if k not in ("device", "time")}


def silent(address: int) -> int:
    raise SilentError("nothing")


def test_a_dead_device_is_asked_once_a_poll_and_only_at_first_again() -> None:
    one, line = device(Clock(), 0, 10, 20, retries=2), ScriptedLine(silent)
    assert poll(one, line) is None
    assert line.take() == [(0, 1)] * 3  # it was thought to be there
    assert poll(one, line) is None
    assert line.take() == [(10, 1)]  # another place, once


def test_what_is_never_answered_does_not_hide_the_rest() -> None:
    def answer(address: int) -> int:
        return silent(address) if address == 0 else address

    one, line = device(Clock(), 0, 10, 20, retries=0), ScriptedLine(answer)
    assert poll(one, line) is None
    for _ in range(3):
        assert poll(one, line) == {"m10": 10, "m20": 20}
        assert one.unit.is_alive
    assert "0..0" in one.problem


def test_what_is_busy_is_asked_again_at_once() -> None:
    codes = [6, 0]

    def answer(address: int) -> int:
        code = codes.pop(0)
        if code:
            raise RefusedError(1, code)
        return 5

    one, line = device(Clock(), 0, retries=1), ScriptedLine(answer)
    assert poll(one, line) == {"m0": 5}
    assert one.errors == 0


def test_a_block_is_cut_down_to_what_the_device_has_in_few_requests() -> None:
    """Of a hundred registers side by side number 42 is not there."""

    def answer(address: int) -> int:
        if address == 42:
            raise RefusedError(1, 2)
        return address

    clock = Clock()
    one, line = device(clock, *range(100)), ScriptedLine(answer)
    row = poll(one, line)
    assert row == {f"m{n}": n for n in range(100) if n != 42}
    assert len(line.take()) <= 2 * 7 + 1  # halves of halves
    assert poll(one, line) == row
    assert (42, 1) not in line.asked
    assert sum(count for _, count in line.take()) == 99
    assert one.refused == ["m42"]
    clock.now_s += REFUSED_S
    poll(one, line)
    assert (42, 1) in line.take()
    one.begin()
    assert one.requests == 1


def test_a_row_without_values_is_said_once_and_only_where_qualities_are_stored() -> None:
    clock = Clock()
    plain, line = device(clock, 0, retries=0), ScriptedLine(silent)
    assert poll(plain, line) is None
    rated = device(clock, 0, 1, retries=0, qualities=frozenset({"m0"}))
    assert poll(rated, line) == {"m0_quality": "stale"}
    assert poll(rated, line) is None
    assert rated.gone() is None
    line.answer = lambda address: 7
    assert poll(rated, line) == {"m0": 7, "m1": 7}
    gone = rated.gone()
    assert gone is not None
    assert gone["m0_quality"] == "stale"
    assert rated.gone() is None
