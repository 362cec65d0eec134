"""MessagePack payloads, in the same shapes as JSON. Maps need names (text) as keys; a time may be
MessagePack's own timestamp."""

from __future__ import annotations

from typing import Any

import msgspec

from mainstem_edge.decode.object_codec import ObjectCodec
from mainstem_edge.errors import PayloadError

_parse_plain = msgspec.msgpack.Decoder().decode


def _parse_any(payload: bytes) -> Any:
    try:
        value = _parse_plain(payload)
    except (ValueError, RecursionError) as error:
        raise PayloadError(f"not MessagePack: {error}") from None
    maps = value if isinstance(value, list) else [value]
    if any(isinstance(each, dict) and not all(map(_is_text, each)) for each in maps):
        raise PayloadError("a map whose keys are not text")
    return value


def _is_text(key: object) -> bool:
    return isinstance(key, str)


class MsgpackCodec(ObjectCodec):
    """Reads MessagePack for one subscription."""

    make_decoder = msgspec.msgpack.Decoder
    parse_any = staticmethod(_parse_any)
