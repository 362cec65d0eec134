"""Databases, templates, devices and tags, as a state machine over its records."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mainstem_engine.catalog.catalog import Catalog, encode_snapshot
from mainstem_engine.catalog.databases import Database, checked_database
from mainstem_engine.catalog.revisions import extended_template
from mainstem_engine.catalog.tag_values import checked_tags
from mainstem_engine.catalog.templates import (
    Table,
    checked_template,
    template_from_map,
    template_to_map,
)
from mainstem_engine.catalog.vector import Vector
from mainstem_engine.errors import NotFoundError, SchemaError
from mainstem_engine.model import NO_DEVICE, ColumnType, Measurement, Tag, Template

DOUBLE = ColumnType.DOUBLE


def template(name: str = "t", *measurements: str, tags: tuple[Tag, ...] = ()) -> Template:
    names = measurements or ("x", "y")
    return Template(name, tuple(Measurement(9, n, DOUBLE) for n in names), tags)


def define(catalog: Catalog, wanted: Template, *, foreign: bool = False) -> dict[str, Any]:
    header = catalog.schema_record("template", foreign=foreign, **template_to_map(wanted))
    catalog.apply_schema(header)
    return header


def add_devices(
    catalog: Catalog, family: str, paths: list[str], *, foreign: bool = False, **tags: list[Any]
) -> dict[str, Any]:
    for database in catalog.missing_databases(paths):
        catalog.apply_schema(catalog.schema_record("database", **database.to_map()))
    header = catalog.device_record(family, paths, tags, foreign).to_header()
    catalog.apply_devices(header)
    return header


def test_ids_are_given_in_order_and_names_ignore_case() -> None:
    checked = checked_template(template("T", "B", "a"))
    assert [(m.id, m.name) for m in checked.measurements] == [(0, "B"), (1, "a")]
    table = Table(checked, foreign=False)
    assert table.measurement("b") is checked.measurements[0]
    assert table.measurement("zz") is None
    assert table.measurement_by_id(1) is checked.measurements[1]


@pytest.mark.parametrize(
    "wrong",
    [
        Template("", (Measurement(0, "x", DOUBLE),)),
        Template("a/b", (Measurement(0, "x", DOUBLE),)),
        Template("t", (Measurement(0, "x", DOUBLE), Measurement(1, "X", DOUBLE))),
        Template("t", (Measurement(0, "x", DOUBLE),), (Tag("X"),)),
        Template("t", (Measurement(0, "device", DOUBLE),)),
        Template("t", (Measurement(0, "ts", DOUBLE),), time_name="TS"),
        Template("t", (Measurement(0, "x", ColumnType.UNKNOWN),)),
        Template("t", tuple(Measurement(0, f"m{i}", DOUBLE) for i in range(5000))),
        Template("t_1m", (Measurement(0, "x", DOUBLE),), rollup_of="t"),
    ],
)
def test_templates_that_cannot_be_used_are_refused(wrong: Template) -> None:
    with pytest.raises(SchemaError):
        checked_template(wrong)


def test_adding_measurements_keeps_ids_and_makes_a_revision() -> None:
    old = checked_template(template("t", "x", "y", tags=(Tag("line"),)))
    new = extended_template(old, [Measurement(0, "Y", DOUBLE), Measurement(0, "z", DOUBLE)])
    assert [(m.id, m.name) for m in new.measurements] == [(0, "x"), (1, "y"), (2, "z")]
    assert new.revision == 2
    assert extended_template(new, [Measurement(0, "z", DOUBLE)]) is new
    for wrong in ("line", "time"):
        with pytest.raises(SchemaError):
            extended_template(old, [Measurement(0, wrong, DOUBLE)])
    with pytest.raises(SchemaError, match="DOUBLE"):
        extended_template(old, [Measurement(0, "x", ColumnType.TEXT)])
    with pytest.raises(SchemaError, match="more than"):
        extended_template(old, [Measurement(0, f"m{i}", DOUBLE) for i in range(5000)])


def test_a_template_survives_its_map() -> None:
    wanted = Template(
        "T",
        (Measurement(3, "x", ColumnType.INT8, "GORILLA", "ZSTD", "degC"),),
        (Tag("n", ColumnType.INT64),),
        revision=7,
        time_name="ts",
        rollup_of="S",
        every_ns=60,
    )
    assert template_from_map(template_to_map(wanted)) == wanted
    with pytest.raises(SchemaError):
        template_from_map({"name": "t"})


def test_an_older_revision_changes_nothing_and_own_stays_own() -> None:
    catalog = Catalog()
    define(catalog, checked_template(template()))
    newer = extended_template(catalog.template("t"), [Measurement(0, "z", DOUBLE)])
    define(catalog, newer, foreign=True)
    assert not catalog.is_foreign("T")
    define(catalog, checked_template(template()))
    assert len(catalog.template("t").measurements) == 3


def test_the_longest_prefix_decides_the_database() -> None:
    catalog = Catalog()
    for name, precision in (("root.a", "ms"), ("root.a.b", "ns")):
        database = Database(name, precision=precision)
        catalog.apply_schema(catalog.schema_record("database", **database.to_map()))
    define(catalog, checked_template(template()))
    add_devices(catalog, "t", ["root.a.x"])
    assert catalog.precision_ns("t") == 1_000_000
    add_devices(catalog, "t", ["root.a.b.x"])
    assert catalog.precision_ns("T") == 1
    assert catalog.database_of(1).name == "root.a.b"


def test_a_database_that_comes_later_takes_over_its_devices() -> None:
    catalog = Catalog()
    define(catalog, checked_template(template()))
    add_devices(catalog, "t", ["root.a.b.x"])
    assert catalog.database_of(0).name == "root.a"
    database = Database("root.a.b", precision="us")
    catalog.apply_schema(catalog.schema_record("database", **database.to_map()))
    assert catalog.database_of(0).name == "root.a.b"
    assert catalog.precision_ns("t") == 1_000


def test_a_device_outside_every_database_gets_one() -> None:
    catalog = Catalog()
    names = [d.name for d in catalog.missing_databases(["root.a.x", "root.a.y.z", "root.d1"])]
    assert names == ["root.a", "root.main"]
    define(catalog, checked_template(template()))
    add_devices(catalog, "t", ["root.d1"])
    assert catalog.database_of(0).name == "root.main"


def test_precision_before_the_first_device_is_that_of_the_path_set() -> None:
    catalog = Catalog()
    define(catalog, checked_template(template()))
    assert catalog.precision_ns("t") == 1_000_000
    database = Database("root.a", precision="us")
    catalog.apply_schema(catalog.schema_record("database", **database.to_map()))
    catalog.apply_schema(catalog.schema_record("set", name="t", path="root.a.line1"))
    assert catalog.precision_ns("t") == 1_000


@pytest.mark.parametrize(
    "settings", [{"precision": "s"}, {"duration_ns": 5}, {"keep_ns": 0}, {"name": "a/b"}]
)
def test_database_settings_are_checked(settings: dict[str, Any]) -> None:
    base: dict[str, Any] = {
        "name": "power",
        "keep_ns": None,
        "duration_ns": 10**12,
        "precision": "ms",
        "options": {},
    }
    assert checked_database(**base).name == "root.power"
    with pytest.raises(SchemaError):
        checked_database(**{**base, **settings})


def test_tags_are_kept_per_device_and_filter() -> None:
    catalog = Catalog()
    define(catalog, checked_template(template("t", tags=(Tag("line"), Tag("n", DOUBLE)))))
    add_devices(catalog, "t", ["root.a.d0"])
    add_devices(catalog, "t", ["root.a.d1", "root.a.d2"], line=["x", "y"], n=[1.0, None])
    devices = catalog.devices
    assert [devices.tags(i) for i in range(3)] == [{}, {"line": "x", "n": 1.0}, {"line": "y"}]
    assert devices.matching("T", {"LINE": "x"}).tolist() == [1]
    assert devices.matching("t", {"line": ["x", "y"], "n": None}).tolist() == [2]
    assert devices.matching("t", {"line": None}).tolist() == [0]
    assert devices.matching("t", {"unknown": "x"}).tolist() == []
    assert devices.matching("t", {"unknown": None}).tolist() == [0, 1, 2]
    codes, values = devices.tag_codes("t", "n", np.array([0, 1, 2], np.uint32))
    assert [values[code] for code in codes] == [None, 1.0, None]
    codes, values = devices.tag_codes("t", "none", np.array([0], np.uint32))
    assert [values[code] for code in codes] == [None]


def test_lookups() -> None:
    catalog = Catalog()
    define(catalog, checked_template(template("t")))
    define(catalog, checked_template(template("u")))
    add_devices(catalog, "t", ["root.a.d0"])
    add_devices(catalog, "u", ["root.a.d1"], foreign=True)
    devices = catalog.devices
    assert devices.lookup(["root.a.d1", "root.a.D1"]).tolist() == [1, NO_DEVICE]
    assert devices.is_foreign(1)
    assert not devices.is_foreign(0)
    assert devices.of_family("nothing").tolist() == []
    assert devices.all_in_family(np.array([0], np.uint32), "T")
    assert devices.all_in_family(np.empty(0, np.uint32), "T")
    assert not devices.all_in_family(np.array([0, 1], np.uint32), "t")
    assert not devices.all_in_family(np.array([7], np.uint32), "t")
    assert not devices.all_in_family(np.array([0], np.uint32), "nothing")
    assert catalog.table_of_device("root.a.nothing") is None
    found = catalog.table_of_device("root.a.d1")
    assert found is not None
    assert (found[0].name, found[1]) == ("u", 1)


def test_families_of_rollups_without_their_source() -> None:
    catalog = Catalog()
    rollup = Template("T_1m", (Measurement(0, "x_count", DOUBLE),), rollup_of="T", every_ns=60)
    define(catalog, checked_template(rollup), foreign=True)
    assert catalog.family("t_1m") == "T"
    assert catalog.family("T") == "T"
    add_devices(catalog, "T", ["root.a.d"])
    assert catalog.table_of_device("root.a.d") is None
    with pytest.raises(NotFoundError):
        catalog.family("U")
    with pytest.raises(NotFoundError, match="SHOW TEMPLATES"):
        catalog.table("T")


def test_tag_values_are_checked() -> None:
    table = Table(
        checked_template(
            template(
                "t",
                tags=(
                    Tag("s"),
                    Tag("i", ColumnType.INT32),
                    Tag("f", DOUBLE),
                    Tag("b", ColumnType.BOOLEAN),
                    Tag("blob", ColumnType.BLOB),
                ),
            )
        ),
        foreign=False,
    )
    good: dict[str, list[Any]] = {
        "S": ["x"],
        "i": [np.int32(3)],
        "f": [2],
        "b": [True],
        "blob": [b"x"],
    }
    assert checked_tags(table, good, 1) == {
        "s": ["x"],
        "i": [3],
        "f": [2.0],
        "b": [True],
        "blob": [b"x"],
    }
    assert checked_tags(None, {"any": [None]}, 1) == {"any": [None]}
    for bad in ({"s": [1]}, {"i": ["x"]}, {"i": [True]}, {"s": "x"}, {"s": ["x", "y"]}):
        with pytest.raises(SchemaError):
            checked_tags(table, bad, 1)
    with pytest.raises(NotFoundError, match="it has s, i"):
        checked_tags(table, {"zz": ["x"]}, 1)


def test_replay_and_snapshot_give_the_same_catalog() -> None:
    catalog = Catalog()
    records = [define(catalog, checked_template(template("t", tags=(Tag("line"),))))]
    headers = [add_devices(catalog, "t", ["root.a.d0", "root.b.d1"], line=["x", None])]
    catalog.apply_schema(catalog.schema_record("set", name="t", path="root.a"))
    catalog.apply_schema({"op": "of a later version"})
    headers.append(add_devices(catalog, "t", ["root.a.d2"], foreign=True, line=["z"]))
    data = encode_snapshot(catalog.snapshot())
    restored = Catalog.restore(data)
    for _ in range(2):
        assert encode_snapshot(restored.snapshot()) == data
        assert restored.devices.tags(2) == {"line": "z"}
        assert restored.devices.id_of("root.b.d1") == 1
        assert restored.database_of(1).name == "root.b"
        assert restored.devices.family_databases("t") == catalog.devices.family_databases("t")
        for record in records:
            restored.apply_schema(record)
        for header in headers:
            restored.apply_devices(header)
    header = add_devices(restored, "t", ["root.a.d3"], line=["x"])
    assert header["first"] == 3
    assert restored.devices.matching("t", {"line": "x"}).tolist() == [0, 3]


def test_a_lost_record_of_devices_moves_no_other() -> None:
    catalog = Catalog()
    define(catalog, checked_template(template("t", tags=(Tag("line"),))))
    add_devices(catalog, "t", ["root.a.d0"], line=["x"])
    header = {"t": "t", "ids": [3, 4], "paths": ["root.a.d3", "root.a.d4"], "foreign": False}
    catalog.apply_devices({**header, "tags": {"line": ["y", None]}})
    catalog.apply_devices({**header, "tags": {"line": ["y", None]}})
    devices = catalog.devices
    assert [devices.path(i) for i in range(5)] == [
        "root.a.d0",
        "root.lost.d1",
        "root.lost.d2",
        "root.a.d3",
        "root.a.d4",
    ]
    assert devices.of_family("t").tolist() == [0, 3, 4]
    assert devices.tags(3) == {"line": "y"}
    assert devices.tags(1) == devices.tags(4) == {}
    assert add_devices(catalog, "t", ["root.a.d5"], line=["z"])["first"] == 5


def test_databases_of_many_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainstem_engine.catalog.databases.PARENTS_MAX", 2)
    catalog = Catalog()
    define(catalog, checked_template(template()))
    paths = [f"root.p{i % 5}.d{i}" for i in range(20)]
    add_devices(catalog, "t", paths)
    for device, path in enumerate(paths):
        assert catalog.database_of(device).name == path.rpartition(".")[0]


def test_a_vector_keeps_what_was_seen() -> None:
    vector = Vector(np.uint32)
    vector.append(7)
    seen = vector.view()
    vector.extend(range(100))
    vector.extend(np.arange(3, dtype=np.uint32))
    assert seen.tolist() == [7]
    assert len(vector) == 104
    assert vector[103] == 2
    for index in (-1, 104):
        with pytest.raises(IndexError):
            vector[index]


def test_a_quoted_element_is_one_element() -> None:
    catalog = Catalog()
    define(catalog, checked_template(template()))
    add_devices(catalog, "t", ["root.`x.y`", "root.`a.b`.`c.d`"])
    assert [catalog.database_of(i).name for i in range(2)] == ["root.main", "root.`a.b`"]


def test_databases_of_a_list_are_those_of_each_path() -> None:
    catalog = Catalog()
    for name in ("root.a", "root.a.b", "root.a.c.d", "root.main", "root.`x.y`"):
        catalog.apply_schema(catalog.schema_record("database", **Database(name).to_map()))
    elements = ["a", "b", "c", "d", "`x.y`", "`b`", "main"]
    paths = [f"root.{x}" for x in elements]
    paths += [f"root.{x}.{y}" for x in elements for y in elements]
    paths += [f"root.{x}.{y}.{z}" for x in elements for y in elements for z in elements]
    for some in (paths, paths[::-1], sorted(paths, key=len)):
        expected = [catalog.databases.index_of_path(path) for path in some]
        assert catalog.databases.indexes_of_paths(some) == expected
        assert None in expected
