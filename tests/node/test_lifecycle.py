"""A process starts, drains on a signal within its time, and ends at once on the second."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

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
    async def wait_failed(self):
        if "broken" in sys.argv: return
        await asyncio.Event().wait()

sys.exit(run_service(Service, drain_s=0.2 if "short" in sys.argv else 30,
                     until_stdin_ends="stdin" in sys.argv))
"""


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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
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


def test_only_this_file_imports_signal() -> None:
    root = Path(__file__).resolve().parents[2] / "node/mainstem_node"
    importing = [
        path.name for path in root.rglob("*.py") if "\nimport signal" in path.read_text("utf-8")
    ]
    assert importing == ["lifecycle.py"]
    assert os.name == "posix"
