"""What is said of a Modbus collector, and of what may be written, that cannot be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from mainstem_node.config import check
from mainstem_node.config.collectors.modbus_register import RegisterConfig, located

TEMPLATES = {
    "meter": {
        "tags": {"line": "TEXT"},
        "measurements": {
            "x": {"type": "DOUBLE"}, "on": {"type": "BOOLEAN"}, "name": {"type": "TEXT"},
            "twice": {"type": "DOUBLE", "derive": "x * 2"}, "far": {"type": "DOUBLE", "scale": 2},
        },
    }
}  # fmt: skip


def problems(
    place: Path,
    collector: Mapping[str, Any] | None = None,
    device: Mapping[str, Any] | None = None,
    registers: Mapping[str, Any] | None = None,
    actions: Sequence[Any] = (),
) -> list[tuple[str, str]]:
    found = {"x": {"address": 5}} if registers is None else dict(registers)
    known = {"device": "root.plant.m1", "template": "meter", "registers": found, **(device or {})}
    source = {"type": "modbus", "url": "tcp://h:502", "devices": [known], **(collector or {})}
    node = {
        "id": "edge", "tier": "edge", "listen": "127.0.0.1:8411", "data_dir": "data",
        "collectors": [source], "actions": list(actions),
    }  # fmt: skip
    path = place / "t.yaml"
    path.write_text(yaml.safe_dump({"templates": TEMPLATES, "nodes": [node]}), encoding="utf-8")
    return [(str(each.field), each.problem) for each in check(path, env={})]


def test_a_good_one_has_no_problem(tmp_path: Path) -> None:
    registers = {
        "x": {"address": 1, "type": "float32"}, "on": {"address": 9, "bit": 2},
        "name": {"address": 20, "type": "string", "length": 4},
        "far": {"address": 3, "table": "input"},
    }  # fmt: skip
    assert problems(tmp_path, registers=registers) == []
    coil = {"on": {"address": 0, "table": "coil"}}
    assert problems(tmp_path, {"url": "serial:/dev/ttyS0"}, registers=coil) == []
    by_map = {"registers": {}, "map": "m"}
    assert problems(tmp_path, {"maps": {"m": {"x": {"address": 0}}}}, by_map) == []


@pytest.mark.parametrize(
    ("changes", "field", "problem"),
    [
        ({"url": "mqtt://h"}, "url", "names no Modbus line"),
        ({"url": "serial:"}, "url", "names no Modbus line"),
        ({"url": "tcp://h:x"}, "url", "not a URL"),
        ({"devices": []}, "devices", "none"),
        ({"timeout": "0s"}, "timeout", "not positive"),
        ({"retries": 11}, "retries", "0..10"),
    ],
)
def test_a_mistake_of_a_line_is_named(
    tmp_path: Path, changes: dict[str, Any], field: str, problem: str
) -> None:
    ((found, text),) = problems(tmp_path, changes)
    assert found == f"nodes[0].collectors[0].{field}"
    assert problem in text


@pytest.mark.parametrize(
    ("changes", "field", "problem"),
    [
        ({"unit": 256}, "unit", "0..255"),
        ({"template": "metre"}, "template", "metre"),
        ({"every": "1ms"}, "every", "less than 10ms"),
        ({"timeout": "0s"}, "timeout", "not positive"),
        ({"registers_max": 126}, "registers_max", "1..125"),
        ({"gap": -1}, "gap", "0..125"),
        ({"tags": {"row": "1"}}, "tags.row", "no such tag"),
        ({"registers": {}}, "registers", "none"),
        ({"map": "m"}, "map", "`registers`, too"),
        ({"map": "m", "registers": {}}, "map", "no map"),
        ({"base": 2}, "base", "not possible"),
    ],
)
def test_a_mistake_of_a_device_is_named(
    tmp_path: Path, changes: dict[str, Any], field: str, problem: str
) -> None:
    ((found, text),) = problems(tmp_path, device=changes)
    assert found == f"nodes[0].collectors[0].devices[0].{field}"
    assert problem in text


@pytest.mark.parametrize(
    ("name", "register", "key", "problem"),
    [
        ("x", {"address": 65_536}, ".address", "outside"),
        ("x", {"address": 65_535, "type": "int32"}, ".address", "outside"),
        ("on", {"address": 0, "bit": 16}, ".bit", "0..15"),
        ("on", {"address": 0, "table": "coil", "bit": 1}, ".bit", "one bit"),
        ("x", {"address": 0, "table": "discrete", "type": "int16"}, ".type", "one bit"),
        ("x", {"address": 0, "type": "int16", "bit": 1}, ".type", "true or false"),
        ("name", {"address": 0, "type": "string"}, ".length", "has a length"),
        ("name", {"address": 0, "type": "string", "length": 126}, ".length", "1..125"),
        ("x", {"address": 0, "length": 2}, ".length", "has a length"),
        ("x", {"address": 0, "scale": 0}, ".scale", "it is 0"),
        ("on", {"address": 0, "type": "bool", "scale": 2}, ".scale", "has none"),
        ("z", {"address": 0}, "", "no measurement"),
        ("twice", {"address": 0}, "", "computed"),
        ("x", {"address": 0, "bit": 0}, ".type", "DOUBLE"),
        ("on", {"address": 0}, ".type", "BOOLEAN"),
    ],
)
def test_a_mistake_of_a_register_is_named(
    tmp_path: Path, name: str, register: dict[str, Any], key: str, problem: str
) -> None:
    found, text = problems(tmp_path, registers={name: register})[0]
    assert found == f"nodes[0].collectors[0].devices[0].registers.{name}{key}"
    assert problem in text


def test_devices_of_one_path_are_named(tmp_path: Path) -> None:
    device = {"device": "root.m", "template": "meter", "registers": {"x": {"address": 0}}}
    ((found, text),) = problems(tmp_path, {"devices": [device, {**device, "unit": 2}]})
    assert found.endswith("devices[1].device")
    assert "this path" in text


@pytest.mark.parametrize(
    ("allow", "problem"),
    [
        ([], "none"),
        (["root.plant.m2/x"], "no coil or holding register"),
        (["root.plant.m1/in"], "no coil or holding register"),
        (["root.plant.m1/far"], "converts"),
    ],
)
def test_a_mistake_of_a_command_is_named(tmp_path: Path, allow: list[str], problem: str) -> None:
    registers = {
        "x": {"address": 0}, "far": {"address": 1}, "on": {"address": 0, "table": "discrete"},
    }  # fmt: skip
    action = {"type": "modbus.write", "allow": allow}
    ((found, text),) = problems(tmp_path, registers=registers, actions=[action])
    assert found.startswith("nodes[0].actions[0].allow")
    assert problem in text
    good = {"type": "modbus.write", "allow": ["root.plant.*/x"]}
    assert problems(tmp_path, registers=registers, actions=[good]) == []


@pytest.mark.parametrize(
    ("written", "base", "place"),
    [
        ({"address": 0}, 0, ("holding", 0)),
        ({"address": 65_535, "table": "input"}, 0, ("input", 65_535)),
        ({"address": 1}, 1, ("holding", 0)),
        ({"address": 40_001}, 40_001, ("holding", 0)),
        ({"address": 400_001}, 40_001, ("holding", 0)),
        ({"address": 465_536}, 40_001, ("holding", 65_535)),
        ({"address": 30_108}, 40_001, ("input", 107)),
        ({"address": 10_002}, 40_001, ("discrete", 1)),
        ({"address": 5}, 40_001, ("coil", 4)),
    ],
)
def test_addresses_are_those_of_the_manual(
    written: dict[str, Any], base: Any, place: tuple[str, int]
) -> None:
    assert located(RegisterConfig(**written), base) == place


@pytest.mark.parametrize(
    ("written", "base"),
    [
        ({"address": 0}, 1),
        ({"address": 20_001}, 40_001),
        ({"address": 40_000}, 40_001),
        ({"address": 40_001, "table": "input"}, 40_001),
        ({"address": 500_001}, 40_001),
    ],
)
def test_what_no_manual_has_is_refused(written: dict[str, Any], base: Any) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        located(RegisterConfig(**written), base)
    assert len(refused.value.args) == 2
