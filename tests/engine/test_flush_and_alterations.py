"""A flush while templates are altered, rows written and deleted between its pieces."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine import ColumnType, Engine, EngineOptions, Measurement, Template, table_flush
from mainstem_engine.part.writer import PartWriter

T = Template(
    "t",
    (
        Measurement(0, "i", ColumnType.INT32),
        Measurement(0, "s", ColumnType.FLOAT),
        Measurement(0, "y", ColumnType.TEXT),
    ),
)
DEVICES = ["root.a", "root.b", "root.c"]
ROWS = 40
WIDER = {"i": ColumnType.INT64, "s": ColumnType.DOUBLE}
CHANGES = ["widen i", "widen s", "rename", "add", "write", "delete", "nothing"]
Model = dict[tuple[str, int], dict[str, Any]]


class Plant:
    """An engine and a model of its rows; measurements by their first name."""

    def __init__(self, path: Path, vnodes: int) -> None:
        options = EngineOptions(background=False, durability="os", vnodes=vnodes, block_rows=16)
        self.engine = Engine.open(path, options)
        self.model: Model = {}
        self.names = {"i": "i", "s": "s", "y": "y"}
        self.widened: set[str] = set()
        if not self.engine.catalog.templates.all():
            self.engine.create_template(T)
            self.engine.device_ids("t", DEVICES, create=True)

    def write(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        for device in DEVICES:
            start = int(rng.integers(0, 4)) * 10
            times = (start + np.arange(ROWS) * int(rng.integers(1, 3))).tolist()
            columns: dict[str, list[Any]] = {}
            for name in self.names:
                if rng.random() < 0.2:
                    continue
                if name == "y":
                    values = [f"w{n}" for n in rng.integers(0, 5, ROWS)]
                else:
                    values = (rng.integers(-9000, 9000, ROWS) / (4 if name == "s" else 1)).tolist()
                nulls = rng.random(ROWS) < rng.choice([0.0, 0.3])
                columns[name] = [None if n else v for v, n in zip(values, nulls, strict=True)]
                if name != "y" and name != "s":
                    columns[name] = [None if v is None else int(v) for v in columns[name]]
            named = {self.names[name]: cells for name, cells in columns.items()}
            self.engine.write("t", device, times, named).wait()
            for row, time in enumerate(times):
                cells = {k: v[row] for k, v in columns.items() if v[row] is not None}
                self.model.setdefault((device, time), {}).update(cells)

    def change(self, kind: str, number: int) -> None:
        if kind.startswith("widen"):
            name = kind[-1]
            if name not in self.widened:
                self.widened.add(name)
                self.engine.alter_template("t", widen={self.names[name]: WIDER[name]})
        elif kind == "rename":
            self.engine.alter_template("t", rename={self.names["i"]: f"i{number}"})
            self.names["i"] = f"i{number}"
        elif kind == "add":
            name = f"n{number}"
            if name not in self.names:
                self.engine.alter_template("t", add=[Measurement(0, name, ColumnType.INT16)])
                self.names[name] = name
        elif kind == "write":
            self.write(number)
        elif kind == "delete":
            device = DEVICES[number % 3]
            self.engine.delete("t", devices=device, start=5, end=15 + number % 40).ack.wait()
            for key in list(self.model):
                if key[0] == device and 5 <= key[1] < 15 + number % 40:
                    del self.model[key]

    def check(self) -> None:
        rows = self.engine.scan("t").read_all()
        times = rows["time"].cast("int64").to_pylist()
        keys = list(zip(rows["device"].to_pylist(), times, strict=True))
        assert sorted(keys) == sorted(self.model)
        for name, now in self.names.items():
            cells = rows[now].to_pylist()
            for key, value in zip(keys, cells, strict=True):
                assert self.model[key].get(name) == value, (key, name)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(CHANGES), st.integers(0, 50)), min_size=1, max_size=5),
    st.lists(st.tuples(st.sampled_from(CHANGES), st.integers(0, 50)), max_size=3),
    st.sampled_from([1, 2]),
)
def test_what_happens_during_a_flush_is_seen_after_it(
    during: list[tuple[str, int]], before: list[tuple[str, int]], vnodes: int
) -> None:
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        path = Path(directory) / "data"
        plant = Plant(path, vnodes)
        plant.write(100)
        for kind, number in before:
            plant.change(kind, number)
        plant.write(101)
        patch.setattr(table_flush, "PIECE_ROWS", 16)
        patch.setattr(table_flush, "PIECE_ROWS_MIN", 16)
        waiting = list(during)
        add, lock = PartWriter.add, threading.Lock()

        def add_and_change(writer: PartWriter, rows: Any) -> None:
            with lock:
                if waiting:
                    plant.change(*waiting.pop())
            add(writer, rows)

        patch.setattr(PartWriter, "add", add_and_change)
        plant.engine.flush()
        plant.check()
        plant.engine.flush()
        plant.check()
        plant.engine.compact()
        plant.check()
        assert plant.engine._store.memory.used_by("head") == plant.engine._store.head_bytes()
        assert all(counts.balanced for counts in plant.engine.store_accounting().values())
        plant.engine.abandon()
