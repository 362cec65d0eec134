"""The Kafka collector against a cluster: rows, offsets, restarts, losses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException, Producer

from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.testing.gated_filesystem import GatedFilesystem
from mainstem_edge.testing.kafka_site import KafkaSite, row, rows
from mainstem_edge.testing.parts import NOW_NS, T0_MS, recorded_counts, stored
from mainstem_edge.testing.patience import eventually, taken
from mainstem_engine.engine import Engine
from mainstem_node import metric_families, reasons
from mainstem_sync.receiving.quarantine import QuarantineStore


def counts(engine: Engine) -> list[int]:
    return sorted(each["count"] for each in stored(engine))


def numbers(messages: list[Any]) -> list[int]:
    return [json.loads(message.payload)["count"] for message in messages]


def test_records_become_rows_and_their_offsets_are_committed(
    site: KafkaSite, engine: Engine
) -> None:
    site.produce(*rows(0, 300))
    collector = site.collector()
    site.start(collector)
    site.produce(row(300), key="m2")
    eventually(lambda: len(stored(engine)) == 301, "stored")
    assert stored(engine, "root.plant.m2")[0]["count"] == 300
    eventually(lambda: site.committed() == 301, "committed")
    status = collector.status()
    assert (status["messages"], status["partitions"], status["lag"]) == (301, 1, 0)
    assert status["furthest_behind"][0]["offset"] == 301
    site.stop(collector)
    assert collector.status()["state"] == "stopped"
    later = site.collector()
    site.start(later)
    site.produce(row(400))
    eventually(lambda: counts(engine)[-1] == 400, "the next one")
    assert later.status()["messages"] == 1  # nothing came again


def test_nothing_is_committed_before_it_is_durable(
    site: KafkaSite, engine: Engine, fs: GatedFilesystem
) -> None:
    collector = site.collector()
    site.start(collector)
    site.produce(row(0))
    eventually(lambda: site.committed() == 1, "the first one")
    fs.gate.clear()
    site.produce(*rows(1, 3))
    try:
        eventually(fs.waiting.is_set, "written and not synced")
        eventually(lambda: collector.status()["unacknowledged"] == 3, "on their way")
        assert site.committed() == 1
    finally:
        fs.gate.set()
    eventually(lambda: site.committed() == 4, "the others")


def test_what_was_not_durable_comes_again(site: KafkaSite, engine: Engine) -> None:
    """A process that ends between taking and storing."""
    site.produce(*rows(0, 10))
    first = site.collector()
    site.start(first, stored=False)
    messages = taken(first, 10)
    first._offsets.assigned.acknowledge([m.id for m in messages[:3]] + [m.id for m in messages[6:]])
    eventually(lambda: site.committed() == 3, "what is durable without a gap")
    first.stop(5)
    second = site.collector()
    site.start(second)
    eventually(lambda: len(stored(engine)) == 7, "the rest")
    assert counts(engine) == list(range(3, 10))


def test_what_is_stored_is_known_though_its_commit_was_lost(
    site: KafkaSite, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.produce(*rows(0, 10))
    first = site.collector()
    monkeypatch.setattr(first._offsets, "commit", lambda consumer, last=False: None)
    site.start(first)
    eventually(lambda: len(stored(engine)) == 10, "stored")
    eventually(lambda: any(site.place.glob("kafka-*.json")), "the book is written")
    site.stop(first)
    assert site.committed() is None
    site.produce(*rows(10, 5))
    second = site.collector()
    site.start(second)
    eventually(lambda: len(stored(engine)) == 15, "the new ones")
    assert second.status()["messages"] == 5
    assert recorded_counts(engine)["received"] == 15
    eventually(lambda: site.committed() == 15, "committed")


def test_a_topic_that_was_made_anew_is_read_from_its_beginning(
    site: KafkaSite, engine: Engine
) -> None:
    """While the edge was away; its offsets go further than those of the book."""
    site.produce(*rows(0, 5), timestamp=T0_MS)
    first = site.collector()
    site.start(first)
    eventually(lambda: site.committed() == 5, "committed")
    site.stop(first)
    site.cluster.delete_topic(site.topic)
    site.cluster.create_topic(site.topic)
    site.produce(*rows(100, 9), timestamp=T0_MS + 1)
    second = site.collector()
    site.start(second)
    eventually(lambda: len(stored(engine)) == 14, "all of both")
    assert second.status()["restarted_partitions"] == 1
    eventually(lambda: site.committed() == 9, "committed")


@pytest.mark.slow
def test_a_topic_made_anew_with_fewer_records_is_seen_too(site: KafkaSite, engine: Engine) -> None:
    site.produce(*rows(0, 9))
    first = site.collector()
    site.start(first)
    eventually(lambda: site.committed() == 9, "committed")
    site.stop(first)
    site.cluster.delete_topic(site.topic)
    site.cluster.create_topic(site.topic)
    site.produce(*rows(100, 2))
    second = site.collector()
    site.start(second)
    eventually(lambda: len(stored(engine)) == 11, "all of both")
    assert second.status()["restarted_partitions"] == 1
    assert "made anew" in second.status()["last_error"]


@pytest.mark.slow
def test_a_topic_that_is_made_anew_meanwhile_is_read_from_its_beginning(
    site: KafkaSite, engine: Engine
) -> None:
    site.produce(*rows(0, 5), timestamp=T0_MS)
    collector = site.collector()
    site.start(collector)
    eventually(lambda: site.committed() == 5, "committed")
    site.cluster.delete_topic(site.topic)
    eventually(lambda: collector.status()["partitions"] == 0, "gone")
    site.cluster.create_topic(site.topic)
    site.produce(*rows(100, 5), timestamp=T0_MS + 1)
    eventually(lambda: len(stored(engine)) == 10, "all of both")


def test_records_deleted_before_they_were_read_are_measured_as_lost(
    site: KafkaSite, engine: Engine
) -> None:
    site.produce(*rows(0, 4))
    first = site.collector()
    site.start(first)
    eventually(lambda: site.committed() == 4, "committed")
    site.stop(first)
    site.produce(*rows(4, 6))
    site.cluster.delete_records(site.topic, 0, 7)
    second = site.collector()
    site.start(second)
    eventually(lambda: counts(engine)[-1] == 9, "the newest")
    assert counts(engine) == [0, 1, 2, 3, 7, 8, 9]
    status = second.status()
    assert status["lost_records"] == 3
    assert "3 records, from offset 4 on, were deleted" in status["last_error"]
    eventually(lambda: site.committed() == 10, "committed")
    scraped = metric_families._collectors({"collectors": [second.status()]})
    samples = {each.name: each.value for family in scraped for each in family.samples}
    assert samples["mainstem_collector_lost_records_total"] == 3
    assert samples["mainstem_collector_lag"] == 0


def test_latest_is_the_end_of_the_first_day(site: KafkaSite, engine: Engine) -> None:
    site.produce(*rows(0, 5))
    first = site.collector(from_latest=True)
    site.start(first)
    eventually(lambda: site.committed() == 5, "the end is committed")
    site.stop(first)
    site.produce(*rows(5, 3))  # while nobody looks
    second = site.collector(from_latest=True)
    site.start(second)
    eventually(lambda: len(stored(engine)) == 3, "what came meanwhile")
    assert counts(engine) == [5, 6, 7]


def test_tombstones_and_what_cannot_be_read_hold_nothing_up(
    site: KafkaSite, engine: Engine, quarantine: QuarantineStore
) -> None:
    site.produce(row(0), None, b"\xff{", b"[" + b" " * 700_000 + b"]", row(1), None)
    site.produce(row(2), key=None)
    site.produce(row(3), key="a/b")
    collector = site.collector()
    site.start(collector)
    eventually(lambda: site.committed() == 8, "all committed")
    assert counts(engine) == [0, 1]
    assert collector.status()["tombstones"] == 2
    found = sorted(str(each["reason"]) for each in quarantine.items())
    assert found == sorted(
        [reasons.MALFORMED, reasons.TOO_LARGE, reasons.BAD_PATH, reasons.BAD_PATH]
    )


@pytest.mark.slow
def test_compressed_records_are_read(site: KafkaSite, engine: Engine) -> None:
    for number, codec in enumerate(("gzip", "snappy", "lz4", "zstd")):
        producer = Producer(
            {"bootstrap.servers": site.cluster.brokers, "compression.type": codec, "log_level": 0}
        )
        for each in rows(number * 10, 10):
            producer.produce(site.topic, each, key=b"m1", partition=0)
        assert producer.flush(10) == 0
    site.start(site.collector())
    eventually(lambda: counts(engine) == list(range(40)), "all of them")


def test_a_row_without_a_time_takes_that_of_its_record(site: KafkaSite, engine: Engine) -> None:
    site.produce(b'{"count": 1}', timestamp=T0_MS + 5)
    site.start(site.collector())
    eventually(lambda: len(stored(engine)) == 1, "stored")
    assert stored(engine)[0]["time"] == T0_MS + 5


def test_arrival_is_taken_where_it_is_asked_for(site: KafkaSite, engine: Engine) -> None:
    site.produce(b'{"count": 1}', timestamp=T0_MS + 5)
    site.start(site.collector(stamps=False, clock_ns=lambda: NOW_NS))
    eventually(lambda: len(stored(engine)) == 1, "stored")
    assert stored(engine)[0]["time"] == NOW_NS // 1_000_000


@pytest.mark.slow
def test_a_full_queue_holds_the_cluster_back_and_keeps_the_place_in_the_group(
    site: KafkaSite,
) -> None:
    collector = site.collector(
        queue=MessageQueue(10, 1 << 20), options={"max.poll.interval.ms": 1500}
    )
    site.start(collector, stored=False)
    site.produce(*rows(0, 2000))
    eventually(lambda: collector.status()["pauses"] == 1, "paused")
    assert len(collector.queue) < 10 + 500
    held = len(collector.queue)
    # Longer than max.poll.interval: who does not poll is out of the group by now.
    polled = collector._committed_at
    eventually(lambda: collector._committed_at > polled + 2, "held for longer than is allowed")
    assert len(collector.queue) == held
    assert numbers(taken(collector, 2000)) == list(range(2000))
    assert collector.status()["errors"] == 0


def test_a_cluster_that_was_away_is_found_again(site: KafkaSite, engine: Engine) -> None:
    collector = site.collector()
    site.start(collector)
    site.produce(row(0))
    eventually(lambda: site.committed() == 1, "the first one")
    site.cluster.set_down()
    try:
        eventually(lambda: collector.status()["state"] == "waiting", "missed")
        assert collector.state().connected_ns is None
        # What is wrong comes from each connection, a moment before or after that.
        eventually(lambda: "refused" in collector.status()["last_error"], "the reason")
    finally:
        site.cluster.set_up()
    eventually(lambda: collector.status()["state"] == "connected", "found again")
    site.produce(row(1))
    eventually(lambda: counts(engine) == [0, 1], "the second one")
    eventually(lambda: site.committed() == 2, "committed")


@pytest.mark.slow
def test_a_stop_does_not_wait_for_a_cluster_that_is_away(site: KafkaSite, engine: Engine) -> None:
    collector = site.collector(commit_s=1e9)
    collector._committed_at = 1e18
    site.start(collector)
    site.produce(row(0))
    eventually(lambda: len(stored(engine)) == 1, "stored")
    site.cluster.set_down()
    try:
        eventually(lambda: collector.status()["state"] == "waiting", "missed")
        site.stop(collector)
        assert collector.status()["state"] == "stopped"
    finally:
        site.cluster.set_up()
    assert site.committed() is None
    site.produce(row(1))
    later = site.collector()
    site.start(later)
    eventually(lambda: counts(engine) == [0, 1], "the next one")
    assert later.status()["messages"] == 1  # the book knew the first


@pytest.mark.slow
def test_two_members_share_the_partitions_and_hand_them_over(
    site: KafkaSite, engine: Engine, tmp_path: Path
) -> None:
    topic = f"{site.topic}.many"
    site.cluster.create_topic(topic, 4)
    (tmp_path / "other").mkdir()

    def produce(start: int) -> None:
        for partition in range(4):
            site.cluster.produce(
                topic, *rows(start + 10 * partition, 10), partition=partition, key="m1"
            )

    # Commits only what it has to: when partitions go.
    first = site.collector(topic=topic, commit_s=1e9)
    first._committed_at = 1e18
    site.start(first)
    produce(0)
    eventually(lambda: len(stored(engine)) == 40, "stored by the first")
    second = site.collector(topic=topic, name="kafka-1", place=tmp_path / "other")
    site.start(second)
    eventually(
        lambda: [each.status()["partitions"] for each in (first, second)] == [2, 2], "shared"
    )
    produce(100)
    eventually(lambda: len(stored(engine)) == 80, "stored by both")
    site.stop(first)
    eventually(lambda: second.status()["partitions"] == 4, "handed over")
    produce(200)
    eventually(lambda: len(stored(engine)) == 120, "stored by the second")
    assert recorded_counts(engine)["received"] == 120  # nothing came twice
    assert second.status()["last_error"] is None


@pytest.mark.slow
def test_topics_of_a_pattern_are_found_when_they_come(site: KafkaSite, engine: Engine) -> None:
    collector = site.collector(topic=f"^{site.group}\\.", asked="{topic[1]}")
    site.start(collector)
    site.produce(row(0))
    site.cluster.create_topic(f"{site.group}.later")
    site.cluster.produce(f"{site.group}.later", row(1))
    eventually(lambda: len(stored(engine)) == 2, "of both")
    assert [each["count"] for each in stored(engine, "root.plant.later")] == [1]


def test_an_unknown_topic_is_named(site: KafkaSite) -> None:
    collector = site.collector(topic="no.such.topic")
    collector.start()
    try:
        eventually(
            lambda: "no.such.topic" in (collector.status()["last_error"] or ""), "it is named"
        )
        assert collector.state().connected_ns is None
    finally:
        collector.stop(5)


@pytest.mark.slow
def test_a_session_that_fails_is_followed_by_another(
    site: KafkaSite, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.produce(*rows(0, 5))
    collector = site.collector()
    begin, failures = collector._offsets.begin, iter([KafkaException("no answer")])

    def fails_first(*arguments: Any) -> None:
        for failure in failures:
            raise failure
        begin(*arguments)

    monkeypatch.setattr(collector._offsets, "begin", fails_first)
    site.start(collector)
    eventually(lambda: counts(engine) == list(range(5)), "stored by the second session")
    assert collector.status()["disconnects"] == 1
    site.produce(row(5))
    eventually(lambda: site.committed() == 6, "committed")
