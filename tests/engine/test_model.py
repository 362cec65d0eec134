"""The engine against a store of dictionaries: random writes, flushes, restarts and crashes."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mainstem_engine import (
    AppliedRows,
    Column,
    ColumnType,
    Engine,
    EngineOptions,
    Measurement,
    Origin,
    Rows,
    RowSink,
    Template,
)
from mainstem_engine.log.records import Record, RecordKind, decode_payload
from mainstem_engine.testing.model_store import ModelStore, ModelTable

NIGHTLY = bool(os.environ.get("MAINSTEM_NIGHTLY"))
MS = 1_000_000
PARTITION_MS = 10 * 86_400_000
PATHS = ("root.a.d1", "root.a.d2", "root.b.d3")
MEASUREMENTS = ("a", "b", "c")
TEMPLATE = Template(
    "t",
    (
        Measurement(0, "a", ColumnType.INT32),
        Measurement(0, "b", ColumnType.DOUBLE),
        Measurement(0, "c", ColumnType.TEXT),
    ),
)
CHILDREN = tuple(Origin(f"{n:032x}", f"child{n}", epoch) for n, epoch in ((1, 0), (2, 0), (2, 1)))

times = st.one_of(st.integers(0, 6), st.integers(PARTITION_MS - 1, PARTITION_MS + 1))
cells = st.fixed_dictionaries(
    {
        "a": st.none() | st.integers(-5, 5),
        "b": st.none() | st.sampled_from([0.0, 1.5, float("inf")]),
        "c": st.none() | st.sampled_from(["", "x", "yy"]),
    }
)
batches = st.lists(st.tuples(st.sampled_from(PATHS), times, cells), min_size=1, max_size=6)
omitted = st.sets(st.sampled_from(MEASUREMENTS), max_size=2)


class Receiver:
    """A consumer that applies rows of other origins, as the federation's receiver does."""

    name = "receiver"
    kinds = frozenset({RecordKind.RCV})

    def __init__(self) -> None:
        self.applied = 0

    def apply(self, record: Record, decoded: Any, sink: RowSink) -> None:
        header, buffers = decode_payload(record.payload)
        values = np.frombuffer(buffers[2], np.int32)
        valid = np.frombuffer(buffers[3], np.bool_)
        rows = Rows(
            np.frombuffer(buffers[0], np.uint32),
            np.frombuffer(buffers[1], np.int64),
            {0: Column(values, valid)},
        )
        sink.add("t", CHILDREN[header["child"]], rows, header["lsn"])

    def rows_applied(self, batch: AppliedRows) -> None:
        self.applied += len(batch.time)

    def snapshot(self) -> bytes:
        return self.applied.to_bytes(8, "little")

    def restore(self, data: bytes) -> None:
        self.applied = int.from_bytes(data, "little")


class EngineAndModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.model = ModelStore()
        self.model.table("t")
        self.model.table("t_1m", whole_rows=True)
        self.received: list[set[int]] = [set() for _ in CHILDREN]
        self.receiver = Receiver()
        self.engine = self.open()
        self.engine.create_template(TEMPLATE)
        self.engine.create_rollup("t", "1m", 60_000 * MS)
        self.engine.device_ids("t", PATHS, create=True)
        self.unresolved_rule_holds = True

    def open(self) -> Engine:
        self.receiver = Receiver()
        options = EngineOptions(background=False, durability="os", block_rows=8)
        engine = Engine.open(self.directory, options, consumers=[self.receiver])
        engine.settled = self.settled
        return engine

    def settled(self, origin: int) -> int:
        """Own rows are settled; of a child, what was received without a gap."""
        if origin == 0:
            return 1 << 62
        got = self.received[CHILDREN.index(self.engine.origins[origin])]
        return next(n for n in range(len(got) + 1) if n + 1 not in got)

    def teardown(self) -> None:
        self.engine.close()
        shutil.rmtree(self.directory)

    # What may happen

    @rule(batch=batches, without=omitted)
    def write(self, batch: list[tuple[str, int, dict[str, Any]]], without: set[str]) -> None:
        names = [name for name in MEASUREMENTS if name not in without]
        ack = self.engine.write(
            "T",
            [path for path, _, _ in batch],
            [time for _, time, _ in batch],
            {name: [values[name] for _, _, values in batch] for name in names},
        )
        ack.wait(10)
        merged: dict[tuple[str, int], dict[str, Any]] = {}
        for path, time, values in batch:
            kept = {n: values[n] for n in names if values[n] is not None}
            merged.setdefault((path, time), {}).update(kept)
        for (path, time), values in merged.items():
            self.model.table("t").add(path, time * MS, (0, 0, ack.lsn), values)

    @rule(path=st.sampled_from(PATHS), time=times, count=st.integers(0, 9), value=st.integers(0, 3))
    def derive(self, path: str, time: int, count: int, value: int) -> None:
        low = value if value else None
        columns: dict[str, list[Any]] = {
            "a_count": [count],
            "a_min": [low],
            "c_last": [None if count % 2 else "q"],
        }
        ack = self.engine.write("t_1m", path, [time], columns, derived=True)
        ack.wait(10)
        values = {name: cell[0] for name, cell in columns.items()}
        self.model.table("t_1m").add(path, time * MS, (0, 0, ack.lsn), values)

    @rule(
        child=st.integers(0, len(CHILDREN) - 1),
        lsn=st.integers(1, 12),
        batch=st.lists(
            st.tuples(st.sampled_from(PATHS), times, st.none() | st.integers(-5, 5)),
            min_size=1,
            max_size=4,
            unique_by=lambda row: (row[0], row[1]),
        ),
    )
    def receive(self, child: int, lsn: int, batch: list[tuple[str, int, int | None]]) -> None:
        if lsn in self.received[child]:
            return
        devices = self.engine.device_ids("t", [path for path, _, _ in batch])
        values = np.array([value or 0 for _, _, value in batch], np.int32)
        valid = np.array([value is not None for _, _, value in batch], np.bool_)
        moments = np.array([time * MS for _, time, _ in batch], np.int64)
        header = {"child": child, "lsn": lsn}
        buffers: list[Any] = [devices, moments, values, valid]
        self.engine.append(RecordKind.RCV, header, buffers).wait(10)
        self.received[child].add(lsn)
        index = self.engine.origin_index(CHILDREN[child])
        assert index is not None
        for path, time, value in batch:
            version = (CHILDREN[child].epoch, index, lsn)
            self.model.table("t").add(path, time * MS, version, {"a": value})

    @rule()
    def flush(self) -> None:
        self.engine.flush()
        for name, counts in self.engine.store_accounting().items():
            assert counts.unresolved == 0
            assert counts.live == len(self.model.table(name).fragments)

    @rule()
    def compact(self) -> None:
        self.engine.compact()

    @rule()
    def restart(self) -> None:
        self.engine.close()
        self.engine = self.open()

    @rule()
    def crash(self) -> None:
        self.engine.abandon()
        self.engine = self.open()

    # What must hold

    @invariant()
    def sums_hold(self) -> None:
        for name, counts in self.engine.store_accounting().items():
            assert counts.balanced, (name, counts)
            assert counts.logged == self.model.table(name).logged

    @invariant()
    def rows_are_the_models(self) -> None:
        for name, table in self.model.tables.items():
            assert scanned(self.engine, name) == nonempty(table)
        assert self.receiver.applied == sum(t.logged for t in self.model.tables.values())

    @invariant()
    def last_values_are_the_models(self) -> None:
        for name, table in self.model.tables.items():
            found = {row.pop("device"): row for row in self.engine.last(name).to_pylist()}
            assert set(found) == {path for path, _ in table.fragments}
            for path, row in found.items():
                expected = table.last(path)
                assert expected is not None
                newest, cells_of_model = expected
                values = {k: v for k, v in row.items() if v is not None and k != "time"}
                assert row["time"] == newest // MS
                assert values == {k: v for k, (_, v) in cells_of_model.items()}

    @precondition(lambda self: self.model.table("t").fragments)
    @rule(
        paths=st.sets(st.sampled_from(PATHS), min_size=1),
        start=times,
        length=st.integers(0, PARTITION_MS),
        column=st.sampled_from(MEASUREMENTS),
    )
    def a_part_of_the_rows(self, paths: set[str], start: int, length: int, column: str) -> None:
        end = start + length
        batch = self.engine.scan("t", sorted(paths), start=start, end=end, columns=[column])
        found = {(r["device"], r["time"]): r[column] for r in batch.read_all().to_pylist()}
        expected = {
            (path, time // MS): values.get(column)
            for (path, time), values in self.model.table("t").rows().items()
            if path in paths and start <= time // MS < end
        }
        assert found == expected

    @rule(origin=st.integers(0, 3))
    def rows_of_one_origin(self, origin: int) -> None:
        if origin >= len(self.engine.origins):
            return
        rows = self.engine.scan_rows("t", origin=origin)
        paths = self.engine.catalog.devices.paths(rows.device.tolist())
        found = set(zip(paths, rows.time.tolist(), strict=True))
        assert found == set(self.model.table("t").rows(origin))


def scanned(engine: Engine, table: str) -> dict[tuple[str, int], dict[str, Any]]:
    rows = engine.scan(table).read_all().to_pylist()
    keys = [(row.pop("device"), row.pop("time") * MS) for row in rows]
    assert len(set(keys)) == len(keys)
    ids = engine.device_ids("t", [path for path, _ in keys]).tolist()
    assert [(i, time) for i, (_, time) in zip(ids, keys, strict=True)] == sorted(
        (i, time) for i, (_, time) in zip(ids, keys, strict=True)
    )
    return {
        key: {name: value for name, value in row.items() if value is not None}
        for key, row in zip(keys, rows, strict=True)
    }


def nonempty(table: ModelTable) -> dict[tuple[str, int], dict[str, Any]]:
    return {
        key: {name: value for name, value in row.items() if value is not None}
        for key, row in table.rows().items()
    }


EngineAndModel.TestCase.settings = settings(
    max_examples=600 if NIGHTLY else 60,
    stateful_step_count=50 if NIGHTLY else 30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestEngineAndModel = EngineAndModel.TestCase
