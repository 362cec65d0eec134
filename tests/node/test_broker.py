"""The embedded broker: where it listens, how it ends, and what a killed process leaves behind."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mainstem_node.broker import BrokerStartError, EmbeddedBroker, server_binary


def test_it_takes_a_free_port_and_keeps_it(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path / "b")
    with broker:
        assert broker.is_running
        port = broker.port
        assert port > 0
        assert broker.url == f"mqtt://127.0.0.1:{port}"
    assert not broker.is_running
    assert broker.pid is None
    with broker:
        assert broker.port == port


def test_a_second_one_on_the_same_port_says_why_it_cannot_start(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path / "a") as first:
        second = EmbeddedBroker(tmp_path / "b", port=first.port)
        with pytest.raises(BrokerStartError, match=r"did not start.*in use"):
            second.start()
        assert first.is_running


def test_a_leftover_on_the_same_directory_is_ended_by_its_id(tmp_path: Path) -> None:
    first = EmbeddedBroker(tmp_path / "b")
    first.start()
    leftover = first._process
    assert leftover is not None
    with EmbeddedBroker(tmp_path / "b", port=first.port) as second:
        assert second.is_running
        assert leftover.wait(10) is not None


def test_a_number_given_to_somebody_else_is_left_alone(tmp_path: Path) -> None:
    place = tmp_path / "b"
    place.mkdir()
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        (place / "pid").write_text(str(bystander.pid))
        with EmbeddedBroker(place):
            assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_the_binary_of_the_wheel_is_found() -> None:
    assert server_binary().is_file()
