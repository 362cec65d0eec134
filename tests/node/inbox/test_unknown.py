"""What the quarantine keeps of unknown devices, read: names, values, types, suggestions."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from mainstem_engine.catalog.templates import Table
from mainstem_engine.model import ColumnType
from mainstem_node.inbox.suggestion import score, suggest, suggested_path
from mainstem_node.inbox.unknown import Unknown, gathered, read_item, type_of
from mainstem_node.node import Node


def item(
    value: Any, device: str = "", reason: str = "unknown_device", table: str = "", at: int = 1
) -> dict[str, Any]:
    text = value if isinstance(value, str) else json.dumps(value)
    return {"id": str(at), "node": "edge", "table": table, "device": device, "time": 1,
            "measurement": "", "reason": reason, "value": text, "at": at}  # fmt: skip


def test_each_kind_of_item_is_read() -> None:
    row = read_item(item({"ts": 5, "flow": 1.5, "in": {"deep": 1}}, "root.a.p1"))
    assert row is not None
    assert row.values == {"flow": 1.5, "in.deep": 1}
    topic = read_item(item({"ts": 5, "values": {"flow": 1}}, "a/b", "unknown_topic"))
    assert topic is not None
    assert (topic.name, topic.values) == ("a/b", {"flow": 1})
    for text, values in (("21.5", {"b": 21.5}), ("on", None), ('[{"x": 1}]', {"x": 1})):
        found = read_item(item(text, "a/b", "unknown_topic"))
        assert found is not None
        assert found.values == values
    line = {"measurement": "boiler", "tags": {"site": "s1"}, "fields": {"t": 1.5}}
    series = read_item(item(line, reason="unknown_template"))
    assert series is not None
    assert (series.name, series.template, series.tags) == ("boiler.s1", "boiler", {"site": "s1"})
    source = read_item(item({"source": "g/n/d", "t": 1}, reason="unknown_template"))
    assert source is not None
    assert (source.name, source.values) == ("g/n/d", {"t": 1})
    assert read_item(item({"flow": 1}, "root.a.p1", "time_past")) is None
    assert read_item({**item(1, "root.a.p1"), "measurement": "flow"}) is None
    cut = read_item(item('{"flow": 1', "root.a.p1"))
    assert cut is not None
    assert cut.values is None


def test_types_are_the_narrowest_that_all_values_have() -> None:
    values = [
        {"a": 1, "b": True, "c": "x", "d": "1.5", "e": 1, "f": True},
        {"a": 2.5, "b": False, "c": "y", "d": "2", "e": 2, "f": 1},
    ]
    (found,), more = gathered([item(each, "root.a.p1", table="pump") for each in values], 10)
    assert not more
    assert {name: kind.name for name, kind in found.fields.items()} == {
        "a": "DOUBLE", "b": "BOOLEAN", "c": "TEXT", "d": "DOUBLE", "e": "INT64", "f": "TEXT",
    }  # fmt: skip
    assert type_of(None) == ColumnType.TEXT


def test_the_newest_devices_are_shown_and_the_others_said_to_be_there() -> None:
    items = [item({"a": n}, f"root.a.p{n}", table="pump", at=9 - n) for n in (0, 1, 0, 2)]
    found, more = gathered(items, 2)
    assert [(each.name, each.rows) for each in found] == [("root.a.p0", 2), ("root.a.p1", 1)]
    assert more


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("root.a.b", "root.a.b"), ("zigbee2mqtt/living room", "root.p.zigbee2mqtt.living_room"),
        ("a//b", "root.p.a.b"), ("root.", "root.p.root"), ("boiler.s1", "root.p.boiler.s1"),
    ],
)  # fmt: skip
def test_a_path_is_made_of_any_name(name: str, path: str) -> None:
    assert suggested_path(Unknown("", name), "root.p") == path


async def test_the_best_template_is_suggested_and_else_a_new_one(node: Node) -> None:
    pump: Table = node.engine.catalog.table("pump")
    unknown = Unknown("", "a/b", reasons={"unknown_topic": 1})
    unknown.fields = {"Flow": ColumnType.INT64, "count": ColumnType.INT64, "x": ColumnType.TEXT}
    assert score(unknown.fields, pump) == pytest.approx(0.7 * 2 / 3 + 0.3 * 2 / 4)
    found = suggest(unknown, [pump], "root.p")
    assert (found.template, found.exists, found.extra) == ("pump", True, ("x",))
    assert found.missing == ("running", "note")
    assert yaml.safe_load(found.yaml) == {
        "subscriptions": [{"topic": "a/b", "template": "pump", "device": "root.p.a.b"}]
    }
    unknown.fields = {"flow": ColumnType.TEXT, "y": ColumnType.BOOLEAN}
    new = suggest(unknown, [pump], "root.p")
    assert (new.template, new.exists, new.device) == ("a", False, "root.p.a.b")
    assert yaml.safe_load(new.yaml)["templates"] == {
        "a": {"measurements": {"flow": {"type": "TEXT"}, "y": {"type": "BOOLEAN"}}}
    }
