"""An edge at its limits: a burst, a slow disk, little memory, and messages that are damaged.

Short versions; with MAINSTEM_NIGHTLY the ones of the programme: 200,000 messages, 1 MiB/s for 15
minutes, ten times the memory on disk, and bounds on times and slopes, which say something only
there. For the burst memory is all that was resident, for the slow disk what is not of files; for
the question it is a control group, where this user may make one (memory_ceiling.py). Figures are
printed: pytest -s.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import urllib.error
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from memory_ceiling import ceiling
from processes import Processes, section
from whole_river import NodeProcess, wait_for

from mainstem_edge.testing.mosquitto import Mosquitto, mosquitto_binary
from mainstem_engine import ColumnType, Engine, EngineOptions, Measurement, Template
from mainstem_node.replay import BrokerAddress, Publisher

pytestmark = [pytest.mark.slow, pytest.mark.broker]

NIGHTLY = bool(os.environ.get("MAINSTEM_NIGHTLY"))
MIB = 1 << 20
T0_MS = 1_792_540_800_000
BURST = 200_000 if NIGHTLY else 20_000
BURST_GROWTH_BYTES_MAX = 128 * MIB
PUBACK_MS_MAX = 200
SLOW_BYTES_PER_S = MIB if NIGHTLY else 128 << 10
SLOW_ROWS = 20_000_000 if NIGHTLY else 20_000
ROWS_A_MESSAGE = 100
SLOW_GROWTH_BYTES_MAX = 128 * MIB
"""Of its own: the `memory_limit` of the edge, 96 MiB, and the libraries that write parts."""
SLOPE_BYTES_MAX = 2 * MIB
"""A minute, of the process' own. Seen were 0.5 and 1.0; it takes and gives back 40 MiB with every
flush and compaction, which a line through ten minutes of it leaves half a MiB of."""
WARM_S = 300
"""By then compactions have run, and the allocator keeps what it keeps."""
PAUSE_S_MAX = 15
"""Without any PUBACK. Syncs of the log took up to 4.3 s, the queue before it is never empty."""
STEADY_S, STEADY_SHARE = 30, 4
"""In every half minute at least a quarter of what a half minute has on average."""
DOUBLE_BYTES = 8
"""A random one takes no less in the log."""
STORED_ROWS = 12_000_000 if NIGHTLY else 1_500_000
"""Of ten random doubles: 80 bytes each on disk; ten times the memory limit by night."""
CEILING_BYTES = 256 * MIB
QUESTIONS = (
    "SELECT * FROM machine",
    "SELECT * FROM machine ORDER BY x3",
    "SELECT count(*), avg(x1), max(x9) FROM machine",
    "SELECT count(DISTINCT x1) FROM machine",
)
"""All rows as they lie; all of them held to be sorted; passed through; held by the query engine."""
DRAIN_S = 1200.0 if NIGHTLY else 20.0
DEVICES = 50
COLUMNS = {"n": "INT64", "x": "DOUBLE", "on": "BOOLEAN"}
CODECS = ("json", "csv", "msgpack", "line_protocol")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    if mosquitto_binary() is None:
        pytest.skip("mosquitto is not installed")
    with Mosquitto(tmp_path / "broker", saves=False) as started:
        yield started


def collecting(broker: Mosquitto, codec: str = "json") -> dict[str, Any]:
    reading: dict[str, Any] = {"time": {"field": "ts", "unit": "ms"}}
    if codec == "line_protocol":
        reading = {"time": {"unit": "ms"}}
    return {
        "type": "mqtt", "url": broker.url, "message_limit": "64KiB",
        "subscriptions": [{"topic": f"{codec}/+", "template": "machine", "codec": codec,
                           "device": "root.plant.{topic[1]}", **reading}],
    }  # fmt: skip


def edge_at(
    place: Path, collectors: list[dict[str, Any]], *, environment: dict[str, str] | None = None,
    columns: dict[str, str] = COLUMNS, **more: Any,
) -> Processes:  # fmt: skip
    edge = section("edge", "edge", collectors=collectors, **more)
    slow = {"MAINSTEM_TEST_SYNC_DELAY_S": "0", **(environment or {})}
    return Processes(place, "limits", {"machine": columns}, [edge], environment=slow)


def memory_bytes(node: NodeProcess, key: str) -> int:
    assert node.process is not None
    for line in Path(f"/proc/{node.process.pid}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) << 10
    raise AssertionError(key)


def own_bytes(node: NodeProcess) -> int:
    """Without pages of files, which are the page cache's: the kernel takes them when it must."""
    return memory_bytes(node, "RssAnon") + memory_bytes(node, "RssShmem")


def rows_of(node: NodeProcess, term: str) -> int:
    status = node.status()
    sums = {} if status is None else status["accounting"].get("machine", {})
    return int(sums.get("intake", {}).get(term, 0))


def broker_state(node: NodeProcess) -> dict[str, Any]:
    """Of the only collector; empty while the node does not answer."""
    status = node.status()
    found: dict[str, Any] = {} if status is None else status["collectors"][0]
    return found


def pubacks(node: NodeProcess) -> int:
    state = broker_state(node)
    return sum(state["acknowledged"]["since_durable"]["counts"]) if state else 0


def stored_rows(node: NodeProcess) -> int:
    return int(node.sql("SELECT count(*) FROM machine")[0][0])


def published(broker: Mosquitto, messages: Callable[[Publisher], None]) -> None:
    with Publisher(BrokerAddress.parse(broker.url)) as publisher:
        messages(publisher)
        publisher.drain()
        # A publisher that had connected again would have published again what was not answered.
        assert publisher.statistics().reconnects == 0


def test_l1_a_burst_of_messages_is_stored_whole_and_memory_is_bounded(
    tmp_path: Path, broker: Mosquitto
) -> None:
    """The broker has it all, and gives it as fast as it can."""

    def burst(publisher: Publisher) -> None:
        for number in range(BURST):
            payload = json.dumps({"ts": T0_MS + number // DEVICES, "n": number, "x": 0.5})
            publisher.publish(f"json/m{number % DEVICES}", payload.encode())

    with edge_at(tmp_path, [collecting(broker)]) as running:
        edge = running["edge"]
        edge.wait_subscribed()
        before = memory_bytes(edge, "VmRSS")
        assert edge.stop() == 0
        published(broker, burst)
        started = time.monotonic()
        edge.start()
        wait_for(lambda: rows_of(edge, "accepted") >= BURST, DRAIN_S, "the burst is stored")
        took_s = time.monotonic() - started
        wait_for(lambda: pubacks(edge) >= BURST, DRAIN_S, "the burst is acknowledged")
        grown = memory_bytes(edge, "VmHWM") - before
        # What QoS 1 delivered twice is filtered, not stored.
        assert rows_of(edge, "accepted") == BURST
        assert rows_of(edge, "received") == BURST + rows_of(edge, "filtered")
        assert stored_rows(edge) == BURST
        state = broker_state(edge)
        assert pubacks(edge) == state["messages"]
        durable, arrival = (
            state["acknowledged"][since] for since in ("since_durable", "since_arrival")
        )
        print(
            f"L1: {BURST} messages in {took_s:.1f} s with the start, {grown / MIB:.0f} MiB more;"
            f" to the PUBACK p99 <= {durable['p99_ms']} ms since durable,"
            f" <= {arrival['p99_ms']} ms since arrival; {durable['counts']} {arrival['counts']}"
        )
        assert grown <= BURST_GROWTH_BYTES_MAX
        if NIGHTLY:
            assert durable["p99_ms"] is not None
            assert durable["p99_ms"] <= PUBACK_MS_MAX


def test_l5_a_slow_disk_slows_acknowledgements_and_fills_no_memory(
    tmp_path: Path, broker: Mosquitto
) -> None:
    rng = np.random.default_rng(5)
    slow = {"MAINSTEM_TEST_DISK_BYTES_PER_S": str(SLOW_BYTES_PER_S)}

    def load(publisher: Publisher) -> None:
        for start in range(0, SLOW_ROWS, ROWS_A_MESSAGE):
            # Noise: what compresses would not be slow.
            noise = rng.random(ROWS_A_MESSAGE).tolist()
            rows = [
                {"ts": T0_MS + start + at, "n": start + at, "x": x} for at, x in enumerate(noise)
            ]
            publisher.publish("json/m1", json.dumps(rows).encode())

    storage = {"memory_limit": "96MiB"}
    with edge_at(tmp_path, [collecting(broker)], environment=slow, storage=storage) as running:
        edge = running["edge"]
        edge.wait_subscribed()
        before = own_bytes(edge)
        started = time.monotonic()
        with sampled(edge) as samples:
            published(broker, load)
            wait_for(lambda: rows_of(edge, "accepted") >= SLOW_ROWS, DRAIN_S, "all rows are stored")
        took_s = time.monotonic() - started
        grown = max(each.own_bytes for each in samples) - before
        messages = SLOW_ROWS // ROWS_A_MESSAGE
        wait_for(lambda: pubacks(edge) >= messages, DRAIN_S, "all are acknowledged")
        assert stored_rows(edge) == SLOW_ROWS
        # Nothing was acknowledged before the disk had taken it.
        assert took_s >= SLOW_ROWS * DOUBLE_BYTES / SLOW_BYTES_PER_S
        assert_acknowledged_as_written(samples)
        print(f"L5: {SLOW_ROWS} rows in {took_s:.0f} s, {grown / MIB:.0f} MiB more of its own")
        assert grown <= SLOW_GROWTH_BYTES_MAX
        if NIGHTLY:
            assert_steady(samples)


@dataclass(frozen=True, slots=True)
class Sample:
    """Of a node at one moment."""

    at_s: float
    own_bytes: int
    pubacks: int


@contextlib.contextmanager
def sampled(node: NodeProcess) -> Iterator[list[Sample]]:
    """A sample a second."""
    samples: list[Sample] = []
    over = threading.Event()

    def look() -> None:
        while True:
            with contextlib.suppress(OSError):  # too busy to answer: the next second will do
                count = pubacks(node)
                samples.append(Sample(time.monotonic(), own_bytes(node), count))
            if over.wait(1.0):
                return

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield samples
    finally:
        over.set()
        looking.join()


def assert_acknowledged_as_written(samples: Sequence[Sample]) -> None:
    """At no time more than the disk can have taken by then, but what it takes in its first
    second."""
    first = samples[0]
    for each in samples:
        written_bytes = (each.pubacks - first.pubacks) * ROWS_A_MESSAGE * DOUBLE_BYTES
        assert written_bytes <= (each.at_s - first.at_s + 1) * SLOW_BYTES_PER_S


def assert_steady(samples: Sequence[Sample]) -> None:
    """Once it is warm memory grows no more, and acknowledgements go on all the time."""
    later = [each for each in samples if each.at_s >= samples[0].at_s + WARM_S]
    at_s = np.array([each.at_s for each in later])
    own = np.array([each.own_bytes for each in later])
    counts = np.array([each.pubacks for each in later])
    slope = float(np.polyfit(at_s - at_s[0], own, 1)[0]) * 60
    rate = float(counts[-1] - counts[0]) / float(at_s[-1] - at_s[0])

    def within(span_s: float) -> Any:
        """PUBACKs from each sample to the first one that is so much later."""
        ahead = np.searchsorted(at_s, at_s + span_s)
        whole = ahead < len(at_s)
        return counts[ahead[whole]] - counts[whole]

    steps = within(STEADY_S)
    print(
        f"L5: over {at_s[-1] - at_s[0]:.0f} s own memory {slope / MIB:+.2f} MiB a minute,"
        f" {rate:.0f} PUBACKs/s of {ROWS_A_MESSAGE} rows, {steps.min()} to {steps.max()} in"
        f" {STEADY_S} s, at least {within(PAUSE_S_MAX).min()} in {PAUSE_S_MAX} s"
    )
    assert slope < SLOPE_BYTES_MAX
    assert within(PAUSE_S_MAX).min() > 0
    assert steps.min() >= rate * STEADY_S / STEADY_SHARE


def test_l6_a_question_for_everything_stays_below_the_ceiling(tmp_path: Path) -> None:
    """The whole node, with the process that answers SQL, in 256 MiB: an answer or a refusal, never
    a process that the kernel ends."""
    columns = {f"x{number}": "DOUBLE" for number in range(10)}
    with ceiling(CEILING_BYTES) as memory:
        running = edge_at(
            tmp_path, [], columns=columns, environment=memory.environment,
            storage={"memory_limit": "96MiB", "flush_bytes": "8MiB"},
        )  # fmt: skip
        filled(tmp_path / "data" / "edge", columns)
        with running:
            edge = running["edge"]
            assert edge.process is not None
            with memory.watching(edge.process.pid):
                assert stored_rows(edge) == STORED_ROWS
                said = [answered(edge, statement) for statement in QUESTIONS]
                assert stored_rows(edge) == STORED_ROWS
            print(
                f"L6: {memory.kind}: at most {memory.highest_bytes / MIB:.0f} MiB of its own,"
                f" {memory.kills()} ended by the kernel; {', '.join(said)}"
            )
            assert memory.kills() == 0
            assert edge.process.poll() is None
            assert 0 < memory.highest_bytes <= CEILING_BYTES


def answered(edge: NodeProcess, statement: str) -> str:
    """Whole, or why it was refused."""
    try:
        answer = edge.request("/api/v1/sql", {"sql": statement, "timeout_ms": 60_000})
    except urllib.error.HTTPError as error:
        refused, refusal = error.code, json.loads(error.read())["error"]
    else:
        assert len(answer["rows"]) <= STORED_ROWS
        return f"{len(answer['rows'])} rows"
    assert refused in (422, 503), refusal
    return f"{refused} {refusal['code']}"


def filled(directory: Path, columns: dict[str, str]) -> None:
    """Rows of noise, written by the engine as an edge would have over days."""
    rng = np.random.default_rng(6)
    measurements = tuple(Measurement(0, name, ColumnType.DOUBLE) for name in columns)
    options = EngineOptions(node_name="edge", durability="os", memory_limit_bytes=256 * MIB)
    with Engine.open(directory, options) as engine:
        engine.create_template(Template("machine", measurements))
        step = 100_000
        for start in range(0, STORED_ROWS, step):
            times = T0_MS + np.arange(start, start + step, dtype=np.int64)
            values = {name: rng.random(step) for name in columns}
            engine.write("machine", "root.plant.m1", times, values)
        engine.flush()


def damaged(number: int) -> tuple[str, bytes, str]:
    """A topic, a message that no row can be made of, and why it is put aside; kinds in turns."""
    stamp = T0_MS + number
    kinds: list[tuple[str, bytes, str]] = [
        ("json", b'{"ts": %d, "n": ' % stamp, "malformed"),
        ("json", b"\xff\xfe{%d" % number, "malformed"),
        ("json", b"[%d, " % number + b"[" * 5_000 + b"]" * 5_001, "malformed"),
        ("json", b'{"ts": "yesterday", "n": 1}', "bad_time"),
        ("json", b'{"ts": %d, "n": "many"}' % stamp, "wrong_type"),
        ("json", b"x" * (65 << 10), "too_large"),
        ("json", b'{"ts": 1e999, "n": 1}', "bad_time"),
        ("json", b'{"ts": %d}' % stamp, "no_values"),
        ("json", b"%d" % number, "malformed"),
        ("json", b'"text %d"' % number, "malformed"),
        ("msgpack", msgpack.packb({"ts": stamp, "n": 1})[:-2], "malformed"),
        ("msgpack", b"\xdd\xff\xff\xff\xff%d" % number, "malformed"),
        ("msgpack", b"\xc1%d" % number, "malformed"),
        ("csv", b"ts,n\nnever,1\n", "bad_time"),
        ("csv", b"\x00\xff\xfe%d" % number, "malformed"),
        ("line_protocol", b"machine n= %d" % stamp, "malformed"),
        ("line_protocol", b"machine%d" % number, "malformed"),
        ("json", b'{"ts": 86400000, "n": 1}', "time_past"),
        ("json", b'{"ts": 7258118400000, "n": 1}', "time_future"),
        ("json", b'{"n": %d, "ts": null' % number, "malformed"),
    ]
    codec, payload, reason = kinds[number % len(kinds)]
    # A topic and a text each: of messages that are alike the quarantine keeps one item.
    return f"{codec}/d{number}", payload, reason


def test_five_thousand_damaged_messages_cost_no_good_one(tmp_path: Path, broker: Mosquitto) -> None:
    good, bad = 20_000, 5_000
    spoiled = [damaged(number) for number in range(bad)]

    def mixed(publisher: Publisher) -> None:
        for number in range(good):
            payload = json.dumps({"ts": T0_MS + number, "n": number, "x": 1.5, "on": True})
            publisher.publish(f"json/m{number % DEVICES}", payload.encode())
            if number % (good // bad) == 0:
                topic, payload_of_none, _ = spoiled[number // (good // bad)]
                publisher.publish(topic, payload_of_none)

    collectors = [collecting(broker, codec) for codec in CODECS]
    with edge_at(tmp_path, collectors) as running:
        edge = running["edge"]
        edge.wait_subscribed()
        published(broker, mixed)
        wait_for(
            lambda: rows_of(edge, "accepted") + rows_of(edge, "quarantined") >= good + bad,
            DRAIN_S, "every message is stored or put aside",
        )  # fmt: skip
        assert stored_rows(edge) == rows_of(edge, "accepted") == good
        status = edge.status()
        assert status is not None
        assert all(each["state"] == "connected" for each in status["collectors"])
        reasons = Counter(
            item["reason"] for item in edge.request("/api/v1/quarantine?limit=10000")["items"]
        )
        assert reasons == Counter(reason for _, _, reason in spoiled)
        assert rows_of(edge, "quarantined") == bad
        assert rows_of(edge, "received") == good + bad
        assert rows_of(edge, "filtered") == 0
