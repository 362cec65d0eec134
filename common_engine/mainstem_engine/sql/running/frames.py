"""Frames between a node and its SQL worker: length u32, kind u8, payload; little-endian.

Node to worker: RUN (a program), then for each of its inputs DATA frames (pieces of one Arrow IPC
stream) and one END, or ABORT when reading failed. CLOSE comes last, whatever happened before.
Worker to node: READY once at the start, with what confines it. Per program DATA frames of the
result's stream, then DONE or ERROR, and before these RETIRING when the worker should be replaced.
A DATA frame holds all messages of one batch, so that reading it needs no joining.
"""

from __future__ import annotations

import enum
import struct
from typing import BinaryIO, Protocol

from mainstem_engine.errors import CorruptionError

FRAME_BYTES_MAX = 1 << 30
"""No batch is that large; a greater length means that the stream is out of step."""
_HEADER = struct.Struct("<IB")


class FrameKind(enum.IntEnum):
    """Kinds of frames."""

    UNKNOWN = 0
    RUN = 1
    DATA = 2
    END = 3
    ABORT = 4
    CLOSE = 5
    READY = 6
    DONE = 7
    ERROR = 8
    RETIRING = 9


class AbortedError(RuntimeError):
    """The other side could not deliver its input."""


def write_frame(stream: BinaryIO, kind: FrameKind, payload: bytes = b"") -> None:
    """Writes and flushes one frame. Raises OSError when the other side is gone."""
    stream.write(_HEADER.pack(len(payload), kind))
    stream.write(payload)
    stream.flush()


class Readable(Protocol):
    """What frames are read from."""

    def read(self, size: int, /) -> bytes: ...


def read_frame(stream: Readable) -> tuple[FrameKind, bytes]:
    """The next frame. Raises EOFError at the end, CorruptionError when out of step."""
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise EOFError("the other side is gone")
    length, code = _HEADER.unpack(header)
    if length > FRAME_BYTES_MAX or code not in FrameKind.__members__.values():
        raise CorruptionError("SQL worker pipe", 0, f"frame of kind {code} and {length} bytes")
    payload = stream.read(length)
    if len(payload) < length:
        raise EOFError("the other side is gone")
    return FrameKind(code), payload


class WriteBuffer:
    """A file object for an Arrow stream writer: collects what is written until ``take``."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes | memoryview) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        return len(piece)

    def flush(self) -> None:
        """What was written is taken, not flushed."""

    def take(self) -> bytes:
        """What was written since the last time."""
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


class FrameWriter(WriteBuffer):
    """Sends what was written as frames."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream

    def send(self) -> int:
        """Sends what was written as one DATA frame; returns its size in bytes."""
        payload = self.take()
        if payload:
            write_frame(self._stream, FrameKind.DATA, payload)
        return len(payload)


class FrameReader:
    """A file object for an Arrow stream reader: the DATA frames up to END."""

    closed = False

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._payload = b""
        self._position = 0
        self._ended = False

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes, fewer only at the end. Raises AbortedError."""
        pieces: list[bytes] = []
        missing = size
        while missing != 0 and self._fill():
            available = len(self._payload) - self._position
            taken = available if missing < 0 else min(missing, available)
            pieces.append(self._payload[self._position : self._position + taken])
            self._position += taken
            missing -= taken if missing > 0 else 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _fill(self) -> bool:
        """True when there is something to take."""
        while self._position == len(self._payload) and not self._ended:
            taken = self.take(*read_frame(self._stream))
            if taken is None:
                self._ended = True
            else:
                self._payload, self._position = taken, 0
        return self._position < len(self._payload)

    def take(self, kind: FrameKind, payload: bytes) -> bytes | None:
        """What a frame adds to the stream, None at its end. Raises AbortedError."""
        if kind == FrameKind.DATA:
            return payload
        if kind == FrameKind.END:
            return None
        raise AbortedError("reading the tables failed")

    def drain(self) -> None:
        """Skips the rest of the stream."""
        while not self._ended:
            self._position = len(self._payload)
            self._fill()

    def close(self) -> None:
        """Nothing to free."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False
