"""A cluster for each file of tests, and a topic for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mainstem_edge.intake import Intake
from mainstem_edge.testing.kafka_cluster import KafkaCluster, library_file
from mainstem_edge.testing.kafka_site import KafkaSite


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    if library_file() is None:
        pytest.skip("confluent_kafka is not the wheel")
    with KafkaCluster() as started:
        yield started


@pytest.fixture
def site(
    cluster: KafkaCluster, tmp_path: Path, make_intake: Callable[..., Intake]
) -> Iterator[KafkaSite]:
    found = KafkaSite(cluster, tmp_path, make_intake)
    cluster.create_topic(found.topic)
    yield found
    found.stop_all()
