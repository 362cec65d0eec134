"""The engine against a store of dictionaries: everything that may happen to it, in random order.

Rows of this node and of three origins in any order, overwrites, late and partial rows, deletes by
range, by value and of single measurements, expiry, alterations, flushes, compactions, clean
restarts with another number of vnodes, and crashes. After every step the engine must show what the
model shows, and its accounts must add up.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

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
from mainstem_engine.errors import NotOwnerError, OutOfRetentionError
from mainstem_engine.log.records import Record, RecordKind, decode_payload
from mainstem_engine.testing.model_store import ModelDelete, ModelStore, ModelTable

NIGHTLY = bool(os.environ.get("MAINSTEM_NIGHTLY"))
MS = 1_000_000
PARTITION_MS = 10 * 86_400_000
NOW_MS = PARTITION_MS + 1_000
PATHS = ("root.a.d1", "root.a.d2", "root.b.d3")
TEMPLATE = Template(
    "t",
    (
        Measurement(0, "a", ColumnType.INT16),
        Measurement(0, "b", ColumnType.FLOAT),
        Measurement(0, "c", ColumnType.TEXT),
    ),
)
WIDER = {
    "a": (ColumnType.INT32, ColumnType.INT64),
    "b": (ColumnType.DOUBLE,),
}
CHILDREN = tuple(Origin(f"{n:032x}", f"child{n}", epoch) for n, epoch in ((1, 0), (2, 0), (2, 1)))

times = st.one_of(st.integers(0, 6), st.integers(PARTITION_MS - 1, PARTITION_MS + 1))
cells = st.tuples(
    st.none() | st.integers(-5, 5),
    st.none() | st.sampled_from([0.0, 1.5, float("inf")]),
    st.none() | st.sampled_from(["", "x", "yy"]),
)
batches = st.lists(st.tuples(st.sampled_from(PATHS), times, cells), min_size=1, max_size=6)
columns = st.integers(0, 2)
some_paths = st.sets(st.sampled_from(PATHS), min_size=1)


class Receiver:
    """A consumer that applies rows of other origins, as the federation's receiver does."""

    name = "receiver"
    kinds = frozenset({RecordKind.RCV})

    def __init__(self) -> None:
        self.applied = 0

    def apply(self, record: Record, decoded: Any, sink: RowSink) -> None:
        header, buffers = decode_payload(record.payload)
        values = np.frombuffer(buffers[2], np.int16)
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
        self.now_ms = NOW_MS
        self.keep_ms: int | None = None
        self.names = ["a", "b", "c"]
        self.widened = [0, 0]
        self.model = ModelStore()
        self.model.table("t")
        self.model.table("t_1m", whole_rows=True)
        self.received: list[set[int]] = [set() for _ in CHILDREN]
        self.receiver = Receiver()
        self.engine = self.open(vnodes=1)
        self.engine.create_template(TEMPLATE)
        self.engine.create_rollup("t", "1m", 60_000 * MS)
        self.engine.device_ids("t", PATHS, create=True)

    def open(self, *, vnodes: int) -> Engine:
        self.receiver = Receiver()
        self.vnodes = vnodes
        options = EngineOptions(
            background=False,
            durability="os",
            block_rows=8,
            vnodes=vnodes,
            clock=lambda: self.now_ms * MS,
            monotonic=lambda: self.now_ms * MS,
        )
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

    @property
    def table(self) -> ModelTable:
        return self.model.table("t")

    @property
    def cutoff_ms(self) -> int | None:
        return None if self.keep_ms is None else self.now_ms - self.keep_ms

    # Writing

    @rule(batch=batches, without=st.sets(columns, max_size=2))
    def write(self, batch: list[tuple[str, int, tuple[Any, ...]]], without: set[int]) -> None:
        given = {i: name for i, name in enumerate(self.names) if i not in without}
        arguments: Any = (
            "T",
            [path for path, _, _ in batch],
            [time for _, time, _ in batch],
            {name: [values[i] for _, _, values in batch] for i, name in given.items()},
        )
        if self.cutoff_ms is not None and any(time < self.cutoff_ms for _, time, _ in batch):
            with pytest.raises(OutOfRetentionError):
                self.engine.write(*arguments)
            return
        ack = self.engine.write(*arguments)
        ack.wait(10)
        merged: dict[tuple[str, int], dict[str, Any]] = {}
        for path, time, values in batch:
            kept = {name: values[i] for i, name in given.items() if values[i] is not None}
            merged.setdefault((path, time), {}).update(kept)
        for (path, time), kept in merged.items():
            self.table.add(path, time * MS, (0, 0, ack.lsn), kept)

    @rule(path=st.sampled_from(PATHS), time=times, count=st.integers(0, 9), value=st.integers(0, 3))
    def derive(self, path: str, time: int, count: int, value: int) -> None:
        low = value if value else None
        values: dict[str, Any] = {
            f"{self.names[0]}_count": count,
            f"{self.names[0]}_min": low,
            f"{self.names[2]}_last": None if count % 2 else "q",
        }
        columns_given = {name: [value] for name, value in values.items()}
        ack = self.engine.write("t_1m", path, [time], columns_given, derived=True)
        ack.wait(10)
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
        values = np.array([value or 0 for _, _, value in batch], np.int16)
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
            self.table.add(path, time * MS, version, {self.names[0]: value})

    # Deleting

    @rule(
        paths=some_paths, start=times, length=st.integers(0, PARTITION_MS), named=st.sets(columns)
    )
    def delete_a_range(self, paths: set[str], start: int, length: int, named: set[int]) -> None:
        end = start + length
        names = frozenset(self.names[i] for i in named)
        whole = len(names) in (0, len(self.names))

        def covers(path: str, time_ns: int) -> bool:
            return path in paths and start <= time_ns // MS < end

        self.delete(
            covers,
            None if whole else names,
            devices=sorted(paths),
            start=start,
            end=end,
            measurements=sorted(names) or None,
        )

    @rule(limit=st.integers(-5, 5))
    def delete_by_value(self, limit: int) -> None:
        name = self.names[0]

        def matches(rows: pa.RecordBatch) -> np.ndarray[Any, Any]:
            return np.array([v is not None and v < limit for v in rows[name].to_pylist()], np.bool_)

        # Rows that are expired and still there are deleted too.
        doomed = {
            key
            for key, row in self.table.rows(expired=True).items()
            if name in row and row[name] < limit
        }
        self.delete(lambda path, time: (path, time) in doomed, None, where=matches)

    def delete(self, covers: Any, names: frozenset[str] | None, **arguments: Any) -> None:
        """Rows of children may not be deleted here: then nothing is."""
        rows = self.table.rows()
        foreign = any(
            covers(*key) and any(version[1] for version, _ in self.table.stored(key))
            for key in rows
        )
        if foreign:
            return
        doomed = sum(covers(*key) for key in rows)
        as_of = self.engine.applied_lsn
        try:
            deletion = self.engine.delete("t", **arguments)
        except (OutOfRetentionError, NotOwnerError):
            # Of rows that are expired, some may be a child's, and some removed.
            assert self.keep_ms is not None
            return
        deletion.ack.wait(10)
        assert deletion.rows >= doomed
        assert deletion.rows == doomed or self.keep_ms is not None
        self.table.deletes.append(ModelDelete(0, as_of, covers, names))

    # Expiring

    @rule(keep=st.sampled_from([NOW_MS + 10, NOW_MS - 2, NOW_MS - 4, 1001]))
    def keep_less(self, keep: int) -> None:
        if self.keep_ms is None or keep < self.keep_ms:
            self.keep_ms = keep
            self.engine.set_keep("t", keep * MS)
            self.note_cutoff()

    @rule(step=st.integers(1, 3))
    def time_passes(self, step: int) -> None:
        self.now_ms += step
        self.note_cutoff()

    def note_cutoff(self) -> None:
        self.table.cutoff_ns = None if self.cutoff_ms is None else self.cutoff_ms * MS

    @rule()
    def expire(self) -> None:
        self.engine.expire()

    # Altering

    @rule(column=columns)
    def rename(self, column: int) -> None:
        old = self.names[column]
        new = f"{old[0]}{int(old[1:] or 0) + 1}"
        self.engine.alter_template("t", rename={old: new})
        self.names[column] = new
        self.table.rename(old, new)
        for suffix in ("count", "min", "last"):
            self.model.table("t_1m").rename(f"{old}_{suffix}", f"{new}_{suffix}")

    @rule(column=st.integers(0, 1))
    def widen(self, column: int) -> None:
        wider = WIDER["ab"[column]]
        if self.widened[column] < len(wider):
            self.engine.alter_template("t", widen={self.names[column]: wider[self.widened[column]]})
            self.widened[column] += 1

    # Housekeeping

    @rule()
    def flush(self) -> None:
        self.engine.flush()
        for name, counts in self.engine.store_accounting().items():
            assert counts.unresolved == 0
            table = self.model.table(name)
            if table.cutoff_ns is None:
                assert counts.live == len(table.stored_keys())
            assert counts.live >= len(table.rows())
            assert counts.live + counts.expired >= len(table.stored_keys())

    @rule()
    def compact(self) -> None:
        self.engine.compact()

    @rule(vnodes=st.integers(1, 3))
    def restart(self, vnodes: int) -> None:
        self.engine.close()
        self.engine = self.open(vnodes=vnodes)

    @rule()
    def crash(self) -> None:
        self.engine.abandon()
        self.engine = self.open(vnodes=self.vnodes)

    # What must hold

    @invariant()
    def sums_hold(self) -> None:
        for name, counts in self.engine.store_accounting().items():
            assert counts.balanced, (name, counts)
            assert counts.logged == self.model.table(name).logged

    @invariant()
    def rows_are_the_models(self) -> None:
        for name, table in self.model.tables.items():
            assert scanned(self.engine, name) == without_nulls(table.rows())
        assert self.receiver.applied == sum(t.logged for t in self.model.tables.values())

    @invariant()
    def last_values_are_the_models(self) -> None:
        for name, table in self.model.tables.items():
            found = {row.pop("device"): row for row in self.engine.last(name).to_pylist()}
            assert set(found) == {path for path, _ in table.rows()}
            for path, row in found.items():
                expected = table.last(path)
                assert expected is not None
                newest, cells_of_model = expected
                values = {k: v for k, v in row.items() if v is not None and k != "time"}
                assert row["time"] == newest // MS
                assert values == {k: v for k, (_, v) in cells_of_model.items()}

    @precondition(lambda self: self.table.fragments)
    @rule(paths=some_paths, start=times, length=st.integers(0, PARTITION_MS), column=columns)
    def a_part_of_the_rows(self, paths: set[str], start: int, length: int, column: int) -> None:
        end = start + length
        name = self.names[column]
        batch = self.engine.scan("t", sorted(paths), start=start, end=end, columns=[name])
        found = {(r["device"], r["time"]): r[name] for r in batch.read_all().to_pylist()}
        expected = {
            (path, time // MS): values.get(name)
            for (path, time), values in self.table.rows().items()
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
        assert found == set(self.table.rows(origin))


def scanned(engine: Engine, table: str) -> dict[tuple[str, int], dict[str, Any]]:
    rows = engine.scan(table).read_all().to_pylist()
    keys = [(row.pop("device"), row.pop("time") * MS) for row in rows]
    assert len(set(keys)) == len(keys)
    ids = engine.device_ids("t", [path for path, _ in keys]).tolist()
    order = [(i, time) for i, (_, time) in zip(ids, keys, strict=True)]
    assert order == sorted(order)
    return without_nulls(dict(zip(keys, rows, strict=True)))


def without_nulls(
    rows: dict[tuple[str, int], dict[str, Any]],
) -> dict[tuple[str, int], dict[str, Any]]:
    return {
        key: {name: value for name, value in row.items() if value is not None}
        for key, row in rows.items()
    }


def run(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        EngineAndModel,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


def test_engine_and_model() -> None:
    run(40, 30)


@pytest.mark.slow
def test_engine_and_model_for_long() -> None:
    run(300, 50)


@pytest.mark.nightly
def test_engine_and_model_for_very_long() -> None:
    run(5000, 100)
