"""A question to a node below, and the pieces of its answer: QUERY, CANCEL and RESULT frames.

A question is nobody's record: it dies with its deadline, and with the process that asked it. Its
deadline is a duration, because clocks differ. What is asked, and what the answer says, is the
business of those who ask and answer: here they are bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgpack

from mainstem_sync.errors import TooLargeError, WireError
from mainstem_sync.wire.fields import integer, text
from mainstem_sync.wire.frames import (
    CODEC_NONE,
    Frame,
    FrameType,
    compress,
    decompress,
    encode_frame,
)
from mainstem_sync.wire.order import ID_CHARS_MAX

BODY_BYTES_MAX = 1 << 20
"""Paths of some ten thousand devices; whoever names more asks for all of them."""

ANSWER_BYTES_MAX = 32 << 20
"""Of one answer, decompressed. Ten years of hours of one group are a tenth of it."""

PIECE_BYTES_MIN = 4 << 10
PIECE_BYTES = 256 << 10
"""Raw bytes of one piece, at least and at most: a thin link carries other things between two."""

PIECES_MAX = ANSWER_BYTES_MAX // PIECE_BYTES_MIN + 1

SAID_BYTES_MAX = 1 << 20
"""What stands beside an answer: completeness, which sites, why not."""

WAIT_MS_MAX = 3_600_000
ERROR_CHARS_MAX = 2000


@dataclass(frozen=True, slots=True)
class Question:
    """``wait_ms``: from now on, who has no answer gives up. ``bytes_max``: of the answer, raw."""

    id: str
    body: bytes
    wait_ms: int
    bytes_max: int = ANSWER_BYTES_MAX

    def frame(self, wait_ms: int) -> bytes:
        """A QUERY frame; ``wait_ms``: what is left of its time."""
        if len(self.body) > BODY_BYTES_MAX:
            raise TooLargeError("a question", len(self.body), BODY_BYTES_MAX)
        fields = {"id": self.id, "wait": wait_ms, "max": self.bytes_max}
        return encode_frame(FrameType.QUERY, fields, self.body)

    @classmethod
    def from_frame(cls, frame: Frame) -> Question:
        """Raises WireError."""
        header = frame.header
        if len(frame.payload) > BODY_BYTES_MAX:
            raise TooLargeError("a question", len(frame.payload), BODY_BYTES_MAX)
        return cls(
            text(header.get("id"), "id", ID_CHARS_MAX),
            bytes(frame.payload),
            integer(header.get("wait"), "wait", WAIT_MS_MAX),
            integer(header.get("max"), "max", ANSWER_BYTES_MAX),
        )


def cancel_frame(question_id: str) -> bytes:
    """Nobody waits for the answer any more."""
    return encode_frame(FrameType.CANCEL, {"id": question_id})


def cancelled_id(frame: Frame) -> str:
    return text(frame.header.get("id"), "id", ID_CHARS_MAX)


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of an answer. ``number`` from 0; ``said`` and ``error`` come with the last one."""

    id: str
    number: int
    is_last: bool
    raw: bytes
    said: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""
    error: str = ""

    def frame(self) -> bytes:
        """A RESULT frame."""
        codec, packed = compress(self.raw)
        fields: dict[str, Any] = {
            "id": self.id, "n": self.number, "last": self.is_last,
            "codec": codec, "raw": len(self.raw),
        }  # fmt: skip
        if self.is_last:
            said = msgpack.packb(dict(self.said))
            if len(said) > SAID_BYTES_MAX:
                raise TooLargeError("what stands beside an answer", len(said), SAID_BYTES_MAX)
            fields |= {"said": said, "code": self.code, "error": self.error[:ERROR_CHARS_MAX]}
        return encode_frame(FrameType.RESULT, fields, packed)

    @classmethod
    def from_frame(cls, frame: Frame) -> Piece:
        """Raises WireError."""
        header = frame.header
        raw_length = integer(header.get("raw"), "raw", PIECE_BYTES)
        raw = decompress(header.get("codec", CODEC_NONE), raw_length, frame.payload)
        is_last = bool(header.get("last"))
        return cls(
            text(header.get("id"), "id", ID_CHARS_MAX),
            integer(header.get("n"), "n", PIECES_MAX),
            is_last,
            bytes(raw),
            _said(header.get("said")) if is_last else {},
            text(header.get("code", ""), "code", ID_CHARS_MAX, empty=True),
            text(header.get("error", ""), "error", ERROR_CHARS_MAX, empty=True),
        )


def pieces_of(
    question_id: str,
    raw: bytes,
    said: Mapping[str, Any],
    code: str = "",
    error: str = "",
    piece_bytes: int = PIECE_BYTES,
) -> list[Piece]:
    """An answer as pieces of so many raw bytes, within bounds; at least one."""
    size = min(max(piece_bytes, PIECE_BYTES_MIN), PIECE_BYTES)
    starts = range(0, max(len(raw), 1), size)
    found = [
        Piece(question_id, number, False, raw[start : start + size])
        for number, start in enumerate(starts)
    ]
    last = found[-1]
    found[-1] = Piece(question_id, last.number, True, last.raw, said, code, error)
    return found


def _said(value: object) -> Mapping[str, Any]:
    if not isinstance(value, bytes) or len(value) > SAID_BYTES_MAX:
        raise WireError("an answer without what stands beside it")
    try:
        found = msgpack.unpackb(value)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as exc:
        raise WireError(f"what stands beside an answer is not msgpack ({exc})") from exc
    if not isinstance(found, dict):
        raise WireError("what stands beside an answer is not a map")
    return found
