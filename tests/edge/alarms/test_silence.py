"""Rules about devices that bring no rows, with clocks of the test."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mainstem_edge.alarms import silence
from mainstem_edge.alarms.board import Before, RuleBoard
from mainstem_edge.alarms.rule import SILENT, AlarmRule
from mainstem_edge.alarms.silence import SilenceWatch, Surroundings
from mainstem_engine.model import Column, DeviceIds, TimesNs

S = 1_000_000_000
RULE = AlarmRule("gone", None, "", missing_ns=60 * S, message=SILENT)
Change = tuple[int, bool, int, float]
"""Device, raised, second by the wall clock, seconds of silence."""


class World:
    """A board with one rule; ``now_s`` is both clocks, 1000 s apart."""

    def __init__(self, rule: AlarmRule = RULE, **before: Any) -> None:
        self.now_s = 0
        self.wall_s = 1000
        self.rows: dict[int, int] = {}
        self.elsewhere: set[int] = set()
        self.board = RuleBoard(
            [rule],
            lambda device: f"root.d{device}",
            before=Before(**before),
            around=Surroundings(
                newest=self._newest,
                is_elsewhere=self.elsewhere.__contains__,
                clock_ns=lambda: (self.now_s + self.wall_s) * S,
                monotonic_ns=lambda: self.now_s * S,
            ),
        )

    def _newest(self, devices: DeviceIds) -> TimesNs:
        return np.array([self.rows.get(int(d), -1) * S for d in devices], np.int64)

    def rows_of(self, *devices: int, at_s: int = 0) -> list[Change]:
        count = len(devices)
        times = np.full(count, at_s * S)
        found = self.board.observe(
            np.array(devices, np.uint32), times, {0: Column(np.zeros(count))}
        )
        return _changes(found)

    def check(self, now_s: int, behind_s: int = 0) -> list[Change]:
        self.now_s = now_s
        assert self.board.silence is not None
        return _changes(self.board.silence.check(behind_s * S))


def _changes(found: Any) -> list[Change]:
    return [(each.device, each.raised, each.time_ns // S, each.value) for each in found]


def before(*devices: int) -> DeviceIds:
    return np.array(devices, np.uint32)


def test_silence_is_noticed_once_and_is_over_with_the_first_row() -> None:
    world = World()
    assert world.rows_of(2, 1, 2) == []
    assert world.check(59) == []
    world.rows_of(1)
    assert world.check(60) == [(2, True, 1060, 60.0)]
    assert world.check(61) == []
    world.now_s = 90
    assert world.rows_of(2) == [(2, False, 1090, 90.0)]
    assert world.rows_of(2) == []
    assert world.check(149) == [(1, True, 1149, 90.0)]
    assert world.check(150) == [(2, True, 1150, 60.0)]


def test_a_row_of_long_ago_is_a_sign_of_life() -> None:
    world = World()
    world.rows_of(1, at_s=500)
    world.check(50)
    world.rows_of(1, at_s=3)
    assert world.check(109) == []
    assert world.check(110) == [(1, True, 1110, 60.0)]


def test_a_device_that_was_never_heard_is_not_waited_for() -> None:
    world = World(devices=before(1))
    world.rows_of(5)
    assert [change[0] for change in world.check(1000)] == [1, 5]


def test_after_a_start_the_time_begins_with_the_start() -> None:
    world = World(devices=before(1, 2))
    assert world.check(59) == []
    world.rows_of(2)
    assert world.check(60) == [(1, True, 1060, 60.0)]


def test_an_alarm_of_before_the_start_is_not_raised_again_and_is_over_with_a_row() -> None:
    world = World(devices=before(1), active={"gone": {1: 990 * S}})
    assert world.check(100) == []
    assert world.rows_of(1) == [(1, False, 1100, 100.0)]


def test_what_waits_to_be_read_is_no_silence() -> None:
    world = World()
    world.rows_of(1)
    assert world.check(70, behind_s=30) == []
    assert world.check(91, behind_s=30) == [(1, True, 1091, 61.0)]


def test_a_rule_waits_for_devices_below_its_path() -> None:
    world = World(replace(RULE, under="root.d1"))
    world.rows_of(1, 2)
    assert [change[0] for change in world.check(60)] == [1]


def test_a_device_that_another_node_has_is_let_go() -> None:
    world = World()
    world.rows_of(1)
    world.elsewhere.add(1)
    assert world.check(60) == []
    world.elsewhere.clear()
    assert world.check(70) == []
    world.rows_of(1)
    assert world.check(130) == [(1, True, 1130, 60.0)]


def test_rows_that_were_posted_are_found_in_the_store() -> None:
    world = World(devices=before(1))
    world.rows[1] = 1030  # by the wall clock, at 30 s
    assert world.check(89) == []
    assert world.check(90) == [(1, True, 1090, 60.0)]
    world.rows[1] = 1095
    assert world.check(100) == [(1, False, 1100, 70.0)]
    assert world.check(159) == []


def test_a_device_whose_clock_is_ahead_is_silent_all_the_same() -> None:
    world = World()
    world.rows[1] = 5000
    world.rows_of(1, at_s=5000)
    assert world.check(60) == [(1, True, 1060, 60.0)]
    assert world.check(4100) == []


def test_a_wall_clock_that_goes_back_does_not_put_the_end_before_the_beginning() -> None:
    world = World()
    world.rows_of(1)
    assert world.check(60) == [(1, True, 1060, 60.0)]
    world.wall_s = 0
    found = world.board.observe(before(1), np.array([0]), {0: Column(np.zeros(1))})
    assert found[0].time_ns == 1060 * S + 1_000_000


def test_so_many_devices_are_watched_and_so_many_alarms_raised_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(silence, "DEVICES_MAX", 5)
    monkeypatch.setattr(silence, "CHANGES_MAX", 3)
    world = World(devices=before(*range(4)))
    world.rows_of(*range(8))
    assert "only 5 devices" in caplog.text
    assert [change[0] for change in world.check(60)] == [0, 1, 2]
    assert [change[0] for change in world.check(61)] == [3, 4]


def test_two_rules_name_the_same_device_in_their_time() -> None:
    late = replace(RULE, name="dead", missing_ns=120 * S)
    now = [0]
    clock = Surroundings(clock_ns=lambda: now[0], monotonic_ns=lambda: now[0])
    watch = SilenceWatch([RULE, late], clock, before(1), {}, lambda under, devices: devices == 0)
    for second, names in ((60, ["gone"]), (120, ["dead"]), (130, [])):
        now[0] = second * S
        assert [each.rule.name for each in watch.check()] == names
    assert [each.rule.name for each in watch.observe(before(1))] == ["gone", "dead"]
