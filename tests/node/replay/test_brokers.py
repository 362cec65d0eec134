"""``mainstem publish`` against real brokers: what they take, what they refuse, what they miss."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mainstem_node import cli
from mainstem_node.broker import EmbeddedBroker
from mainstem_node.replay import BrokerAddress, BrokerError, Publisher

START_TIMEOUT_S = 10.0


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "pump.csv"
    rows = [f"2024-01-01 00:{i // 60:02}:{i % 60:02};{i / 7}" for i in range(600)]
    path.write_text("\n".join(["datetime;flow", *rows]), encoding="utf-8")
    return path


def publish(file: Path, url: str, topic: str, *options: str) -> Result:
    return CliRunner().invoke(
        cli.app, ["publish", str(file), "--broker", url, "--topic", topic, "--json", *options]
    )


def test_every_message_is_acknowledged(recording: Path, tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path / "broker", sync_always=False) as broker:
        answer = publish(recording, broker.url, "works/pump", "--batch", "50")
    assert answer.exit_code == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert (found["rows"], found["messages"], found["acknowledged"]) == (600, 12, 12)
    assert "read as UTC" in answer.stderr


def test_a_broker_that_dies_in_between_gets_the_rest_again(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path / "broker", sync_always=False) as broker:
        publisher = Publisher(BrokerAddress("127.0.0.1", broker.port))
        publisher.connect()
        for number in range(200):
            publisher.publish("works/pump", b"{}")
            if number == 100:
                broker.kill()
        restart = threading.Thread(target=broker.start)
        restart.start()
        publisher.drain()
        restart.join()
        counted = publisher.statistics()
        publisher.close()
    assert (counted.messages, counted.acknowledged, counted.outstanding) == (200, 200, 0)
    assert counted.reconnects >= 1


def test_a_second_connection_is_refused_for_it_would_take_over_from_the_first(
    tmp_path: Path,
) -> None:
    with (
        EmbeddedBroker(tmp_path / "broker", sync_always=False) as broker,
        Publisher(BrokerAddress("127.0.0.1", broker.port)) as publisher,
    ):
        with pytest.raises(BrokerError, match="connected already"):
            publisher.connect()
        publisher.publish("works/pump", b"{}")
        publisher.drain()
        assert publisher.statistics().reconnects == 0


@pytest.fixture
def strict_broker(tmp_path: Path) -> Iterator[str]:
    """A mosquitto that lets nobody publish below ``closed/``."""
    binary = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if binary is None:
        assert not os.environ.get("MAINSTEM_CI"), "CI must have mosquitto"
        pytest.skip("mosquitto is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    (tmp_path / "acl").write_text("topic readwrite open/#\n")
    (tmp_path / "conf").write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nacl_file {tmp_path}/acl\nuser root\n"
    )
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([binary, "-c", str(tmp_path / "conf")], stdout=log, stderr=log)
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
    yield f"mqtt://127.0.0.1:{port}"
    process.terminate()
    process.wait(10)


@pytest.mark.broker
def test_a_refusal_is_not_taken_for_an_acknowledgement(recording: Path, strict_broker: str) -> None:
    """MQTT 5 answers a forbidden publish with a PUBACK that says no."""
    assert publish(recording, strict_broker, "open/pump").exit_code == 0
    answer = publish(recording, strict_broker, "closed/pump")
    assert answer.exit_code == 1
    found = json.loads(answer.stdout)
    assert (found["messages"], found["acknowledged"], found["refused"]) == (600, 0, 600)
    assert "Not authorized" in answer.stderr
