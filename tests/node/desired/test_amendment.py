"""What becomes of a template at one tier, told to others: the same whatever way it goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgpack
import pytest

from mainstem_engine import ColumnType, Engine, Measurement, Tag, Template
from mainstem_engine.catalog.revisions import TagRevision
from mainstem_engine.errors import SchemaError
from mainstem_node.desired.amendment import Amendment
from mainstem_node.errors import BadRequestError

PUMP = Template(
    "pump",
    (Measurement(0, "flow", ColumnType.FLOAT), Measurement(0, "count", ColumnType.INT32)),
    (Tag("line"), Tag("number", ColumnType.INT32)),
)
DOCUMENT: dict[str, Any] = {
    "templates": {
        "Pump": {
            "tags": {"line": "TEXT", "number": "INT32"},
            "measurements": {
                "flow": {"type": "FLOAT", "range": [0, 10]},
                "count": {"type": "INT32", "from": "n"},
            },
        },
        "fan": {"measurements": {"flow": {"type": "FLOAT"}}},
    },
    "nodes": [],
}


def altered(place: Path) -> tuple[Template, Template]:
    """Before and after everything that may become of a template."""
    with Engine.open(place) as engine:
        engine.create_template(PUMP)
        before = engine.catalog.template("pump")
        engine.alter_template(
            "pump",
            add=[Measurement(0, "bar", ColumnType.DOUBLE, encoding="GORILLA", unit="bar")],
            rename={"flow": "rate", "count": "turns"},
            widen={"flow": ColumnType.DOUBLE},
        )
        engine.alter_tags("pump", TagRevision(rename={"line": "row"}))
        engine.alter_tags("pump", TagRevision(add=[Tag("maker")], drop=["number"]))
        return before, engine.catalog.template("pump")


def amendment(place: Path) -> Amendment:
    found = Amendment.between(*altered(place), {"line": "row"})
    assert found is not None
    return Amendment.from_body(msgpack.unpackb(msgpack.packb(found.to_body())))


def test_a_document_follows_and_keeps_what_is_its_own(tmp_path: Path) -> None:
    found = amendment(tmp_path).of_document(DOCUMENT)
    assert found["templates"]["Pump"] == {
        "tags": {"row": "TEXT", "maker": "TEXT"},
        "measurements": {
            "rate": {"type": "DOUBLE", "range": [0, 10], "from": "flow"},
            "turns": {"type": "INT32", "from": "n"},
            "bar": {"type": "DOUBLE", "unit": "bar", "encoding": "GORILLA"},
        },
    }
    assert found["templates"]["fan"] == DOCUMENT["templates"]["fan"]
    assert amendment(tmp_path / "again").of_document(found) == found
    assert "rate" not in str(DOCUMENT)


def test_a_store_follows_once_and_again(tmp_path: Path) -> None:
    change = amendment(tmp_path / "above")
    with Engine.open(tmp_path / "below") as engine:
        assert not change.of_store(engine)
        engine.create_template(PUMP)
        assert change.of_store(engine)
        once = engine.catalog.template("pump")
        assert [(m.name, m.type.name) for m in once.measurements] == [
            ("rate", "DOUBLE"), ("turns", "INT32"), ("bar", "DOUBLE"),
        ]  # fmt: skip
        assert once.measurements[2].unit == "bar"
        assert [tag.name for tag in once.tags] == ["row", "maker"]
        change.of_store(engine)
        assert engine.catalog.template("pump") == once


def test_what_is_there_with_another_type_is_refused(tmp_path: Path) -> None:
    change = amendment(tmp_path / "above")
    with Engine.open(tmp_path / "below") as engine:
        engine.create_template(Template("pump", (Measurement(0, "bar", ColumnType.TEXT),)))
        with pytest.raises(SchemaError):
            change.of_store(engine)
        assert [m.name for m in engine.catalog.template("pump").measurements] == ["bar"]


def test_nothing_to_follow(tmp_path: Path) -> None:
    before, _ = altered(tmp_path)
    assert Amendment.between(before, before) is None


@pytest.mark.parametrize(
    "change",
    [
        {"template": 3},
        {"columns": None},
        {"columns": {"add": {"x": {"type": "WORD"}}}},
        {"tags": 1},
    ],
)
def test_an_amendment_of_another_machine_is_checked(
    tmp_path: Path, change: dict[str, object]
) -> None:
    with pytest.raises(BadRequestError):
        Amendment.from_body({**amendment(tmp_path).to_body(), **change})
