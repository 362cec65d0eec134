"""What a killed process was promised, read from its journal, and what a directory shows of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from mainstem_engine import Engine, NotFoundError

from .operations import SHARED, TEMPLATE, DeviceRows, Operation, Written

ALTERS = "alter"
"""The only writer that alters the shared table."""
Shown = dict[str, dict[str, dict[str, DeviceRows]]]
"""Rows by writer, table and device."""


@dataclass
class Backup:
    """A backup that was begun: what was promised before, and what was tried until it was done."""

    path: Path
    before: dict[str, Written]
    tried: dict[str, dict[int, Operation]]
    is_done: bool = False


@dataclass
class History:
    """By writer: what is certain, and what was tried afterwards, in order."""

    certain: dict[str, Written] = field(default_factory=dict)
    pending: dict[str, dict[int, Operation]] = field(default_factory=dict)
    backups: list[Backup] = field(default_factory=list)
    devices: set[str] = field(default_factory=set)
    """All that ever came up, certain or not."""
    tables: set[str] = field(default_factory=set)
    lsn: int = 0
    """The greatest of the other node."""
    counts: dict[str, int] = field(default_factory=dict)
    """Acknowledged operations by kind."""

    def read(self, text: str) -> list[str]:
        """Takes over a journal; returns what failed that must not."""
        failures = []
        for line in text.splitlines(keepends=True):
            if not line.endswith("\n"):
                break  # the kill came in the middle of it
            kind, writer, rest = ([*line.split(" ", 2), "", ""])[:3]
            if kind == "f":
                failures.append(json.loads(rest))
            elif kind == "t":
                number, op = rest.split(" ", 1)
                self._tried(writer, int(number), json.loads(op))
            elif kind == "a":
                self._acknowledged(writer, int(rest))
            elif kind == "n":
                del self.pending[writer][int(rest)]
                for backup in self.backups:
                    backup.tried.get(writer, {}).pop(int(rest), None)
        return failures

    def of(self, writer: str) -> Written:
        """What is certain of a writer."""
        if writer not in self.certain:
            self.certain[writer] = Written()
            if writer == ALTERS:
                given = {n: (m.name, m.type.name) for n, m in enumerate(TEMPLATE)}
                self.certain[writer].measurements = given
        return self.certain[writer]

    def _tried(self, writer: str, number: int, op: Operation) -> None:
        self.of(writer)
        for backup in self.backups:
            if not backup.is_done:
                backup.tried.setdefault(writer, {})[number] = op
        if op["op"] == "backup":
            before = {name: written.copy() for name, written in self.certain.items()}
            tried = {name: dict(ops) for name, ops in self.pending.items()}
            self.backups.append(Backup(Path(op["to"]), before, tried))
        self.pending.setdefault(writer, {})[number] = op
        self.devices.update(op.get("devices") or ())
        self.lsn = max(self.lsn, op.get("lsn", 0))

    def _acknowledged(self, writer: str, number: int) -> None:
        op = self.pending[writer].pop(number)
        self.of(writer).apply(op)
        self.counts[op["op"]] = self.counts.get(op["op"], 0) + 1
        if op["op"] == "table":
            self.tables.add(op["table"])
        if op["op"] == "backup":
            self.backups[-1].is_done = True

    def settle(self, shown: Shown, measurements: dict[int, tuple[str, str]]) -> None:
        """What was pending is certain now, as far as it shows. AssertionError when none fits."""
        for writer in sorted(self.certain):
            ops = list(self.pending.get(writer, {}).values())
            self.certain[writer] = fitting(
                writer, self.of(writer), ops, shown.get(writer, {}), measurements
            )
        unknown = set(shown) - set(self.certain)
        assert not unknown, f"rows of nobody: {unknown}"
        self.pending.clear()


def fitting(
    writer: str,
    before: Written,
    ops: Iterable[Operation],
    shown: dict[str, dict[str, DeviceRows]],
    measurements: dict[int, tuple[str, str]],
) -> Written:
    """``before`` and as many of ``ops`` as it takes to come to what is shown."""
    written = before.copy()
    first = difference(written, shown, measurements)
    reason = first
    for op in ops:
        if reason is None:
            break
        written.apply(op)
        reason = difference(written, shown, measurements)
    assert reason is None, f"{writer}: {first}; with all that was tried: {reason}; {list(ops)[:3]}"
    return written


def difference(
    written: Written,
    shown: dict[str, dict[str, DeviceRows]],
    measurements: dict[int, tuple[str, str]],
) -> str | None:
    """The first row that differs; None when all is the same."""
    if written.measurements and written.measurements != measurements:
        return f"measurements are {measurements}, not {written.measurements}"
    for table in sorted({*written.rows, *shown}):
        expected = {d: rows for d, rows in written.rows.get(table, {}).items() if rows}
        found = shown.get(table, {})
        if expected == found:
            continue
        for device in sorted({*expected, *found}):
            theirs, ours = found.get(device, {}), expected.get(device, {})
            for time in sorted({*theirs, *ours}):
                if theirs.get(time) != ours.get(time):
                    return (
                        f"{table} {device} {time}: {theirs.get(time)}, not {ours.get(time)}"
                        f" ({len(theirs)} rows, not {len(ours)})"
                    )
    return None


def shown_by(engine: Engine, tables: Iterable[str]) -> Shown:
    """All rows of an engine."""
    shown: Shown = {}
    for table in tables:
        try:
            found = engine.scan(table).read_all()
        except NotFoundError:
            continue
        for device, rows in rows_by_device(engine, table, found).items():
            writer = device.split(".")[1]
            shown.setdefault(writer, {}).setdefault(table, {})[device] = rows
    return shown


def rows_by_device(engine: Engine, table: str, found: pa.Table) -> dict[str, DeviceRows]:
    """Rows of a scan."""
    measurements = engine.catalog.table(table).template.measurements
    columns = [(m.id, found[m.name].to_pylist()) for m in measurements]
    devices = found["device"].to_pylist()
    rows: dict[str, DeviceRows] = {}
    for place, time in enumerate(found["time"].cast("int64").to_pylist()):
        cells = {m: values[place] for m, values in columns if values[place] is not None}
        of_device = rows.setdefault(devices[place], {})
        assert time not in of_device, f"{table} {devices[place]} {time} is there twice"
        of_device[time] = cells
    return rows


def measurements_of(engine: Engine) -> dict[int, tuple[str, str]]:
    """Name and type of the shared table's measurements, by id; empty before it is there."""
    try:
        found = engine.catalog.table(SHARED).template.measurements
    except NotFoundError:
        return {n: (m.name, m.type.name) for n, m in enumerate(TEMPLATE)}
    return {m.id: (m.name, m.type.name) for m in found}
