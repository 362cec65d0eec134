"""What is put aside instead of stored. The reasons are those of ``mainstem_node.reasons``."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

SAMPLE_CHARS_MAX = 4000
"""What people look at; the quarantine keeps 4,096 characters of a value, and the head line of a cut
payload must fit too."""


@dataclass(frozen=True, slots=True)
class Reject:
    """One value, row or message put aside.

    ``device`` is empty while unknown, ``time_ns`` None; ``measurement`` is empty for whole rows and
    messages. ``value`` is plain data: the value, the row as a map, or the payload's text.
    """

    reason: str
    value: Any
    device: str = ""
    time_ns: int | None = None
    measurement: str = ""

    @property
    def is_value(self) -> bool:
        """True when only one value was put aside and the row goes on."""
        return self.measurement != ""


def payload_text(payload: bytes) -> str:
    """A payload for people: its text, or its beginning with size and hash when it is long.

    The hash keeps two long payloads apart that begin alike.
    """
    text = payload[:SAMPLE_CHARS_MAX].decode("utf-8", "backslashreplace")[:SAMPLE_CHARS_MAX]
    if len(payload) <= SAMPLE_CHARS_MAX:
        return text
    digest = hashlib.blake2b(payload, digest_size=8).hexdigest()
    return f"[{len(payload)} bytes, blake2b {digest}] {text[: SAMPLE_CHARS_MAX - 60]}"
