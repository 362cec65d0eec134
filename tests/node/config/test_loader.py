"""Topologies that load: every key of the contract, defaults, includes, environment variables."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from mainstem_engine.model import ColumnType
from mainstem_node.config import check, config_schema, load_topology
from mainstem_node.config.collectors.mqtt import MqttCollectorConfig
from mainstem_node.config.kinds import Listen, Secret
from mainstem_node.config.schema import SECOND_NS, NodeConfig, Topology
from mainstem_node.config.templates import engine_template

WHOLE = """\
federation: acme
templates:
  press_machine:
    tags: {line: TEXT, model: TEXT}
    expect_every: 10s
    keep: 90d
    measurements:
      temperature: {type: DOUBLE, unit: degC, from: temp_f, source_unit: degF, encoding: GORILLA,
                    compression: SNAPPY, range: [-40, 900], deadband: 0.05}
      pressure:    {type: DOUBLE, unit: bar, scale: 0.001, offset: 0}
      count:       {type: INT64, kind: counter, rollover: 65536}
      running:     {type: BOOLEAN}
nodes:
  - {id: group, tier: group, listen: "127.0.0.1:8400", data_dir: data/group}
  - id: plant_a
    tier: platform
    listen: 127.0.0.1:8410
    data_dir: data/plant_a
    parent: {node: group, url: "http://127.0.0.1:8400", token_file: secrets/plant_a}
    export:
      - {template: press_machine, mode: rollup, every: 1m}
  - id: plant_a_press
    tier: edge
    listen: 127.0.0.1:8411
    data_dir: data/plant_a_press
    parent: {node: plant_a, url: ["http://10.0.0.1:8410", "http://127.0.0.1:8410"]}
    paths: [root.plant_a.press]
    storage: {durability: always, memory_limit: 256MiB, flush_every: 60s, flush_bytes: 64MiB,
              vnodes: 1}
    databases:
      root.plant_a: {keep: 30d, duration: 1d, precision: ms}
    collectors:
      - type: mqtt
        url: mqtt://127.0.0.1:1883
        protocol: auto
        qos: 1
        subscriptions:
          - {topic: "plant_a/press/+/telemetry", codec: json, template: press_machine,
             device: "root.plant_a.press.{topic[2]}", tags: {line: "{topic[1]}"},
             time: {field: ts, unit: auto, zone: UTC}, auto_create: true}
    clock: {past: 2000-01-01, future: 5m}
    rollups:
      - {template: press_machine, every: [1m, 1h], lateness: 30s, keep: {1m: 1y, 1h: 10y}}
    export:
      - {template: press_machine, mode: raw}
      - {template: press_machine, mode: rollup, every: 1m}
    hold: verified@parent
    intake: {auto_template: true, max_new_devices_per_minute: 1000}
    disk: {limit: 20GB, when_full: degrade}
    link: {limit: 1Mbit/s, windows: [{days: mon-fri, from: "08:00", to: "18:00",
           zone: Europe/Berlin, limit: 256kbit/s}]}
    tls: {cert: cert.pem, key: key.pem, client_ca: ca.pem}
    auth: {loopback: open}
"""
"""Every key that the contract names."""


def write(place: Path, text: str, name: str = "topology.yaml") -> Path:
    path = place / name
    path.write_text(text, encoding="utf-8")
    return path


def minimal(place: Path, node: str = "", head: str = "") -> Topology:
    text = (
        f"{head}nodes:\n  - id: one\n    tier: edge\n    listen: 127.0.0.1:0\n    data_dir: data\n"
    )
    return load_topology(write(place, text + node))


def test_every_key_of_the_contract_is_read(tmp_path: Path) -> None:
    topology = load_topology(write(tmp_path, WHOLE))
    edge = topology.node("plant_a_press")
    assert topology.federation == "acme"
    assert edge.listen == Listen("127.0.0.1", 8411)
    assert edge.data_dir == tmp_path / "data/plant_a_press"
    assert edge.databases["root.plant_a"].keep == 30 * 86_400 * SECOND_NS
    assert edge.rollups[0].every == (60 * SECOND_NS, 3600 * SECOND_NS)
    assert edge.rollups[0].keep[60 * SECOND_NS] == 365 * 86_400 * SECOND_NS
    assert edge.export[1].every == 60 * SECOND_NS
    assert edge.disk.limit == 20 * 10**9
    assert edge.link.windows[0].limit == 256_000
    assert edge.clock.past == 946_684_800 * SECOND_NS
    assert edge.auth_open
    assert edge.url == "https://127.0.0.1:8411"
    subscription = broker_of(edge).subscriptions[0]
    assert subscription.tags == {"line": "{topic[1]}"}
    assert subscription.time.field == "ts"
    temperature = topology.templates["press_machine"].measurements["temperature"]
    assert temperature.source == "temp_f"
    assert temperature.range == (-40.0, 900.0)
    assert [node.id for node in topology.children("group")] == ["plant_a"]


def test_the_engine_s_template_keeps_types_units_and_order(tmp_path: Path) -> None:
    topology = load_topology(write(tmp_path, WHOLE))
    template = engine_template("press_machine", topology.templates["press_machine"])
    assert [m.name for m in template.measurements] == [
        "temperature",
        "pressure",
        "count",
        "running",
    ]
    assert template.measurements[0].unit == "degC"
    assert template.measurements[2].type is ColumnType.INT64
    assert [tag.name for tag in template.tags] == ["line", "model"]


def test_a_parent_in_the_file_gives_url_and_token_file(tmp_path: Path) -> None:
    text = WHOLE.replace(', url: "http://127.0.0.1:8400", token_file: secrets/plant_a', "")
    parent = load_topology(write(tmp_path, text)).node("plant_a").parent
    assert parent is not None
    assert parent.url == ("http://127.0.0.1:8400",)
    assert parent.token_file == tmp_path / "secrets/plant_a"


def test_base_dir_replaces_the_file_s_directory_for_data_and_secrets(tmp_path: Path) -> None:
    base = tmp_path / "elsewhere"
    topology = load_topology(write(tmp_path, WHOLE), base)
    parent = topology.node("plant_a").parent
    assert topology.node("group").data_dir == base / "data/group"
    assert parent is not None
    assert parent.token_file == base / "secrets/plant_a"


def test_one_value_stands_for_a_list_of_one(tmp_path: Path) -> None:
    topology = minimal(tmp_path, "    paths: root.plant\n")
    assert topology.nodes[0].paths == ("root.plant",)


def test_what_looks_like_another_type_stays_the_text_it_is(tmp_path: Path) -> None:
    text = WHOLE.replace('from: "08:00", to: "18:00"', "from: 08:00, to: 18:00")
    text = text.replace("protocol: auto", "protocol: 5").replace("line: TEXT", "no: TEXT")
    text = text.replace('tags: {line: "{topic[1]}"}', "tags: {no: yes}")
    edge = load_topology(write(tmp_path, text)).node("plant_a_press")
    assert edge.link.windows[0].end == "18:00"
    assert broker_of(edge).protocol == "5"
    assert broker_of(edge).subscriptions[0].tags == {"no": "yes"}


def test_anchors_and_merge_keys_work(tmp_path: Path) -> None:
    text = WHOLE.replace(
        "pressure:    {type: DOUBLE, unit: bar, scale: 0.001, offset: 0}",
        "pressure: &p {type: DOUBLE, unit: bar}\n      flow: {<<: *p, unit: l/min}",
    )
    measurements = load_topology(write(tmp_path, text)).templates["press_machine"].measurements
    assert measurements["flow"].type is ColumnType.DOUBLE
    assert measurements["flow"].unit == "l/min"


def test_environment_variables_stand_for_values(tmp_path: Path) -> None:
    text = WHOLE.replace(
        "qos: 1", "qos: ${QOS}\n        username: me\n        password: ${MQTT_PW}"
    )
    env = {"QOS": "0", "MQTT_PW": "hunter2!"}
    collector = broker_of(load_topology(write(tmp_path, text), env=env).node("plant_a_press"))
    assert collector.qos == 0
    assert collector.password is not None
    assert collector.password.reveal() == "hunter2!"
    assert "hunter2" not in f"{collector} {collector.password} {collector!r}"


def test_a_secret_shows_asterisks_wherever_it_is_formatted() -> None:
    secret = Secret("swordfish")
    assert "swordfish" not in f"{secret} {secret!r} {secret!s} {[secret]} {str(secret)}"  # noqa: RUF010
    assert secret.reveal() == "swordfish"
    assert type(secret.reveal()) is str


def test_templates_come_from_included_files_too(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    write(tmp_path / "templates", "pump: {measurements: {flow: {type: DOUBLE}}}\n", "a.yaml")
    write(tmp_path / "templates", "fan:\n  measurements: {speed: {type: INT32}}\n", "b.yaml")
    head = "templates:\n  include: templates/*.yaml\n  own: {measurements: {x: {type: TEXT}}}\n"
    assert set(minimal(tmp_path, head=head).templates) == {"pump", "fan", "own"}


def test_a_template_may_be_called_include(tmp_path: Path) -> None:
    head = "templates: {include: {measurements: {x: {type: TEXT}}}}\n"
    assert set(minimal(tmp_path, head=head).templates) == {"include"}


def broker_of(node: NodeConfig) -> MqttCollectorConfig:
    """Its first collector."""
    (first, *_) = node.collectors
    assert isinstance(first, MqttCollectorConfig)
    return first


def test_structs_are_frozen(tmp_path: Path) -> None:
    topology = minimal(tmp_path)
    with pytest.raises(AttributeError):
        topology.nodes[0].id = "other"  # type: ignore[misc]


def test_check_of_a_good_file_is_empty(tmp_path: Path) -> None:
    assert check(write(tmp_path, WHOLE)) == []


CONFIGS = Path(__file__).resolve().parents[3] / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_are_good(path: Path) -> None:
    assert check(path, env={}) == []


def test_the_whole_examples_show_every_key() -> None:
    files = ("topology.yaml", "collectors.yaml")
    text = "\n".join((CONFIGS / name).read_text("utf-8") for name in files)
    schema = config_schema()
    structs = [schema, *schema["$defs"].values()]
    keys = {key for struct in structs for key in struct["properties"]}
    assert {key for key in keys if not re.search(rf"\b{key}:", text)} == set()


def test_the_json_schema_knows_every_key_and_refuses_others() -> None:
    schema = config_schema()
    assert set(schema["properties"]) == {"federation", "templates", "nodes"}
    node = schema["$defs"]["Node"]
    assert node["additionalProperties"] is False
    assert set(node["required"]) == {"id", "tier", "listen", "data_dir"}
    assert "from" in schema["$defs"]["Measurement"]["properties"]
    assert node["properties"]["tier"]["enum"] == ["edge", "platform", "group"]
    assert b"secret" in msgspec.json.encode(schema)
