"""What is put aside instead of stored, and the names of the reasons.

A reject of a *value* leaves its row in place; a reject of a *row* or *message* counts as one row
in the table's ``quarantined``. The names are stable: they stand in the quarantine, in metrics and
in the documentation.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

MALFORMED = "malformed"
"""The payload is not what the codec reads."""
TOO_LARGE = "too_large"
"""The payload is longer than the collector's message_limit."""
UNKNOWN_TOPIC = "unknown_topic"
"""No subscription matches; the broker kept an earlier one in the session."""
BAD_PATH = "bad_path"
"""The device path cannot be formed."""
UNKNOWN_DEVICE = "unknown_device"
"""The device does not exist and ``auto_create`` is off."""
DEVICE_LIMIT = "device_limit"
"""More new devices in a minute than ``max_new_devices_per_minute``."""
UNKNOWN_TEMPLATE = "unknown_template"
"""There is no template of that name, and none may be made."""
TAGS_DIFFER = "tags_differ"
"""Another series of line protocol has this device path: equal values under other keys."""
OTHER_TEMPLATE = "other_template"
"""The device exists under another template."""
NOT_OWNER = "not_owner"
"""The device belongs to another node."""
BAD_TIME = "bad_time"
"""The time cannot be read."""
NO_TIME = "no_time"
"""The payload has no time, and the subscription demands one."""
TIME_WITHOUT_ZONE = "time_without_zone"
"""A written time names no zone, and the subscription has none."""
TIME_PAST = "time_past"
"""Before ``clock.past``."""
TIME_FUTURE = "time_future"
"""More than ``clock.future`` ahead of this node's clock."""
EXPIRED = "expired"
"""Older than what is kept: TTL, or keep of template or database."""
TOO_LATE = "too_late"
"""Not older than what is kept, but of a time from which rows have been removed already."""
NO_VALUES = "no_values"
"""The row holds no value, or none that can be stored."""
UNKNOWN_MEASUREMENT = "unknown_measurement"
"""A value under a name that the template does not have."""
WRONG_TYPE = "wrong_type"
"""A value that the measurement's type cannot hold."""
OUT_OF_RANGE = "out_of_range"
"""A value outside the measurement's ``range``."""
BAD_QUALITY = "bad_quality"
"""A value that its source calls bad or stale, under a template without quality."""
RATE_OF_CHANGE = "rate_of_change"
"""A value further from the one before it than ``max_rate`` allows."""
REFUSED = "refused_by_store"
"""The engine would not take the row; the value says why."""

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
