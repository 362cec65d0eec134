"""One engine on a file system that keeps a journal, and what it showed after each step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mainstem_engine import (
    AppliedRows,
    Column,
    Engine,
    EngineOptions,
    NotFoundError,
    Origin,
    Rows,
    RowSink,
    Template,
)
from mainstem_engine.images import SliceImage
from mainstem_engine.log.records import Record, RecordKind
from mainstem_engine.testing.clock import FakeClock
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem

MS = 1_000_000
DAY = 86_400_000
NOW = 20_000 * DAY
DATA = "data"
BACKUP = "backup"
DURATION_NS = 10**15
"""Of a partition, where a life asks for no other: 11 days."""

CHILD = Origin("0" * 31 + "1", "press")
Shown = tuple[dict[str, Any], ...]


class Child:
    """Applies what a life says a child sent; ``sent`` by LSN serves every start."""

    name = "child"
    kinds = frozenset({RecordKind.RCV})

    def __init__(self, sent: dict[int, Any]) -> None:
        self._sent = sent

    def apply(self, record: Record, decoded: Any, sink: RowSink) -> None:
        what = self._sent.setdefault(record.lsn, decoded)
        if isinstance(what, SliceImage):
            sink.replace_slice(what)
        else:
            sink.add("meters", CHILD, what, record.lsn)

    def rows_applied(self, batch: AppliedRows) -> None:
        pass

    def snapshot(self) -> bytes:
        return b""

    def restore(self, data: bytes) -> None:
        pass


class Life:
    """See the module. Steps call ``note`` when they have returned."""

    def __init__(
        self,
        root: Path,
        template: Template,
        *,
        fs: FaultyFilesystem | None = None,
        duration_ns: int = DURATION_NS,
        **options: Any,
    ) -> None:
        self.fs = fs or FaultyFilesystem(root)
        self.options = {"log_segment_bytes": 4096, **options}
        self.sent: dict[int, Any] = {}
        self.clock = FakeClock(NOW * MS)
        self.monotonic = FakeClock(0)
        self.expected: list[Shown] = [()]
        self.devices: list[int] = [0]
        self.points: list[tuple[int, int]] = [(0, 0)]
        self.engine = self.open(self.fs, root / DATA)
        self.engine.create_database("root.a", keep_ns=30 * DAY * MS, duration_ns=duration_ns)
        self.engine.create_template(template)
        self.note()

    def open(self, fs: FaultyFilesystem, path: Path) -> Engine:
        options = EngineOptions(
            background=False, clock=self.clock, monotonic=self.monotonic, **self.options
        )
        return Engine.open(path, options, fs=fs, consumers=[Child(self.sent)])

    def note(self) -> None:
        """A step has returned: what it did holds from here on."""
        self.expected.append(rows_of(self.engine))
        self.devices.append(len(self.engine.catalog.devices))
        self.points.append((len(self.fs.journal), len(self.expected) - 1))

    def note_tried(self, device: str, first: int, count: int) -> None:
        """A write failed: a cut before its sync may leave its rows, for nobody was answered yet."""
        shown = self.expected[-1]
        row = next(row for row in shown if row["device"] == device)
        times = range(first, first + count)
        tried = [{**row, "time": time, "voltage": time % 1000} for time in times]
        every = sorted((*shown, *tried), key=lambda row: (row["device"], row["time"]))
        self.expected.append(tuple(every))
        self.devices.append(self.devices[-1])

    def write(self, device: str, first: int, count: int, **columns: Any) -> None:
        """Rows ``first`` to ``first + count`` (ms), durable when this returns."""
        times = np.arange(first, first + count)
        values = columns or {"voltage": times % 1000}
        self.engine.write("meters", device, times, values).wait()
        self.note()

    def flush(self) -> None:
        self.engine.flush()
        self.note()

    def merge(self) -> None:
        """A flush that writes a new base of the catalog."""
        self.engine._store.catalog_files.merge_next = True
        self.flush()

    def receive(self, what: Any) -> None:
        """A record of a child: rows, or an image of a slice."""
        self.engine.append(RecordKind.RCV, {}, decoded=what).wait()
        self.note()

    def advance(self, days: int) -> None:
        """Time goes by; what is expired then is invisible in every earlier state too."""
        for clock in (self.clock, self.monotonic):
            clock.advance(days * DAY * MS)
        cutoff = self.clock.now_ns // MS - 30 * DAY
        self.expected = [
            tuple(row for row in rows if row["time"] >= cutoff) for rows in self.expected
        ]
        self.note()

    def promised(self, operations: int) -> int:
        """The last step that had returned after so many operations."""
        return max(step for count, step in self.points if count <= operations)


def rows_of(engine: Engine) -> Shown:
    """All rows of the table, in order; nothing before it was defined."""
    try:
        table = engine.scan("meters").read_all()
    except NotFoundError:
        return ()
    place = table.schema.get_field_index("time")
    rows = table.set_column(place, "time", table["time"].cast("int64")).to_pylist()
    return tuple(rows)


def rows_at(device: Any, numbers: range, value: int) -> Rows:
    """Rows of a child at NOW + ``numbers`` ms."""
    times = (NOW + np.array(numbers, np.int64)) * MS
    voltage = Column(np.full(len(times), value, np.int32))
    return Rows(np.repeat(device, len(times)), times, {1: voltage})
