"""Rollups of a minute and an hour against a model that computes them from all rows, under late
rows, overwrites, deletes, flushes, compactions and restarts."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine import (
    ColumnType,
    Engine,
    EngineOptions,
    Measurement,
    RollupDefinition,
    Rollups,
    Template,
    dirty_windows,
    rollup,
    rollup_work,
)

SECOND_NS = 1_000_000_000
MINUTE, HOUR = 60, 3600
DEFINITIONS = (
    RollupDefinition("t", MINUTE * SECOND_NS, "1m"),
    RollupDefinition("t", HOUR * SECOND_NS, "1h"),
)
T = Template("t", (Measurement(0, "x", ColumnType.DOUBLE), Measurement(0, "i", ColumnType.INT32)))
LATER = 1 << 60

Model = dict[tuple[str, int], dict[str, float]]

seconds = st.integers(0, 12).map(lambda n: n * 700)
devices = st.sampled_from("de")
values = st.sampled_from([1.0, -2.5, 1e9, float("nan"), float("inf")])
cells = st.fixed_dictionaries({}, optional={"x": values, "i": st.integers(-9, 9)})
steps = st.one_of(
    st.tuples(st.just("write"), st.lists(st.tuples(devices, seconds, cells), min_size=1)),
    st.tuples(st.just("write"), st.lists(st.tuples(devices, seconds, cells), min_size=1)),
    st.tuples(st.just("delete"), st.tuples(devices, seconds, seconds)),
    st.tuples(st.just("run"), st.integers(0, 12).map(lambda n: n * 700)),
    st.tuples(st.sampled_from(["flush", "compact", "close", "crash"]), st.none()),
)


class Machine:
    """An engine and the rows that it must hold."""

    def __init__(self, path: Path, block_rows: int) -> None:
        self.path = path
        self.options = EngineOptions(background=False, durability="os", block_rows=block_rows)
        self.model: Model = {}
        self.open()

    def open(self) -> None:
        self.rollups = Rollups(DEFINITIONS)
        self.engine = Engine.open(self.path, self.options, consumers=[self.rollups])
        self.engine.create_template(T, if_not_exists=True)
        self.rollups.bind(self.engine)

    def step(self, name: str, argument: Any) -> None:
        if name == "write":
            for device, second, row in argument:
                columns = {key: [value] for key, value in row.items()}
                self.engine.write("t", f"root.a.{device}", [second * 1000], columns).wait()
                self.model.setdefault((device, second), {}).update(row)
        elif name == "delete":
            device, first, last = argument
            self.engine.delete(
                "t", devices=[f"root.a.{device}"], start=first * 1000, end=last * 1000
            ).ack.wait()
            self.model = {
                key: row
                for key, row in self.model.items()
                if not (key[0] == device and first <= key[1] < last)
            }
        elif name == "run":
            self.rollups.run(argument * SECOND_NS)
        elif name == "flush":
            self.engine.flush()
        elif name == "compact":
            self.engine.compact()
        else:
            self.engine.close() if name == "close" else self.engine.abandon()
            self.open()

    def expected(self, every: int) -> dict[tuple[str, int], dict[str, Any]]:
        windows: dict[tuple[str, int], list[tuple[int, dict[str, float]]]] = {}
        for (device, second), row in sorted(self.model.items()):
            windows.setdefault((device, second // every * every), []).append((second, row))
        found: dict[tuple[str, int], dict[str, Any]] = {}
        for key, rows in windows.items():
            found[key] = {}
            for name in "xi":
                known = [(second, row[name]) for second, row in rows if name in row]
                found[key] |= {f"{name}_{k}": v for k, v in _aggregates(known).items()}
        return found

    def found(self, table: str) -> dict[tuple[str, int], dict[str, Any]]:
        found = {}
        for row in self.engine.scan(table).read_all().to_pylist():
            key = row.pop("device")[-1], row.pop("time") // 1000
            found[key] = {k: v for k, v in row.items() if v is not None}
            for name in found[key]:
                if name.endswith("_time"):
                    found[key][name] //= 1000
        return found


def _aggregates(known: list[tuple[int, float]]) -> dict[str, Any]:
    if not known:
        return {"count": 0}
    found = [value for _, value in known]
    plain = [value for value in found if value == value]
    with np.errstate(invalid="ignore"):
        total = float(np.sum(found))
        squares = float(np.sum(np.square(found)))
    return {
        "count": len(known),
        "sum": total,
        "sumsq": squares,
        "min": min(plain) if plain else float("nan"),
        "max": max(plain) if len(plain) == len(found) else float("nan"),
        "first": found[0],
        "first_time": known[0][0],
        "last": found[-1],
        "last_time": known[-1][0],
    }


def _same(found: dict[Any, dict[str, Any]], expected: dict[Any, dict[str, Any]]) -> None:
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert found[key].keys() == row.keys(), key
        for name, value in row.items():
            np.testing.assert_allclose(found[key][name], value, rtol=1e-12, err_msg=f"{key} {name}")


@given(st.lists(steps, max_size=14), st.booleans())
@settings(max_examples=25, deadline=None)
def test_rollups_are_what_the_rows_say(some: list[tuple[str, Any]], tight: bool) -> None:
    """``tight``: with bounds so small that marks become spans, and spans are taken in pieces."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as directory:
        if tight:
            patch.setattr(dirty_windows, "FOLD_MARKS", 1)
            patch.setattr(dirty_windows, "MARKS_MAX", 3)
            patch.setattr(dirty_windows, "SPANS_MAX", 2)
            patch.setattr(rollup, "EXPANDED_MAX", 2)
            patch.setattr(rollup_work, "SCAN_ROWS", 8)
            patch.setattr(rollup_work, "WINDOWS_FIRST", 2)
        machine = Machine(Path(directory), 8 if tight else 4096)
        try:
            for name, argument in some:
                machine.step(name, argument)
            machine.rollups.run(LATER)
            _same(machine.found("t_1m"), machine.expected(MINUTE))
            _same(machine.found("t_1h"), machine.expected(HOUR))
            assert machine.rollups.pending() == 0
            for held in machine.engine.rollups_of("t"):
                assert held.answers(0, LATER)
        finally:
            machine.engine.abandon()
