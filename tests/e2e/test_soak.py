"""Three tiers of real processes for some minutes, while everything that happens to them happens.

Nodes are killed, several at once and while they start; lines fall silent and come back; platform
and group are rolled back to copies of their disks. Meanwhile rows are written, late ones among
them, and deleted. At no time may a parent claim what it does not have, and in the end all tiers
hold what was acknowledged, once.
"""

from __future__ import annotations

import os
import random
import shutil
import time
import urllib.error
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from processes import PATIENCE_S, Processes, section
from two_tiers import SilentRelay, command
from whole_river import wait_for

from mainstem_sync.state import accounting

pytestmark = [pytest.mark.slow, pytest.mark.nightly]

SEED = int(os.environ.get("MAINSTEM_SEED", "1"))
SECONDS = float(os.environ.get("MAINSTEM_SOAK_S", "180"))
TIERS = ("edge", "plant", "group")
PAST_MS = 1_800_000
"""Late rows are of the last half hour."""

CLOCK_MS = 1_500
"""A statement is older by so much than the moment it names: it reads what was stored before."""

Key = tuple[str, int]


class Soak(Processes):
    """The processes, their lines, and what they have to hold."""

    def __init__(self, place: Path) -> None:
        export = [
            {"template": "counter", "mode": "raw"},
            {"template": "counter", "mode": "rollup", "every": "1m"},
        ]
        common: dict[str, Any] = {"storage": {"flush_every": "2s"}}
        rollups = [{"template": "counter", "every": ["1m"], "lateness": "1s"}]
        super().__init__(
            place, "soak", {"counter": {"n": "INT64", "note": "TEXT"}},
            [
                section("group", "group", **common),
                section("plant", "platform", "group", export=export, **common),
                section(
                    "edge", "edge", "plant", export=export, rollups=rollups,
                    paths=["root.plant.line"], **common,
                ),
            ],
            extra_ports=["below", "above"],
        )  # fmt: skip
        self.rng = random.Random(SEED)
        self.lines = []
        for node, line, parent in (("edge", "below", "plant"), ("plant", "above", "group")):
            url = f"http://127.0.0.1:{self.ports[line]}"
            self.rewrite(partial(_found_at, url), node)
            target = ("127.0.0.1", self.ports[parent])
            self.lines.append(SilentRelay(self.ports[line], target))
        self.speaks_at = [0.0, 0.0]
        self.down: dict[str, float] = {}
        self.copies: dict[str, Path] = {}
        self.began_ms = now_ms() - PAST_MS
        self.count = 0
        self.acked: dict[Key, tuple[int, int]] = {}
        """By device and time the value, and when it was acknowledged."""
        self.unsure: set[Key] = set()
        """Written without an answer: they may be there."""
        self.deleted: dict[Key, bool] = {}
        """Whether the delete was acknowledged."""
        self.claims = 0

    def __enter__(self) -> Soak:
        for line in self.lines:
            line.start()
        super().__enter__()
        return self

    def stop(self) -> None:
        super().stop()
        for line in self.lines:
            line.close()

    # What its users do

    def write(self) -> None:
        device = f"root.plant.line.d{self.rng.randrange(5)}"
        is_late = self.rng.random() < 0.4
        first = self.began_ms if is_late else now_ms() - 3000
        span = PAST_MS if is_late else 3000
        rows: list[dict[str, Any]] = []
        for _ in range(self.rng.choice([1, 5, 50, 400])):
            key = device, first + self.rng.randrange(span)
            if key in self.acked or key in self.unsure:
                continue
            self.unsure.add(key)
            self.count += 1
            rows.append({"time": key[1], "n": self.count, "note": f"v{self.count}"})
        body = {"template": "counter", "device": device, "rows": rows}
        try:
            answer = self["edge"].request("/api/v1/write", body)
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise AssertionError(error.read()) from error
            return
        except OSError:
            return
        assert answer["quarantined"] == 0
        for row in rows:
            key = device, row["time"]
            self.unsure.discard(key)
            self.acked[key] = row["n"], now_ms()

    def delete(self) -> None:
        device = f"root.plant.line.d{self.rng.randrange(5)}"
        first = self.began_ms + self.rng.randrange(PAST_MS)
        end = first + self.rng.randrange(1, 60_000)
        hit = [k for k in (*self.acked, *self.unsure) if k[0] == device and first <= k[1] < end]
        for key in hit:
            self.deleted.setdefault(key, False)
        try:
            self["edge"].sql(f"DELETE FROM {device} WHERE time >= {first} AND time < {end}")
        except OSError:
            return
        self.deleted.update(dict.fromkeys(hit, True))

    def ask(self, node: str) -> None:
        """What a parent claims to be complete is there."""
        question = {"sql": "SELECT device, time FROM counter", "timeout_ms": 20_000}
        try:
            answer = self[node].request("/api/v1/sql", question)
        except (OSError, ValueError):
            return
        found = {(device, time_ms) for device, time_ms in answer["rows"]}
        for claim in answer["completeness"]:
            through, stated_ms = claim["complete_through"], claim["as_of"] - CLOCK_MS
            if claim["table"] != "counter" or through is None:
                continue
            self.claims += 1
            missing = [
                key
                for key, (_, acked_ms) in self.acked.items()
                if key[1] < through and acked_ms < stated_ms
                and key not in found and key not in self.deleted
            ]  # fmt: skip
            assert not missing, (node, len(missing), missing[:3], claim)

    # What happens to it

    def disturb(self) -> None:
        what = self.rng.random()
        if what < 0.35:
            for node in self.rng.sample(TIERS, self.rng.choice([1, 1, 1, 2, 3])):
                self.end(node, self.rng.choice([0.0, 0.0, 0.3, 3.0, 8.0]))
        elif what < 0.5:
            at = self.rng.randrange(len(self.lines))
            self.lines[at].silence()
            self.speaks_at[at] = time.monotonic() + self.rng.choice([1.0, 4.0, 12.0])
        elif what < 0.6:
            node = self.rng.choice(["plant", "group"])
            self.end(node, 0.0)
            disk, copy = self.place / "data" / node, self.place / f"copy-{node}"
            source, target = (copy, disk) if node in self.copies else (disk, copy)
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target)
            self.copies[node] = copy

    def end(self, node: str, for_s: float) -> None:
        if node not in self.down:
            process = self[node].process
            assert process is not None
            assert process.poll() is None, f"{node} ended by itself"
            self[node].kill()
        self.down[node] = time.monotonic() + for_s

    def mend(self, *, at_once: bool = False) -> None:
        """What was to last until now is over."""
        now = time.monotonic()
        for node, until in list(self.down.items()):
            if at_once or now >= until:
                self[node].start()
                del self.down[node]
        for at, line in enumerate(self.lines):
            if at_once or now >= self.speaks_at[at]:
                line.speak()

    # What must hold

    def rows(self, node: str) -> dict[Key, int]:
        try:
            found = self[node].sql("SELECT device, time, n FROM counter")
        except OSError:
            return {}
        return {(device, time_ms): n for device, time_ms, n in found}

    def check(self) -> None:
        for node in TIERS:
            self[node].wait_ready()
        here = self.rows("edge")
        lost = [k for k, (n, _) in self.acked.items() if k not in self.deleted and here.get(k) != n]
        assert not lost, (len(lost), lost[:3])
        back = [key for key, is_sure in self.deleted.items() if is_sure and key in here]
        assert not back, (len(back), back[:3])
        assert set(here) <= {*self.acked, *self.unsure}
        for node in ("plant", "group"):
            wait_for(lambda: self.rows(node) == here, PATIENCE_S, f"{node} holds the same")  # noqa: B023
        for node in TIERS:
            status = self[node].status()
            assert status is not None
            assert accounting.check(status["accounting"]) == [], node
            log = (self.place / f"{node}.log").read_text(encoding="utf-8")
            assert "Traceback" not in log, node
            assert "was altered" not in log, node
        assert command("verify", "--url", self["plant"].url).returncode == 0


@pytest.fixture
def soak(tmp_path: Path) -> Iterator[Soak]:
    with Soak(tmp_path) as soak:
        yield soak


def test_nothing_is_lost_and_nothing_is_claimed_that_is_not_there(soak: Soak) -> None:
    end = time.monotonic() + SECONDS
    disturbs_at, asks_at = 0.0, 0.0
    while time.monotonic() < end:
        soak.mend()
        soak.write()
        if soak.rng.random() < 0.02:
            soak.delete()
        if time.monotonic() >= asks_at:
            soak.ask(soak.rng.choice(TIERS[1:]))
            asks_at = time.monotonic() + 1.0
        if time.monotonic() >= disturbs_at:
            soak.disturb()
            disturbs_at = time.monotonic() + soak.rng.uniform(0.5, 5.0)
    soak.mend(at_once=True)
    soak.check()
    assert soak.claims


def _found_at(url: str, node: dict[str, Any]) -> None:
    """Its parent is asked there."""
    node["parent"]["url"] = url


def now_ms() -> int:
    return time.time_ns() // 10**6
