"""What systemd hears: ready, stopping, and the watchdog's word while work goes on."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mainstem_node import cli
from mainstem_node.service_manager import ALIVE, READY, STEPS_MAX, STUCK_S, Progress, ServiceManager

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="systemd is on Linux")


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        yield manager


def test_words_are_datagrams(tmp_path: Path, heard: socket.socket) -> None:
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify")}).say(READY)
    assert heard.recv(99) == b"READY=1"


def test_without_a_manager_nothing_is_said_and_nothing_fails(tmp_path: Path) -> None:
    ServiceManager({}).say(READY)
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).say(READY)
    asyncio.run(ServiceManager({}).watch(lambda: "all of it"))


def test_the_watchdog_hears_nothing_while_something_is_stuck(
    tmp_path: Path, heard: socket.socket
) -> None:
    environment = {
        "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000",
        "WATCHDOG_PID": str(os.getpid()),
    }  # fmt: skip
    answers = iter(["", "committer", "committer"])

    def stuck() -> str:
        found = next(answers, None)
        if found is None:
            raise LookupError
        return found

    with pytest.raises(LookupError):
        asyncio.run(ServiceManager(environment).watch(stuck))
    assert heard.recv(99) == ALIVE.encode()
    heard.setblocking(False)
    with pytest.raises(BlockingIOError):
        heard.recv(99)


def test_another_process_of_the_service_has_no_watchdog() -> None:
    assert ServiceManager({"WATCHDOG_USEC": "2000", "WATCHDOG_PID": "1"}).watchdog_s == 0
    assert ServiceManager({"WATCHDOG_USEC": "2000"}).watchdog_s == 0.002


def test_work_is_stuck_when_it_waits_at_one_place_for_long() -> None:
    now = [0.0]
    progress = Progress(monotonic=lambda: now[0])

    def look(waits: bool, at: int, after_s: float) -> bool:
        now[0] += after_s
        return progress.stuck("log", waits, at)

    assert not look(True, 7, 0)
    assert not look(True, 7, STUCK_S)
    assert look(True, 7, 1)
    assert not look(True, 8, 1)  # it moved
    assert not look(True, 8, STUCK_S)
    assert not look(False, 8, 1)  # nothing waits: as long as it likes
    assert not look(True, 8, STUCK_S)


def test_work_that_waits_for_something_slow_is_not_stuck_for_a_few_of_its_steps() -> None:
    now = [0.0]
    progress = Progress(monotonic=lambda: now[0])

    def look(below: int, below_waits: bool = True) -> bool:
        now[0] += STUCK_S
        return progress.stuck("intake", True, 7, below=below, below_waits=below_waits)

    assert not look(5)
    assert not look(5)
    assert look(5), "nothing was done below"
    assert not look(6)
    assert look(6, below_waits=False), "nothing to wait for"
    assert not look(5 + STEPS_MAX)
    assert look(6 + STEPS_MAX)


def test_the_unit_is_what_systemd_reads(tmp_path: Path) -> None:
    answer = CliRunner().invoke(cli.app, ["init", "edge", str(tmp_path / "p"), "--systemd"])
    assert answer.exit_code == 0
    unit = tmp_path / "p" / "mainstem.service"
    text = unit.read_text()
    assert "@" not in "".join(line for line in text.splitlines() if line.startswith("ExecStart"))
    assert f"run -c {tmp_path}/p/edge.yaml" in text
    assert f"ReadWritePaths={tmp_path}/p" in text
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd is not installed")
    verified = subprocess.run([program, "verify", str(unit)], capture_output=True, text=True)
    found = [each for each in verified.stderr.splitlines() if "mainstem.service" in each]
    assert found == []
    rated = subprocess.run(
        [program, "security", "--offline=yes", "--threshold=40", str(unit)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert rated.returncode == 0, rated.stdout[-2000:] + rated.stderr
