"""Mistakes in who is told of alarms are named with their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mainstem_node.config import check

RULE = {"name": "hot", "template": "pump", "measurement": "flow", "above": 90}
TOPIC = {"type": "mqtt", "url": "mqtt://broker:1883"}
HOOK = {"type": "webhook", "url": "https://hooks.example.com/T0K3N"}
ENV = {"KEY": "key", "NONE": ""}


def problems(place: Path, *targets: dict[str, Any], **more: Any) -> list[tuple[str, str]]:
    node = {
        "id": "n", "tier": "edge", "listen": "127.0.0.1:0", "data_dir": "d",
        "rules": [RULE | {"actions": ["log"]}], "notify": list(targets), **more,
    }  # fmt: skip
    templates = {"pump": {"measurements": {"flow": {"type": "DOUBLE"}}}}
    path = place / "t.yaml"
    path.write_text(yaml.safe_dump({"templates": templates, "nodes": [node]}), encoding="utf-8")
    return [(each.field, each.problem) for each in check(path, env=ENV)]


def test_what_is_right_has_no_problem(tmp_path: Path) -> None:
    mqtt = TOPIC | {"topic": "a/{device}/{change}", "username": "u", "password": "${KEY}"}
    headers = {"Authorization": "Bearer ${KEY}"}
    hook = HOOK | {"name": "on_call", "secret": "${KEY}", "secret_headers": headers}
    rules = [RULE | {"actions": ["mqtt", "on_call"]}]
    assert problems(tmp_path, mqtt, hook, rules=rules) == []


@pytest.mark.parametrize(
    ("target", "field", "problem"),
    [
        (TOPIC | {"topic": "alarms/#"}, "topic", "no topic to publish to"),
        (TOPIC | {"topic": ""}, "topic", "no topic to publish to"),
        (TOPIC | {"topic": "alarms/{value}"}, "topic", "{value} is unknown"),
        (TOPIC | {"password": "${KEY}"}, "password", "no `username`"),
        (TOPIC | {"username": "u", "password": "key"}, "password", "a secret stands in the file"),
        (TOPIC | {"url": "http://broker"}, "url", "not an MQTT URL"),
        (TOPIC | {"name": "log"}, "name", "there already"),
        (TOPIC | {"per_minute": 0}, "per_minute", "not in 1..6000"),
        (TOPIC | {"expire": "0s"}, "expire", "not above 0"),
        (TOPIC | {"tls": {"key": "k"}}, "tls.key", "no `cert`"),
        (HOOK | {"timeout": "61s"}, "timeout", "not in 1ns..60s"),
        (HOOK | {"secret": "key"}, "secret", "a secret stands in the file"),
        (HOOK | {"secret": "${NONE}"}, "secret", "it is empty"),
        (HOOK | {"url": "https://u:p@hooks"}, "url", "carries a credential"),
        (HOOK | {"secret_headers": {"Content-Type": "${KEY}"}}, "secret_headers.Content-Type",
         "cannot be set"),
        (HOOK | {"secret_headers": {"A b": "${KEY}"}}, "secret_headers.A b", "cannot be set"),
    ],
)  # fmt: skip
def test_mistakes_are_named(
    tmp_path: Path, target: dict[str, Any], field: str, problem: str
) -> None:
    ((place, text),) = problems(tmp_path, target)
    assert place == f"nodes[0].notify[0].{field}"
    assert problem in text


def test_two_of_one_name_and_more_than_have_threads(tmp_path: Path) -> None:
    assert ("nodes[0].notify[1].name", "'mqtt' is there already") in problems(
        tmp_path, TOPIC, TOPIC
    )
    many = [TOPIC | {"name": f"t{number}"} for number in range(9)]
    assert problems(tmp_path, *many) == [("nodes[0].notify", "more than 8")]


def test_a_rule_names_only_those_who_are_there(tmp_path: Path) -> None:
    found = problems(tmp_path, TOPIC, rules=[RULE | {"actions": ["mqtt", "webhook"]}])
    assert found == [("nodes[0].rules[0].actions", "'webhook' is not under `notify`")]


def test_only_an_edge_tells(tmp_path: Path) -> None:
    found = problems(tmp_path, TOPIC, tier="platform", rules=[])
    assert ("nodes[0].notify", "only an edge tells of alarms") in found
