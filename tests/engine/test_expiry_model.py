"""Retention against a model: what is visible, and that the sums are exact, under late rows,
deletes, changing rules, flushes, compactions, removal and crashes."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine import ColumnType, Engine, EngineOptions, Measurement, Template
from mainstem_engine.errors import OutOfRetentionError
from mainstem_engine.scan import Selection, read_rows
from mainstem_engine.testing.clock import FakeClock

HOUR_NS = 3600 * 1_000_000_000
START = 500_000
"""Hours since the epoch."""
T = Template("t", (Measurement(0, "x", ColumnType.DOUBLE), Measurement(0, "y", ColumnType.INT32)))
PATHS = ("root.a.d", "root.a.b.d", "root.c.d")

hours = st.integers(0, 60)
paths = st.sampled_from(PATHS)
keeps = st.none() | st.integers(1, 80)
steps = st.one_of(
    st.tuples(st.just("write"), st.tuples(paths, st.lists(hours, min_size=1, max_size=20))),
    st.tuples(st.just("write"), st.tuples(paths, st.lists(hours, min_size=1, max_size=20))),
    st.tuples(st.just("delete"), st.tuples(paths, hours, hours, st.booleans())),
    st.tuples(st.just("pass"), st.integers(1, 30)),
    st.tuples(st.just("ttl"), st.tuples(st.sampled_from(["root.a", "root.a.b", "root"]), keeps)),
    st.tuples(st.just("keep"), keeps),
    st.tuples(st.sampled_from(["flush", "compact", "expire", "expire", "crash"]), st.none()),
)


class Machine:
    """An engine and the rows that were written and not deleted, with their values."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wall = FakeClock(START * HOUR_NS)
        self.monotonic = FakeClock(0)
        self.rows: dict[tuple[str, int], set[str]] = {}
        self.ttls: dict[str, int] = {}
        self.keep: int | None = None
        self.floor: dict[str, int] = dict.fromkeys(PATHS, -(2**62))
        self.open()
        self.engine.create_database("root.a", keep_ns=50 * HOUR_NS, duration_ns=8 * HOUR_NS)
        self.engine.create_template(T)

    def open(self) -> None:
        options = EngineOptions(
            background=False,
            durability="os",
            block_rows=8,
            clock=self.wall,
            monotonic=self.monotonic,
        )
        self.engine = Engine.open(self.path, options)

    def cutoff(self, path: str) -> int:
        """In hours, exclusive of what was removed."""
        above = [p for p in self.ttls if path == p or path.startswith(f"{p}.")]
        database = 50 if path.startswith("root.a.") else None
        kept = self.ttls[max(above, key=len)] if above else self.keep or database
        now = self.wall() // HOUR_NS
        return -(2**62) if kept is None else now - kept

    def step(self, name: str, argument: Any) -> None:
        engine = self.engine
        if name == "write":
            self._write(*argument)
        elif name == "delete":
            self._delete(*argument)
        elif name == "pass":
            self.wall.advance(argument * HOUR_NS)
            self.monotonic.advance(argument * HOUR_NS)
        elif name == "ttl":
            path, hours_ = argument
            engine.set_ttl(path, None if hours_ is None else hours_ * HOUR_NS)
            self.ttls.pop(path, None)
            self.ttls |= {} if hours_ is None else {path: hours_}
        elif name == "keep":
            engine.set_keep("t", None if argument is None else argument * HOUR_NS)
            self.keep = argument
        elif name == "expire":
            engine.expire()
            whole = engine._store.retention.whole(engine.catalog.table("t"))
            for path in PATHS if whole is not None else ():
                device = engine.catalog.devices.id_of(path)
                if device is not None and whole is not None:
                    (floor,) = whole.of(np.array([device], np.uint32)).tolist()
                    assert floor <= self.cutoff(path) * HOUR_NS or floor <= self.floor[path]
                    self.floor[path] = max(floor, self.floor[path])
        elif name == "crash":
            engine.abandon()
            self.open()
        else:
            getattr(engine, name)()

    def _write(self, path: str, some: list[int]) -> None:
        times = [START - 60 + hour for hour in some]
        column = "x" if len(some) % 2 else "y"
        ms = [t * HOUR_NS // 1_000_000 for t in times]
        oldest = min(times)
        refused = oldest < self.cutoff(path) or oldest * HOUR_NS < self.floor[path]
        try:
            self.engine.write("t", path, ms, {column: np.ones(len(ms), np.int32)}).wait()
        except OutOfRetentionError:
            assert refused
            return
        assert not refused
        for time in times:
            self.rows.setdefault((path, time), set()).add(column)

    def _delete(self, path: str, first: int, last: int, values: bool) -> None:
        start, end = START - 60 + first, START - 60 + last
        names = ["x"] if values else None
        try:
            self.engine.delete(
                "t",
                devices=[path],
                start=start * HOUR_NS // 1_000_000,
                end=end * HOUR_NS // 1_000_000,
                measurements=names,
            )
        except OutOfRetentionError:
            assert start * HOUR_NS < self.floor[path]
            return
        for key in [k for k in self.rows if k[0] == path and start <= k[1] < end]:
            self.rows[key] -= {"x"} if values else {"x", "y"}
            if not self.rows[key]:
                del self.rows[key]

    def check(self) -> None:
        self.engine.log.barrier()
        found = self.engine.scan("t").read_all().to_pylist()
        seen = {(row["device"], row["time"] * 1_000_000 // HOUR_NS) for row in found}
        assert seen == {
            (path, time)
            for path, time in self.rows
            if time >= self.cutoff(path) and time * HOUR_NS >= self.floor[path]
        }
        last = {row["device"]: row["time"] for row in self.engine.last_rows("t")}
        assert {path: max(t for p, t in seen if p == path) for path, _ in seen} == {
            path: time * 1_000_000 // HOUR_NS for path, time in last.items()
        }
        counts = self.engine.store_accounting().get("t")
        assert counts is None or counts.balanced
        self.engine.flush()
        counts = self.engine.store_accounting().get("t")
        if counts is not None:
            view = self.engine._store.view(self.engine.catalog.table("t"))
            stored = read_rows(dataclasses.replace(view, cutoff=None), Selection())
            assert counts.balanced
            assert counts.unresolved == 0
            assert counts.live == len(stored)


@given(st.lists(steps, max_size=20))
@settings(max_examples=40, deadline=None)
def test_visible_rows_and_sums(some: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        machine = Machine(Path(directory))
        try:
            for name, argument in some:
                machine.step(name, argument)
            machine.check()
        finally:
            machine.engine.abandon()
