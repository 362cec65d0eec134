"""What a child drops, tags otherwise or makes again, at its parent and at the group."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mainstem_engine.catalog.revisions import TagRevision
from mainstem_engine.engine import Engine
from mainstem_engine.model import ColumnType, Measurement, Tag, Template
from mainstem_sync.origins.changes import GONE, Said, follow_again, follow_change
from mainstem_sync.origins.origin_state import OriginMaps
from mainstem_sync.testing.tiers import Tiers


def ids(engine: Engine, *paths: str) -> Any:
    return engine.device_ids("meters", list(paths))


def tags(engine: Engine, path: str) -> dict[str, Any]:
    device = engine.catalog.devices.id_of(path)
    assert device is not None
    found = engine.catalog.devices.tags(device)
    return {tag.name: found.get(tag.name) for tag in engine.catalog.table("meters").template.tags}


def shown(engine: Engine) -> list[str]:
    devices = engine.catalog.devices
    return sorted(devices.path(int(d)) for d in devices.of_family("meters"))


def test_tags_are_followed_by_all_tiers(tiers: Tiers) -> None:
    tiers.write("root.p.e.d1")
    tiers.write("root.p.e.d2")
    tiers.run(2)
    edge = tiers.edge.engine
    edge.set_tags("meters", ids(edge, "root.p.e.d1"), {"line": "b", "number": 7})
    tiers.run(2)
    for node in tiers.nodes:
        assert tags(node.engine, "root.p.e.d1") == {"line": "b", "number": 7}
        assert tags(node.engine, "root.p.e.d2")["line"] == "a"
    edge.set_tags("meters", ids(edge, "root.p.e.d1"), {"line": None})
    tiers.run(2)
    for node in tiers.nodes:
        assert tags(node.engine, "root.p.e.d1")["line"] is None
    for node in (tiers.plant, tiers.group):
        node.restart()
        assert tags(node.engine, "root.p.e.d1") == {"line": None, "number": 7}


def test_new_renamed_and_wider_tags_of_a_known_template(tiers: Tiers) -> None:
    tiers.write("root.p.e.d1")
    tiers.run(2)
    edge = tiers.edge.engine
    edge.alter_tags(
        "meters",
        TagRevision(add=[Tag("hall"), Tag("floor", ColumnType.INT32)], rename={"line": "row"}),
    )
    edge.set_tags("meters", ids(edge, "root.p.e.d1"), {"hall": "north", "row": "z", "floor": 3})
    tiers.run(2)
    edge.alter_tags("meters", TagRevision(widen={"floor": ColumnType.INT64}))
    edge.device_ids("meters", ["root.p.e.d9"], {"row": ["y"], "hall": ["south"]}, create=True)
    tiers.run(2)
    for node in tiers.nodes:
        assert [t.name for t in node.engine.catalog.table("meters").template.tags] == [
            "row", "number", "hall", "floor",
        ]  # fmt: skip
        found = tags(node.engine, "root.p.e.d1")
        assert found == {"row": "z", "number": None, "hall": "north", "floor": 3}
        assert tags(node.engine, "root.p.e.d9")["row"] == "y"


def test_a_dropped_device_is_gone_at_all_tiers_and_comes_back(tiers: Tiers) -> None:
    tiers.write("root.p.e.d1")
    tiers.write("root.p.e.d2")
    tiers.run(2)
    edge = tiers.edge.engine
    gone = ids(edge, "root.p.e.d1")
    edge.delete("meters", devices=gone).ack.wait()
    edge.drop_devices(gone)
    tiers.run(2)
    for node in tiers.nodes:
        assert shown(node.engine) == ["root.p.e.d2"]
        assert {row[0] for row in tiers.values(node)} == {"root.p.e.d2"}
    tiers.close()
    for node in (tiers.plant, tiers.group):
        node.restart()
        node.federation.run_verification()
        assert shown(node.engine) == ["root.p.e.d2"]
        assert tiers.state(node)["state"] == "complete"
    edge.device_ids("meters", ["root.p.e.d1"], {"line": ["new"]}, create=True)
    tiers.write("root.p.e.d1", start_s=1000)
    tiers.run(3)
    for node in tiers.nodes:
        assert shown(node.engine) == ["root.p.e.d1", "root.p.e.d2"]
        assert len(tiers.values(node)) == 20
    tiers.close()
    assert tiers.group.federation.holes == []


def test_a_dropped_template_goes_unless_it_is_in_use(make_tiers: Callable[..., Tiers]) -> None:
    tiers = make_tiers()
    other = Template("pumps", (Measurement(0, "x", ColumnType.DOUBLE),))
    tiers.edge.engine.create_template(other)
    tiers.write()
    tiers.run(2)
    assert tiers.group.engine.catalog.templates.get("pumps") is not None
    tiers.edge.engine.drop_template("pumps")
    tiers.run(2)
    for node in tiers.nodes:
        assert node.engine.catalog.templates.is_dropped("pumps")


def test_what_a_parent_owns_is_not_dropped_by_a_child(tiers: Tiers) -> None:
    tiers.write("root.p.e.d1")
    tiers.run(2)
    plant = tiers.plant.engine
    plant.device_ids("meters", ["root.p.own"], {"line": ["x"]}, create=True)
    own = plant.catalog.devices.id_of("root.p.own")
    plant.follow_dropped(np.array([own], np.uint32), gone=True)
    assert "root.p.own" in shown(plant)


def test_the_later_word_stands_whatever_comes_first() -> None:
    said = Said()
    said.put([[1, "line", 10, "new"]])
    said.put([[1, "line", 5, "old"], [1, GONE, 7, True]])
    assert list(said.of(1)) == [("line", "new"), (GONE, True)]
    assert said.copy().to_plain() == said.to_plain()
    said.forget(7)
    assert list(said.of(1)) == [("line", "new")]
    said.forget(10)
    assert len(said) == 0


@pytest.mark.parametrize("seed", range(20))
def test_any_order_of_records_gives_the_same(tmp_path: Any, seed: int) -> None:
    """Drops, tags and the devices that they are about, shuffled, beside their own order."""
    rng = random.Random(seed)
    records: list[tuple[int, dict[str, Any] | int]] = [(1, 0), (2, 1)]
    for lsn in range(3, 12):
        device = np.array([rng.randrange(2)], "<u4").tobytes()
        if rng.random() < 0.5:
            header = {"op": "drop", "devices": device, "gone": rng.random() < 0.5}
        else:
            header = {"op": "tags", "name": "t", "devices": device, "tags": {"a": f"v{lsn}"}}
        records.append((lsn, header))
    shuffled = list(records)
    rng.shuffle(shuffled)
    assert _after(tmp_path / "a", records) == _after(tmp_path / "b", shuffled)


def _after(path: Any, records: list[tuple[int, dict[str, Any] | int]]) -> list[Any]:
    from mainstem_sync.receiving.definitions import define_table

    template = Template("t", (Measurement(0, "x", ColumnType.DOUBLE),), (Tag("a"),))
    with Engine.open(path) as engine:
        maps = OriginMaps()
        maps.put_table(define_table(template, None, engine))
        for lsn, record in records:
            if isinstance(record, int):
                made = engine.device_ids(
                    "t", [f"root.d{record}"], {"a": ["first"]}, create=True, foreign=True
                )
                maps.put_devices([record], made.astype(np.int64))
                follow_again([record], "t", maps, engine)
            else:
                maps.said.put(follow_change(record, lsn, maps, engine))
        devices = engine.catalog.devices
        found = []
        for n in range(2):
            device = int(devices.lookup_all([f"root.d{n}"])[0])
            found.append((device in devices.dropped, devices.tags(device)))
        return found
