"""Frames between a node and its SQL worker."""

from __future__ import annotations

import io

import pyarrow as pa
import pytest

from mainstem_engine.errors import CorruptionError
from mainstem_engine.sql.running.frames import (
    AbortedError,
    FrameKind,
    FrameReader,
    FrameWriter,
    read_frame,
    write_frame,
)


def test_frames_come_back_as_written() -> None:
    pipe = io.BytesIO()
    write_frame(pipe, FrameKind.RUN, b"program")
    write_frame(pipe, FrameKind.END)
    pipe.seek(0)
    assert read_frame(pipe) == (FrameKind.RUN, b"program")
    assert read_frame(pipe) == (FrameKind.END, b"")
    with pytest.raises(EOFError):
        read_frame(pipe)


@pytest.mark.parametrize("damage", [b"\x01\x00\x00\x00\x63x", b"\xff\xff\xff\xff\x02"])
def test_a_stream_out_of_step_is_noticed(damage: bytes) -> None:
    with pytest.raises(CorruptionError):
        read_frame(io.BytesIO(damage))


def test_a_cut_frame_is_an_end() -> None:
    with pytest.raises(EOFError):
        read_frame(io.BytesIO(b"\x05\x00\x00\x00\x02abc"))


def test_arrow_streams_pass_through_frames() -> None:
    pipe = io.BytesIO()
    frames = FrameWriter(pipe)
    schema = pa.schema([("x", pa.int64()), ("d", pa.dictionary(pa.int32(), pa.string()))])
    batches = [
        pa.record_batch(
            [pa.array([n] * 3), pa.array([f"d{n}", "e", None]).dictionary_encode()], schema=schema
        )
        for n in range(3)
    ]
    writer = pa.ipc.new_stream(frames, schema)
    for batch in batches:
        writer.write_batch(batch)
        frames.send()
    writer.close()
    frames.send()
    write_frame(pipe, FrameKind.END)
    write_frame(pipe, FrameKind.DATA, b"the next stream")
    pipe.seek(0)
    reader = FrameReader(pipe)
    table = pa.ipc.open_stream(reader).read_all()
    assert table.column("x").to_pylist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert table.column("d").to_pylist()[3:6] == ["d1", "e", None]
    reader.drain()
    assert read_frame(pipe) == (FrameKind.DATA, b"the next stream")


def test_a_reader_can_be_drained_early() -> None:
    pipe = io.BytesIO()
    for kind in (FrameKind.DATA, FrameKind.DATA, FrameKind.END):
        write_frame(pipe, kind, b"abc" if kind == FrameKind.DATA else b"")
    pipe.seek(0)
    reader = FrameReader(pipe)
    assert reader.read(2) == b"ab"
    assert reader.read(3) == b"cab"
    reader.drain()
    assert reader.read() == b""


def test_an_abort_reaches_the_reader() -> None:
    pipe = io.BytesIO()
    write_frame(pipe, FrameKind.DATA, b"abc")
    write_frame(pipe, FrameKind.ABORT)
    pipe.seek(0)
    with pytest.raises(AbortedError):
        FrameReader(pipe).read(10)
