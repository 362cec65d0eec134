"""What ``mainstem doctor`` looks at of a Kafka cluster: that it answers, and has the topics.

It asks as a client without a group: no member of the collector's is disturbed.
"""

from __future__ import annotations

from mainstem_edge.assembly.kafka import kafka_settings
from mainstem_edge.kafka.settings import words
from mainstem_node.config.collectors.kafka import KafkaCollectorConfig
from mainstem_node.doctor.finding import BAD, FINE, WARNING, Finding
from mainstem_node.extras import is_missing, remedy

TRY_S, TRIES = 1.0, 5
SHOWN_MAX = 5


def examine_cluster(node: str, check: str, config: KafkaCollectorConfig) -> Finding:
    if is_missing("kafka"):
        return Finding(node, check, BAD, "confluent_kafka is not installed", remedy("kafka"))
    where = ", ".join(config.brokers)
    problem, topics = _asked(node, config)
    if problem:
        return Finding(
            node, check, BAD, f"the cluster at {where}: {problem}",
            "start it, or correct `brokers`, `security`, `tls`, `sasl`, `username` and `password`",
        )  # fmt: skip
    named = [each.topic for each in config.subscriptions if not each.topic.startswith("^")]
    missing = [topic for topic in named if topic not in topics]
    if missing:
        more = f" and {len(missing) - SHOWN_MAX} more" if len(missing) > SHOWN_MAX else ""
        return Finding(
            node, check, WARNING,
            f"the cluster at {where} shows no topic {', '.join(missing[:SHOWN_MAX])}{more}",
            "create it, let this user read it, or correct `topic`; once it is there it is read",
        )  # fmt: skip
    return Finding(node, check, FINE, f"the cluster at {where} answers, {len(topics)} topics")


def _asked(node: str, config: KafkaCollectorConfig) -> tuple[str, frozenset[str]]:
    """(what is wrong or nothing, topics that this user may see)."""
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient

    said: list[str] = []

    def on_error(error: KafkaError) -> None:
        said.append(error.str())

    settings = kafka_settings(node, config).of_client()
    changes = {"client.id": "mainstem-doctor", "error_cb": on_error}
    problem = ""
    try:
        client = AdminClient(settings | changes)
    except KafkaException as error:
        return words(error), frozenset()
    for _ in range(TRIES):
        try:
            return "", frozenset(client.list_topics(timeout=TRY_S).topics)
        except KafkaException as error:
            client.poll(0)
            problem = said[0] if said else words(error)
            if said:
                break  # librdkafka goes on trying; a person wants to know
    return problem, frozenset()
