"""A data directory as the whole engine wrote it must open for ever, and so must every older one.

``fixtures/engine-2`` was written by ``write_fixture``, and ``engine-2.json`` holds what the engine
that wrote it showed: two vnodes, a base of the catalog and devices beside it, every type, late and
overwritten rows, a compaction, deletes of rows and of one measurement, a template that was added
to, renamed and widened, a slice image of a child, a rollup, a TTL, rows that retention removed, and
records above the checkpoint of each kind.

    python tests/engine/test_engine_format_2.py    makes it anew: only for a new version
"""

from __future__ import annotations

import base64
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mainstem_engine import (
    AppliedRows,
    Column,
    ColumnType,
    Engine,
    EngineOptions,
    Measurement,
    Origin,
    RollupDefinition,
    Rollups,
    Rows,
    RowSink,
    Tag,
    Template,
    check_directory,
)
from mainstem_engine.errors import OutOfRetentionError
from mainstem_engine.images import SliceImage, decode_image, encode_image
from mainstem_engine.log.records import Record, RecordKind
from mainstem_engine.testing.clock import FakeClock

FIXTURES = Path(__file__).parent / "fixtures"
DAY = 86_400_000
DAY_NS = DAY * 1_000_000
MINUTE_NS = 60_000_000_000
T0 = 20_000 * DAY
AGED = 40
"""Days that pass while the directory is written; rows are kept for thirty."""
CHILD = Origin("c" * 32, "press", 3)
TYPES = [kind for kind in ColumnType if kind != ColumnType.UNKNOWN]
TEMPLATE = Template(
    "Press",
    tuple(Measurement(0, kind.name.lower(), kind, unit="u") for kind in TYPES),
    (Tag("line"), Tag("n", ColumnType.INT64)),
)


class Child:
    """Applies images that came from a child, from the bytes of their records."""

    name = "child"
    kinds = frozenset({RecordKind.RCV})

    def apply(self, record: Record, decoded: Any, sink: RowSink) -> None:
        sink.replace_slice(decode_image(record.payload))

    def rows_applied(self, batch: AppliedRows) -> None:
        pass

    def snapshot(self) -> bytes:
        return b"child"

    def restore(self, data: bytes) -> None:
        assert data == b"child"


def open_engine(path: Path, days: int = AGED) -> tuple[Engine, Rollups, list[FakeClock]]:
    clocks = [FakeClock(T0 * 1_000_000 + days * DAY_NS), FakeClock(days * DAY_NS)]
    rollups = Rollups([RollupDefinition("Press", MINUTE_NS, "1m")])
    options = EngineOptions(
        background=False,
        durability="os",
        node_name="edge",
        vnodes=2,
        block_rows=1000,
        clock=clocks[0],
        monotonic=clocks[1],
    )
    engine = Engine.open(path, options, consumers=[rollups, Child()])
    rollups.bind(engine)
    return engine, rollups, clocks


def values(number: int) -> dict[str, Any]:
    """One value of every type."""
    found: dict[str, Any] = {kind.name.lower(): [number] for kind in TYPES}
    return {**found, "boolean": [number % 2], "text": [f"é{number}"], "blob": [bytes([number])]}


def write_fixture(path: Path) -> None:
    """Makes the directory anew."""
    engine, rollups, clocks = open_engine(path, 0)
    engine.create_database("root.plant", keep_ns=30 * DAY_NS, duration_ns=DAY_NS)
    engine.create_template(TEMPLATE)
    engine.set_template("press", "root.plant")
    paths = [f"root.plant.d{i}" for i in range(4)]
    tags: dict[str, list[Any]] = {"line": ["a", "b", "a", None], "n": [1, 2, None, 4]}
    engine.device_ids("press", paths, tags, create=True)
    old = T0 - 5 * DAY
    engine.write("press", "root.plant.d0", [old], values(1)).wait()
    engine.flush()
    for clock in clocks:
        clock.advance(AGED * DAY_NS)
    now = T0 + AGED * DAY
    rollups.run(now * 1_000_000)  # what a rollup still needs is held
    engine.flush()
    assert engine.expire().rows == 1
    numbers = np.arange(1500)
    for path_, factor in (("root.plant.d1", 1.0), ("root.plant.d2", 0.5)):
        columns = {"double": numbers * factor, "int32": numbers % 100, "text": ["run"] * 1500}
        engine.write("press", path_, now + numbers, columns).wait()
    engine._store.catalog_files.merge_next = True
    engine.flush()
    engine.write("press", "root.plant.d0", [now], values(2)).wait()
    engine.write("press", "root.plant.d0", [now], {"int64": [77]}).wait()
    rollups.run(now * 1_000_000 + 2 * MINUTE_NS)
    engine.flush()
    engine.compact()
    device = engine.device_ids("press", ["root.plant.child"], {"line": ["c"]}, create=True)
    image = SliceImage(
        "Press", CHILD, now * 1_000_000, now * 1_000_000 + MINUTE_NS, 9,
        Rows(np.repeat(device, 3), (now + np.arange(3)) * 1_000_000,
             {10: Column(np.arange(3, dtype=np.float64))}),
        np.array([4, 5, 9], np.uint64),
    )  # fmt: skip
    header, buffers = encode_image(image, {m.id: m.type for m in measurements_of(engine)})
    engine.append(RecordKind.RCV, header, buffers).wait()
    engine.alter_template("press", add=[Measurement(0, "later", ColumnType.INT8)])
    engine.alter_template("press", rename={"int32": "speed"}, widen={"int32": ColumnType.INT64})
    engine.set_ttl("root.plant.d3", 10 * DAY_NS)
    engine.delete("press", devices="root.plant.d1", start=now + 10, end=now + 20).ack.wait()
    engine.delete(
        "press", devices="root.plant.d2", start=now, end=now + 5, measurements=["text"]
    ).ack.wait()
    engine.flush()
    # Records above the checkpoint: rows, a device, a definition, a delete, a rule.
    written = {name: cells for name, cells in values(3).items() if name != "int32"}
    engine.write("press", "root.plant.`d 5`", [now], {**written, "speed": [3], "later": [5]}).wait()
    engine.alter_template("press", add=[Measurement(0, "latest", ColumnType.FLOAT)])
    engine.delete("press", devices="root.plant.d1", start=now + 1400).ack.wait()
    engine.write("press", "root.plant.d1", [now + 1450], {"latest": [0.5]}).wait()
    engine.set_keep("press", 20 * DAY_NS)
    path.with_suffix(".json").write_text(json.dumps(shown(engine), indent=1) + "\n")
    engine.abandon()
    (path / "LOCK").unlink()


def measurements_of(engine: Engine) -> tuple[Measurement, ...]:
    return engine.catalog.template("press").measurements


def shown(engine: Engine) -> dict[str, Any]:
    """What an engine says of its directory, as JSON has it."""
    tables = [table.name for table in engine.catalog.templates.all()]
    return {
        "tables": {name: rows_of(engine, name) for name in tables},
        "counts": {
            name: [c.logged, c.live, c.unresolved, c.overwritten, c.deleted, c.expired]
            for name, c in sorted(engine.store_accounting().items())
        },
        "measurements": [[m.id, m.name, m.type.name] for m in measurements_of(engine)],
        "tags": {path: engine.catalog.devices.tags(i) for i, path in enumerate(paths_of(engine))},
        "horizon": engine.horizon_ns("press"),
        "last": plain(engine.last("press").to_pylist()),
        "origins": [[o.node_uuid, o.node, o.epoch] for o in engine.origins],
    }


def paths_of(engine: Engine) -> list[str]:
    devices = engine.catalog.devices
    return devices.paths(range(len(devices)))


def rows_of(engine: Engine, table: str) -> Any:
    """Few rows as they are; of many their number, sums, and the first and last."""
    found = engine.scan(table).read_all()
    place = found.schema.get_field_index("time")
    found = found.set_column(place, "time", found["time"].cast("int64"))
    rows = found.drop_columns([n for n in ("line", "n") if n in found.column_names]).to_pylist()
    per_device: dict[str, Any] = {}
    for row in rows:
        device = per_device.setdefault(row["device"], {"rows": 0, "values": 0, "sum": 0.0})
        device["rows"] += 1
        device["values"] += sum(value is not None for value in row.values())
        device["sum"] += row.get("double") or 0.0
    few = [row for row in rows if per_device[row["device"]]["rows"] <= 20]
    return {"devices": per_device, "rows": plain(few)}


def plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    shutil.copytree(FIXTURES / "engine-2", tmp_path / "data")
    return tmp_path / "data"


def test_a_directory_of_the_whole_engine(kept: Path) -> None:
    expected = json.loads((FIXTURES / "engine-2.json").read_text(encoding="utf-8"))
    report = check_directory(kept)
    assert report.damages == ()
    for _ in range(2):
        engine, _, _ = open_engine(kept)
        found = json.loads(json.dumps(shown(engine)))
        assert found == expected
        assert all(counts.balanced for counts in engine.store_accounting().values())
        engine.flush()
        engine.compact()
        assert json.loads(json.dumps(shown(engine)))["tables"] == expected["tables"]
        engine.abandon()
        assert check_directory(kept).whole
        expected["counts"] = json.loads(json.dumps(shown_counts(kept)))


def shown_counts(path: Path) -> Any:
    """Late rows are resolved by a flush: the counts after one are others, and balanced."""
    engine, _, _ = open_engine(path)
    try:
        return shown(engine)["counts"]
    finally:
        engine.abandon()


def test_what_the_directory_is_known_to_hold(kept: Path) -> None:
    engine, _, _ = open_engine(kept)
    now = T0 + AGED * DAY
    table = engine.scan("press", devices=["root.plant.d1"]).read_all()
    times = table["time"].cast("int64").to_pylist()
    assert times == [now + n for n in (*range(10), *range(20, 1400), 1450)]
    assert table["speed"].to_pylist()[:3] == [0, 1, 2]
    texts = engine.scan("press", devices=["root.plant.d2"]).read_all()["text"].to_pylist()
    assert texts == [None] * 5 + ["run"] * 1495
    child = engine.scan("press", devices=["root.plant.child"]).read_all()
    assert child["double"].to_pylist() == [0.0, 1.0, 2.0]
    rollup = engine.scan("press_1m", devices=["root.plant.d0"]).read_all()
    assert rollup["int64_count"].to_pylist() == [1, 1], "a rollup outlives its rows"
    assert engine.store_accounting()["Press"].expired == 1
    with pytest.raises(OutOfRetentionError):
        engine.write("press", "root.plant.d0", [T0], {"int64": [1]})
    engine.close()


@pytest.mark.parametrize("name", sorted(p.name for p in FIXTURES.glob("engine-*") if p.is_dir()))
def test_every_kept_directory_is_whole(tmp_path: Path, name: str) -> None:
    shutil.copytree(FIXTURES / name, tmp_path / "data")
    assert check_directory(tmp_path / "data").damages == ()


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else FIXTURES / "engine-2"
    shutil.rmtree(target, ignore_errors=True)
    write_fixture(target)
