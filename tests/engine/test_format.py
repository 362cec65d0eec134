"""The format on disk: what a release wrote must be read for ever.

``fixtures/format-1`` and ``-2`` were written by ``write_fixture`` and are kept. Log and checkpoint
of the newest are also compared byte by byte with what is written now, so that no change goes
unnoticed; of parts only the content is, for their bytes depend on the versions of the compressors.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from mainstem_engine.checkpoint import read_checkpoint, write_checkpoint
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.log.layout import segment_name
from mainstem_engine.log.log import Log
from mainstem_engine.log.records import RecordKind, decode_payload, encode_payload
from mainstem_engine.model import Column, ColumnType, Measurement, VersionedRows
from mainstem_engine.options import Durability
from mainstem_engine.part.manifest import PartList
from mainstem_engine.part.reader import Part
from mainstem_engine.part.writer import write_part
from mainstem_engine.testing.recorder import NODE_UUID

FIXTURES = Path(__file__).parent / "fixtures"
KINDS = [kind for kind in RecordKind if kind <= RecordKind.COVER]
"""Those that the kept logs have."""

NAMES = {
    "format-1": "72f795ac5e1561361c8b8f162de3e539",
    "format-2": "8e8a8b14bfd9c91cda387777ec334e30",
}
"""Kept directories, the newest last, and the chain value of their last record."""

fs = Filesystem()
TYPES = [kind for kind in ColumnType if kind != ColumnType.UNKNOWN]


def fixture_rows() -> VersionedRows:
    """One device with blocks of its own, a run of small ones, every type, nulls in half of them."""
    lengths = [1200, 3, 40, 1]
    count = sum(lengths)
    number = np.arange(count)
    columns: dict[int, Column] = {}
    for kind in TYPES:
        if kind == ColumnType.TEXT:
            values = np.array(["", "ä", "run", "stop"], object)[number % 4]
        elif kind == ColumnType.BLOB:
            values = np.array([b"", b"\0\xff"], object)[number % 2]
        elif kind.is_float:
            values = (number / 8).astype(kind.dtype)
            values[:3] = [np.nan, -0.0, np.inf]
        else:
            values = (number % 100).astype(kind.dtype)
        columns[int(kind)] = Column(values, number % 7 != 3 if kind % 2 else None)
    return VersionedRows(
        device=np.repeat(np.array([2, 5, 6, 9], np.uint32), lengths),
        time=1_700_000_000_000_000_000 + number * 10**9,
        origin=(number % 2).astype(np.uint16),
        lsn=(number // 10 + 1).astype(np.uint64),
        columns=columns,
    )


def write_fixture(root: Path) -> None:
    """A small data directory; the same bytes every time, but for the parts."""
    log = Log.open(root / "log", fs=fs, node_uuid=NODE_UUID, durability=Durability.parse("always"))
    log.start(lambda _: None)
    for kind in KINDS:
        log.append(kind, encode_payload({"n": int(kind)}, [bytes([kind]) * int(kind), b"\1\2\3"]))
        log.barrier()
        if kind == RecordKind.DEV:
            log.rotate()
    log.close()
    fs.make_directory(root / "parts")
    meta = write_part(
        fs,
        root / "parts",
        "first",
        table="meters",
        partition_start_ns=1_699_488_000_000_000_000,
        rows=fixture_rows(),
        measurements={int(kind): Measurement(int(kind), kind.name, kind) for kind in TYPES},
    )
    sections = {"catalog": b"abc", "empty": b""}
    checkpoint = write_checkpoint(fs, root / "checkpoint", 15, sections)
    parts = PartList.open(fs, root / "part-list")
    parts.commit(add=[meta, meta], checkpoint="gone")
    parts.commit(remove=["first"])
    parts.commit(add=[meta], checkpoint=checkpoint)
    parts.close()


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def kept(tmp_path: Path, name: str) -> Path:
    """A copy of a kept directory: opening a log may change it."""
    shutil.copytree(FIXTURES / name, tmp_path / "kept")
    return tmp_path / "kept"


def test_the_kept_log_is_read(kept: Path, name: str) -> None:
    log = Log.open(kept / "log", fs=fs, node_uuid=NODE_UUID, durability=Durability.parse("always"))
    assert log.recovery.damages == ()
    assert log.recovery.torn_bytes == log.recovery.carried_records == 0
    records = list(log.read(1))
    assert [record.kind for record in records] == KINDS
    for record in records:
        header, buffers = decode_payload(record.payload)
        assert header == {"n": int(record.kind)}
        assert [bytes(b) for b in buffers] == [bytes([record.kind]) * record.kind, b"\1\2\3"]
    assert log.chain_at(15).hex() == NAMES[name]
    log.close()


def test_the_kept_parts_are_read(kept: Path) -> None:
    parts = PartList.open(fs, kept / "part-list")
    (meta,) = parts.parts.values()
    assert parts.checkpoint == f"{15:020d}.ckpt"
    content = read_checkpoint(fs, kept / "checkpoint", parts.checkpoint)
    assert content == (15, {"catalog": b"abc", "empty": b""})
    part = Part.open(fs, kept / "parts", meta)
    assert part.blocks.rows.tolist() == [1200, 44]
    read, rows = part.read([0, 1], part.types), fixture_rows()
    for name in ("device", "time", "origin", "lsn"):
        assert getattr(read, name).tobytes() == getattr(rows, name).tobytes()
    for key, column in rows.columns.items():
        valid = np.ones(len(rows), np.bool_) if column.valid is None else column.valid
        stored = read.columns[key]
        assert (stored.valid is None) == (column.valid is None)
        assert stored.valid is None or stored.valid.tolist() == valid.tolist()
        one, two = stored.values[valid], column.values[valid]
        same = (
            one.tolist() == two.tolist()
            if one.dtype == object
            else (one.tobytes() == two.tobytes())
        )
        assert same, ColumnType(key).name
    part.close()
    parts.close()


def test_the_example_in_the_documentation(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "file-format.md"
    lines = re.findall(r"^([0-9a-f]{4})  ((?:[0-9a-f]{2} ){16})", page.read_text(), re.MULTILINE)
    documented = b"".join(bytes.fromhex(line) for _, line in lines)
    log = Log.open(tmp_path, fs=fs, node_uuid=NODE_UUID, durability=Durability.parse("always"))
    log.start(lambda _: None)
    log.append(RecordKind.PTS, encode_payload({}, [b"\1\2\3"]))
    log.close()
    assert (tmp_path / segment_name(1)).read_bytes() == documented


@pytest.mark.parametrize("name", list(NAMES)[-1:])
def test_the_format_has_not_changed(kept: Path, tmp_path: Path) -> None:
    write_fixture(tmp_path / "now")
    for path in sorted(kept.rglob("*")):
        if path.is_file() and path.suffix != ".part" and path.name != "part-list":
            place = path.relative_to(kept)
            assert (tmp_path / "now" / place).read_bytes() == path.read_bytes(), place
    assert sorted(p.relative_to(kept) for p in kept.rglob("*")) == sorted(
        p.relative_to(tmp_path / "now") for p in (tmp_path / "now").rglob("*")
    )
