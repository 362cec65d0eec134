"""What the killed process does to its engine, and what each step means for the rows.

1. An operation is a plain dict, so that it fits on a line of the journal. It says everything: the
   same dict is carried out on an engine by one process and on a model by another.
2. Each writer has devices of its own and does one thing after the other: its rows are those after
   some prefix of its operations.
3. Rows carry a value that no other write of the test has, so that no overwrite goes unnoticed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mainstem_engine import (
    Column,
    ColumnType,
    Engine,
    Measurement,
    Origin,
    Rows,
    RowSink,
    SliceImage,
    Tag,
    Template,
)
from mainstem_engine.consumers import Ack, AppliedRows
from mainstem_engine.erasures import Erasure
from mainstem_engine.log.records import Record, RecordKind, decode_payload

MS = 1_000_000
YEAR_MS = 365 * 86_400_000
CHILD = Origin("0" * 31 + "1", "press")
SHARED = "meters"
"""The table of all writers; it is altered meanwhile."""
TEMPLATE = (
    Measurement(0, "d0", ColumnType.DOUBLE),
    Measurement(0, "i0", ColumnType.INT16),
    Measurement(0, "f0", ColumnType.FLOAT),
    Measurement(0, "t0", ColumnType.TEXT),
)
UNIQUE = 0
"""The measurement that tells each write from all others."""

Operation = dict[str, Any]
Cells = dict[int, Any]
"""Values that are not null, by measurement id."""
DeviceRows = dict[int, Cells]
"""Cells by time in ms."""


def template(name: str) -> Template:
    return Template(name, TEMPLATE, (Tag("place"),))


def value_of(measurement: int, kind: str, seed: float, row: int) -> Any:
    """What row ``row`` of a write has; some are null."""
    if measurement == UNIQUE:
        return seed + row / 1024
    if (seed + row + measurement) % 5 == 0:
        return None
    number = int(seed * 16) * 31 + row * 7 + measurement
    if kind == "TEXT":
        return f"t{number % 50}"
    if kind in ("FLOAT", "DOUBLE"):
        return (number % 1000) / 2
    wide = {"INT16": 1, "INT32": 60_000, "INT64": 1 << 40}[kind]
    return (number % 1000 - 500) * wide


def rows_of(op: Operation) -> Iterator[tuple[str, int, Cells]]:
    """(device, time, cells with nulls) of a write, an arrival or an image."""
    row = 0
    for device in op["devices"]:
        for step in range(op["count"]):
            cells = {m: value_of(m, kind, op["seed"], row) for m, _, kind in op["columns"]}
            yield device, op["first"] + step * op["step"], cells
            row += 1


@dataclass
class Written:
    """What one writer has done: rows by table and device, how many were logged by table, devices
    with their place, and (id: name and type) the shared table's measurements. Rows are replaced and
    never changed: a copy is cheap, and stays as it is."""

    rows: dict[str, dict[str, DeviceRows]] = field(default_factory=dict)
    logged: dict[str, int] = field(default_factory=dict)
    devices: dict[str, str] = field(default_factory=dict)
    measurements: dict[int, tuple[str, str]] = field(default_factory=dict)

    def copy(self) -> Written:
        rows = {table: dict(devices) for table, devices in self.rows.items()}
        return Written(rows, dict(self.logged), dict(self.devices), dict(self.measurements))

    def apply(self, op: Operation) -> None:
        """What the operation leaves behind."""
        step = getattr(self, f"_{op['op']}", None)
        if step is not None:
            step(op)

    def _create(self, op: Operation) -> None:
        self.devices.update(dict.fromkeys(op["devices"], op["place"]))

    def _write(self, op: Operation) -> None:
        table = self.rows.setdefault(op["table"], {})
        fresh: dict[str, DeviceRows] = {}
        for device, time, cells in rows_of(op):
            if device not in fresh:
                fresh[device] = dict(table.get(device, {}))
            kept = {m: value for m, value in cells.items() if value is not None}
            fresh[device][time] = {**fresh[device].get(time, {}), **kept}
            self.devices.setdefault(device, "")
        table.update(fresh)
        rows = len(op["devices"]) * op["count"]
        self.logged[op["table"]] = self.logged.get(op["table"], 0) + rows

    _receive = _write

    def _image(self, op: Operation) -> None:
        table = self.rows.setdefault(op["table"], {})
        for device in list(table):
            table[device] = {
                time: cells
                for time, cells in table[device].items()
                if not op["start"] <= time < op["end"]
            }
        self._write(op)

    def _delete(self, op: Operation) -> None:
        table = self.rows.get(op["table"], {})
        chosen = op["devices"] if op["devices"] is not None else list(table)
        for device in chosen:
            if device not in table:
                continue
            left: DeviceRows = {}
            for time, cells in table[device].items():
                kept: Cells | None = cells
                if op["start"] <= time < op["end"] and _meant(op, cells):
                    kept = _erased(op, cells)
                if kept:
                    left[time] = kept
            table[device] = left

    _retract = _delete

    def _keep(self, op: Operation) -> None:
        table = self.rows.get(op["table"], {})
        for device in table:
            table[device] = {t: c for t, c in table[device].items() if t >= op["cutoff"]}

    def _add(self, op: Operation) -> None:
        self.measurements[op["id"]] = (op["name"], op["kind"])

    _widen = _add

    def _rename(self, op: Operation) -> None:
        self.measurements[op["id"]] = (op["name"], self.measurements[op["id"]][1])


def _meant(op: Operation, cells: Cells) -> bool:
    return op["below"] is None or cells.get(UNIQUE, float("inf")) < op["below"]


def _erased(op: Operation, cells: Cells) -> Cells | None:
    if op["columns"] is None:
        return None
    gone = {m for m, _ in op["columns"]}
    return {m: value for m, value in cells.items() if m not in gone}


class Receiver:
    """A consumer that applies rows of another origin."""

    name = "receiver"
    kinds = frozenset({RecordKind.RCV})

    def __init__(self) -> None:
        self.records = 0

    def apply(self, record: Record, decoded: Any, sink: RowSink) -> None:
        header, buffers = decode_payload(record.payload)
        self.records += 1
        if "delete" in header:
            device = np.frombuffer(buffers[0], np.uint32)
            start, end = header["delete"]
            sink.delete(CHILD, Erasure(SHARED, header["lsn"], start, end, device))
            return
        device, time, value = (
            np.frombuffer(buffer, kind)
            for buffer, kind in zip(buffers, (np.uint32, np.int64, np.float64), strict=True)
        )
        sink.add(SHARED, CHILD, Rows(device, time, {UNIQUE: Column(value)}), header["lsn"])

    def rows_applied(self, batch: AppliedRows) -> None:
        pass

    def snapshot(self) -> bytes:
        return self.records.to_bytes(8, "little")

    def restore(self, data: bytes) -> None:
        self.records = int.from_bytes(data, "little")


def carry_out(engine: Engine, op: Operation) -> Ack | None:
    """The operation on an engine; the Ack of what is not done when this returns."""
    step = {
        "create": _create, "write": _write, "receive": _receive, "retract": _retract,
        "delete": _delete, "keep": _keep, "table": _table, "add": _add, "rename": _rename,
        "image": _image, "widen": _widen,
    }.get(op["op"])  # fmt: skip
    if step is not None:
        return step(engine, op)
    if op["op"] == "backup":
        engine.backup(op["to"])
    elif op["op"] == "merge":
        engine._store.catalog_files.merge_next = True
        engine.flush()
    else:
        getattr(engine, op["op"])()
    return None


def _create(engine: Engine, op: Operation) -> None:
    places = {"place": [op["place"]] * len(op["devices"])}
    engine.device_ids(op["table"], op["devices"], places, create=True)


def _write(engine: Engine, op: Operation) -> Ack:
    rows = list(rows_of(op))
    columns = {name: [cells[m] for _, _, cells in rows] for m, name, _ in op["columns"]}
    devices = [device for device, _, _ in rows]
    times = [time for _, time, _ in rows]
    if op["count"] == len(rows) == 1:
        return engine.write(op["table"], devices[0], times, columns)
    return engine.write(op["table"], devices, times, columns)


def _foreign(engine: Engine, op: Operation) -> tuple[Any, Any, Any]:
    """Device ids, times in ns and values, sorted by device and time."""
    rows = list(rows_of(op))
    device = engine.device_ids(SHARED, [device for device, _, _ in rows])
    time = np.array([time for _, time, _ in rows], np.int64) * MS
    value = np.array([cells[UNIQUE] for _, _, cells in rows], np.float64)
    order = np.lexsort((time, device))
    return device[order], time[order], value[order]


def _receive(engine: Engine, op: Operation) -> Ack:
    return engine.append(RecordKind.RCV, {"lsn": op["lsn"]}, list(_foreign(engine, op)))


def _retract(engine: Engine, op: Operation) -> Ack:
    device = np.unique(engine.device_ids(SHARED, op["devices"]))
    header = {"lsn": op["lsn"], "delete": [op["start"] * MS, op["end"] * MS]}
    return engine.append(RecordKind.RCV, header, [device])


def _image(engine: Engine, op: Operation) -> Ack:
    device, time, value = _foreign(engine, op)
    rows = Rows(device, time, {UNIQUE: Column(value)})
    lsn = np.full(len(rows), op["lsn"], np.uint64)
    start, end = op["start"] * MS, op["end"] * MS
    return engine.apply_image(SliceImage(SHARED, CHILD, start, end, op["lsn"], rows, lsn))


def _delete(engine: Engine, op: Operation) -> Ack:
    names = op["columns"] and [name for _, name in op["columns"]]
    where = None
    if op["below"] is not None:
        name = engine.catalog.table(op["table"]).template.measurements[UNIQUE].name

        def where(rows: Any) -> Any:
            found = rows[name].fill_null(float("inf")).to_numpy()
            return found < op["below"]

    return engine.delete(
        op["table"],
        devices=op["devices"],
        start=op["start"],
        end=op["end"],
        where=where,
        measurements=names,
    ).ack


def _keep(engine: Engine, op: Operation) -> None:
    engine.set_keep(op["table"], op["keep_ns"])


def _table(engine: Engine, op: Operation) -> None:
    engine.create_template(template(op["table"]), if_not_exists=True)


def _add(engine: Engine, op: Operation) -> None:
    added = [Measurement(0, op["name"], ColumnType[op["kind"]])]
    engine.alter_template(SHARED, add=added)


def _rename(engine: Engine, op: Operation) -> None:
    engine.alter_template(SHARED, rename={op["old"]: op["name"]})


def _widen(engine: Engine, op: Operation) -> None:
    engine.alter_template(SHARED, widen={op["name"]: ColumnType[op["kind"]]})


def columns_of(engine: Engine, table: str) -> list[Sequence[Any]]:
    """(id, name, type) of the measurements that a table has now."""
    found = engine.catalog.table(table).template.measurements
    return [(m.id, m.name, m.type.name) for m in found]
