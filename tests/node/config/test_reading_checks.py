"""What is said of the reading of messages that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mainstem_node.config import check

GOOD = {"topic": "p/+/t", "template": "machine", "device": "root.p.{topic[1]}"}


def problems(place: Path, **changes: Any) -> list[tuple[str, str]]:
    mqtt = {
        "type": "mqtt", "url": "mqtt://127.0.0.1:1883", "subscriptions": [{**GOOD, **changes}],
    }  # fmt: skip
    node = {"id": "edge", "tier": "edge", "listen": "127.0.0.1:8411", "data_dir": "data",
            "collectors": [mqtt]}  # fmt: skip
    measurements = {"x": {"type": "DOUBLE"}, "y": {"type": "DOUBLE", "from": "why"}}
    document = {"templates": {"machine": {"measurements": measurements}}, "nodes": [node]}
    path = place / "t.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return [(str(each.field), each.problem) for each in check(path, env={})]


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"device": "root.p.{topic[-2]}"}, {"codec": "raw"}, {"codec": "auto"},
        {"codec": "raw", "measurement": "x"}, {"measurement": "{payload.name}"},
        {"measurement": "WHY"}, {"map": {"rows": "a[*]", "fields": {"x": "b", "k": "@0"}}},
        {"map": {"columns": "hourly"}}, {"decimal": ","}, {"time": {"format": "%d.%m.%y %H:%M"}},
        {"time": {"field": "day", "clock_field": "clock", "format": "dmy"}},
        {"map": {"fields": {"n": "@0"}, "spread": "."}},
    ],
)  # fmt: skip
def test_good_ones(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert problems(tmp_path, **changes) == []


@pytest.mark.parametrize(
    ("changes", "field", "problem"),
    [
        ({"device": "root.p.{topic[3]}"}, "device", "has 3 levels"),
        ({"device": "root.p.{topic[-4]}"}, "device", "has 3 levels"),
        ({"device": "root.p.{query.x}"}, "device", "{query.x} is unknown"),
        ({"measurement": "{topic[9]}"}, "measurement", "has 3 levels"),
        ({"measurement": "y"}, "measurement", "takes no value under that name"),
        ({"measurement": "x", "codec": "csv"}, "measurement", "csv names its values itself"),
        ({"map": {}, "codec": "raw"}, "map", "raw has no paths"),
        ({"map": {"rows": "a", "columns": "b"}}, "map.columns", "there is `rows` beside it"),
        ({"map": {"columns": "b", "spread": "."}}, "map.spread", "names of their own"),
        ({"map": {"rows": "a..b"}}, "map.rows", "is not a path in a payload"),
        ({"map": {"columns": "b[*]"}}, "map.columns", "several values"),
        ({"map": {"fields": {"x": "b[*]"}}}, "map.fields.x", "several values"),
        ({"map": {"rows": "a", "fields": {"x": "@0"}}}, "map.fields.x", "no * number 0"),
        ({"map": {"fields": {"x": "@1"}}}, "map.fields.x", "no * number 1"),
        ({"decimal": ";"}, "decimal", "';' is not possible here"),
        ({"decimal": ",", "codec": "line_protocol"}, "decimal", "has one way to write it"),
        (
            {"time": {"format": "mdy"}, "codec": "line_protocol"},
            "time.format",
            "has one way to write it",
        ),
        ({"time": {"format": "DD.MM.YYYY"}}, "time.format", "is no notation of times"),
        ({"time": {"format": "%d.%m.%Y"}}, "time.format", "does not say the date and the hour"),
        ({"time": {"format": "%q"}}, "time.format", "is no pattern of times"),
        ({"time": {"clock_field": "clock"}}, "time.field", "the key is missing"),
        ({"map": {"spread": "$.a"}}, "map.spread", "a row has only what stands in it"),
    ],
)
def test_a_mistake_is_named(
    tmp_path: Path, changes: dict[str, Any], field: str, problem: str
) -> None:
    ((found, text),) = problems(tmp_path, **changes)
    assert found.removesuffix("[0]") == f"nodes[0].collectors[0].subscriptions[0].{field}"
    assert problem in text
