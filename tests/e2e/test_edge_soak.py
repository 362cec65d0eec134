"""One edge for some minutes, with everything that it collects from, while everything happens to it.

1. A publisher at QoS 1, a log that is rotated, and programs that post: each row has a number of its
   own, and is in the ledger once the broker, the file or the edge has it. Among the messages are
   some that nobody can read.
2. Meanwhile the edge is killed, also while it starts, ended in order, and stands still; the broker
   goes away and stands still; the disk is full for seconds, where the test may mount one.
3. In the end every row of the ledger is there, once, with its value, and nothing else; each message
   that could not be read is in the quarantine; the accounts balance; no alarm that was over still
   stands; the memory has a bound.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import PATIENCE_S, Processes, section
from rotated_log import BASE_MS, RotatedLog
from whole_river import wait_for

from mainstem_edge.testing.mosquitto import Mosquitto
from mainstem_engine.errors import NO_ROOM
from mainstem_node.replay import BrokerAddress, Publisher
from mainstem_sync.state import accounting

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.broker]

SEED = int(os.environ.get("MAINSTEM_SEED", "1"))
SECONDS = float(os.environ.get("MAINSTEM_SOAK_S", "180"))
DISK_MIB = 256
"""Of the file system of its own that the data are on: a full disk is full at once."""
RSS_MIB_MAX = 400
"""Nothing here needs half of it; a leak of a batch a second would be past it."""
WINDOW = 500
DEVICES = 5
HOT_FROM = 100

Key = tuple[str, int]


class SmallDisk:
    """A file system in memory at ``path``, where this process may mount one."""

    def __init__(self, path: Path, size_mib: int) -> None:
        self.path = path
        self._ballast = path / "ballast"
        path.mkdir(parents=True, exist_ok=True)
        options = ["-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(path)]
        try:
            done = subprocess.run(["mount", *options], capture_output=True, check=False)
        except OSError:
            self.is_mounted = False
        else:
            self.is_mounted = done.returncode == 0

    def fill(self) -> None:
        """Until not a byte more fits."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError as error:
                    if error.errno not in NO_ROOM:
                        raise

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        if self.is_mounted:
            subprocess.run(["umount", "-l", str(self.path)], check=True)


class EdgeSoak(Processes):
    """The edge, what it collects from, and what it has to hold."""

    def __init__(self, place: Path) -> None:
        self.disk = SmallDisk(place / "data", DISK_MIB)
        (place / "log").mkdir()
        self.broker = Mosquitto(place / "broker")
        collectors = [
            {
                "type": "mqtt", "url": self.broker.url,
                "subscriptions": [
                    {"topic": "soak/+", "codec": "json", "template": "counter",
                     "device": "root.soak.mqtt.{topic[1]}", "time": {"field": "ts", "unit": "ms"}}
                ],
            },
            {
                "type": "file", "mode": "follow", "path": str(place / "log"),
                "pattern": "*.csv*", "codec": "csv", "template": "counter",
                "device": "root.soak.file.{file}", "every": "100ms",
            },
        ]  # fmt: skip
        rule = {"name": "hot", "template": "counter", "measurement": "heat", "above": HOT_FROM}
        super().__init__(
            place, "soak", {"counter": {"count": "INT64", "heat": "DOUBLE"}},
            [
                section(
                    "edge", "edge", paths=["root.soak"], collectors=collectors, rules=[rule],
                    storage={"flush_every": "2s"}, clock={"future": "3650d"},
                )
            ],
        )  # fmt: skip
        self.rng = random.Random(SEED)
        self.log = RotatedLog(place / "log" / "press.csv")
        self.lock = threading.Lock()
        self.acked: dict[Key, int] = {}
        self.unsure: dict[Key, int] = {}
        self.bad_acked: set[str] = set()
        self.bad_sent: set[str] = set()
        self.numbers = itertools.count()
        self.is_over = threading.Event()
        self.problem: BaseException | None = None
        self.later: list[tuple[float, Callable[[], None]]] = []
        """What is under way, and what ends it."""
        self.faults: dict[str, int] = {}
        self.rss_mib = 0

    def __enter__(self) -> EdgeSoak:
        self.broker.start()
        super().__enter__()
        self["edge"].wait_subscribed()
        return self

    def stop(self) -> None:
        self.is_over.set()
        super().stop()
        self.broker.stop()
        self.log.close()
        self.disk.close()

    # What it collects

    def publish(self) -> None:
        """Until it is over, then until everything is acknowledged. A thread of its own."""
        rng = random.Random(SEED + 1)
        try:
            with Publisher(
                BrokerAddress.parse(self.broker.url), window=WINDOW, on_acknowledged=self.note
            ) as publisher:
                while not self.is_over.wait(rng.choice([0.0, 0.01, 0.1])):
                    for _ in range(rng.choice([1, 10, 200])):
                        self.publish_one(publisher, rng)
                # Nothing is hot at last, on whatever device.
                for device in range(DEVICES):
                    self.publish_row(publisher, device, 0.0)
                publisher.drain()
        except Exception as error:
            self.problem = error
            raise

    def publish_one(self, publisher: Publisher, rng: random.Random) -> None:
        if rng.random() < 0.02:
            text = f'{{"ts": 1, "count": {next(self.numbers)}'
            with self.lock:
                self.bad_sent.add(text)
            publisher.publish("soak/m0", text.encode(), text)
        else:
            self.publish_row(publisher, rng.randrange(DEVICES), rng.uniform(0, HOT_FROM * 1.01))

    def publish_row(self, publisher: Publisher, device: int, heat: float) -> None:
        number = next(self.numbers)
        key = f"root.soak.mqtt.m{device}", BASE_MS + number
        with self.lock:
            self.unsure[key] = number
        row = {"ts": key[1], "count": number, "heat": heat}
        publisher.publish(f"soak/m{device}", json.dumps(row).encode(), key)

    def note(self, token: Any) -> None:
        """The broker has it."""
        with self.lock:
            if isinstance(token, str):
                self.bad_acked.add(token)
            else:
                self.acked[token] = self.unsure.pop(token)

    def write_log(self) -> None:
        before = self.log.written
        self.log.write(100)
        for number in range(before, self.log.written):
            self.acked["root.soak.file.press", BASE_MS + number] = number

    def post(self) -> None:
        device = self.rng.randrange(DEVICES)
        numbers = [next(self.numbers) for _ in range(self.rng.choice([1, 20, 100]))]
        path = f"root.soak.counter.p{device}"
        rows = {(path, BASE_MS + number): number for number in numbers}
        with self.lock:
            self.unsure |= rows
        lines = "\n".join(f"counter,id=p{device} count={n}i {BASE_MS + n}" for n in numbers)
        url = f"{self['edge'].url}/api/v2/write?bucket=b&precision=ms"
        try:
            with urllib.request.urlopen(url, lines.encode(), timeout=20) as answer:
                assert answer.status == 204
        except urllib.error.HTTPError as error:
            if error.code not in (503, 507):
                raise AssertionError((error.code, error.read())) from error
        except OSError:
            return  # nobody there, or hung up
        else:
            with self.lock:
                for key in rows:
                    self.acked[key] = self.unsure.pop(key)

    # What happens to it

    def disturb(self) -> None:
        """Something, and when it is over."""
        if self.later:
            return
        kinds: dict[str, Callable[[], Callable[[], None]]] = {
            "killed": self.kill, "killed while starting": self.kill_twice, "ended": self.end,
            "edge stands still": lambda: self.freeze(self.edge_pid()),
            "broker stands still": lambda: self.freeze(self.broker.pid),
            "broker away": self.broker_away,
        }  # fmt: skip
        if self.disk.is_mounted:
            kinds["disk full"] = self.fill
        name = self.rng.choice(sorted(kinds))
        self.faults[name] = self.faults.get(name, 0) + 1
        lasts_s = self.rng.choice([0.0, 0.3, 2.0, 6.0])
        self.later.append((time.monotonic() + lasts_s, kinds[name]()))

    def edge_pid(self) -> int:
        process = self["edge"].process
        assert process is not None
        assert process.poll() is None, "the edge ended by itself"
        return process.pid

    def kill(self) -> Callable[[], None]:
        self.edge_pid()
        self["edge"].kill()
        return self["edge"].start

    def kill_twice(self) -> Callable[[], None]:
        self.kill()()
        starts_until = time.monotonic() + self.rng.uniform(0.05, 2.0)

        def again() -> None:
            self["edge"].kill()
            self["edge"].start()

        wait_for(lambda: time.monotonic() >= starts_until, 10, "a moment of the start")
        return again

    def end(self) -> Callable[[], None]:
        self.edge_pid()
        assert self["edge"].stop() in (0, -signal.SIGTERM)  # the latter: it had just begun
        return self["edge"].start

    def freeze(self, pid: int) -> Callable[[], None]:
        os.kill(pid, signal.SIGSTOP)
        return lambda: os.kill(pid, signal.SIGCONT)

    def broker_away(self) -> Callable[[], None]:
        self.broker.stop()
        return self.broker.start

    def fill(self) -> Callable[[], None]:
        self.disk.fill()
        return self.disk.free

    def mend(self, *, at_once: bool = False) -> None:
        """What was to last until now is over."""
        for until, over in list(self.later):
            if at_once or time.monotonic() >= until:
                over()
                self.later.remove((until, over))

    def look(self) -> None:
        process = self["edge"].process
        assert process is not None
        try:
            text = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        except OSError:
            return
        found = [line.split()[1] for line in text.splitlines() if line.startswith("VmRSS")]
        self.rss_mib = max(self.rss_mib, *(int(kib) >> 10 for kib in found), 0)

    # What must hold

    def rows(self) -> dict[Key, int]:
        try:
            found = self["edge"].sql("SELECT device, time, count FROM counter")
        except OSError:
            return {}
        rows = {(device, time_ms): count for device, time_ms, count in found}
        assert len(rows) == len(found)
        return rows

    def check(self) -> None:
        self["edge"].wait_ready()
        rows = self.settled()
        sent = self.acked | self.unsure
        other = {key: value for key, value in rows.items() if sent.get(key) != value}
        assert not other, (len(other), list(other.items())[:3])
        aside = self.put_aside()
        assert self.bad_acked <= aside <= self.bad_sent, (len(aside), len(self.bad_acked))
        assert self.bad_acked
        standing = self["edge"].sql(
            "SELECT source FROM (SELECT source, last(raised) AS raised FROM alarms GROUP BY source)"
            " WHERE raised"
        )
        assert standing == []
        status = self["edge"].status()
        assert status is not None
        assert accounting.check(status["accounting"]) == []
        assert {each["state"] for each in status["collectors"]} <= {"connected", "running"}
        assert status["accounting"]["counter"]["intake"]["quarantined"] >= len(self.bad_acked)
        log = (self.place / "edge.log").read_text(encoding="utf-8")
        assert "Traceback" not in log
        assert self.rss_mib < RSS_MIB_MAX
        assert self["edge"].stop() == 0

    def settled(self) -> dict[Key, int]:
        """The rows, when all that were acknowledged are among them."""
        until = time.monotonic() + PATIENCE_S
        while True:
            rows = self.rows()
            missing = sorted(self.acked.keys() - rows.keys())
            if not missing:
                return rows
            found = len(rows), len(missing), missing[:2], missing[-2:]
            assert time.monotonic() < until, found

    def put_aside(self) -> set[str]:
        """The payloads in the quarantine."""
        found, after = set[str](), ""
        while after is not None:
            page = self["edge"].request(f"/api/v1/quarantine?limit=1000&after={after}")
            found |= {str(item["value"]) for item in page["items"]}
            after = page["next"]
        return found


@pytest.fixture
def soak(tmp_path: Path) -> Iterator[EdgeSoak]:
    with EdgeSoak(tmp_path) as soak:
        yield soak


def test_nothing_that_was_acknowledged_is_lost(
    soak: EdgeSoak, record_property: Callable[[str, object], None]
) -> None:
    publisher = threading.Thread(target=soak.publish, daemon=True)
    publisher.start()
    end = time.monotonic() + SECONDS
    disturbs_at = 0.0
    while time.monotonic() < end:
        soak.mend()
        if soak.rng.random() < 0.2:
            soak.write_log()
        soak.post()
        soak.look()
        if time.monotonic() >= disturbs_at:
            soak.disturb()
            disturbs_at = time.monotonic() + soak.rng.uniform(0.5, 5.0)
    soak.mend(at_once=True)
    soak.is_over.set()
    publisher.join(PATIENCE_S)
    assert not publisher.is_alive()
    assert soak.problem is None
    soak.check()
    record_property("count:rows", len(soak.acked))
    for name, count in soak.faults.items():
        record_property(f"count:{name}", count)
    print(f"{len(soak.acked)} rows, {len(soak.bad_acked)} bad, {soak.faults}, {soak.rss_mib} MiB")
