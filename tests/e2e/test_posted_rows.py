"""What a device was told is stored is stored: an edge as a real process, killed right after it
answered, again and again."""

from __future__ import annotations

import json
import threading
import urllib.request
from pathlib import Path

import pytest
from processes import PATIENCE_S, Processes, section
from whole_river import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.crash]

T0_MS = 1_792_540_800_000
KILLS = 3
ROWS_BEFORE_KILL = 25


class Scale:
    """A device that counts, and sends each number until somebody says that it is stored."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.stored: list[int] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_S)

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            body = json.dumps({"ts": T0_MS + number, "weight": number}).encode()
            request = urllib.request.Request(
                self._url, body, {"Authorization": "Bearer abc"}, method="POST"
            )
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    answer.read()
            except OSError:  # nobody there, hung up, or 503
                self._stop.wait(0.05)
                continue
            self.stored.append(number)
            number += 1


def test_nothing_that_was_answered_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push = {
        "type": "http_push", "name": "scales", "template": "scale", "device": "root.p.{path[0]}",
        "sender": {"token": "${SCALES_TOKEN}"},
    }  # fmt: skip
    edge = section("edge", "edge", collectors=[push], clock={"future": "36500d"})
    monkeypatch.setenv("SCALES_TOKEN", "abc")
    with Processes(tmp_path, "scales", {"scale": {"weight": "INT64"}}, [edge]) as processes:
        scale = Scale(f"{processes['edge'].url}/collect/v1/scales/s1")
        try:
            for _ in range(KILLS):
                wanted = len(scale.stored) + ROWS_BEFORE_KILL
                wait_for(lambda: len(scale.stored) >= wanted, PATIENCE_S, "posted")  # noqa: B023
                processes.restart("edge")
        finally:
            scale.stop()
        assert len(scale.stored) >= KILLS * ROWS_BEFORE_KILL
        rows = processes["edge"].sql("SELECT time, weight FROM scale ORDER BY time")
        found = [weight for _, weight in rows]
        assert found[: len(scale.stored)] == scale.stored
        assert len(found) <= len(scale.stored) + 1  # stored, and the answer was lost
