"""What is wrong with a collector of Kafka."""

from __future__ import annotations

from pathlib import Path

import pytest

from mainstem_node.config import check

FINE = """\
templates: {m: {tags: {line: TEXT}, measurements: {x: {type: DOUBLE}}}}
nodes:
  - id: edge
    tier: edge
    listen: 127.0.0.1:0
    data_dir: data
    collectors:
      - type: kafka
        brokers: ["kafka-1:9092", "[::1]:9092"]
        group: plant
        subscriptions:
          - {topic: plant.values, template: m, device: "root.{topic[1]}.{key}",
             tags: {line: "{header.line}"}}
          - {topic: "^cars-.*", template: m, device: "root.{topic}.p{partition}",
             time: {source: record}}
      - {type: kafka, brokers: ["b:1"], subscriptions: [{topic: t, codec: line_protocol}]}
"""
C = "nodes[0].collectors[0]"


def problems(tmp_path: Path, text: str) -> dict[str, str]:
    file = tmp_path / "t.yaml"
    file.write_text(text, encoding="utf-8")
    return {each.field: f"{each.problem}; {each.remedy}" for each in check(file)}


def test_a_right_one_has_no_problem(tmp_path: Path) -> None:
    assert problems(tmp_path, FINE) == {}


@pytest.mark.parametrize(
    ("replace", "by", "field", "problem"),
    [
        ('["kafka-1:9092", "[::1]:9092"]', "[]", "brokers", "add host:port"),
        ('"kafka-1:9092"', '"kafka-1"', "brokers[0]", "it is not host:port"),
        ('"kafka-1:9092"', '"u:p@kafka-1:9092"', "brokers[0]", "it is not host:port"),
        ("group: plant", "group: plant\n        sasl: plain", "username", "`sasl` needs it"),
        ("group: plant", "password: '${HOME}'", "password", "there is no `sasl`"),
        ("group: plant", "password: plain", "password", "stands in the file"),
        ("group: plant", "tls: {ca: a.crt}", "tls", "add `security: tls`"),
        ("group: plant", "security: tls\n        tls: {cert: a}", "tls", "one is missing"),
        ("group: plant", "in_flight: 0", "in_flight", "not in 1..1000000"),
        ("group: plant", "prefetch: 1KB", "prefetch", "not in 1MiB..1GiB"),
        ("plant.values", "plant/values", "subscriptions[0].topic", "not the name of a topic"),
        ('"^cars-.*"', '"^cars-("', "subscriptions[1].topic", "is no pattern"),
        ("{topic[1]}", "{topic[2]}", "subscriptions[0].device", "the topic has 2 levels"),
        ("{key}", "{keys}", "subscriptions[0].device", "use {topic[n]} (from 0), {topic}, {key}"),
        ("{line: \"{h", "{lane: \"{h", "subscriptions[0].tags.lane", "m has no such tag"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(
    tmp_path: Path, replace: str, by: str, field: str, problem: str
) -> None:
    assert replace in FINE
    found = problems(tmp_path, FINE.replace(replace, by, 1))
    assert problem in found.get(f"{C}.{field}", f"no such problem: {found}")


def test_two_collectors_of_a_group_are_one(tmp_path: Path) -> None:
    found = problems(tmp_path, FINE.replace("group: plant", "start: latest"))
    assert "another collector of this node has it" in found[f"{C}.group"]


def test_other_sources_have_no_time_of_their_own(tmp_path: Path) -> None:
    text = FINE.replace(
        '{type: kafka, brokers: ["b:1"], subscriptions: [{topic: t, codec: line_protocol}]}',
        '{type: mqtt, url: "mqtt://h", subscriptions: [{topic: t, template: m, device: root.d, '
        "time: {source: record}}]}",
    )
    found = problems(tmp_path, text)
    assert "no time of their own" in found["nodes[0].collectors[1].subscriptions[0].time.source"]
