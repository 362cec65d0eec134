"""A1 to A5 and A7 of the acceptance tests: complaints of users of other products, each as a test
between an edge and its platform that are real processes."""

from __future__ import annotations

import json
import random
import threading
import time
import urllib.error
from pathlib import Path
from typing import Any

import pytest
from processes import PATIENCE_S
from thin_link import ThinLink
from two_tiers import DEVICE, STEP_MS, TwoTiers, command
from whole_river import wait_for

from mainstem_node.auth import ensure_link_tokens
from mainstem_node.config import load_topology
from mainstem_sync.wire.messages import STALE_AFTER_S

pytestmark = pytest.mark.slow

LOADED_MS = 3_000
"""How late a machine that does other things may look at its clocks."""


def use(tiers: TwoTiers, config: Path) -> None:
    """Another file for the platform, which does not run."""
    ensure_link_tokens(load_topology(config))
    tiers.plant.config = config


def quarantined(url: str) -> list[dict[str, Any]]:
    found = json.loads(command("quarantine", "list", "--json", "--url", url).stdout)
    items: list[dict[str, Any]] = found["items"]
    return items


def test_a01_what_the_parent_refuses_does_not_hold_up_what_follows(tmp_path: Path) -> None:
    """Rows that the platform will not take are put aside there with the reason, all else arrives;
    ``export``, ``drop`` and, once the reason is removed, ``retry`` work."""
    tiers = TwoTiers(tmp_path)
    wide = tiers.plant.config
    narrow = wide.with_name("narrow.yaml")
    narrow.write_text(wide.read_text().replace("- root.plant.line\n", f"- {DEVICE}\n"))
    assert narrow.read_text() != wide.read_text()
    use(tiers, narrow)
    with tiers:
        assert tiers.write(range(10), "root.plant.line.d2")
        tiers.wait_delivered()
        assert tiers.write(range(10, 40))
        tiers.wait_arrived(range(10, 40))  # nothing waits behind what was refused
        tiers.wait_delivered()
        url = tiers.plant.url
        aside = quarantined(url)
        assert {(each["node"], each["device"], each["reason"]) for each in aside} == {
            ("edge", "root.plant.line.d2", "not_owner")
        }
        assert len({each["time"] for each in aside}) == 10
        exported = tmp_path / "aside.jsonl"
        assert command("quarantine", "export", str(exported), "--url", url).returncode == 0
        lines = [json.loads(line) for line in exported.read_text().splitlines()]
        # A minute that ends meanwhile sends its sums, which are refused as well.
        assert {each["id"] for each in aside} <= {each["id"] for each in lines}
        first = aside[0]["id"]
        assert command("quarantine", "drop", first, "--url", url).returncode == 0
        assert first not in {each["id"] for each in quarantined(url)}
        tiers.plant.stop()
        use(tiers, wide)
        tiers.plant.start()
        tiers.plant.wait_ready()
        tiers.nodes.wait_known("plant", ["edge"])
        retried = command("quarantine", "retry", "--all", "--url", url)
        assert retried.returncode == 0, retried.stdout + retried.stderr
        tiers.wait_arrived(range(40))
        wait_for(lambda: not quarantined(url), PATIENCE_S, "nothing is aside any more")
        tiers.check_sums()


def test_a02_every_row_is_in_a_sum_and_one_command_checks_them(tmp_path: Path) -> None:
    """Good rows, repeats, values that do not fit, rows from the future: all are counted."""
    with TwoTiers(tmp_path, edge={"clock": {"future": "1h"}}, base_ms=_now_ms()) as tiers:
        assert tiers.write(range(500))
        assert tiers.write(range(100))
        bad = [
            {"time": tiers.base_ms + n * STEP_MS, "n": "x", "half": 1.0} for n in range(600, 610)
        ]
        body = {"template": "counter", "device": "root.plant.line.d2", "rows": bad}
        assert tiers.edge.request("/api/v1/write", body)["quarantined"] == 10
        tiers.wait_delivered()
        status = tiers.edge.status()
        assert status is not None
        intake = status["accounting"]["counter"]["intake"]
        assert intake["received"] == 610
        assert intake["received"] == sum(n for name, n in intake.items() if name != "received")
        for node in (tiers.edge, tiers.plant):
            shown = command("status", "--url", node.url)
            assert shown.returncode == 0, shown.stdout + shown.stderr
        tiers.check_sums()


def test_a03_a_line_that_swallows_everything_makes_the_child_stale(tmp_path: Path) -> None:
    """No connection ends, and new ones are taken: only the age of what was heard tells."""
    with TwoTiers(tmp_path) as tiers:
        assert tiers.write(range(10))
        tiers.wait_arrived(range(10))
        wait_for(lambda: tiers.child()["state"] in ("live", "lagging"), PATIENCE_S, "it is heard")
        tiers.relay.silence()
        seen: list[dict[str, Any]] = []

        def is_stale() -> bool:
            seen.append(tiers.child())
            return bool(seen[-1]["state"] == "stale")

        wait_for(is_stale, PATIENCE_S, "the platform says stale")
        assert seen[-1]["last_contact_ms"] <= STALE_AFTER_S * 1000 + LOADED_MS
        assert tiers.write(range(10, 20))  # the edge goes on

        def is_behind() -> bool:
            status = tiers.edge.status()
            return status is not None and status["state"] != "live"

        wait_for(is_behind, PATIENCE_S, "the edge says so too")
        assert tiers.numbers("plant") == list(range(10))
        tiers.relay.speak()
        tiers.wait_arrived(range(20))
        wait_for(lambda: tiers.child()["state"] in ("live", "lagging"), PATIENCE_S, "it is back")


def test_a04_a_backlog_uses_the_line_and_live_rows_pass_it(tmp_path: Path) -> None:
    """A day of rows over 1 Mbit/s: at least four fifths of the line, live rows within seconds."""
    day_ms, count = 24 * 3_600_000, 240_000
    rng = random.Random(4)
    tiers = TwoTiers(tmp_path)
    link = ThinLink(tiers.nodes.ports["plant"], 125_000, 0.02)
    link.cut()
    tiers.through(link.port)
    try:
        with tiers:
            start = _now_ms() - day_ms
            for first in range(0, count, 20_000):
                rows = [
                    {"time": start + (first + n) * day_ms // count, "half": rng.random()}
                    for n in range(20_000)
                ]
                body = {"template": "counter", "device": "root.plant.line.b", "rows": rows}
                assert tiers.edge.request("/api/v1/write", body)["accepted"] == 20_000
            owed = tiers.delivery()["pending_rows"]
            link.restore()
            before = link.bytes_up
            wait_for(lambda: link.bytes_up > before + 100_000, PATIENCE_S, "it drains")
            marks = [(time.monotonic(), link.bytes_up)]
            lags: list[float] = []
            number = 0
            while tiers.delivery()["pending_rows"] > owed // 10 and len(lags) < 60:
                lags.append(_live_lag_s(tiers, number))
                number += 1
                marks.append((time.monotonic(), link.bytes_up))
            assert lags, "the backlog was gone before anybody could look"
            (begin, sent_before), (end, sent) = marks[0], marks[-2] if len(marks) > 2 else marks[-1]
            share = (sent - sent_before) / (end - begin) / 125_000
            assert share >= 0.8, (share, marks)
            assert sorted(lags)[len(lags) // 2] < 10, lags
    finally:
        link.close()


def _live_lag_s(tiers: TwoTiers, number: int) -> float:
    """How long a row of now takes to be at the platform."""
    row = {"time": _now_ms(), "n": number}
    body = {"template": "counter", "device": "root.plant.line.live", "rows": [row]}
    begin = time.monotonic()
    tiers.edge.request("/api/v1/write", body)
    asked = f"SELECT count(n) FROM root.plant.line.live WHERE n = {number}"

    def is_there() -> bool:
        try:
            return tiers.plant.sql(asked) == [[1]]
        except urllib.error.HTTPError:
            return False  # the device is not known there yet

    wait_for(is_there, PATIENCE_S, f"live row {number}")
    return time.monotonic() - begin


def test_a05_retention_takes_nothing_that_is_owed(tmp_path: Path) -> None:
    """Rows that are older than ``keep`` are in no answer of the edge any more, and still arrive."""
    keep = {"databases": {"root.plant": {"keep": "15s", "duration": "1s"}}}
    with TwoTiers(tmp_path, edge=keep, base_ms=_now_ms()) as tiers:
        tiers.relay.cut()
        assert tiers.write(range(20))
        wait_for(lambda: tiers.numbers("edge") == [], PATIENCE_S, "they are too old for the edge")
        assert tiers.delivery()["pending_rows"] >= 20
        tiers.nodes.restart("edge")
        tiers.relay.restore()
        tiers.wait_arrived(range(20))
        tiers.wait_delivered()
        status = tiers.edge.status()
        assert status is not None
        assert status["accounting"]["counter"]["forward"]["lost"] == 0
        tiers.check_sums()


def test_a07_what_comes_twice_is_there_once(tmp_path: Path) -> None:
    """Each batch is sent three times in any order, while answers are lost and the platform dies
    between applying and acknowledging: rows, sums and rollups are those of one time."""
    rng = random.Random(7)
    count, batch = 1_200, 100
    batches = [range(first, first + batch) for first in range(0, count, batch)] * 3
    rng.shuffle(batches)
    with TwoTiers(tmp_path) as tiers:
        done = threading.Event()

        def flap() -> None:
            while not done.wait(rng.uniform(0.05, 0.4)):
                tiers.relay.cut()
                done.wait(rng.uniform(0.05, 0.3))
                tiers.relay.restore()

        line = threading.Thread(target=flap, daemon=True)
        line.start()
        try:
            for number, each in enumerate(batches):
                assert tiers.write(each)
                if number in (8, 20):
                    tiers.nodes.restart("plant")
        finally:
            done.set()
            line.join()
            tiers.relay.restore()
        tiers.wait_arrived(range(count))
        sums = "SELECT count(n), sum(n), min(n), max(n) FROM counter"
        expected = [[count, count * (count - 1) // 2, 0, count - 1]]
        assert tiers.edge.sql(sums) == tiers.plant.sql(sums) == expected
        rollup = "SELECT sum(n_count), sum(n_sum) FROM counter_1m"
        # The rollup has every minute that is over; a later row ends the last one.
        assert tiers.write([count + 10 * 60_000 // STEP_MS])
        wait_for(
            lambda: tiers.plant.sql(rollup) == [expected[0][:2]], PATIENCE_S, "minutes count all"
        )
        tiers.check_sums()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
