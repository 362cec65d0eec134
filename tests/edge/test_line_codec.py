"""Line protocol in MQTT messages: with a template, and with one for each measurement."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mainstem_edge.assembly import Assembly, Workbench
from mainstem_edge.decode.interface import KnownNames
from mainstem_edge.decode.line_codec import LineCodec
from mainstem_edge.intake import Intake
from mainstem_edge.testing.parts import T0_MS, FakeOrigin, message, recorded_counts
from mainstem_engine.engine import Engine
from mainstem_engine.model import ColumnType
from mainstem_node.config import load_topology
from mainstem_node.config.loader import check
from mainstem_node.declare import declare
from mainstem_sync.receiving.quarantine import QuarantineStore

T = T0_MS * 1_000_000
TEMPLATES = {
    "press": {
        "tags": {"line": "TEXT", "slot": "INT32"},
        "measurements": {
            "temperature": {"type": "DOUBLE", "range": [-40, 900]},
            "count": {"type": "INT64"},
            "running": {"type": "BOOLEAN"},
            "note": {"type": "TEXT"},
        },
    }
}


def document(subscription: dict[str, Any], **node: Any) -> dict[str, Any]:
    mqtt = {
        "type": "mqtt", "url": "mqtt://127.0.0.1:1883",
        "subscriptions": [{"topic": "lines/#", "codec": "line_protocol", **subscription}],
    }  # fmt: skip
    edge = {
        "id": "edge", "tier": "edge", "listen": "127.0.0.1:0", "data_dir": "data",
        "paths": ["root.plant"], "collectors": [mqtt], **node,
    }  # fmt: skip
    return {"templates": TEMPLATES, "nodes": [edge]}


Make = Callable[..., Intake]


@pytest.fixture
def make(tmp_path: Path, engine: Engine, quarantine: QuarantineStore) -> Make:
    """The intake of an edge with one subscription."""

    def made(subscription: dict[str, Any] | None = None, **node: Any) -> Intake:
        path = tmp_path / "topology.yaml"
        path.write_text(yaml.safe_dump(document(subscription or {}, **node)), encoding="utf-8")
        assert check(path) == []
        topology = load_topology(path)
        declare(engine, topology, topology.nodes[0])
        bench = Workbench(topology, topology.nodes[0], engine, quarantine)
        (intake,) = Assembly(bench).intakes()
        return intake

    return made


def process(intake: Intake, *payloads: str | bytes, topic: str = "lines/a") -> None:
    origin = FakeOrigin()
    data = [each.encode() if isinstance(each, str) else each for each in payloads]
    intake.process([message(each, topic, origin=origin) for each in data])
    origin.wait(len(payloads))


def rows(engine: Engine, table: str) -> list[dict[str, Any]]:
    found = engine.scan(table).read_all().to_pylist()
    return [{k: v for k, v in row.items() if v is not None and k != "time"} for row in found]


def reasons(quarantine: QuarantineStore) -> list[tuple[str, str, str]]:
    items = quarantine.items()
    return sorted((item["table"], item["measurement"] or "", item["reason"]) for item in items)


def test_each_measurement_is_a_template(
    make: Make, engine: Engine, quarantine: QuarantineStore
) -> None:
    process(
        make(),
        f"cpu,host=a usage=1.5,n=3i {T}\nmem,host=a free=12u {T}",
        f'cpu,host=b usage=2,note="a b",ok=t {T}',
    )
    assert rows(engine, "cpu") == [
        {"device": "root.plant.cpu.a", "host": "a", "usage": 1.5, "n": 3},
        {"device": "root.plant.cpu.b", "host": "b", "usage": 2.0, "note": "a b", "ok": True},
    ]
    assert rows(engine, "mem") == [{"device": "root.plant.mem.a", "host": "a", "free": 12}]
    types = {m.name: m.type for m in engine.catalog.table("cpu").shown}
    assert types["n"] == ColumnType.INT64
    assert quarantine.items() == []


def test_a_column_is_added_while_the_collector_runs(make: Make, engine: Engine) -> None:
    intake = make()
    process(intake, f"m a=1 {T}")
    process(intake, f"m b=2 {T + 10**6}", f'm c="x" {T + 2 * 10**6}')
    assert rows(engine, "m") == [
        {"device": "root.plant.m", "a": 1.0},
        {"device": "root.plant.m", "b": 2.0},
        {"device": "root.plant.m", "c": "x"},
    ]
    assert "m" in intake.collector.readers[0].templates


def test_the_rules_of_a_declared_template_hold(
    make: Make, engine: Engine, quarantine: QuarantineStore
) -> None:
    process(make(), f"press,line=l1,slot=7 temperature=1000,count=5i,other=1 {T}")
    (row,) = rows(engine, "press")
    assert row == {"device": "root.plant.press.l1.7", "line": "l1", "slot": 7, "count": 5}
    assert reasons(quarantine) == [
        ("press", "other", "unknown_measurement"), ("press", "temperature", "out_of_range"),
    ]  # fmt: skip


def test_what_cannot_be_stored_costs_itself(
    make: Make, engine: Engine, quarantine: QuarantineStore
) -> None:
    intake = make()
    process(
        intake,
        f"m f=1 {T}\nbroken\nm f= {T}",
        'm f="not closed',
        f'm,a=x f=2 {T}\nm g="x" {T}',
        f"m,b=x f=3 {T}",
        f"m f=4 {T + 10**18}",
    )
    assert [row.get("f") for row in rows(engine, "m")] == [1.0, 2.0]
    found = reasons(quarantine)
    assert found == [
        ("", "", "malformed"), ("", "", "malformed"), ("", "", "malformed"),
        ("m", "", "tags_differ"), ("m", "", "time_future"),
    ]  # fmt: skip
    texts = [item["value"] for item in quarantine.items() if item["reason"] == "malformed"]
    assert "no fields: broken" in texts
    counts = recorded_counts(engine)
    assert counts["received"] == counts["accepted"] + counts["quarantined"]


def test_a_text_that_is_not_closed_does_not_reach_into_the_next_message(
    make: Make, engine: Engine
) -> None:
    process(make(), 'm f="open', f'm f="good",x="y" {T}', f"m g=1 {T + 10**6}")
    assert [row.get("f") for row in rows(engine, "m")] == ["good", None]


def test_without_auto_template_lines_of_no_template_are_put_aside(
    make: Make, engine: Engine, quarantine: QuarantineStore
) -> None:
    process(make(intake={"auto_template": False}), f"cpu f=1 {T}\npress count=1i {T}")
    assert engine.catalog.templates.find("cpu") is None
    assert len(rows(engine, "press")) == 1
    assert reasons(quarantine) == [("", "", "unknown_template")]


def test_the_topic_may_stand_before_the_measurement(make: Make, engine: Engine) -> None:
    intake = make({"topic": "lines/+", "device": "root.plant.{topic[1]}"})
    process(intake, f"m,t=a f=1 {T}", topic="lines/l7")
    assert rows(engine, "m")[0]["device"] == "root.plant.l7.m.a"


def test_times(make: Make, engine: Engine, quarantine: QuarantineStore) -> None:
    process(make({"time": {"unit": "s", "source": "payload"}}), f"m f=1 {T // 10**9}\nm f=2")
    assert [row["time"] for row in engine.scan("m").read_all().to_pylist()] == [T0_MS]
    assert reasons(quarantine) == [("m", "", "no_time")]


def test_repeated_messages_are_counted(make: Make, engine: Engine) -> None:
    intake = make()
    origin = FakeOrigin()
    payload = f"m f=1 {T}\nm f=2 {T + 10**6}".encode()
    intake.process([message(payload, "lines/a", origin=origin)])
    intake.process([message(payload, "lines/a", origin=origin, repeated=True)])
    origin.wait(2)
    counts = recorded_counts(engine)
    assert (counts["received"], counts["accepted"], counts["filtered"]) == (4, 2, 2)


def test_with_a_template_lines_are_its_rows(
    make: Make, engine: Engine, quarantine: QuarantineStore
) -> None:
    subscription = {
        "template": "press", "device": "root.plant.{payload.machine}",
        "tags": {"line": "{payload.line}"},
    }  # fmt: skip
    process(
        make(subscription),
        f"any,machine=m1,line=l1,unused=x temperature=1.5 {T}\n"
        f"other,machine=m2,line=l1 count=2i,wrong=1,running=F {T}\nbroken",
    )
    assert rows(engine, "press") == [
        {"device": "root.plant.m1", "line": "l1", "temperature": 1.5},
        {"device": "root.plant.m2", "line": "l1", "count": 2, "running": False},
    ]
    assert reasons(quarantine) == [
        ("press", "", "malformed"), ("press", "wrong", "unknown_measurement"),
    ]  # fmt: skip


def test_the_codec_keeps_messages_in_order() -> None:
    codec = LineCodec(KnownNames(("f", "ts", "measurement"), ("f",)), ("ts",))
    found = codec.decode(
        [b"a f=1 1\nb f=2 2", b"b f=3 3\na f=4", b'a f=5 5\nc s="x" 6', b"a f=6 7"]
    )
    assert found.source == [0, 0, 1, 1, 2, 2, 3]
    assert set(zip(found.source, found.columns["f"], found.columns["ts"], strict=True)) == {
        (0, 1.0, 1), (0, 2.0, 2), (1, 3.0, 3), (1, 4.0, None), (2, None, 6), (2, 5.0, 5),
        (3, 6.0, 7),
    }  # fmt: skip
    assert found.floats == {"f"}
    assert [(name, value) for _, name, value in found.extras] == [("s", "x")]


@pytest.mark.parametrize(
    ("subscription", "field", "problem"),
    [
        ({"codec": "json"}, "template", "the key is missing"),
        ({"template": "press"}, "device", "the key is missing"),
        ({"tags": {"line": "x"}}, "tags", "no `template`"),
        ({"device": "root.{payload.x}"}, "device", "before every device"),
    ],
)
def test_only_line_protocol_may_go_without_a_template(
    tmp_path: Path, subscription: dict[str, Any], field: str, problem: str
) -> None:
    path = tmp_path / "topology.yaml"
    path.write_text(yaml.safe_dump(document(subscription)), encoding="utf-8")
    found = [each for each in check(path) if each.field.endswith(f"subscriptions[0].{field}")]
    assert problem in found[0].problem
