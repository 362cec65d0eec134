"""The demo as a newcomer runs it: everything starts, nothing is lost, a second run goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from whole_river import wait_for

pytestmark = pytest.mark.slow

PORT_BASE = int(os.environ.get("MAINSTEM_TEST_PORT_BASE", "23400"))
RUN_TIMEOUT_S = 280
"""Ten seconds of publishing, at most 120 s of draining, the rest for a loaded machine."""


def demo(directory: Path, *options: str) -> list[str]:
    return [
        sys.executable, "-m", "mainstem_node.cli", "demo", "--dir", str(directory),
        "--port-base", str(PORT_BASE), "--no-open", *options,
    ]  # fmt: skip


def logs(directory: Path) -> str:
    """The end of every log, for a failure's report."""
    return "\n".join(
        f"--- {path.name}\n{path.read_text(errors='replace')[-1500:]}"
        for path in sorted((directory / "logs").glob("*.log"))
    )


def test_ten_seconds_of_the_factory_lose_nothing(tmp_path: Path) -> None:
    place = tmp_path / "demo"
    ended = subprocess.run(
        demo(place, "--seconds", "10"), capture_output=True, text=True, timeout=RUN_TIMEOUT_S,
        check=False, cwd=tmp_path,
    )  # fmt: skip
    assert ended.returncode == 0, f"{ended.stderr}\n{logs(place)}"
    assert "passed: " in ended.stderr
    assert "press_machine_1m" in ended.stdout, "the accounting of every node is printed"
    ledger = json.loads((place / "devices.json").read_text())
    assert sum(len(devices) for devices in ledger["rows"].values()) == 60
    assert not (place / "demo.json").exists(), "nobody can cut a link of a demo that has ended"


def test_a_link_is_cut_and_restored_and_ctrl_c_stops_all(tmp_path: Path) -> None:
    place = tmp_path / "demo"
    with (tmp_path / "out").open("w") as output:
        running = subprocess.Popen(demo(place), stdout=output, stderr=output, cwd=tmp_path)
    try:
        wait_for(lambda: "the factory runs" in (tmp_path / "out").read_text(), 120, "it runs")
        change(place, "cut")
        wait_for(lambda: "stale" in state() or "offline" in state(), 60, "the group notices")
        change(place, "restore")
        wait_for(lambda: state() in ("live", "lagging"), 60, "the link is back")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{logs(place)}") from None
    finally:
        running.send_signal(signal.SIGINT)
        code = running.wait(90)
    assert code == 0, (tmp_path / "out").read_text()


def change(place: Path, action: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "mainstem_node.cli", "demo", action, "plant_a", "--dir", str(place)],
        check=True, timeout=30,
    )  # fmt: skip


def state() -> str:
    """How the group sees plant_a."""
    with urllib.request.urlopen(
        f"http://127.0.0.1:{PORT_BASE}/api/v1/status", timeout=10
    ) as answer:
        children = json.loads(answer.read())["children"]
    return next((str(each["state"]) for each in children if each["node"] == "plant_a"), "")
