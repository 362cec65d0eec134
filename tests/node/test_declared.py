"""A template that SQL has altered, and the topology file that still names it as it was."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mainstem_node.config import load_topology
from mainstem_node.declare import templates_of
from mainstem_node.declared import FILE_NAME, DeclaredBefore
from mainstem_node.node import Node

StartNode = Callable[..., Awaitable[Node]]
ROLLUPS = [{"template": "pump", "every": ["1m"]}]


def shown(node: Node, template: str = "pump") -> list[str]:
    return [m.name for m in node.engine.catalog.table(template).shown]


def tags(node: Node) -> list[str]:
    return [tag.name for tag in node.engine.catalog.template("pump").tags]


async def altered(node: Node, *statements: str) -> None:
    """Stops the node after these."""
    for statement in statements:
        node.engine.sql(statement)
    await node.stop()


async def test_what_sql_has_taken_away_does_not_come_back(start_node: StartNode) -> None:
    node = await start_node(rollups=ROLLUPS)
    node.engine.sql(
        "INSERT INTO root.plant.edge.p1 USING pump TAGS ('a') VALUES (1000, 1, 2, true, 'x')"
    )
    await altered(
        node,
        "ALTER STABLE pump DROP COLUMN flow, RENAME COLUMN count TO pieces",
        "ALTER STABLE pump MODIFY COLUMN note ENCODING DICTIONARY, ADD COLUMN heat FLOAT",
        "ALTER STABLE pump DROP TAG line",
    )
    for _ in range(2):
        node = await start_node(rollups=ROLLUPS)
        assert shown(node) == ["pieces", "running", "note", "heat"]
        assert tags(node) == []
        assert {name.partition("_")[0] for name in shown(node, "pump_1m")} == set(shown(node))
        rows = node.engine.sql("SELECT * FROM root.plant.edge.p1").rows()
        assert rows == [[1000, 2, True, "x", None]]
        await node.stop()
    node = await start_node(rollups=[{"template": "pump", "every": ["1m", "1h"]}])
    assert {name.partition("_")[0] for name in shown(node, "pump_1h")} == set(shown(node))


async def test_a_dropped_template_stays_dropped(start_node: StartNode) -> None:
    node = await start_node(rollups=ROLLUPS)
    node.engine.sql(
        "INSERT INTO root.plant.edge.p1 USING pump TAGS ('a') VALUES (1000, 1, 2, true, 'x')"
    )
    await altered(node, "DROP STABLE pump")
    node = await start_node(rollups=ROLLUPS)
    assert node.engine.sql("SHOW STABLES").rows() == []
    node.engine.sql("CREATE STABLE pump (ts TIMESTAMP, level DOUBLE) TAGS (site TEXT)")
    await node.stop()
    node = await start_node(rollups=ROLLUPS)
    assert shown(node) == ["level"]
    assert tags(node) == ["site"]


async def test_what_the_file_names_for_the_first_time_is_made(
    start_node: StartNode, tmp_path: Path
) -> None:
    node = await start_node()
    await altered(node, "ALTER STABLE pump DROP COLUMN flow, DROP COLUMN note")
    document = yaml.safe_load((tmp_path / "topology.yaml").read_text())
    pump: dict[str, Any] = document["templates"]["pump"]
    flow = pump["measurements"].pop("flow")
    pump["measurements"]["heat"] = {"type": "FLOAT"}
    pump["tags"]["site"] = "TEXT"
    assert await started(tmp_path, document) == (["count", "running", "heat"], ["line", "site"])
    pump["measurements"]["flow"] = flow
    assert await started(tmp_path, document) == (
        ["count", "running", "heat", "flow"],
        ["line", "site"],
    )


async def started(tmp_path: Path, document: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The measurements and tags after a start with this file."""
    path = tmp_path / "other.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    topology = load_topology(path)
    node = Node(topology, topology.nodes[0])
    await node.start()
    try:
        return shown(node), tags(node)
    finally:
        await node.stop()


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"pump": 3}', "\xff"])
async def test_without_a_memory_the_file_counts(start_node: StartNode, text: str) -> None:
    node = await start_node()
    await altered(node, "ALTER STABLE pump DROP COLUMN flow")
    path = node.config.data_dir / FILE_NAME
    assert json.loads(path.read_text()) == {"pump": ["flow", "count", "running", "note", "line"]}
    path.write_text(text, encoding="latin-1")
    node = await start_node()
    assert shown(node) == ["count", "running", "note", "flow"]


def test_nothing_is_kept_without_a_place(tmp_path: Path) -> None:
    DeclaredBefore(None).keep()
    assert not DeclaredBefore(tmp_path).had("pump")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("collectors", "others", "expected"),
    [
        ([], 0, ["pump", "oven"]),
        (["pump"], 0, ["pump", "oven"]),
        (["pump"], 1, ["pump"]),
        (["pump", None], 1, ["pump", "oven"]),
        ([], 1, ["pump", "oven"]),
    ],
    ids=["the only edge", "it collects one", "of several", "lines name them", "it names none"],
)
def test_which_templates_an_edge_has(
    tmp_path: Path, collectors: list[str | None], others: int, expected: list[str]
) -> None:
    made = [
        {"type": "http_push", "name": f"c{n}", "codec": "line_protocol"}
        | ({} if name is None else {"template": name, "device": "root.x"})
        for n, name in enumerate(collectors)
    ]
    template = {"measurements": {"x": {"type": "DOUBLE"}}}
    node = {"tier": "edge", "listen": "127.0.0.1:0"}
    document = {
        "templates": {"pump": template, "oven": template},
        "nodes": [
            {**node, "id": "e", "data_dir": "e", "paths": ["root.x"], "collectors": made},
            *({**node, "id": f"e{n}", "data_dir": f"e{n}"} for n in range(others)),
        ],
    }
    path = tmp_path / "t.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    topology = load_topology(path)
    assert templates_of(topology, topology.node("e")) == expected
