"""Newest values: loading, taking over, forgetting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine import ColumnType, Engine, EngineOptions, Measurement, Template
from mainstem_engine import last_cells as last_cells_module
from mainstem_engine import last_values as last_values_module
from mainstem_engine.accounting import NEVER_NS
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.part.reader import Part
from mainstem_engine.testing.model_store import ModelDelete, ModelTable

MS = 1_000_000

T = Template(
    "t",
    (
        Measurement(0, "a", ColumnType.INT64),
        Measurement(0, "b", ColumnType.DOUBLE),
        Measurement(0, "s", ColumnType.TEXT),
    ),
)


def last(engine: Engine, table: str = "t", devices: Any = None) -> dict[str, dict[str, Any]]:
    rows = engine.last_rows(table, devices)
    return {row.pop("device"): row for row in rows}


@pytest.fixture
def engine(open_engine: Any) -> Engine:
    found: Engine = open_engine(block_rows=16)
    found.create_template(T)
    return found


def test_each_measurement_has_its_own_newest_row(engine: Engine) -> None:
    engine.write("t", "root.a.d", [1, 2, 3], {"a": [1, None, None], "s": [None, "x", None]}).wait()
    assert last(engine) == {"root.a.d": {"time": 3, "a": 1, "s": "x"}}
    table = engine.last("t")
    assert table.column_names == ["time", "device", "a", "b", "s"]
    assert table.to_pylist() == [{"time": 3, "device": "root.a.d", "a": 1, "b": None, "s": "x"}]


def test_only_devices_with_rows_and_only_those_asked_for(engine: Engine) -> None:
    assert last(engine) == {}
    engine.device_ids("t", ["root.a.none"], create=True)
    for i in range(3):
        engine.write("t", f"root.a.d{i}", [i], {"a": [i]}).wait()
    assert list(last(engine)) == ["root.a.d0", "root.a.d1", "root.a.d2"]
    assert list(last(engine, devices=["root.a.d1", "root.a.none", "root.a.what"])) == ["root.a.d1"]
    assert engine.last("t", "root.a.d2")["a"].to_pylist() == [2]


def test_late_and_repeated_rows_after_it_was_asked(engine: Engine) -> None:
    engine.write("t", "root.a.d", [10], {"a": [1], "b": [1.5]}).wait()
    assert last(engine)["root.a.d"] == {"time": 10, "a": 1, "b": 1.5}
    engine.write("t", "root.a.d", [5], {"a": [0], "s": ["late"]}).wait()
    assert last(engine)["root.a.d"] == {"time": 10, "a": 1, "b": 1.5, "s": "late"}
    engine.write("t", "root.a.d", [10], {"a": [2]}).wait()
    assert last(engine)["root.a.d"] == {"time": 10, "a": 2, "b": 1.5, "s": "late"}
    engine.flush()
    engine.write("t", "root.a.d", [11], {"b": [2.5]}).wait()
    assert last(engine)["root.a.d"] == {"time": 11, "a": 2, "b": 2.5, "s": "late"}


def test_rows_nobody_asked_about_before_a_flush(engine: Engine) -> None:
    engine.write("t", "root.a.d", [1], {"a": [1]}).wait()
    last(engine)
    engine.write("t", "root.a.d", [2], {"a": [2]}).wait()
    engine.flush()
    engine.write("t", "root.a.d", [3], {"b": [3.0]}).wait()
    assert last(engine) == {"root.a.d": {"time": 3, "a": 2, "b": 3.0}}


def test_a_cold_start_reads_few_blocks(
    engine: Engine, open_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = np.arange(6400)
    engine.write("t", "root.a.d", times, {"a": times, "b": times / 2}).wait()
    engine.close()
    again: Engine = open_engine()
    read: list[int] = []
    original = Part.read

    def counted(self: Part, blocks: Any, ids: Any) -> Any:
        read.extend(int(block) for block in blocks)
        return original(self, blocks, ids)

    monkeypatch.setattr(Part, "read", counted)
    assert last(again) == {"root.a.d": {"time": 6399, "a": 6399, "b": 3199.5}}
    assert len(read) <= last_values_module.BLOCKS_AT_ONCE
    assert last(again)["root.a.d"]["time"] == 6399
    assert len(read) <= last_values_module.BLOCKS_AT_ONCE


def test_more_devices_than_are_kept(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [f"root.a.d{i}" for i in range(10)]
    for i, path in enumerate(paths):
        engine.write("t", path, [i], {"a": [i], "s": [str(i)]}).wait()
        if i == 5:
            engine.flush()
    whole = last(engine)
    monkeypatch.setattr(last_cells_module, "CELLS_MAX", 9)
    engine._last_values._tables.clear()
    assert last(engine) == whole
    for path in paths:
        assert last(engine, devices=[path]) == {path: whole[path]}
        assert len(engine._last_values._tables["t"].devices) <= 3
    assert engine.last("t").num_rows == 10


def test_beyond_the_bound_cells_lie_in_a_scratch_file(
    open_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(last_cells_module, "CELLS_MAX", 200)
    engine = open_engine()
    engine.create_template(Template("n", (Measurement(0, "v", ColumnType.INT32),)))
    paths = [f"root.a.d{i}" for i in range(300)]
    engine.write("n", paths, list(range(300)), {"v": list(range(300))}).wait()
    for _ in range(2):
        found = {row["device"]: row["v"] for row in engine.last_rows("n")}
        assert found == {path: i for i, path in enumerate(paths)}
        assert len(engine._last_values._tables["n"].devices) == 300
        engine.write("n", paths[0], [1000], {"v": [0]}).wait()
    scratch = engine.path / "scratch"
    assert list(scratch.iterdir()) == []  # of no name: nothing is left by a crash


def test_without_space_for_a_scratch_file(
    open_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Filesystem, directory: Path, size: int) -> Any:
        raise OSError(28, "no space")

    monkeypatch.setattr(last_cells_module, "CELLS_MAX", 200)
    monkeypatch.setattr(Filesystem, "scratch", full)
    engine = open_engine()
    engine.create_template(Template("n", (Measurement(0, "v", ColumnType.INT32),)))
    paths = [f"root.a.d{i}" for i in range(300)]
    engine.write("n", paths, list(range(300)), {"v": list(range(300))}).wait()
    for _ in range(2):
        assert [row["v"] for row in engine.last_rows("n")] == list(range(300))
        assert engine.last_rows("n", paths[7])[0]["v"] == 7


@pytest.mark.parametrize("flush", [False, True])
def test_what_was_newest_is_deleted(engine: Engine, flush: bool) -> None:
    for time in (1, 2, 3):
        engine.write("t", "root.a.d", [time], {"a": [time], "s": ["x"] if time < 3 else [None]})
    engine.write("t", "root.a.e", [9], {"a": [9]}).wait()
    if flush:
        engine.flush()
    assert last(engine)["root.a.d"] == {"time": 3, "a": 3, "s": "x"}
    held = engine._last_values._tables["t"]
    engine.delete("t", end=2).ack.wait()  # older than what is held
    assert last(engine)["root.a.d"] == {"time": 3, "a": 3, "s": "x"}
    engine.delete("t", start=3, end=4).ack.wait()
    assert last(engine)["root.a.d"] == {"time": 2, "a": 2, "s": "x"}
    engine.delete("t", devices="root.a.d", measurements=["s"]).ack.wait()
    assert last(engine)["root.a.d"] == {"time": 2, "a": 2}
    engine.flush()
    engine.compact()
    assert last(engine) == {"root.a.d": {"time": 2, "a": 2}, "root.a.e": {"time": 9, "a": 9}}
    assert engine._last_values._tables["t"] is held
    engine._last_values._tables.clear()
    assert last(engine) == {"root.a.d": {"time": 2, "a": 2}, "root.a.e": {"time": 9, "a": 9}}
    engine.delete("t").ack.wait()
    assert last(engine) == {}


def test_a_measurement_added_later(engine: Engine) -> None:
    engine.write("t", "root.a.d", [1], {"a": [1]}).wait()
    assert last(engine) == {"root.a.d": {"time": 1, "a": 1}}
    engine.extend_template("t", [Measurement(0, "z", ColumnType.BOOLEAN)])
    engine.write("t", "root.a.d", [2], {"z": [True]}).wait()
    assert last(engine) == {"root.a.d": {"time": 2, "a": 1, "z": True}}


def test_a_rollup_row_that_blanks_a_value(engine: Engine) -> None:
    engine.create_rollup("t", "1m", 60_000_000_000)
    engine.device_ids("t", ["root.a.d"], create=True)

    def derive(time: int, **cells: Any) -> None:
        columns = {name: [value] for name, value in cells.items()}
        engine.write("t_1m", "root.a.d", [time], columns, derived=True).wait()

    derive(0, a_count=1, a_min=4)
    derive(60_000, a_count=1, a_min=5)
    assert last(engine, "t_1m")["root.a.d"] == {"time": 60_000, "a_count": 1, "a_min": 5}
    engine.flush()
    derive(60_000, a_count=0)
    assert last(engine, "t_1m")["root.a.d"] == {"time": 60_000, "a_count": 0, "a_min": 4}
    derive(0, a_count=0)
    assert last(engine, "t_1m")["root.a.d"] == {"time": 60_000, "a_count": 0}


def test_newest_times(engine: Engine) -> None:
    engine.write("t", "root.a.d", [7], {}).wait()
    ids = engine.device_ids("t", ["root.a.d", "root.a.e"], create=True)
    assert engine.newest_times("T", ids).tolist() == [7_000_000, NEVER_NS]


def test_half_loaded_is_not_loaded(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.write("t", "root.a.d", [1], {"a": [1]}).wait()
    engine.flush()

    def broken(self: Part, blocks: Any, ids: Any) -> Any:
        raise OSError("unreadable")

    with monkeypatch.context() as patched:
        patched.setattr(Part, "read", broken)
        with pytest.raises(OSError, match="unreadable"):
            last(engine)
    assert last(engine) == {"root.a.d": {"time": 1, "a": 1}}


steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("write"), st.integers(0, 3), st.integers(0, 12), st.none() | st.integers(0, 9)
        ),
        st.tuples(
            st.just("delete"), st.sets(st.integers(0, 3)), st.integers(0, 12), st.integers(1, 9),
            st.sampled_from([None, ["a"], ["s"]]),
        ),
        st.tuples(st.just("ask"), st.sets(st.integers(0, 3), min_size=1)),
        st.tuples(st.sampled_from(["flush", "compact", "forget", "reopen"])),
        st.tuples(st.just("keep"), st.integers(1, 12)),
    ),
    max_size=18,
)  # fmt: skip


@settings(max_examples=40)
@given(steps)
def test_newest_values_are_the_models(
    tmp_path_factory: pytest.TempPathFactory, plan: list[Any]
) -> None:
    base, model = tmp_path_factory.mktemp("last"), ModelTable()
    options = EngineOptions(
        background=False, durability="os", block_rows=4, clock=lambda: 20 * MS, monotonic=lambda: 0
    )
    paths = [f"root.a.d{n}" for n in range(4)]

    def opened() -> Engine:
        found = Engine.open(base, options)
        if found.catalog.templates.get("t") is None:
            found.create_template(T)
            found.device_ids("t", paths, create=True)
        return found

    engine = opened()
    try:
        for number, step in enumerate(plan):
            if step[0] == "write":
                _, device, time, value = step
                if model.cutoff_ns is not None and time * MS < model.cutoff_ns:
                    continue
                values = {"a": value, "b": None, "s": None if number % 3 else f"v{number}"}
                ack = engine.write("t", paths[device], [time], {k: [v] for k, v in values.items()})
                ack.wait()
                model.add(paths[device], time * MS, (0, 0, ack.lsn), values)
            elif step[0] == "delete":
                chosen = {paths[n] for n in step[1]}
                low, high = step[2] * MS, (step[2] + step[3]) * MS
                as_of = engine.applied_lsn
                names = step[4]
                deletion = engine.delete(
                    "t", devices=sorted(chosen), start=step[2], end=step[2] + step[3],
                    measurements=names,
                )  # fmt: skip
                deletion.ack.wait()
                model.deletes.append(
                    ModelDelete(
                        0,
                        as_of,
                        lambda d, t, chosen=chosen, low=low, high=high: (
                            d in chosen and low <= t < high
                        ),  # type: ignore[misc]
                        None if names is None else frozenset(names),
                    )
                )
            elif step[0] == "keep":
                engine.set_keep("t", (20 - step[1]) * MS)
                model.cutoff_ns = step[1] * MS
            elif step[0] == "ask":
                check(engine, model, [paths[n] for n in sorted(step[1])])
            elif step[0] == "forget":
                engine._last_values._tables.clear()
            elif step[0] == "reopen":
                engine.abandon()
                engine = opened()
            else:
                getattr(engine, step[0])()
        check(engine, model, paths)
    finally:
        engine.close()


def check(engine: Engine, model: ModelTable, paths: list[str]) -> None:
    expected = {}
    for path in paths:
        newest = model.last(path)
        if newest is not None:
            values = {name: value for name, (_, value) in newest[1].items() if value is not None}
            expected[path] = {"time": newest[0] // MS, **values}
    assert last(engine, devices=paths) == expected
    for path in paths:
        assert last(engine, devices=path) == {k: v for k, v in expected.items() if k == path}
