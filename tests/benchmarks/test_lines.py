"""Ratios, goals and verdicts of the engine's lines; the chart and the tables that show them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from xml.etree import ElementTree

import pytest
from chart import chart, sentence, times
from lines import KINDS, Line
from peers import PEERS
from report import shown
from tables import document, print_markdown, print_text

TITLES = {"duckdb": "DuckDB", "tsfile": "TsFile & others"}


@pytest.fixture
def lines() -> list[Line]:
    def line(
        key: str, ours: list[float], missing: Mapping[str, str], **theirs: list[float]
    ) -> Line:
        return Line(KINDS[key], ours, theirs, missing, {"duckdb": "a <note>"})

    return [
        line("ingest 512", [24.0, 30.0, 20.0], {}, duckdb=[20.0, 20.0, 20.0], tsfile=[48, 20, 8]),
        line("size", [0.5], {}, duckdb=[1.0], tsfile=[0.625]),
        line("range", [0.1], {}, duckdb=[1.5], tsfile=[0.013]),
        line("commits", [9.0], {"tsfile": "no log: a file is written once"}, duckdb=[2.0]),
        line("replay", [25.0], {}),
    ]


def test_ratios_are_of_one_round_and_say_what_the_goals_say(lines: list[Line]) -> None:
    ingest, size, range_, commits, replay = lines
    assert ingest.ratios("duckdb") == (1.2, 1.5, 1.0)
    assert ingest.ratio("duckdb") == 1.2
    assert ingest.verdict("duckdb") == "met"
    assert ingest.ratio("tsfile") == 1.5
    assert size.ratio("duckdb") == 0.5
    assert size.advantage("duckdb") == 2
    assert (size.verdict("duckdb"), size.verdict("tsfile")) == ("met", "within 2x")
    assert range_.ratio("duckdb") == pytest.approx(15)
    assert range_.verdict("tsfile") == "missed"
    assert commits.verdict("duckdb") == "met"
    assert replay.own_verdict() == "met"


def test_every_goal_is_of_a_peer() -> None:
    assert {peer for kind in KINDS.values() for peer in kind.goals} <= set(PEERS)
    for peer in PEERS.values():
        assert set(peer.cannot) | set(peer.notes) <= set(KINDS)


def test_the_chart_is_well_formed_and_carries_each_figure(lines: list[Line]) -> None:
    text = chart(lines, TITLES, 20_000_000)
    root = ElementTree.fromstring(text)
    space = {"s": "http://www.w3.org/2000/svg"}
    labelled = (root.get("aria-labelledby") or "").split()
    assert root.get("role") == "img"
    assert labelled == [each.get("id") for each in root[:2]]
    description = root.findtext("s:desc", "", space)
    texts = [each.text for each in root.iter(f"{{{space['s']}}}text")]
    titles = [each.text for each in root.iter(f"{{{space['s']}}}title")]
    assert "prefers-color-scheme: dark" in root.findtext("s:style", "", space)
    for line in lines:
        assert (line.kind.name in texts) == bool(line.theirs)
        for peer in line.theirs:
            said = sentence(line, peer, TITLES[peer])
            assert times(line.advantage(peer)) in texts
            assert said in titles
            assert said in description
            assert shown(line.figure) in said
            assert shown(line.peer_figure(peer)) in said
    assert "\u2013" in texts, "a peer without a figure has a dash"
    # Nothing is fetched, nothing runs.
    assert "href" not in text
    assert "<script" not in text


def test_bars_go_where_the_better_one_is(lines: list[Line]) -> None:
    root = ElementTree.fromstring(chart(lines, TITLES, 1))
    bars = [each for each in root.iter() if each.get("class") in ("better", "worse")]
    assert [bar.get("class") for bar in bars] == [
        "better", "better", "better", "better", "better", "worse", "better",
    ]  # fmt: skip
    assert all(0 <= float(bar.get("width") or -1) <= 40 for bar in bars)


def test_tables_name_what_is_missing(lines: list[Line], capsys: pytest.CaptureFixture[str]) -> None:
    absent = {"clickhouse": "chdb not installed"}
    print_text(lines, TITLES, absent, 1_000, 3, quick=True)
    text = capsys.readouterr().out
    assert "missing: clickhouse: chdb not installed" in text
    assert "- no log: a file is written once" in text
    assert "1.20 (1.00-1.50)       goal >= 1.2 met  [a <note>]" in text
    assert "goal >= 20 met" in text
    print_markdown(lines, TITLES)
    table = capsys.readouterr().out.splitlines()
    rows = [line for line in table if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    assert "| 20\\*: 1.20 (1.00-1.50) | 20: 1.50 (0.50-2.50) |" in rows[2]
    found = document(lines, TITLES, absent, 1_000, 3)
    assert json.loads(json.dumps(found))["missing_peers"] == absent
    assert found["lines"][1]["peers"]["duckdb"]["ratio"] == 0.5
