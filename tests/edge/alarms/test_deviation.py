"""Models of what is usual: what they learn, forget, cost and do without."""

from __future__ import annotations

import math
import random
import subprocess
import sys

import numpy as np
import pytest

from mainstem_edge.alarms import deviation
from mainstem_edge.alarms.board import Before, RuleBoard
from mainstem_edge.alarms.rule import AlarmRule
from mainstem_edge.assembly.alarms import alarm_rules
from mainstem_engine.model import Column
from mainstem_node import extras
from mainstem_node.config.rules import RuleConfig
from mainstem_node.errors import MissingExtraError

S = 1_000_000_000
ODD = AlarmRule("odd", 0, "flow", deviation=6.0, memory_ns=60 * S, every_ns=S, hysteresis=2.0)


def board(rule: AlarmRule = ODD, before: Before | None = None) -> RuleBoard:
    return RuleBoard([rule], lambda device: f"root.d{device}", names={0: "flow"}, before=before)


def see(board: RuleBoard, values: list[float], device: int = 0, at: int = 0) -> list[int]:
    """The seconds at which the alarm of a device changed; one value a second, from ``at`` on."""
    times = np.arange(at, at + len(values)) * S
    devices = np.full(len(values), device, np.uint32)
    found = board.observe(devices, times, {0: Column(np.array(values))})
    return [each.time_ns // S for each in found]


def usual(count: int, level: float = 20.0) -> list[float]:
    rng = random.Random(1)
    return [rng.gauss(level, 0.1) for _ in range(count)]


@pytest.mark.parametrize("level", [20.0, -3e8, 1e12])
def test_what_is_far_from_usual_is_an_alarm_however_large_the_numbers(level: float) -> None:
    step = max(0.1, math.ulp(level))
    values = [level + step * round(each - 20.0, 1) * 10 for each in usual(300)]
    watched = board()
    assert see(watched, values) == []
    assert see(watched, [level + 30 * step, level], at=300) == [300, 301]


def test_nothing_is_unusual_before_enough_was_learned() -> None:
    assert see(board(), [*usual(58), 99.0]) == []
    assert see(board(), [*usual(60), 99.0]) == [60]


def test_what_lasts_becomes_usual() -> None:
    values = usual(300) + usual(300, level=25.0)
    raised, cleared = see(board(), values)
    assert raised == 300
    assert 300 < cleared < 360


def test_a_value_that_never_changed_has_no_deviation_but_for_the_noise() -> None:
    assert see(board(), [20.0] * 100 + [20.5]) == []
    rule = AlarmRule("odd", 0, "flow", deviation=6.0, memory_ns=60 * S, every_ns=S, noise=0.05)
    assert see(board(rule), [20.0] * 100 + [20.5]) == [100]


def test_one_value_of_each_turn_is_learned_and_all_are_judged() -> None:
    watched = board()
    times = np.arange(1000) * (S // 10)
    values = np.where(np.arange(1000) % 10 == 5, 20.7, np.repeat(usual(100), 10))
    values[905] = 30.0
    found = watched.observe(np.zeros(1000, np.uint32), times, {0: Column(values)})
    assert [each.time_ns // (S // 10) for each in found if each.value == 30.0] == [905]


def test_numbers_that_are_none_are_not_learned() -> None:
    watched = board()
    values = [value for each in usual(200) for value in (each, math.nan, math.inf)]
    first, *_ = see(watched, values)
    assert first == 3 * 60 - 1, "infinity is unusual, as soon as something is known"
    assert see(watched, [20.0, math.nan, 20.0, 25.0], at=700) == [700, 703]


def test_an_alarm_of_before_the_start_stays_until_the_model_is_warm() -> None:
    watched = board(before=Before(active={"odd": {0: -S}}))
    assert see(watched, usual(100)) == [60]


def test_so_many_devices_have_a_model(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(deviation, "MODELS_MAX", 1)
    watched = board()
    assert see(watched, [*usual(100), 99.0], device=1) == [100]
    assert see(watched, [*usual(100), 99.0], device=2) == []
    assert caplog.text.count("models of only 1 devices") == 1


def test_only_devices_below_the_path_of_a_rule_have_a_model() -> None:
    rule = AlarmRule("odd", 0, "", deviation=6.0, memory_ns=60 * S, every_ns=S, under="root.d2")
    watched = board(rule)
    assert see(watched, [*usual(100), 99.0], device=1) == []
    assert see(watched, [*usual(100), 99.0], device=2) == [100]


def test_without_the_extra_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    config = RuleConfig(name="odd", template="pump", measurement="flow", deviation=6.0)
    assert alarm_rules("pump", {0: "flow"}, None, [config])[0].memory_ns == 3600 * S
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError) as caught:
        alarm_rules("pump", {0: "flow"}, None, [config])
    assert caught.value.hint == 'pip install "mainstem[statistics]"'


def test_rules_of_other_kinds_do_not_load_the_library() -> None:
    code = (
        "import sys, numpy as np\n"
        "from mainstem_edge.alarms.board import RuleBoard\n"
        "from mainstem_edge.alarms.rule import AlarmRule\n"
        "from mainstem_engine.model import Column\n"
        "b = RuleBoard([AlarmRule('hot', 0, 'x', above=1.0)], str)\n"
        "b.observe(np.zeros(1, np.uint32), np.ones(1, np.int64), {0: Column(np.ones(1))})\n"
        "print([name for name in ('river', 'scipy', 'sqlglot', 'duckdb') if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert found.stdout.strip() == "[]"
