"""JSON payloads. What msgspec refuses is tried once more with the standard library, which reads the
``NaN`` that many programs write, and numbers beyond a double as infinite: such a value is then put
aside as the wrong type, and its row stays."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from mainstem_edge.decode.object_codec import ObjectCodec
from mainstem_edge.errors import PayloadError

_BOM = b"\xef\xbb\xbf"

_parse_plain = msgspec.json.Decoder().decode


def _parse_any(payload: bytes) -> Any:
    """Any JSON, and once more leniently what msgspec refuses. Raises PayloadError."""
    try:
        return _parse_plain(payload)
    except (ValueError, RecursionError):
        text = payload.removeprefix(_BOM)
    try:
        value = json.loads(text)
        if b"\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        raise PayloadError(f"not JSON: {error}") from None
    return value


class JsonCodec(ObjectCodec):
    """Reads JSON for one subscription."""

    make_decoder = msgspec.json.Decoder
    parse_any = staticmethod(_parse_any)
