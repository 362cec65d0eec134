"""Rules over history: as if each row had been watched when it came."""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from mainstem_edge.alarms import history
from mainstem_edge.alarms.board import RuleBoard
from mainstem_edge.alarms.replay import Replay
from mainstem_edge.alarms.rule import AlarmRule, Transition
from mainstem_edge.alarms.silence import Surroundings
from mainstem_edge.errors import TooMuchHistoryError
from mainstem_engine.engine import Engine
from mainstem_engine.model import Column
from mainstem_node import cli

S = 1_000_000_000
GONE = AlarmRule("gone", None, "", missing_ns=5 * S)
RULES = [
    AlarmRule("hot", 0, "temperature", above=10.0, delay_ns=2 * S),
    AlarmRule("stuck", 0, "temperature", stuck_ns=4 * S),
    AlarmRule("odd", 0, "temperature", deviation=1.5, memory_ns=5 * S, every_ns=2 * S),
    GONE,
    replace(GONE, name="dead", missing_ns=9 * S),
]
Rows = list[tuple[int, str, float]]
"""Second, device, temperature."""


def told(found: list[Transition], paths: Any) -> list[tuple[str, str, int, bool]]:
    return sorted(
        (each.rule.name, paths(each.device), each.time_ns // S, each.raised) for each in found
    )


def columns(rows: Rows) -> dict[int, Column]:
    return {0: Column(np.array([row[2] for row in rows], np.float64))}


def times(rows: Rows) -> Any:
    return np.array([row[0] * S for row in rows], np.int64)


def live(rows: Rows, end_s: int) -> list[tuple[str, str, int, bool]]:
    """Second by second: a look for silence, and the rows that arrive."""
    now = [0]
    paths = sorted({row[1] for row in rows})
    clock = Surroundings(clock_ns=lambda: now[0], monotonic_ns=lambda: now[0], unit_ns=1)
    board = RuleBoard(RULES, paths.__getitem__, names={0: "temperature"}, around=clock)
    assert board.silence is not None
    found: list[Transition] = []
    for second in range(1, end_s):
        now[0] = second * S
        own = [row for row in rows if row[0] == second]
        ids = np.array([paths.index(row[1]) for row in own], np.uint32)
        # A device that speaks just now is not silent.
        found += board.observe(ids, times(own), columns(own))
        found += board.silence.check()
    return told(found, paths.__getitem__)


@given(st.integers(0, 2**32))
def test_it_tells_what_the_live_path_tells_whatever_the_windows(seed: int) -> None:
    rng, end_s = random.Random(seed), 80
    rows = [
        (second, device, float(rng.choice((5, 12, 12, 12))))
        for second in range(1, end_s)
        for device in ("a", "b", "c")
        if rng.random() < (0.15 if second % 20 < 12 else 0.9)
    ]
    replay = Replay(RULES, {0: "temperature"})
    found: list[Transition] = []
    bounds = sorted({0, end_s, *(rng.randrange(end_s) for _ in range(rng.randrange(5)))})
    for begin, end in itertools.pairwise(bounds):
        own = [row for row in rows if begin <= row[0] < end]
        rng.shuffle(own)
        ids = replay.ids([row[1] for row in own])
        found += replay.feed(ids, times(own), columns(own), end * S)
    assert told(found, replay.path) == live(rows, end_s)


MEASUREMENTS = {"temperature": {"type": "DOUBLE"}, "running": {"type": "BOOLEAN"},
                "count": {"type": "INT64"}, "note": {"type": "TEXT"}}  # fmt: skip
CONFIGURED = [
    {"name": "hot", "template": "press", "measurement": "temperature", "above": 90},
    {"name": "idle", "template": "press", "expression": "NOT running AND temperature > 50"},
    {"name": "gone", "template": "press", "missing": "10s", "under": "root.a.m1"},
]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A file with rules, and a data directory with rows: m1 is hot, then silent."""
    node = {"id": "n", "tier": "edge", "listen": "127.0.0.1:0", "data_dir": "data",
            "rules": CONFIGURED}  # fmt: skip
    document = {"templates": {"press": {"measurements": MEASUREMENTS}}, "nodes": [node]}
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    with Engine.open(tmp_path / "rows") as engine:
        engine.sql(
            "CREATE STABLE press (ts TIMESTAMP, temperature DOUBLE, running BOOLEAN, count INT64,"
            " note TEXT)"
        )
        for device, second, values in (
            ("m1", 0, "20, true, 1"),
            ("m1", 1, "95, true, 2"),
            ("m1", 2, "60, false, null"),
            ("m1", 3, "null, true, 4"),
            ("m2", 3, "20, true, 1"),
            ("m1", 30, "20, true, 5"),
        ):
            engine.sql(
                "INSERT INTO press(device, time, temperature, running, count) VALUES"
                f" ('root.a.{device}', '2026-11-23T05:00:{second:02}Z', {values})"
            )
    return tmp_path


def said(place: Path, *words: str, code: int = 0) -> Any:
    given = ["rule", words[0], "-c", str(place / "t.yaml"), "--json", *words[1:]]
    answer = CliRunner().invoke(cli.app, given, catch_exceptions=False)
    assert answer.exit_code == code, answer.output
    return json.loads(answer.stdout) if code == 0 else answer.output


SPAN = ("--from", "2026-11-23T05:00:00Z", "--to", "2026-11-23T05:01:00Z")


def changes(place: Path, *words: str) -> list[tuple[str, int, bool]]:
    found = said(place, "test", *SPAN, "--data", str(place / "rows"), *words)
    assert all(each["device"] == "root.a.m1" for each in found["changes"])
    return [
        (each["rule"], (each["time"] - found["from"]) // 1000, each["raised"])
        for each in found["changes"]
    ]


def test_rules_are_tried_on_a_data_directory(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [
        ("hot", 1, True), ("hot", 2, False), ("idle", 2, True), ("idle", 3, False),
        ("gone", 13, True), ("gone", 30, False), ("gone", 40, True),
    ]  # fmt: skip
    assert changes(place) == expected
    assert changes(place, "--rule", "HOT") == expected[:2]
    monkeypatch.setattr(history, "WINDOW_ROWS", 2)
    assert changes(place) == expected


def test_more_history_than_can_be_read_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "ROWS_MAX", 3)
    with pytest.raises(TooMuchHistoryError, match="press has 6 rows"):
        changes(place)


def test_mistakes_are_told(place: Path) -> None:
    data = ("--data", str(place / "rows"))
    assert "no such rule" in said(place, "test", "--rule", "none", *data, code=2)
    assert "not before" in said(place, "test", "--to", "1", "--from", "2", *data, code=2)
    assert "no directory" in said(place, "test", "--data", str(place / "none"), code=2)


def test_the_rules_of_a_file_are_listed(place: Path) -> None:
    found = said(place, "list")["rules"]
    assert [(each["rule"], each["condition"]) for each in found] == [
        ("hot", "temperature above 90"),
        ("idle", "NOT running AND temperature > 50"),
        ("gone", "missing 10s"),
    ]
    assert found[2]["under"] == "root.a.m1"
    assert found[0]["active"] is None
