"""What a DataValue says: a plain value, how good it is, and when it was so.

Numbers, booleans and text stay what they are. A time is RFC 3339, bytes are base64, a localized
text its text, an enumeration its number, a GUID or node id its text. Arrays and structures are
JSON, for measurements of type TEXT.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import enum
import json
from typing import Any

from asyncua import ua

from mainstem_edge.opcua.node_ids import text_of

GOOD, UNCERTAIN, BAD, STALE = None, "uncertain", "bad", "stale"
"""As payloads spell qualities; nothing is said of what is good."""

OVERFLOW_BITS = 0x0480
"""Info type "data value" and its bit 7: the server's queue dropped values before this one."""
_SEVERITY_SHIFT = 30

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
YEAR_MIN = 1602
"""A time that is not set is the beginning of 1601."""
_ATOMS = (ua.LocalizedText, ua.QualifiedName, ua.NodeId, ua.StatusCode, ua.Variant)


def status_of(value: ua.DataValue) -> int:
    return 0 if value.StatusCode is None else int(value.StatusCode.value)


def quality_of(status: int) -> str | None:
    """By the two upper bits; what is reserved counts as bad."""
    severity = status >> _SEVERITY_SHIFT
    return GOOD if severity == 0 else UNCERTAIN if severity == 1 else BAD


def has_overflow(status: int) -> bool:
    return status & OVERFLOW_BITS == OVERFLOW_BITS


def time_ns(stamp: dt.datetime | None) -> int | None:
    """Nanoseconds since the epoch; the library keeps microseconds."""
    if stamp is None or stamp.year < YEAR_MIN:
        return None
    since = (stamp if stamp.tzinfo else stamp.replace(tzinfo=dt.UTC)) - EPOCH
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000


def stamp_of(ns: int) -> dt.datetime:
    return EPOCH + dt.timedelta(microseconds=ns // 1000)


def plain(value: Any) -> Any:
    """See the module."""
    if value is None or type(value) in (float, int, bool, str):
        return value
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dt.datetime):
        known = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return known.isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, ua.LocalizedText):
        return value.Text
    if isinstance(value, ua.QualifiedName):
        return value.Name
    if isinstance(value, ua.NodeId):
        return text_of(value)
    if isinstance(value, ua.StatusCode):
        return int(value.value)
    if isinstance(value, ua.Variant):
        return plain(value.Value)
    if isinstance(value, list | tuple) or dataclasses.is_dataclass(value):
        return json.dumps(_tree(value), ensure_ascii=False)
    return str(value)


def _tree(value: Any) -> Any:
    """Lists and structures as JSON has them."""
    if isinstance(value, list | tuple):
        return [_tree(each) for each in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, _ATOMS):
        names = [each.name for each in dataclasses.fields(value) if each.name != "Encoding"]
        return {name: _tree(getattr(value, name)) for name in names}
    return plain(value)
