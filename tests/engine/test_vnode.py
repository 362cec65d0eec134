"""Vnodes: rows are shared out by device, and no answer depends on how."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mainstem_engine import (
    ColumnType,
    Engine,
    EngineOptions,
    Measurement,
    Rows,
    SchemaError,
    Template,
)
from mainstem_engine.model import Column
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem
from mainstem_engine.vnode import Vnode, split_rows

T = Template("t", (Measurement(0, "x", ColumnType.INT64), Measurement(0, "s", ColumnType.TEXT)))
DEVICES = [f"root.a.d{number}" for number in range(7)]


def rows(devices: list[int]) -> Rows:
    count = len(devices)
    values = np.arange(count, dtype=np.int64)
    return Rows(np.array(devices, np.uint32), values.copy(), {0: Column(values)})


def test_rows_are_shared_out_by_device() -> None:
    late = np.array([True, False, False, True, False])
    lsns = np.arange(10, 15, dtype=np.uint64)
    pieces = list(split_rows(rows([1, 4, 5, 1, 7]), lsns, late, 3))
    found = [
        (number, some.device.tolist(), some.columns[0].values.tolist(), lsn, marks)
        for number, some, lsn, marks in pieces
    ]
    assert [piece[:3] for piece in found] == [(1, [1, 4, 1, 7], [0, 1, 3, 4]), (2, [5], [2])]
    assert [np.asarray(piece[3]).tolist() for piece in found] == [[10, 11, 13, 14], [12]]
    assert [np.asarray(piece[4]).tolist() for piece in found] == [
        [True, False, True, False],
        [False],
    ]


@pytest.mark.parametrize(("devices", "vnodes"), [([1, 2, 3], 1), ([5], 4), ([2, 6, 10], 4)])
def test_rows_of_one_vnode_are_not_copied(devices: list[int], vnodes: int) -> None:
    whole = rows(devices)
    ((number, some, lsn, late),) = split_rows(whole, 9, None, vnodes)
    assert (number, lsn, late) == (devices[0] % vnodes, 9, None)
    assert some is whole


def test_a_frozen_head_stays_readable() -> None:
    vnode = Vnode(2)
    vnode.head.append("t", rows([2]), 0, 1, None, 1)
    frozen = vnode.freeze()
    vnode.head.append("t", rows([5, 2]), 0, 2, None, 2)
    assert vnode.heads() == (frozen, vnode.head)
    chunks = vnode.chunks("t")
    assert [(c.vnode, c.sequence, c.length, c.applied) for c in chunks] == [
        (2, 0, 1, (1, 1)),
        (2, 1, 2, (2, 2)),
    ]
    assert vnode.chunks("u") == []


def write(engine: Engine, first: int, count: int) -> None:
    """Rows of all devices, interleaved as they arrive, with one late row and one overwritten."""
    times = np.arange(first, first + count)
    for path in DEVICES:
        values = [f"{path}{t}" for t in times]
        engine.write("t", path, times, {"x": times * 3, "s": values}).wait()
    engine.write("t", DEVICES, np.full(7, first - 5), {"x": np.arange(7)}).wait()
    engine.write("t", DEVICES[:2], np.full(2, first), {"x": [-1, -2]}).wait()


def content(engine: Engine) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = engine.scan("t").read_all().to_pylist()
    return found


def newest(engine: Engine) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = engine.last("t").to_pylist()
    return found


def test_the_number_of_vnodes_may_change_between_starts(open_engine: Any, tmp_path: Path) -> None:
    counts = [1, 3, 2, 1, 4]
    engine: Engine = open_engine(tmp_path / "plain")
    plain: Engine = engine
    plain.create_template(T)
    path = tmp_path / "sharded"
    for step, vnodes in enumerate(counts):
        engine = open_engine(path, vnodes=vnodes)
        if step == 0:
            engine.create_template(T)
        for which in (plain, engine):
            write(which, 1000 * (step + 1), 40)
        assert content(engine) == content(plain)
        assert newest(engine) == newest(plain)
        if step % 2:
            engine.flush()
            write(engine, 500 * (step + 1), 10)
            write(plain, 500 * (step + 1), 10)
        if step == 2:
            engine.abandon()  # what was not flushed is replayed into other vnodes
        else:
            plain.flush()
            engine.flush()
            assert engine.store_accounting() == plain.store_accounting()
            engine.close()
    engine = open_engine(path, vnodes=3)
    assert content(engine) == content(plain)
    engine.compact()
    assert content(engine) == content(plain)
    assert newest(engine) == newest(plain)


def test_parts_lie_with_their_vnode_and_say_so(open_engine: Any, tmp_path: Path) -> None:
    engine: Engine = open_engine(vnodes=3)
    engine.create_template(T)
    write(engine, 100, 20)
    lsn = engine.applied_lsn
    engine.flush()
    metas = [part.meta for part in engine._store.inventory.of_table("t")]
    assert sorted(meta.vnode for meta in metas) == [0, 1, 2]
    assert {(meta.vnodes, meta.applied) for meta in metas} == {(3, (1, lsn))}
    for meta in metas:
        assert (tmp_path / "data" / "parts" / f"v{meta.vnode}" / f"{meta.name}.part").is_file()
    for part in engine._store.inventory.of_table("t"):
        device = part.read(range(len(part.blocks)), ()).device  # type: ignore[union-attr]
        assert set((device % 3).tolist()) == {part.meta.vnode}
    write(engine, 200, 20)
    engine.flush()
    engine.compact()
    metas = [part.meta for part in engine._store.inventory.of_table("t")]
    assert sorted(meta.vnode for meta in metas) == [0, 1, 2]
    assert {meta.applied for meta in metas} == {(1, engine.applied_lsn)}


def test_files_without_an_entry_are_removed_from_every_directory(
    open_engine: Any, tmp_path: Path
) -> None:
    engine: Engine = open_engine(vnodes=2)
    engine.create_template(T)
    write(engine, 100, 5)
    engine.close()
    parts = tmp_path / "data" / "parts"
    left = [parts / "v1" / "000000000099.part", parts / "v0" / "x.part.tmp", parts / "1.part"]
    for path in left:
        path.write_bytes(b"left by a crash")
    engine = open_engine()
    assert [path for path in left if path.exists()] == []
    assert len(content(engine)) == 7 * 6


def test_a_flush_that_fails_in_one_vnode_leaves_no_files(open_engine: Any, tmp_path: Path) -> None:
    fs = FaultyFilesystem(tmp_path / "data")
    engine: Engine = open_engine(fs=fs, vnodes=3)
    engine.create_template(T)
    write(engine, 100, 5)
    before = content(engine)
    fs.fail("rename", path_part=".part", skip=1, error=errno.ENOSPC)
    with pytest.raises(OSError, match="injected"):
        engine.flush()
    assert list((tmp_path / "data" / "parts").rglob("*.part")) == []
    assert content(engine) == before
    engine.flush()
    assert content(engine) == before
    assert engine.store_accounting()["t"].balanced


def test_a_number_of_vnodes_out_of_range_is_refused() -> None:
    for number in (0, 65):
        with pytest.raises(SchemaError, match="vnodes"):
            EngineOptions(vnodes=number)


def test_what_one_shard_holds_does_not_hide_a_newer_value_in_another(open_engine: Any) -> None:
    """1, 2, 1 vnodes: the parts of the first and last time are joined without the one between."""
    for vnodes, values in ((1, [1]), (2, [2]), (1, [None])):
        engine: Engine = open_engine(vnodes=vnodes)
        engine.create_template(
            Template("t", (Measurement(0, "x", ColumnType.INT64),)), if_not_exists=True
        )
        engine.write("t", "root.a.d", [5], {"x": values}).wait()
        engine.flush()
        engine.compact()
        assert engine.statistics().parts <= 2
        if vnodes == 1 and values == [None]:
            assert engine.scan("t").read_all()["x"].to_pylist() == [2]
        engine.close()
