"""A6 and A8 to A10 of the acceptance tests: a full disk, orders of an outage, large answers, and
kills."""

from __future__ import annotations

import itertools
import json
import os
import random
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from processes import PATIENCE_S, Processes, section
from valves import FINAL, Plant
from whole_river import NodeProcess, wait_for

from mainstem_node.broker import EmbeddedBroker
from mainstem_sync.state import accounting

pytestmark = pytest.mark.slow

BASE_MS = 1_792_540_800_000
MIB = 1 << 20
KILLS = 100 if os.environ.get("MAINSTEM_NIGHTLY") else 10
REFUSED_IN_A_ROW = 60
"""Several times as long as the edge goes between two flushes."""
KILL_POINTS = 300 * KILLS


def test_a06_a_full_disk_is_said_read_from_and_recovered_from(tmp_path: Path) -> None:
    """With its disk at the limit an edge refuses rows for a while, answers questions, says what is
    the matter, and takes rows again when retention has made room, without a start."""
    edge = section(
        "edge", "edge", disk={"limit": "12MiB", "when_full": "reject"},
        storage={"flush_every": "1s"}, clock={"future": "36500d"},
    )  # fmt: skip
    templates = {"ballast": {"x": "DOUBLE"}, "counter": {"n": "INT64"}}
    with Processes(tmp_path, "full", templates, [edge]) as processes:
        node = processes["edge"]
        node.sql("CREATE DATABASE root.plant.ballast")
        assert write(node, "counter", [{"time": BASE_MS, "n": 1}]) == 200
        rng, refused, blocks = random.Random(6), 0, itertools.count()

        def is_full() -> bool:
            """A flush makes room for a while: the log of its rows goes."""
            nonlocal refused
            first = BASE_MS + next(blocks) * 5_000
            rows = [{"time": first + n, "x": rng.random()} for n in range(5_000)]
            code = write(node, "ballast", rows)
            assert code in (200, 503)
            refused = refused + 1 if code == 503 else 0
            return refused == REFUSED_IN_A_ROW

        wait_for(is_full, PATIENCE_S, "the disk is full, and stays so")
        assert node.sql("SELECT n FROM counter") == [[1]]
        status = node.status()
        assert status is not None
        assert status["disk"]["refuses"] is True
        assert write(node, "counter", [{"time": BASE_MS + 1, "n": 2}]) == 503
        node.sql("ALTER DATABASE root.plant.ballast SET KEEP '1d'")  # its rows are older

        def takes_again() -> bool:
            return write(node, "counter", [{"time": BASE_MS + 2, "n": 3}]) == 200

        wait_for(takes_again, PATIENCE_S, "rows are taken again")
        assert node.starts == 1
        assert node.sql("SELECT n FROM counter ORDER BY time") == [[1], [3]]
        status = node.status()
        assert status is not None
        assert status["disk"]["refuses"] is False


def write(node: NodeProcess, template: str, rows: list[dict[str, Any]]) -> int:
    """The status of the answer."""
    body = {"template": template, "device": f"root.plant.{template}.d", "rows": rows}
    try:
        node.request("/api/v1/write", body)
    except urllib.error.HTTPError as error:
        error.read()
        return error.code
    return 200


def test_a08_an_order_of_an_outage_is_carried_out_once_or_expires(tmp_path: Path) -> None:
    """Queued while nobody is there, then carried out once, or expired; who asked and when stays."""
    plant = Plant(tmp_path)
    try:
        plant.start()
        plant.nodes["plant"].kill()
        plant.nodes["edge"].kill()
        assert plant.send("turn")["state"] == "QUEUED"
        assert plant.send("late", expires_in="1s")["state"] == "QUEUED"
        time.sleep(1.1)  # until its time is over
        for name in ("plant", "edge"):
            plant.nodes[name].start()
        for name in ("plant", "edge"):
            plant.nodes[name].wait_ready()
        assert plant.wait("turn", *FINAL) == "DONE"
        assert plant.wait("late", *FINAL) == "EXPIRED"
        plant.restart("edge")
        plant.send("again")
        assert plant.wait("again", *FINAL) == "DONE"
        assert plant.valve.told == ["turn", "again"]
        shown = plant.group.command("turn")
        assert shown["issued_by"]["node"] == "group"
        assert shown["issued_by"]["user"]
        assert shown["changed"] > shown["at"]
        assert plant.group.verify_audit()["problems"] == []
    finally:
        plant.stop()


def test_a09_a_question_for_everything_is_refused_in_bounded_memory(
    tmp_path: Path,
) -> None:
    """``SELECT *`` over more than an answer may have is refused, with the limit and a hint; other
    questions go on, and no process grows beyond 256 MB."""
    limits = {"memory_limit": "64MiB", "result_limit": "8MiB"}
    edge = section(
        "edge", "edge", storage={"memory_limit": "96MiB", "flush_every": "2s"},
        sql={"processes": 1, "admin": limits}, clock={"future": "36500d"},
    )  # fmt: skip
    count, batch = 300_000, 20_000
    with Processes(tmp_path, "large", {"wide": dict.fromkeys("abcd", "DOUBLE")}, [edge]) as nodes:
        node = nodes["edge"]
        rng = random.Random(9)
        for first in range(0, count, batch):
            rows = [
                {"time": BASE_MS + first + n, **{name: rng.random() for name in "abcd"}}
                for n in range(batch)
            ]
            assert write(node, "wide", rows) == 200
        everything = {"sql": "SELECT * FROM wide", "timeout_ms": 60_000}
        with pytest.raises(urllib.error.HTTPError) as refused:
            node.request("/api/v1/sql", everything)
        said = json.loads(refused.value.read())["error"]
        assert refused.value.code == 422, said
        assert said["hint"]
        assert node.sql("SELECT count(*) FROM wide") == [[count]]
        assert node.process is not None
        for pid in (node.process.pid, *children(node.process.pid)):
            assert peak_bytes(pid) < 256_000_000, pid


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in text.split()]


def peak_bytes(pid: int) -> int:
    """The most memory that a process has had resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no VmHWM of {pid}")


class Numbers(threading.Thread):
    """Publishes numbered points to the broker, and knows which of them it has taken."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.taken = 0
        self._port = port
        self._ended = threading.Event()

    def stop(self) -> None:
        self._ended.set()
        self.join(PATIENCE_S)

    def run(self) -> None:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="numbers")
        client.connect("127.0.0.1", self._port)
        client.loop_start()
        while not self._ended.is_set() and self.taken < KILL_POINTS:
            receipts = [
                client.publish("plant/d/t", f'{{"ts":{BASE_MS + n},"n":{n}}}', qos=1)
                for n in range(self.taken, self.taken + 20)
            ]
            for receipt in receipts:
                receipt.wait_for_publish(PATIENCE_S)
            self.taken += 20
            self._ended.wait(0.02)
        client.disconnect()
        client.loop_stop()


@pytest.mark.crash
def test_a10_kills_at_any_moment_lose_nothing_that_the_broker_has_taken(tmp_path: Path) -> None:
    """The edge dies again and again while points come in; each is there exactly once."""
    rng = random.Random(int(os.environ.get("MAINSTEM_KILL_SEED", "10")))
    broker = EmbeddedBroker(tmp_path / "broker")
    broker.start()
    subscription = {"topic": "plant/+/t", "template": "counter", "device": "root.p.{topic[1]}"}
    edge = section(
        "edge", "edge", clock={"future": "36500d"},
        collectors=[{"type": "mqtt", "url": broker.url, "subscriptions": [subscription]}],
    )  # fmt: skip
    try:
        with Processes(tmp_path, "kills", {"counter": {"n": "INT64"}}, [edge]) as processes:
            node = processes["edge"]
            node.wait_subscribed()
            numbers = Numbers(broker.port)
            numbers.start()
            for _ in range(KILLS):
                time.sleep(rng.uniform(0.05, 0.6))  # anywhere in the flow
                processes.restart("edge")
            numbers.stop()
            count = "SELECT count(n) FROM counter"
            wait_for(lambda: node.sql(count)[0][0] >= numbers.taken, PATIENCE_S, "all are there")
            found = [n for (n,) in node.sql("SELECT n FROM counter ORDER BY n")]
            assert found == list(range(numbers.taken))
            assert numbers.taken > 0
            status = node.status()
            assert status is not None
            assert accounting.check(status["accounting"]) == []
    finally:
        broker.stop()
