"""A whole data directory of format 1, as an engine wrote it, must open for ever.

``fixtures/engine-1`` was written by ``write_fixture``: a checkpoint, parts, and records above them.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from mainstem_engine import (
    ColumnType,
    Engine,
    EngineOptions,
    Measurement,
    RollupDefinition,
    Rollups,
    StoreCounts,
    Tag,
    Template,
)
from mainstem_engine.testing.clock import FakeClock

FIXTURE = Path(__file__).parent / "fixtures" / "engine-1"
MINUTE = 60_000_000_000
TYPES = [kind for kind in ColumnType if kind != ColumnType.UNKNOWN]
TEMPLATE = Template(
    "Meters",
    tuple(Measurement(0, kind.name.lower(), kind, unit="u") for kind in TYPES),
    (Tag("line"), Tag("n", ColumnType.INT64)),
    time_name="ts",
)
DIGEST = [
    (0, 3, 7287321517851456172, 9742883382664570066),
    (MINUTE, 1, 1272317585255005428, 780663862980983984),
]


def values(number: int) -> dict[str, Any]:
    found: dict[str, Any] = {kind.name.lower(): [number] for kind in TYPES}
    return {**found, "boolean": [number % 2], "text": [f"é{number}"], "blob": [bytes([number])]}


def open_engine(path: Path) -> tuple[Engine, Rollups]:
    rollups = Rollups([RollupDefinition("Meters", MINUTE, "1m")])
    # The rows are of 1970, and kept for thirty years.
    clock = FakeClock(10**17)
    options = EngineOptions(background=False, node_name="edge", clock=clock)
    engine = Engine.open(path, options, consumers=[rollups])
    rollups.bind(engine)
    return engine, rollups


def write_fixture(path: Path) -> None:
    """Makes the directory anew. Only for a new version of the format."""
    engine, rollups = open_engine(path)
    engine.create_database("power", keep_ns=10**18, precision="us", colour="red")
    engine.create_template(TEMPLATE)
    engine.set_template("meters", "root.power")
    engine.device_ids("meters", ["root.power.d1"], {"line": ["x"], "n": [7]}, create=True)
    engine.write("meters", "root.power.d1", [1, 2], {"int64": [None, 2]}).wait()
    engine.write("meters", "root.power.d1", [1], values(1)).wait()
    rollups.run(MINUTE)
    engine.flush()
    engine.write("meters", "root.power.`d 2`", [3], values(3)).wait()
    engine.extend_template("meters", [Measurement(0, "later", ColumnType.INT8)])
    engine.write("meters", "root.power.d1", [60_000_001], {"later": [5]}).wait()
    engine.abandon()
    (path / "LOCK").unlink()


def test_a_directory_of_format_1(tmp_path: Path) -> None:
    shutil.copytree(FIXTURE, tmp_path / "data")
    engine, rollups = open_engine(tmp_path / "data")
    try:
        check(engine, rollups)
    finally:
        engine.close()
    engine, rollups = open_engine(tmp_path / "data")
    check(engine, rollups)
    engine.close()


def check(engine: Engine, rollups: Rollups) -> None:
    (database,) = engine.databases
    assert (database.name, database.keep_ns, database.precision) == ("root.power", 10**18, "us")
    assert database.options == {"colour": "red"}
    table = engine.catalog.table("METERS")
    assert [m.name for m in table.template.measurements] == [
        *(kind.name.lower() for kind in TYPES),
        "later",
    ]
    assert (table.template.revision, table.set_paths) == (2, ("root.power",))
    assert engine.catalog.devices.tags(0) == {"line": "x", "n": 7}
    rows = {
        (row.pop("device"), row.pop("time")): row
        for row in engine.scan("meters").read_all().to_pylist()
    }
    first = {name: cells[0] for name, cells in values(1).items()}
    second = {name: cells[0] for name, cells in values(3).items()}
    nothing = {**dict.fromkeys(first), "line": "x", "n": 7, "later": None}
    assert rows == {
        ("root.power.d1", 1): {**nothing, **first},
        ("root.power.d1", 2): {**nothing, "int64": 2},
        ("root.power.d1", 60_000_001): {**nothing, "later": 5},
        ("root.power.d 2", 3): {**nothing, "line": None, "n": None, **second},
    }
    counts = engine.store_accounting()
    assert counts["Meters"] == StoreCounts(logged=5, live=4, overwritten=1)
    assert counts["Meters_1m"] == StoreCounts(logged=1, live=1)
    assert engine.scan("meters_1m").read_all()["int64_sum"].to_pylist() == [3.0]
    assert rollups.pending() == 2
    found = engine.slice_digests("meters", 0, 0, 10**18, MINUTE)
    columns = (found.start, found.count, found.d1, found.d2)
    assert list(zip(*(c.tolist() for c in columns), strict=True)) == DIGEST
