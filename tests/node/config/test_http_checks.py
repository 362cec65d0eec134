"""What is said of collectors of HTTP that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mainstem_node.config import check

ENV = {"T": "x", "EMPTY": ""}
PUSH = {"type": "http_push", "name": "p", "template": "machine", "device": "root.p.{path[0]}"}


def problems(place: Path, *collectors: dict[str, Any]) -> list[tuple[str, str]]:
    node = {"id": "edge", "tier": "edge", "listen": "127.0.0.1:8411", "data_dir": "data",
            "collectors": list(collectors)}  # fmt: skip
    templates = {"machine": {"measurements": {"x": {"type": "DOUBLE"}}, "tags": {"t": "TEXT"}}}
    path = place / "t.yaml"
    path.write_text(yaml.safe_dump({"templates": templates, "nodes": [node]}), encoding="utf-8")
    prefix = "nodes[0].collectors[0]."
    return [(str(each.field).removeprefix(prefix), each.problem) for each in check(path, env=ENV)]


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"codec": "raw"}, {"device": "root.p.{query.id}.{header.X-Id}.{path[-1]}"},
        {"tags": {"t": "{payload.a.b}"}}, {"sender": {"token": "${T}", "header": "X-Key"}},
        {"sender": {"username": "u", "password": "${T}"}},
        {"sender": {"signature": {"secret": "${T}"}}},
        {"codec": "line_protocol", "template": None, "device": None},
    ],
)  # fmt: skip
def test_good_pushes(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert problems(tmp_path, {**PUSH, **changes}) == []


@pytest.mark.parametrize(
    ("changes", "field", "problem"),
    [
        ({"device": "root.{topic[0]}"}, "device", "{topic[0]} is unknown"),
        ({"tags": {"t": "{query.}"}}, "tags.t", "{query.} is unknown"),
        ({"tags": {"u": "x"}}, "tags.u", "has no such tag"),
        ({"device": None}, "device", "the key is missing"),
        ({"in_flight": 0}, "in_flight", "not in 1.."),
        ({"per_minute": 0}, "per_minute", "not in 1.."),
        ({"message_limit": "64MiB"}, "message_limit", "not in 1B..32MiB"),
        ({"sender": {}}, "sender", "none of token, password and signature"),
        ({"sender": {"token": "${EMPTY}"}}, "sender", "none of token, password"),
        (
            {"sender": {"token": "${T}", "username": "u", "password": "${T}"}}, "sender",
            "token and password of",
        ),
        ({"sender": {"token": "${T}", "username": "u"}}, "sender", "belong together"),
        (
            {"sender": {"signature": {"secret": "${T}"}, "header": "X"}}, "sender.header",
            "there is no `token`",
        ),
        (
            {"sender": {"signature": {"secret": "${EMPTY}"}}}, "sender.signature.secret",
            "it is empty",
        ),
    ],
)  # fmt: skip
def test_a_mistake_in_a_push_is_named(
    tmp_path: Path, changes: dict[str, Any], field: str, problem: str
) -> None:
    ((found, text),) = problems(tmp_path, {**PUSH, **changes})
    assert found == field
    assert problem in text


def test_a_name_is_there_once(tmp_path: Path) -> None:
    found = problems(tmp_path, PUSH, PUSH)
    assert [text for _, text in found] == ["'p' is there twice"] * 2


POLL = {
    "type": "http_poll", "url": "https://weather.example/v1", "every": "1h", "template": "machine",
    "device": "root.p.outside",
}  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"url": "http://127.0.0.1:80/{now:date}?since={since:s}"}, {"offset": "59m"},
        {"codec": "raw", "measurement": "x"}, {"method": "POST", "body": '{"a": "{now}"}'},
        {"secret_query": {"key": "${T}"}, "query": {"a": "{now-1h}"}},
        {"username": "u", "password": "${T}"}, {"device": "root.p.{payload.id}"},
    ],
)  # fmt: skip
def test_good_polls(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert problems(tmp_path, {**POLL, **changes}) == []


@pytest.mark.parametrize(
    ("changes", "field", "problem"),
    [
        ({"url": "ftp://x/y"}, "url", "is not an HTTP URL"),
        ({"url": "http://u:p@x/y"}, "url", "carries a credential"),
        ({"url": "http://x/{nwo}"}, "url", "unknown placeholder"),
        ({"url": "http://x/{now-1x}"}, "url", "is not a duration"),
        ({"query": {"a": "{now:year}"}}, "query.a", "is no moment"),
        ({"secret_query": {"a": "k3y"}}, "secret_query.a", "a secret stands in the file"),
        ({"every": "10ms"}, "every", "less than 1s"),
        ({"offset": "1h"}, "offset", "not below `every`"),
        ({"timeout": "1h"}, "timeout", "not in"),
        ({"message_limit": "1GiB"}, "message_limit", "not in"),
        ({"username": "u"}, "", "belong together"),
        ({"body": "x"}, "body", "GET has no body"),
        ({"codec": "raw"}, "measurement", "nothing says what the value is called"),
        ({"device": "root.{topic[0]}"}, "device", "{topic[0]} is unknown"),
        (
            {"headers": {"x-key": "a"}, "secret_headers": {"X-Key": "${T}"}},
            "secret_headers.x-key", "it is in `headers`, too",
        ),
    ],
)  # fmt: skip
def test_a_mistake_in_a_poll_is_named(
    tmp_path: Path, changes: dict[str, Any], field: str, problem: str
) -> None:
    ((found, text),) = problems(tmp_path, {**POLL, **changes})
    assert found == (field or "nodes[0].collectors[0]")
    assert problem in text
    assert "p@x" not in text
