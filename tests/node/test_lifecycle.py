"""A process starts, drains on a signal within its time, and ends at once on the second."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mainstem_node.lifecycle import run_service

SERVICE = """
import asyncio, sys
from mainstem_node.lifecycle import run_service

class Service:
    async def start(self):
        if "fail" in sys.argv: raise ValueError("cannot start")
        print("started", flush=True)
    async def stop(self):
        print("stopping", flush=True)
        if "slow" in sys.argv: await asyncio.sleep(3600)
        print("stopped", flush=True)
    def stuck(self) -> str:
        return ""

    async def wait_failed(self):
        if "broken" in sys.argv: return
        await asyncio.Event().wait()

sys.exit(run_service(Service, drain_s=0.2 if "short" in sys.argv else 30,
                     until_stdin_ends="stdin" in sys.argv))
"""

STOPPING = [signal.SIGTERM, signal.SIGINT]
if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # ignored under nohup, as it should be
    STOPPING.append(signal.SIGHUP)


def start(*arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVICE, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    if not {"fail", "broken", "stdin"} & set(arguments):
        # The others end by themselves: what readline has buffered would be lost to communicate.
        assert process.stdout.readline() == "started\n"
    return process


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_drains(number: signal.Signals) -> None:
    process = start()
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    assert out == "stopping\nstopped\n"
    assert process.returncode == 0


def test_a_stop_that_takes_too_long_is_cut_off() -> None:
    process = start("slow", "short")
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "took too long" in err


def test_a_second_signal_ends_at_once() -> None:
    process = start("slow")
    process.terminate()
    assert process.stdout is not None
    assert process.stdout.readline() == "stopping\n"
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 130


def test_the_end_of_standard_input_is_a_signal() -> None:
    process = start("stdin")
    out, _ = process.communicate(timeout=30)
    assert out == "started\nstopping\nstopped\n"
    assert process.returncode == 0


def test_a_service_that_fails_stops_and_says_so_by_its_code() -> None:
    process = start("broken")
    out, _ = process.communicate(timeout=30)
    assert out == "started\nstopping\nstopped\n"
    assert process.returncode == 1


def test_an_error_of_the_start_is_raised_after_the_stop() -> None:
    process = start("fail")
    out, err = process.communicate(timeout=30)
    assert out == "stopping\nstopped\n"
    assert "cannot start" in err
    assert process.returncode == 1


class Recorded:
    """A service inside this process that notes what happens to it."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.fails = self.hangs = self.breaks = False
        self.kill = 0

    async def start(self) -> None:
        self.seen.append("start")
        if self.fails:
            raise ValueError("cannot start")
        if self.kill:
            os.kill(os.getpid(), self.kill)

    async def stop(self) -> None:
        self.seen.append("stop")
        if self.hangs:
            await asyncio.Event().wait()
        self.seen.append("stopped")

    def stuck(self) -> str:
        return ""

    async def wait_failed(self) -> None:
        if not self.breaks:
            await asyncio.Event().wait()


@pytest.mark.parametrize("number", STOPPING)
def test_inside_one_process_too_a_signal_drains(number: signal.Signals) -> None:
    service = Recorded()
    service.kill = number
    before = signal.getsignal(number)
    assert run_service(lambda: service) == 0
    assert service.seen == ["start", "stop", "stopped"]
    assert signal.getsignal(number) is before


def test_a_broken_service_is_stopped() -> None:
    service = Recorded()
    service.breaks = True
    assert run_service(lambda: service) == 1
    assert service.seen == ["start", "stop", "stopped"]


def test_a_failed_start_is_stopped_and_raised() -> None:
    service = Recorded()
    service.fails = True
    with pytest.raises(ValueError, match="cannot start"):
        run_service(lambda: service)
    assert service.seen == ["start", "stop", "stopped"]


def test_a_hanging_stop_is_cut_off_and_the_process_would_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = threading.Event()
    monkeypatch.setattr("mainstem_node.lifecycle.GRACE_S", 0.0)
    monkeypatch.setattr(os, "_exit", lambda code: ended.set())
    service = Recorded()
    service.breaks = service.hangs = True
    assert run_service(lambda: service, drain_s=0.01) == 1
    assert service.seen == ["start", "stop"]
    assert ended.wait(30)


def test_standard_input_that_ends_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"ignored")))
    service = Recorded()
    assert run_service(lambda: service, until_stdin_ends=True) == 0
    assert service.seen[-1] == "stopped"


def test_only_this_file_imports_signal() -> None:
    root = Path(__file__).resolve().parents[2] / "node/mainstem_node"
    importing = [
        path.name for path in root.rglob("*.py") if "\nimport signal" in path.read_text("utf-8")
    ]
    assert importing == ["lifecycle.py"]
    assert os.name == "posix"
