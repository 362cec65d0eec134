"""As test_engine_format_2.py, of the format with log segments and catalog bases of version 2 and
DECIMAL blocks: a directory that the engine wrote must open for ever.

``fixtures/engine-3`` was written by ``write_fixture``, ``engine-3.json`` holds what the engine that
wrote it showed: two vnodes, a base of the catalog with tag values that come twice, columns of few
decimals with and without exceptions, integers that fit fewer bytes, odd floats, a compaction,
deletes of rows and of one measurement, a rollup, and records above the checkpoint of each kind.

    python -m tests.engine.test_engine_format_3    makes it anew: only for a new version
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mainstem_engine import (
    ColumnType,
    Engine,
    EngineOptions,
    Measurement,
    RollupDefinition,
    Rollups,
    Tag,
    Template,
    check_directory,
)
from mainstem_engine.encoding.interface import EncodingNumber
from mainstem_engine.part.reader import Part
from mainstem_engine.testing.clock import FakeClock

FIXTURES = Path(__file__).parent / "fixtures"
MINUTE_NS = 60_000_000_000
T0 = 20_000 * 86_400_000
ROWS = 1500
TEMPLATE = Template(
    "Pump",
    (
        Measurement(0, "flow", ColumnType.DOUBLE, unit="l/s"),
        Measurement(0, "heat", ColumnType.FLOAT),
        Measurement(0, "turns", ColumnType.INT64),
        Measurement(0, "odd", ColumnType.DOUBLE),
        Measurement(0, "state", ColumnType.TEXT),
    ),
    (Tag("line"), Tag("n", ColumnType.INT64)),
)
LOG_VERSION = slice(8, 10)
BASE_VERSION = slice(8, 12)


def columns(seed: int) -> dict[str, Any]:
    """Few decimals, the same with odd values among them, small integers, any bits."""
    rng = np.random.default_rng(seed)
    flow = np.round(20 + rng.normal(size=ROWS).cumsum() * 0.1, 2)
    heat = np.round(rng.normal(60, 9, ROWS), 1).astype(np.float32)
    odd = np.round(rng.normal(5, 2, ROWS), 3)
    odd[7::100] = [np.nan, -0.0, np.inf, -np.inf, 5e-324, 0.1 + 0.2, 1e22, 2.0**53, -1e300, 1.5,
                   np.nan, -0.0, 1 / 3, 0.0, 7.0]  # fmt: skip
    words = np.array(["run", "stop", "idle"], object)
    return {
        "flow": flow,
        "heat": (heat, rng.random(ROWS) < 0.1),
        "turns": rng.integers(-30_000, 30_000, ROWS),
        "odd": odd,
        "state": words[rng.integers(0, 3, ROWS)],
    }


def open_engine(path: Path, durability: str = "os") -> tuple[Engine, Rollups]:
    clocks = FakeClock((T0 + 10**9) * 1_000_000), FakeClock(0)
    rollups = Rollups([RollupDefinition("Pump", MINUTE_NS, "1m")])
    options = EngineOptions(
        background=False,
        durability=durability,
        node_name="edge",
        vnodes=2,
        block_rows=500,
        clock=clocks[0],
        monotonic=clocks[1],
    )
    engine = Engine.open(path, options, consumers=[rollups])
    rollups.bind(engine)
    return engine, rollups


def write_fixture(path: Path) -> None:
    """Makes the directory anew."""
    engine, rollups = open_engine(path, "always")
    engine.create_database("root.plant")
    engine.create_template(TEMPLATE)
    engine.set_template("pump", "root.plant")
    paths = [f"root.plant.p{number}" for number in range(5)]
    tags: dict[str, list[Any]] = {"line": ["a", "b", "a", None, "ä"], "n": [1, 2, None, 2, -5]}
    engine.device_ids("pump", paths, tags, create=True)
    engine._store.catalog_files.merge_next = True
    times = T0 + np.arange(ROWS) * 100
    for seed, device in enumerate(paths[:4]):
        engine.write("pump", device, times, columns(seed)).wait()
    engine.flush()
    # Late rows, over what is there, of one column.
    engine.write("pump", paths[0], times[100:110], {"flow": np.arange(10) / 8}).wait()
    engine.write("pump", paths[1], times + ROWS * 100, columns(9)).wait()
    rollups.run((T0 + 10**8) * 1_000_000)
    engine.flush()
    engine.compact()
    engine.delete("pump", devices=paths[2], start=T0 + 1000, end=T0 + 9000).ack.wait()
    engine.delete("pump", devices=paths[3], start=T0, end=T0 + 500, measurements=["odd"]).ack.wait()
    engine.alter_template("pump", add=[Measurement(0, "later", ColumnType.INT32)])
    engine.alter_template("pump", rename={"heat": "warmth"}, widen={"heat": ColumnType.DOUBLE})
    engine.flush()
    # Records above the checkpoint: rows, a device with tags, a definition, a delete.
    engine.device_ids("pump", ["root.plant.`p 6`"], {"line": ["a"], "n": [2]}, create=True)
    engine.write("pump", "root.plant.`p 6`", times[:20], {"later": np.arange(20)}).wait()
    engine.write("pump", paths[0], [T0 + 10], {"warmth": [0.1], "flow": [-0.0]}).wait()
    engine.alter_template("pump", add=[Measurement(0, "latest", ColumnType.FLOAT)])
    engine.delete("pump", devices=paths[1], start=T0 + 290_000).ack.wait()
    lsn = engine.applied_lsn
    kept = {**shown(engine), "lsn": lsn, "chain": engine.log.chain_at(lsn).hex()}
    path.with_suffix(".json").write_text(json.dumps(kept, indent=1) + "\n")
    engine.abandon()
    (path / "LOCK").unlink()


def shown(engine: Engine) -> dict[str, Any]:
    """What an engine says of its directory: of each column its values, hashed, NaN and -0.0 too."""
    tables: dict[str, Any] = {}
    for table in engine.catalog.templates.all():
        rows = engine.scan(table.name).read_all()
        tables[table.name] = {"rows": rows.num_rows, "columns": {
            name: hashlib.sha256(repr(rows[name].to_pylist()).encode()).hexdigest()[:16]
            for name in rows.column_names
        }}  # fmt: skip
    devices = engine.catalog.devices
    paths = devices.paths(range(len(devices)))
    return {
        "tables": tables,
        "counts": {
            name: [c.logged, c.live, c.unresolved, c.overwritten, c.deleted, c.expired]
            for name, c in sorted(engine.store_accounting().items())
        },
        "tags": {path: devices.tags(number) for number, path in enumerate(paths)},
    }


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    shutil.copytree(FIXTURES / "engine-3", tmp_path / "data")
    return tmp_path / "data"


def test_what_is_kept_is_of_this_format() -> None:
    """Else the tests below would say nothing."""
    directory = FIXTURES / "engine-3"
    logs = [path.read_bytes()[LOG_VERSION] for path in (directory / "log").iterdir()]
    assert set(logs) == {b"\2\0"}
    bases = [path.read_bytes()[BASE_VERSION] for path in (directory / "catalog").iterdir()]
    assert set(bases) == {b"\2\0\0\0"}


def test_it_has_decimals_with_and_without_exceptions(kept: Path) -> None:
    engine, _ = open_engine(kept)
    found = set()
    for part in engine._store.inventory.of_table("Pump"):
        assert isinstance(part, Part)
        for number in range(len(part.blocks.rows)):
            for key, blocks in part.encoded_block(number)[1].items():
                if int(blocks.index.encoding[0]) == EncodingNumber.DECIMAL:
                    found.add(key)
    engine.abandon()
    names = {m.id: m.name for m in engine.catalog.template("pump").measurements}
    assert {names[key] for key in found if key in names} >= {"flow", "warmth", "turns", "odd"}


def test_a_directory_of_this_format(kept: Path) -> None:
    expected = json.loads((FIXTURES / "engine-3.json").read_text(encoding="utf-8"))
    assert check_directory(kept).damages == ()
    for turn in range(2):
        engine, _ = open_engine(kept)
        found = json.loads(json.dumps(shown(engine)))
        assert found["tables"] == expected["tables"]
        assert found["tags"] == expected["tags"]
        if turn == 0:
            assert found["counts"] == expected["counts"]
            assert engine.log.chain_at(expected["lsn"]).hex() == expected["chain"]
        assert all(counts.balanced for counts in engine.store_accounting().values())
        engine.flush()
        engine.compact()
        assert json.loads(json.dumps(shown(engine)))["tables"] == expected["tables"]
        engine.abandon()
        assert check_directory(kept).whole


def test_what_the_directory_is_known_to_hold(kept: Path) -> None:
    engine, _ = open_engine(kept)
    times = T0 + np.arange(ROWS) * 100
    rows = engine.scan("pump", devices=["root.plant.p0"]).read_all()
    written = columns(0)
    flow = written["flow"]
    flow[100:110] = np.arange(10) / 8
    found = rows.filter(rows["time"].cast("int64").to_numpy() != T0 + 10)
    assert found["time"].cast("int64").to_pylist() == times.tolist()
    assert found["flow"].to_numpy().tobytes() == flow.tobytes()
    assert found["turns"].to_pylist() == written["turns"].tolist()
    assert found["odd"].to_numpy().tobytes() == written["odd"].tobytes()
    assert found["state"].to_pylist() == written["state"].tolist()
    values, nulls = written["heat"]
    warmth = [None if null else v for v, null in zip(values.tolist(), nulls, strict=True)]
    assert found["warmth"].to_pylist() == warmth
    deleted = engine.scan("pump", devices=["root.plant.p2"]).read_all()
    assert deleted.num_rows == ROWS - 80
    some = engine.scan("pump", devices=["root.plant.p3"]).read_all()["odd"].to_pylist()
    assert some[:6] == [*([None] * 5), columns(3)["odd"][5]]
    engine.close()


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else FIXTURES / "engine-3"
    shutil.rmtree(target, ignore_errors=True)
    write_fixture(target)
