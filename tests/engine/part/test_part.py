"""Parts: every row comes back bit for bit, pruning loses none, and wrong bytes are named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.encoding.interface import Compression, EncodingNumber
from mainstem_engine.errors import ClosedError, CorruptionError
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.model import AnyArray, Column, ColumnType, Measurement, VersionedRows
from mainstem_engine.part import reader, writer
from mainstem_engine.part.layout import (
    EXTREMES_USABLE,
    SUM_USABLE,
    TIME_COLUMN,
    ColumnIndex,
    PartFooter,
)
from mainstem_engine.part.manifest import PartMeta
from mainstem_engine.part.reader import Part
from mainstem_engine.part.writer import write_part
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem

fs = Filesystem()
TYPES = [kind for kind in ColumnType if kind != ColumnType.UNKNOWN]
MEASUREMENTS = {int(kind): Measurement(int(kind), kind.name, kind) for kind in TYPES}


def random_values(rng: np.random.Generator, kind: ColumnType, count: int) -> AnyArray:
    if kind == ColumnType.TEXT:
        return np.array(["run", "stop", "ä", ""], object)[rng.integers(0, 4, count)]
    if kind == ColumnType.BLOB:
        return np.array([b"", b"\0\xff", b"x" * 50], object)[rng.integers(0, 3, count)]
    if kind == ColumnType.BOOLEAN:
        return rng.random(count) < 0.5
    raw = rng.integers(0, 2**64, count, np.uint64, endpoint=False)
    return raw.view(np.uint8)[: count * kind.dtype.itemsize].copy().view(kind.dtype)


def random_rows(
    rng: np.random.Generator, lengths: list[int], kinds: list[ColumnType], null_rate: float
) -> VersionedRows:
    """Devices 10, 20, ... with so many rows each, sorted as a part wants them."""
    device = np.repeat(np.arange(10, 10 + 10 * len(lengths), 10, dtype=np.uint32), lengths)
    count = len(device)
    time = rng.integers(-(10**6), 10**6, count)
    time = time[np.lexsort((time, device))]
    columns = {}
    for kind in kinds:
        valid = rng.random(count) >= null_rate if null_rate else None
        columns[int(kind)] = Column(random_values(rng, kind, count), valid)
    return VersionedRows(
        device=device,
        time=time,
        origin=rng.integers(0, 3, count).astype(np.uint16),
        lsn=rng.integers(1, 1000, count).astype(np.uint64),
        columns=columns,
    )


def write(directory: Path, rows: VersionedRows, **options: int) -> PartMeta:
    return write_part(
        FaultyFilesystem(directory),  # does not wait for the disk
        directory,
        "p",
        table="t",
        partition_start_ns=-5,
        rows=rows,
        measurements=MEASUREMENTS,
        **options,
    )


def read_all(directory: Path, meta: PartMeta) -> VersionedRows:
    part = Part.open(fs, directory, meta)
    try:
        return part.read(range(len(part.blocks)), list(part.types))
    finally:
        part.close()


def assert_same(left: VersionedRows, right: VersionedRows) -> None:
    assert left.device.tobytes() == right.device.tobytes()
    assert left.time.tobytes() == right.time.tobytes()
    assert left.origin.tobytes() == right.origin.tobytes()
    assert left.lsn.tobytes() == right.lsn.tobytes()
    assert left.columns.keys() == right.columns.keys()
    for key, column in left.columns.items():
        other = right.columns[key]
        valid = np.ones(len(left), np.bool_) if column.valid is None else column.valid
        expected = np.ones(len(left), np.bool_) if other.valid is None else other.valid
        assert valid.tolist() == expected.tolist()
        assert column.values.dtype == other.values.dtype
        one, two = column.values[valid], other.values[valid]
        assert (
            one.tolist() == two.tolist()
            if one.dtype == object
            else (one.tobytes() == two.tobytes())
        )


@pytest.mark.parametrize("compression", ["AUTO", "UNCOMPRESSED", "SNAPPY", "LZ4", "ZSTD"])
@pytest.mark.parametrize("encoding", ["PLAIN", "RLE", "TS_2DIFF", "GORILLA", "DICTIONARY", "PCO"])
def test_encodings_that_a_template_names(tmp_path: Path, encoding: str, compression: str) -> None:
    rows = random_rows(np.random.default_rng(3), [1500, 40, 900], list(TYPES), 0.3)
    level = Column(np.repeat(np.arange(305.0), 8), np.arange(2440) % 9 != 4)
    rows.columns[100] = level
    named = {
        key: Measurement(key, f"m{key}", kind, encoding, compression)
        for key, kind in [*((int(kind), kind) for kind in TYPES), (100, ColumnType.DOUBLE)]
    }
    meta = write_part(
        FaultyFilesystem(tmp_path), tmp_path, "p", table="t", partition_start_ns=-5, rows=rows,
        measurements=named,
    )  # fmt: skip
    assert_same(read_all(tmp_path, meta), rows)
    part = Part.open(fs, tmp_path, meta)
    index = part.footer.columns[100]
    assert {EncodingNumber(number).name for number in index.encoding.tolist()} == {encoding}
    if encoding == "PLAIN":
        expected = "ZSTD" if compression == "AUTO" else compression
        assert {Compression(number).name for number in index.compression.tolist()} == {expected}
    times = part.footer.columns[TIME_COLUMN]
    assert set(times.encoding.tolist()) == {EncodingNumber.PCO}
    part.close()


@pytest.mark.parametrize("null_rate", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_round_trip_of_every_type(tmp_path: Path, kind: ColumnType, null_rate: float) -> None:
    rng = np.random.default_rng(int(kind))
    rows = random_rows(rng, [1, 40, 3, 25], [kind], null_rate)
    meta = write(tmp_path, rows, block_rows=16)
    part = Part.open(fs, tmp_path, meta)
    assert_same(part.read(range(len(part.blocks)), [int(kind)]), rows)
    assert part.types == {int(kind): kind}
    valid = rows.columns[int(kind)].valid
    expected = 0 if valid is None else int((~valid).sum())
    assert int(part.nulls(int(kind)).sum()) == expected
    part.close()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=8),
    st.lists(st.sampled_from(TYPES), max_size=3, unique=True),
    st.sampled_from([0.0, 0.2, 0.95]),
    st.sampled_from([8, 13, 64, 4096]),
    st.integers(0, 2**32),
    st.data(),
)
def test_random_parts(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[int],
    kinds: list[ColumnType],
    null_rate: float,
    block_rows: int,
    seed: int,
    data: st.DataObject,
) -> None:
    """Any part, any selection of blocks; pruning against brute force."""
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, lengths, kinds, null_rate)
    directory = tmp_path_factory.mktemp("part")
    meta = write(directory, rows, block_rows=block_rows)
    part = Part.open(fs, directory, meta)
    assert_same(part.read(np.arange(len(part.blocks)), [int(kind) for kind in kinds]), rows)
    assert int(part.blocks.rows.max()) <= block_rows
    ends = np.cumsum(part.blocks.rows)
    starts = ends - part.blocks.rows
    chosen = data.draw(st.lists(st.integers(0, len(ends) - 1), max_size=6))
    index = np.concatenate(
        [np.arange(starts[n], ends[n], dtype=np.intp) for n in chosen] or [np.arange(0)]
    )
    assert_same(part.read(chosen, [int(kind) for kind in kinds]), rows.take(index))

    devices = np.unique(rng.integers(0, 100, rng.integers(0, 6)).astype(np.uint32))
    low, high = np.sort(rng.integers(-(10**6) - 5, 10**6 + 5, 2)).tolist()
    for wanted in (None, devices):
        blocks = part.prune(wanted, low, high)
        assert (np.diff(blocks) > 0).all()
        mask = (rows.time >= low) & (rows.time < high)
        if wanted is not None:
            mask &= np.isin(rows.device, wanted)
        needed = np.unique(np.searchsorted(ends, np.flatnonzero(mask), "right"))
        assert np.isin(needed, blocks).all()
        for number in blocks:  # and nothing that its own ranges rule out
            block = slice(int(starts[number]), int(ends[number]))
            assert rows.time[block].max() >= low
            assert rows.time[block].min() < high
    part.close()


def test_meta(tmp_path: Path) -> None:
    rows = random_rows(np.random.default_rng(1), [5, 5], [ColumnType.INT32], 0)
    meta = write(tmp_path, rows)
    assert (meta.name, meta.table, meta.partition_start_ns, meta.rows) == ("p", "t", -5, 10)
    assert meta.bytes == (tmp_path / "p.part").stat().st_size
    assert (meta.time_min_ns, meta.time_max_ns) == (rows.time.min(), rows.time.max())
    assert (meta.device_min, meta.device_max) == (10, 20)
    assert meta.lsn == {
        int(origin): (
            int(rows.lsn[rows.origin == origin].min()),
            int(rows.lsn[rows.origin == origin].max()),
        )
        for origin in np.unique(rows.origin)
    }
    assert PartMeta.unpack(meta.pack()) == meta
    assert fs.list(tmp_path) == ["p.part"]


def test_rows_that_cannot_be_a_part(tmp_path: Path) -> None:
    rows = random_rows(np.random.default_rng(1), [5, 5], [], 0)
    with pytest.raises(ValueError, match="at least one row"):
        write(tmp_path, rows.take(slice(0, 0)))
    with pytest.raises(ValueError, match="sorted"):
        write(tmp_path, rows.take(slice(None, None, -1)))


def test_columns_that_a_part_lacks_are_left_out(tmp_path: Path) -> None:
    rows = random_rows(np.random.default_rng(1), [5], [ColumnType.INT32], 0)
    part = Part.open(fs, tmp_path, write(tmp_path, rows))
    read = part.read([0], [int(ColumnType.INT32), 77, -2])
    assert list(read.columns) == [int(ColumnType.INT32)]
    assert part.statistics(77) is None
    part.close()


def test_readers_outlive_file_and_close(tmp_path: Path) -> None:
    rows = random_rows(np.random.default_rng(1), [5], [ColumnType.DOUBLE], 0)
    part = Part.open(fs, tmp_path, write(tmp_path, rows))
    fs.unlink(tmp_path / "p.part")
    read = part.read([0], [int(ColumnType.DOUBLE)])
    part.close()
    part.close()
    assert_same(read, rows)
    with pytest.raises(ClosedError):
        part.read([0], [])


# -- statistics ----------------------------------------------------------------------------------


@pytest.mark.parametrize("null_rate", [0.0, 0.5, 0.97])
@pytest.mark.parametrize(
    "kind", [k for k in TYPES if k.is_integer or k.is_float or k == ColumnType.TIMESTAMP]
)
def test_statistics_against_brute_force(tmp_path: Path, kind: ColumnType, null_rate: float) -> None:
    rng = np.random.default_rng(int(kind))
    rows = random_rows(rng, [30, 50, 3], [kind], null_rate)
    column = rows.columns[int(kind)]
    column.values[:] = (
        rng.normal(0, 100, len(rows)) if kind.is_float else rng.integers(0, 100, len(rows))
    )
    part = Part.open(fs, tmp_path, write(tmp_path, rows, block_rows=16))
    statistics = part.statistics(int(kind))
    assert statistics is not None
    ends = np.cumsum(part.blocks.rows)
    for number, (start, end) in enumerate(zip(ends - part.blocks.rows, ends, strict=True)):
        valid = slice(None) if column.valid is None else column.valid[start:end]
        values = column.values[start:end][valid]
        if not len(values):
            assert statistics.flags[number] == 0
            continue
        assert statistics.flags[number] == EXTREMES_USABLE | SUM_USABLE
        assert statistics.minimum[number] == values.min()
        assert statistics.maximum[number] == values.max()
        assert statistics.first[number] == values[0]
        assert statistics.last[number] == values[-1]
        assert statistics.total[number] == pytest.approx(float(values.sum(dtype=np.float64)))
    part.close()


def statistics_of(tmp_path: Path, values: AnyArray, kind: ColumnType) -> Any:
    rows = random_rows(np.random.default_rng(0), [len(values)], [], 0)
    rows.columns[int(kind)] = Column(values)
    part = Part.open(fs, tmp_path, write(tmp_path, rows))
    statistics = part.statistics(int(kind))
    part.close()
    return statistics


def test_statistics_that_cannot_be_used_say_so(tmp_path: Path) -> None:
    with_nan = statistics_of(tmp_path, np.array([1.0, np.nan, 3.0]), ColumnType.DOUBLE)
    assert with_nan.flags.tolist() == [0]
    infinite = statistics_of(tmp_path, np.array([np.inf, -np.inf]), ColumnType.DOUBLE)
    assert infinite.flags.tolist() == [EXTREMES_USABLE]
    large = statistics_of(tmp_path, np.full(3, 2**62), ColumnType.INT64)
    assert large.flags.tolist() == [EXTREMES_USABLE]
    assert large.maximum.tolist() == [2**62]
    unsigned = statistics_of(tmp_path, np.full(3, 2**62, np.uint64), ColumnType.UINT64)
    assert unsigned.total.tolist() == [3 * 2**62]


# -- damage --------------------------------------------------------------------------------------


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    rows = random_rows(
        np.random.default_rng(3), [12, 20], [ColumnType.DOUBLE, ColumnType.TEXT], 0.2
    )
    meta = write(tmp_path, rows, block_rows=16)
    path = tmp_path / "p.part"
    data = path.read_bytes()
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 0x20
        path.write_bytes(flipped)
        with pytest.raises(CorruptionError) as caught:
            read_all(tmp_path, meta)
        assert caught.value.path == path
        assert 0 <= caught.value.offset <= len(data)


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    rows = random_rows(np.random.default_rng(3), [12], [ColumnType.DOUBLE], 0)
    meta = write(tmp_path, rows)
    path = tmp_path / "p.part"
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(CorruptionError):
            Part.open(fs, tmp_path, meta)


def test_another_part_under_the_name(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    meta = write(tmp_path, random_rows(rng, [12], [], 0))
    other = replace(meta, rows=11)
    with pytest.raises(CorruptionError, match="another part"):
        Part.open(fs, tmp_path, other)


def test_damage_costs_only_its_block(tmp_path: Path) -> None:
    rows = random_rows(np.random.default_rng(3), [16, 16, 16], [ColumnType.DOUBLE], 0)
    meta = write(tmp_path, rows, block_rows=16)
    path = tmp_path / "p.part"
    data = bytearray(path.read_bytes())
    data[20] ^= 1  # in the first block
    path.write_bytes(data)
    part = Part.open(fs, tmp_path, meta)
    key = int(ColumnType.DOUBLE)
    with pytest.raises(CorruptionError) as caught:
        part.read([0], [key])
    assert caught.value.offset == 16
    assert_same(part.read([1, 2], [key]), rows.take(slice(16, 48)))
    part.close()


@pytest.mark.parametrize("rows_declared", [2**32 - 1, 2**20 + 1, 11, 13, 0])
def test_lying_counts_with_a_right_checksum(
    tmp_path: Path, rows_declared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A footer that lies about a block is refused, or the block's decoder refuses it."""
    rows = random_rows(np.random.default_rng(3), [12], [ColumnType.DOUBLE], 0)
    honest = writer._block_index

    def lying(*arguments: Any) -> Any:
        index = honest(*arguments)
        lie = np.array([rows_declared], np.uint32)
        return replace(index, rows=lie)

    monkeypatch.setattr(writer, "_block_index", lying)
    meta = write(tmp_path, rows)
    meta = replace(meta, rows=rows_declared)
    with pytest.raises(CorruptionError):
        read_all(tmp_path, meta)


FOOTER_LIES: dict[str, tuple[Callable[[PartFooter], PartFooter], str]] = {
    "no time column": (
        lambda f: replace(f, columns={k: c for k, c in f.columns.items() if k != TIME_COLUMN}),
        "lacks a column",
    ),
    "columns of different lengths": (
        lambda f: replace(f, columns={**f.columns, 11: columns_of(2)}),
        "different lengths",
    ),
    "statistics of different lengths": (
        lambda f: replace(f, statistics={11: replace(f.statistics[11], flags=np.zeros(2, "u1"))}),
        "statistics of different lengths",
    ),
    "a block that is too large": (
        lambda f: replace(f, blocks=replace(f.blocks, rows=np.array([1 << 21], np.uint32))),
        "too large",
    ),
    "arrays of different lengths": (
        lambda f: replace(f, blocks=replace(f.blocks, rows=np.zeros(2, np.uint32))),
        "not understood",
    ),
    "more bytes than there are": (
        lambda f: replace(
            f, columns={**f.columns, TIME_COLUMN: replace(columns_of(1), bytes=np.array([1 << 31]))}
        ),
        "are declared",
    ),
    "a type of a later version": (
        lambda f: replace(f, types={**f.types, 11: 99}),  # type: ignore[dict-item]
        "not understood",
    ),
    "statistics of text": (
        lambda f: replace(f, types={**f.types, 11: ColumnType.TEXT}),
        "not understood",
    ),
}


def columns_of(count: int) -> ColumnIndex:
    zeros = np.zeros(count, np.uint32)
    return ColumnIndex(zeros, zeros, zeros, zeros, zeros.astype(np.uint8), zeros.astype(np.uint8))


@pytest.mark.parametrize("lie", FOOTER_LIES)
def test_footers_that_lie(tmp_path: Path, lie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    change, message = FOOTER_LIES[lie]
    honest = PartFooter.pack
    monkeypatch.setattr(PartFooter, "pack", lambda footer: honest(change(footer)))
    rows = random_rows(np.random.default_rng(3), [12], [ColumnType.DOUBLE], 0)
    meta = write(tmp_path, rows)
    with pytest.raises(CorruptionError, match=message):
        Part.open(fs, tmp_path, meta)


def test_a_part_of_a_later_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "VERSION", 2)
    meta = write(tmp_path, random_rows(np.random.default_rng(3), [12], [], 0))
    with pytest.raises(CorruptionError, match="version 2"):
        Part.open(fs, tmp_path, meta)


def test_large_values_make_smaller_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "BLOCK_BYTES", 10_000)
    rows = random_rows(np.random.default_rng(3), [200], [], 0)
    blobs = np.array([bytes([n]) * 1000 for n in range(200)], object)
    rows.columns[int(ColumnType.BLOB)] = Column(blobs, np.arange(200) % 2 == 0)
    part = Part.open(fs, tmp_path, write(tmp_path, rows))
    assert part.blocks.rows.tolist() == [20] * 10  # half of the values are null
    assert_same(part.read(range(10), [int(ColumnType.BLOB)]), rows)
    part.close()


def test_bitmap_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match="bitmap"):
        reader._bitmap(np.array([255], np.uint8), 9, 1)
    with pytest.raises(ValueError, match="bitmap"):
        reader._bitmap(np.array([255], np.uint8), 8, 1)
