"""Times and durations as they are written in SQL, to and from int64 nanoseconds UTC.

1. A literal with a zone (``Z``, ``+08:00``) says what it means; one without is read in the zone of
   the request. A local time that a clock change skips or repeats takes the offset before it.
2. Everything is exact: nine digits of a second are kept, floats are never used.
3. A duration is a number and a unit, ``1m`` or ``20ms``. Both peers' letters are accepted; where
   they differ in meaning the longer name is the only spelling (``mo`` or ``n`` for a month).
"""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo

from mainstem_engine.errors import OutOfRangeError, SqlError, SqlSyntaxError

UTC = "UTC"
NS_PER_US = 1_000
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
NS_PER_DAY = 86_400 * NS_PER_S

UNIT_NS = {
    "ns": 1,
    "b": 1,
    "us": NS_PER_US,
    "u": NS_PER_US,
    "ms": NS_PER_MS,
    "a": NS_PER_MS,
    "s": NS_PER_S,
    "m": 60 * NS_PER_S,
    "h": 3600 * NS_PER_S,
    "d": NS_PER_DAY,
    "w": 7 * NS_PER_DAY,
    "y": 365 * NS_PER_DAY,
}
"""Fixed units. ``b``, ``u`` and ``a`` are TDengine's letters for ns, us and ms."""
MONTH_UNITS = frozenset({"mo", "n"})
"""Months: their length depends on the date they are added to."""

DURATION_NS_MAX = (1 << 63) - 1
"""Lengths are kept as int64, as times are."""

TIME_UNITS = {NS_PER_MS: "ms", NS_PER_US: "us", 1: "ns"}
"""Name of a precision by its length in ns."""

_DIGITS = {NS_PER_MS: 3, NS_PER_US: 6, 1: 9}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_DURATION = re.compile(r"\s*(\d+)\s*([a-zA-Z]*)\s*")
_OFFSET_ZONE = re.compile(r"([+-])(\d{2}):?(\d{2})")
TIME_PATTERN = re.compile(
    r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})"
    r"(?:[T ](\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?"
    r"\s?(Z|[+-]\d{2}(?::?\d{2})?)?)?",
    re.ASCII | re.IGNORECASE,
)
"""A date, or a date and time of day with optional fraction and offset."""


def parse_duration_ns(text: str, *, bare_unit: str | None = None) -> int:
    """Nanoseconds of ``90s``; a bare number is in ``bare_unit``. Raises SqlSyntaxError, and
    OutOfRangeError for more than 64 bits hold."""
    match = _DURATION.fullmatch(text)
    unit = (match.group(2).lower() or bare_unit) if match is not None else None
    if match is None or unit is None or unit not in UNIT_NS:
        raise SqlSyntaxError(
            f"{text!r} is not a duration", hint="write a number and ns, us, ms, s, m, h, d, w or y"
        )
    length_ns = int(match.group(1)) * UNIT_NS[unit]
    if length_ns > DURATION_NS_MAX:
        raise OutOfRangeError(
            f"{text} is longer than 292 years", field=text, hint="times are nanoseconds of 64 bits"
        )
    return length_ns


def parse_zone(name: str) -> dt.tzinfo:
    """The zone of a request: an IANA name or an offset such as ``+08:00``. Raises SqlError."""
    offset = _OFFSET_ZONE.fullmatch(name)
    if offset is not None:
        sign, hours, minutes = offset.groups()
        delta = dt.timedelta(hours=int(hours), minutes=int(minutes))
        if delta <= dt.timedelta(hours=14):
            return dt.timezone(delta if sign == "+" else -delta)
    elif name.upper() in (UTC, "Z"):
        return dt.UTC
    else:
        try:
            return zoneinfo.ZoneInfo(name)
        except (ValueError, zoneinfo.ZoneInfoNotFoundError, OSError):
            pass
    raise SqlError(
        f"time zone {name!r} is unknown",
        field="time_zone",
        hint="use a name such as Europe/Berlin or an offset such as +08:00",
    )


def engine_zone(name: str) -> str:
    """The name that the executing database knows for a zone that parse_zone accepted."""
    offset = _OFFSET_ZONE.fullmatch(name)
    if offset is None:
        return UTC if name.upper() in (UTC, "Z") else name
    sign, hours, minutes = offset.groups()
    if minutes != "00":
        raise SqlError(
            f"time zone {name!r}: only whole hours can be given as an offset",
            field="time_zone",
            hint="use a name such as Asia/Kolkata",
        )
    if hours == "00":
        return UTC
    # The names of POSIX count westward: Etc/GMT-8 lies eight hours east.
    return f"Etc/GMT{'-' if sign == '+' else '+'}{int(hours)}"


def parse_time_ns(text: str, zone: dt.tzinfo) -> int:
    """Nanoseconds UTC of an ISO 8601 literal. Raises SqlSyntaxError."""
    match = TIME_PATTERN.fullmatch(text.strip())
    if match is None:
        raise SqlSyntaxError(
            f"{text!r} is not a time", hint="write '2026-10-03T06:00:00Z' or an integer"
        )
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    try:
        local = dt.datetime(
            int(year),
            int(month),
            int(day),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
            tzinfo=_literal_zone(offset, zone),
        )
    except ValueError as error:
        raise SqlSyntaxError(
            f"{text!r} is not a time: {error}", hint="write '2026-10-03T06:00:00Z'"
        ) from None
    return _since_epoch(local) + int((fraction or "").ljust(9, "0"))


def _literal_zone(offset: str | None, zone: dt.tzinfo) -> dt.tzinfo:
    if offset is None:
        return zone
    if offset.upper() == "Z":
        return dt.UTC
    digits = offset[1:].replace(":", "").ljust(4, "0")
    delta = dt.timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return dt.timezone(delta if offset[0] == "+" else -delta)


def _since_epoch(moment: dt.datetime) -> int:
    try:
        # timedelta counts exactly on both sides of 1970; datetime.timestamp() would be a float.
        delta = moment - _EPOCH
    except OverflowError:
        raise OutOfRangeError(
            f"{moment.isoformat()} is out of range", hint="times are from 1677 to 2262"
        ) from None
    return (delta.days * 86_400 + delta.seconds) * NS_PER_S


def format_time(value_ns: int, zone: dt.tzinfo, precision_ns: int) -> str:
    """RFC 3339 with the digits of the precision: ``2026-10-03T06:00:00.000Z``."""
    seconds, rest = divmod(value_ns, NS_PER_S)
    utc = _EPOCH + dt.timedelta(seconds=seconds)
    moment = utc.astimezone(zone)
    offset = moment.utcoffset() or dt.timedelta(0)
    if offset % dt.timedelta(minutes=1):
        # Local mean times before standard time have seconds, which RFC 3339 cannot say.
        moment, offset = utc, dt.timedelta(0)
    digits = _DIGITS[precision_ns]
    text = moment.strftime("%Y-%m-%dT%H:%M:%S") + f".{rest:09d}"[: digits + 1]
    if not offset:
        return f"{text}Z"
    minutes = offset // dt.timedelta(minutes=1)
    sign = "-" if minutes < 0 else "+"
    return f"{text}{sign}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def sql_text(value_ns: int) -> str:
    """``2026-10-03 06:00:00.123456789+00``, exact; the caller keeps it inside int64."""
    seconds, rest = divmod(value_ns, NS_PER_S)
    moment = _EPOCH + dt.timedelta(seconds=seconds)
    return f"{moment.strftime('%Y-%m-%d %H:%M:%S')}.{rest:09d}+00"


def duration_text(length_ns: int) -> str:
    """``10d`` or ``90s``: the largest unit that divides it."""
    for unit in ("d", "h", "m", "s", "ms", "us"):
        if length_ns % UNIT_NS[unit] == 0:
            return f"{length_ns // UNIT_NS[unit]}{unit}"
    return f"{length_ns}ns"
