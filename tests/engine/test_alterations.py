"""Altering templates and databases over any history."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.engine.conftest import OpenEngine

from mainstem_engine import (
    Column,
    ColumnType,
    Engine,
    EngineOptions,
    Measurement,
    Rollups,
    Rows,
    Template,
)
from mainstem_engine.errors import NotFoundError, SchemaError
from mainstem_engine.rollup import RollupDefinition
from mainstem_engine.slices import canonical_bits

PATH = "root.a.d1"
NIGHTLY = bool(os.environ.get("MAINSTEM_NIGHTLY"))
MS = 1_000_000
DOUBLE = ColumnType.DOUBLE
SIGNALLING = np.array([0x7F800001], np.uint32).view(np.float32)
SECOND_NS = 1_000_000_000


def make(engine: Engine, **types: ColumnType) -> None:
    engine.create_template(
        Template("t", tuple(Measurement(0, name, kind) for name, kind in types.items()))
    )


def column(engine: Engine, name: str) -> list[Any]:
    values: list[Any] = engine.scan("t", columns=[name]).read_all()[name].to_pylist()
    return values


def test_old_rows_answer_by_the_new_name_and_type(open_engine: OpenEngine) -> None:
    engine = open_engine()
    make(engine, a=ColumnType.INT16, f=ColumnType.FLOAT)
    engine.write("t", PATH, [1], {"a": [-5], "f": SIGNALLING})
    engine.flush()
    engine.write("t", PATH, [2], {"a": [6], "f": [0.1]}).wait()
    before = engine.slice_digests("t", 0, 0, 10**9, MS)
    engine.alter_template("t", rename={"a": "b"}, widen={"a": ColumnType.INT64, "f": DOUBLE})
    engine.alter_template("t", add=[Measurement(0, "a", ColumnType.TEXT)])
    after = engine.slice_digests("t", 0, 0, 10**9, MS)
    assert (before.d1.tolist(), before.d2.tolist()) == (after.d1.tolist(), after.d2.tolist())
    engine.write("t", PATH, [3], {"a": ["new"], "b": [2**40], "f": [0.1]}).wait()
    for moved in (False, True):
        if moved:
            engine.flush()
            engine.compact()
        assert column(engine, "b") == [-5, 6, 2**40]
        assert column(engine, "a") == [None, None, "new"]
        bits = engine.scan_rows("t").columns[1].values.view(np.uint64).tolist()
        assert bits[0] == 0x7FF0000020000000
        assert column(engine, "f")[1] == float(np.float32(0.1))
        (last,) = engine.last_rows("t", PATH)
        assert last == {"time": 3, "device": PATH, "b": 2**40, "f": 0.1, "a": "new"}


def test_newest_values_are_known_across_a_change(open_engine: OpenEngine) -> None:
    engine = open_engine()
    make(engine, a=ColumnType.INT8, f=ColumnType.FLOAT)
    engine.write("t", PATH, [1], {"a": [1], "f": SIGNALLING})
    engine.flush()
    assert engine.last_rows("t")[0]["a"] == 1
    engine.alter_template("t", widen={"a": ColumnType.INT32, "f": DOUBLE})
    engine.write("t", "root.a.d2", [5], {"a": [70_000]}).wait()
    table = engine.last("t")
    assert table["a"].to_pylist() == [1, 70_000]
    bits = table["f"].combine_chunks().to_numpy(zero_copy_only=False).view(np.uint64)
    assert bits[0] == 0x7FF0000020000000
    engine.flush()
    assert engine.last("t")["a"].to_pylist() == [1, 70_000]


def test_a_change_survives_a_restart_with_rows_on_both_sides(open_engine: OpenEngine) -> None:
    engine = open_engine()
    make(engine, a=ColumnType.UINT32)
    engine.write("t", PATH, [1], {"a": [2**32 - 1]}).wait()
    engine.alter_template("t", widen={"a": ColumnType.INT64}, rename={"a": "b"})
    engine.write("t", PATH, [2], {"b": [-1]}).wait()
    engine.abandon()
    engine = open_engine()
    assert column(engine, "b") == [2**32 - 1, -1]
    assert engine.catalog.template("t").revision == 2


def test_rows_typed_before_a_change_are_stored_after_it(open_engine: OpenEngine) -> None:
    engine = open_engine()
    make(engine, a=ColumnType.INT8)
    (device,) = engine.device_ids("t", [PATH], create=True)
    table = engine.catalog.table("t")
    engine.alter_template("t", widen={"a": ColumnType.INT64})
    rows = Rows(np.array([device], np.uint32), np.array([1]), {0: Column(np.array([7], np.int8))})
    engine.write_rows(table, rows).wait()
    engine.abandon()
    assert column(open_engine(), "a") == [7]


def test_rollups_follow_their_source(open_engine: OpenEngine) -> None:
    rollups = Rollups([RollupDefinition("t", SECOND_NS, "1s")])
    engine = open_engine(consumers=[rollups])
    rollups.bind(engine)
    make(engine, a=ColumnType.INT8, b=ColumnType.FLOAT)
    engine.write("t", PATH, [1, 2], {"a": [1, 2], "b": [0.5, 0.5]}).wait()
    rollups.run(SECOND_NS)
    old_ids = {m.name: m.id for m in engine.catalog.template("t_1s").measurements}
    engine.alter_template(
        "t",
        rename={"a": "b", "b": "a"},
        widen={"a": ColumnType.INT64},
        add=[Measurement(0, "c", DOUBLE, unit="V")],
    )
    rollup = engine.catalog.template("t_1s")
    assert rollup.measurement("b_max").id == old_ids["a_max"]  # type: ignore[union-attr]
    assert rollup.measurement("b_max").type == ColumnType.INT64  # type: ignore[union-attr]
    assert rollup.measurement("a_sum").id == old_ids["b_sum"]  # type: ignore[union-attr]
    assert rollup.measurement("c_min").unit == "V"  # type: ignore[union-attr]
    engine.write("t", PATH, [1001], {"b": [2**40], "c": [1.0]}).wait()
    rollups.run(2 * SECOND_NS)
    engine.abandon()
    engine = open_engine(consumers=[Rollups([RollupDefinition("t", SECOND_NS, "1s")])])
    got = engine.scan("t_1s", columns=["b_max", "a_count", "c_sum"]).read_all()
    assert got["b_max"].to_pylist() == [2, 2**40]
    assert got["a_count"].to_pylist() == [2, 0]
    assert got["c_sum"].to_pylist() == [None, 1.0]
    assert engine.create_rollup("t", "1s", SECOND_NS) == engine.catalog.template("t_1s")
    with pytest.raises(SchemaError, match="alter t: its rollups follow it"):
        engine.alter_template("t_1s", rename={"b_max": "x"})


def test_a_template_may_begin_empty(open_engine: OpenEngine) -> None:
    rollups = Rollups([RollupDefinition("t", SECOND_NS, "1s")])
    engine = open_engine(consumers=[rollups])
    make(engine)
    engine.create_rollup("t", "1s", SECOND_NS)
    engine.device_ids("t", [PATH], create=True)
    assert engine.scan("t").read_all().num_rows == 0
    assert engine.last_rows("t") == []
    engine.flush()
    engine.alter_template("t", add=[Measurement(0, "a", ColumnType.INT8)])
    assert engine.catalog.template("t_1s").measurement("a_max") is not None
    engine.write("t", PATH, [1], {"a": [5]}).wait()
    engine.abandon()
    assert column(open_engine(), "a") == [5]


def test_what_a_change_refuses_leaves_nothing_behind(open_engine: OpenEngine) -> None:
    engine = open_engine()
    make(engine, a=ColumnType.INT32, b=ColumnType.TEXT)
    lsn = engine.log.appended_lsn
    with pytest.raises(NotFoundError):
        engine.alter_template("nothing")
    with pytest.raises(SchemaError):
        engine.alter_template("t", rename={"a": "b"})
    with pytest.raises(SchemaError):
        engine.alter_template("t", widen={"b": ColumnType.BLOB})
    engine.alter_template("t", add=[Measurement(0, "a", ColumnType.INT32)])
    assert engine.log.appended_lsn == lsn


def test_settings_of_a_database(open_engine: OpenEngine) -> None:
    engine = open_engine()
    engine.create_database("root.a", keep_ns=5 * SECOND_NS, compression="ZSTD")
    engine.alter_database("a", keep_ns=None, block_rows="512")
    engine.abandon()
    engine = open_engine()
    (database,) = engine.databases
    assert database.keep_ns is None
    assert database.options == {"compression": "ZSTD", "block_rows": "512"}
    assert engine.alter_database("root.a", duration_ns=7 * SECOND_NS).duration_ns == 7 * SECOND_NS
    assert engine.alter_database("root.a") == engine.databases[0]
    with pytest.raises(SchemaError, match="precision"):
        engine.alter_database("root.a", precision="ns")
    with pytest.raises(SchemaError, match="keep must be positive"):
        engine.alter_database("root.a", keep_ns=0)
    with pytest.raises(NotFoundError):
        engine.alter_database("root.b", keep_ns=1)


NAMES = ("a", "b", "c", "d")
STARTS = {"a": ColumnType.INT8, "b": ColumnType.UINT8, "c": ColumnType.FLOAT}
PATHS = ("root.a.d1", "root.a.d2")


class Altered(RuleBasedStateMachine):
    """A template that changes under its rows. Rows by (device, time), canonical bits by id."""

    @initialize()
    def start(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.types: dict[int, ColumnType] = dict(enumerate(STARTS.values()))
        self.names: dict[int, str] = dict(enumerate(STARTS))
        self.rows: dict[tuple[str, int], dict[int, int]] = {}
        self.engine = self.open()
        make(self.engine, **STARTS)

    def open(self) -> Engine:
        options = EngineOptions(background=False, durability="os", vnodes=2)
        return Engine.open(Path(self.directory.name) / "data", options)

    @rule(draw=st.data(), path=st.sampled_from(PATHS), time=st.integers(0, 5))
    def write(self, draw: st.DataObject, path: str, time: int) -> None:
        columns = {}
        for key, kind in self.types.items():
            if draw.draw(st.booleans()):
                values = bits(draw, kind)
                columns[self.names[key]] = values
                stored = values.view(np.uint64) if kind == DOUBLE else widened(values)
                self.rows.setdefault((path, time), {})[key] = int(stored[0])
        if columns:
            self.engine.write("t", path, [time], columns).wait()

    @rule(key=st.integers(0, 7), kind=st.sampled_from(list(ColumnType)[1:12]))
    def widen(self, key: int, kind: ColumnType) -> None:
        if key not in self.types:
            return
        before = self.digests()
        if self.types[key].widens_to(kind) or kind == self.types[key]:
            self.engine.alter_template("t", widen={self.names[key]: kind})
            self.types[key] = kind
        else:
            with pytest.raises(SchemaError):
                self.engine.alter_template("t", widen={self.names[key]: kind})
        assert self.digests() == before

    @rule(key=st.integers(0, 7), name=st.sampled_from(NAMES))
    def rename(self, key: int, name: str) -> None:
        if key not in self.types:
            return
        before = self.digests()
        holder = next((k for k, n in self.names.items() if n == name), key)
        if holder == key:
            self.engine.alter_template("t", rename={self.names[key]: name})
            self.names[key] = name
        else:
            with pytest.raises(SchemaError):
                self.engine.alter_template("t", rename={self.names[key]: name})
        assert self.digests() == before

    @rule(name=st.sampled_from(NAMES), kind=st.sampled_from([ColumnType.INT16, ColumnType.FLOAT]))
    def add(self, name: str, kind: ColumnType) -> None:
        if name not in self.names.values():
            self.engine.alter_template("t", add=[Measurement(0, name, kind)])
            key = len(self.types)
            self.types[key], self.names[key] = kind, name

    @rule()
    def flush(self) -> None:
        self.engine.flush()

    @rule()
    def compact(self) -> None:
        self.engine.compact()

    @rule(clean=st.booleans())
    def reopen(self, clean: bool) -> None:
        if clean:
            self.engine.close()
        else:
            self.engine.abandon()
        self.engine = self.open()

    @invariant()
    def holds_the_rows(self) -> None:
        found: dict[tuple[str, int], dict[int, int]] = {}
        rows = self.engine.scan_rows("t")
        paths = self.engine.catalog.devices.paths(rows.device.tolist())
        for key, stored in rows.columns.items():
            assert stored.values.dtype == self.types[key].dtype
            canonical = widened(stored.values).tolist()
            for at, path in enumerate(paths):
                if stored.valid is None or stored.valid[at]:
                    found.setdefault((path, int(rows.time[at]) // MS), {})[key] = canonical[at]
        assert found == self.rows
        template = self.engine.catalog.template("t")
        assert {m.id: m.name for m in template.measurements} == self.names
        self.engine.scan("t").read_all()
        newest: dict[int, int] = {}
        for (path, _), values in sorted(self.rows.items()):
            if path == PATHS[0]:
                newest |= values
        (last,) = [r for r in self.engine.last("t").to_pylist() if r["device"] == PATHS[0]] or [{}]
        assert {k for k, n in self.names.items() if last.get(n) is not None} == set(newest)

    def digests(self) -> Any:
        found = self.engine.slice_digests("t", 0, 0, 10**9, MS)
        return found.start.tolist(), found.count.tolist(), found.d1.tolist(), found.d2.tolist()

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.engine.close()
            self.directory.cleanup()


def bits(draw: st.DataObject, kind: ColumnType) -> Any:
    """One value; of floats any bits, so that signalling NaN are among them."""
    if kind == ColumnType.FLOAT:
        raw = draw.draw(st.sampled_from([0x7F800001, 0xFFC00001, 0x80000000, 0x3DCCCCCD]))
        return np.array([raw], np.uint32).view(np.float32)
    if kind == DOUBLE:
        raw = draw.draw(
            st.sampled_from([0x7FF0000000000001, 0x8000000000000000, 0x3FB999999999999A])
        )
        return np.array([raw], np.uint64).view(np.float64)
    limits = np.iinfo(kind.dtype)
    return np.array([draw.draw(st.sampled_from([limits.min, limits.max, 1]))], kind.dtype)


def widened(values: Any) -> Any:
    """Canonical bits, uint64[n]."""
    return canonical_bits(Column(values))


TestAltered = Altered.TestCase
TestAltered.settings = settings(
    max_examples=2000 if NIGHTLY else 25,
    stateful_step_count=60 if NIGHTLY else 25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
