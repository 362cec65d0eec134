"""Templates that change at one tier, and what the tiers above make of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mainstem_engine.model import ColumnType, Measurement, Template
from mainstem_sync.origins.origin_state import CONFLICT, OriginMaps, TableMap
from mainstem_sync.receiving.definitions import define_table
from mainstem_sync.testing.nodes import ManualClock, TestNode
from mainstem_sync.testing.tiers import START_MS, Tiers

MakeTiers = Callable[..., Tiers]
INT16, INT32, INT64 = ColumnType.INT16, ColumnType.INT32, ColumnType.INT64
FLOAT, DOUBLE, TEXT = ColumnType.FLOAT, ColumnType.DOUBLE, ColumnType.TEXT


def rows_of(tiers: Tiers, node: TestNode, *columns: str) -> list[Any]:
    found = node.engine.scan("meters", columns=columns).read_all().to_pydict()
    return list(zip(*(found[name] for name in columns), strict=True))


def test_a_childs_revision_is_followed_by_every_tier(tiers: Tiers) -> None:
    tiers.write(rows=3)
    tiers.run()
    edge = tiers.edge.engine
    edge.alter_template(
        "meters",
        rename={"voltage": "volts", "current": "voltage"},
        widen={"voltage": INT64},
        add=[Measurement(0, "current", TEXT)],
    )
    times = [START_MS + 10_000]
    values = {"voltage": [2.5], "volts": [2**40], "current": ["new"]}
    edge.write("meters", "root.p.e.d1", times, values).wait()
    tiers.run()
    expected = [(1.0, 0, None), (1.0, 1, None), (1.0, 2, None), (2.5, 2**40, "new")]
    for node in tiers.nodes:
        assert rows_of(tiers, node, "voltage", "volts", "current") == expected
        assert node.engine.catalog.table("meters").measurement("volts").type == INT64  # type: ignore[union-attr]
    assert tiers.group.engine.catalog.is_foreign("meters")
    tiers.close()
    assert tiers.state(tiers.plant)["state"] == "complete"
    assert tiers.state(tiers.group)["state"] == "complete"


def test_a_revision_is_replayed_with_rows_of_both_sides(tiers: Tiers) -> None:
    tiers.write(rows=2)
    tiers.run()
    tiers.edge.engine.alter_template("meters", rename={"voltage": "u"}, widen={"voltage": INT64})
    tiers.edge.engine.write("meters", "root.p.e.d1", [START_MS + 9000], {"u": [2**40]}).wait()
    tiers.run()
    for node in (tiers.plant, tiers.group):
        node.crash()
        node.start()
        assert rows_of(tiers, node, "u") == [(0,), (1,), (2**40,)]


def test_rows_that_waited_below_arrive_narrow_and_fit(tiers: Tiers) -> None:
    """The definition overtakes older rows: the control queue goes first."""
    tiers.write(rows=1)
    tiers.run()
    tiers.write(start_s=20, rows=3)
    tiers.edge.engine.alter_template("meters", widen={"voltage": INT64})
    tiers.clock.advance(40)
    tiers.run(6)
    assert tiers.values(tiers.group) == tiers.values(tiers.edge)
    assert tiers.plant.federation.accounting()["meters"]["values_quarantined"] == 0


@pytest.fixture
def plant(tmp_path: Path) -> Any:
    node = TestNode("plant", tmp_path, ManualClock())
    yield node.engine
    node.stop()


def template(revision: int, *columns: tuple[int, str, ColumnType], name: str = "t") -> Template:
    return Template(name, tuple(Measurement(*c) for c in columns), revision=revision)


def targets(engine: Any, table: TableMap) -> dict[int, str | None]:
    """Local name by the origin's id."""
    here = engine.catalog.table(table.local)
    return {
        key: None if m.local == CONFLICT else here.measurement_by_id(m.local).name
        for key, m in table.measurements.items()
    }


class Origin:
    """One child's maps at the plant."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.maps = OriginMaps()

    def says(self, theirs: Template) -> dict[int, str | None]:
        table = define_table(theirs, self.maps.table(theirs.name), self.engine)
        self.maps.put_table(table)
        return targets(self.engine, self.maps.known_table(theirs.name))


def test_two_children_of_one_template_go_on_by_their_ids(plant: Any) -> None:
    one, two = Origin(plant), Origin(plant)
    one.says(template(1, (0, "a", INT16), (1, "b", FLOAT)))
    assert two.says(template(1, (0, "b", FLOAT), (4, "a", INT32))) == {0: "b", 4: "a"}
    assert one.says(template(2, (0, "x", INT64), (1, "b", DOUBLE))) == {0: "x", 1: "b"}
    # The other child knows nothing of it, is told nothing, and adds a column of the old name.
    later = template(2, (0, "b", FLOAT), (4, "a", INT32), (5, "c", TEXT))
    assert two.says(later) == {0: "b", 4: "x", 5: "c"}
    assert two.says(template(3, (0, "b", FLOAT), (4, "x", INT32), (5, "c", TEXT)))[4] == "x"
    types = {m.name: m.type for m in plant.catalog.template("t").measurements}
    assert types == {"x": INT64, "b": DOUBLE, "c": TEXT}


def test_a_revision_that_comes_late_changes_nothing(plant: Any) -> None:
    origin = Origin(plant)
    origin.says(template(1, (0, "a", INT16)))
    new = origin.says(template(3, (0, "z", INT64), (1, "a", TEXT)))
    before = plant.catalog.template("t")
    assert origin.says(template(2, (0, "z", INT16))) == new == {0: "z", 1: "a"}
    assert plant.catalog.template("t") == before


def test_an_own_template_is_extended_and_widened_but_keeps_its_names(plant: Any) -> None:
    plant.create_template(template(1, (0, "a", INT16), (0, "b", INT64), (0, "c", TEXT)))
    origin = Origin(plant)
    assert origin.says(template(1, (0, "a", INT32), (1, "b", INT32))) == {0: "a", 1: "b"}
    theirs = template(2, (0, "a", INT32), (1, "y", INT32), (2, "b", INT64), (3, "c", FLOAT))
    # Renamed below; a name that is another's column here; a type that fits in neither way.
    assert origin.says(theirs) == {0: "a", 1: "b", 2: None, 3: None}
    types = {m.name: m.type for m in plant.catalog.template("t").measurements}
    assert types == {"a": INT32, "b": INT64, "c": TEXT}
    assert not plant.catalog.is_foreign("t")


def test_a_new_name_that_is_taken_here_is_not_followed(plant: Any) -> None:
    one, two = Origin(plant), Origin(plant)
    one.says(template(1, (0, "a", INT32), (1, "c", INT32)))
    two.says(template(1, (0, "b", TEXT)))
    assert one.says(template(2, (0, "b", INT32), (1, "a", INT32))) == {0: "a", 1: "c"}
    assert one.says(template(3, (0, "d", INT32), (1, "e", INT32))) == {0: "a", 1: "c"}


def test_a_template_may_begin_empty_below(plant: Any) -> None:
    origin = Origin(plant)
    assert origin.says(template(1)) == {}
    assert origin.says(template(2, (0, "a", INT32))) == {0: "a"}


def test_names_may_be_exchanged_below(plant: Any) -> None:
    origin = Origin(plant)
    origin.says(template(1, (0, "a", INT32), (1, "b", TEXT)))
    assert origin.says(template(2, (0, "b", INT32), (1, "a", TEXT))) == {0: "b", 1: "a"}
    assert plant.catalog.template("t").measurement("b").type == INT32


def test_rollup_tables_of_a_child_follow(tiers: Tiers) -> None:
    edge = tiers.edge.engine
    edge.create_rollup("meters", "1h", 3600 * 10**9)
    tiers.write(rows=1)
    tiers.run()
    edge.alter_template("meters", rename={"voltage": "u"}, widen={"voltage": INT64})
    tiers.run()
    above = tiers.group.engine.catalog.template("meters_1h")
    assert above.measurement("voltage_max") is None
    assert above.measurement("u_max").type == INT64  # type: ignore[union-attr]
    (state,) = [s for s in tiers.plant.federation._follower.origins if s.key.name == "edge"]
    names = [m.name for m in state.maps.known_table("meters_1h").measurements.values()]
    assert "u_max" in names
    assert "voltage_max" not in names


def test_a_map_of_the_first_format_has_no_revision() -> None:
    table = TableMap.from_plain(["t", "t", 60, [[0, 0, int(INT32), "a"]]])
    assert table.revision == 0
    assert TableMap.from_plain(table.to_plain()) == table
