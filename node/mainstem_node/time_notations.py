"""Times of a CSV column: which notation the column uses, and each cell as nanoseconds UTC.

1. ``TimeSurvey.see`` looks at every cell of the column once and keeps only counts, so a file of
   any length is decided in constant memory.
2. ``TimeSurvey.decide`` names one notation for the whole column. 03/04 alone says nothing; one
   25/04 anywhere in the column decides it. Where no cell decides, the reading that goes backwards
   less often wins, and a tie is an error that names the option.
3. ``TimeReader.read`` converts a cell. A stamp without a zone is read in the reader's zone.

Notations: ISO 8601 dates, day-first and month-first dates with ``/``, ``-`` or ``.``, numbers since
the epoch in s, ms, us or ns, and any pattern of ``datetime.strptime``.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
from dataclasses import dataclass, field
from decimal import Decimal
from zoneinfo import ZoneInfo

NS_PER_S = 1_000_000_000
_DAY_S = 86_400
_EPOCH_DAY = dt.date(1970, 1, 1).toordinal()

UNITS_NS = {"s": NS_PER_S, "ms": 1_000_000, "us": 1_000, "ns": 1}
NOTATIONS = ("iso", "dmy", "mdy", "epoch", *UNITS_NS)

EPOCH_LIMITS = ((10**11, "s"), (10**14, "ms"), (10**17, "us"))
"""A number below the limit is in that unit: each reads the years 1973 to 5138 without overlap."""

_CLOCK = (
    r"(?:[T ]\s*(?P<hour>\d{1,2}):(?P<minute>\d{2})"
    r"(?::(?P<second>\d{2})(?:[.,](?P<part>\d{1,9}))?)?"
    r"\s*(?P<half>[AaPp][Mm])?\s*(?P<zone>[Zz]|[+-]\d{2}(?::?\d{2})?)?)?"
)
_YEAR_FIRST = re.compile(r"(?P<year>\d{4})([-/.])(?P<month>\d{1,2})\2(?P<day>\d{1,2})" + _CLOCK)
_YEAR_LAST = re.compile(r"(?P<first>\d{1,2})([-/.])(?P<second_>\d{1,2})\2(?P<year>\d{4})" + _CLOCK)
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")


class TimeFormatError(ValueError):
    """A cell that is not a time, or a column that does not decide how to read it."""


@functools.lru_cache(maxsize=4096)
def _day_s(year: int, month: int, day: int) -> int:
    """Midnight of that date in seconds since the epoch. Cached: files repeat their dates."""
    return (dt.date(year, month, day).toordinal() - _EPOCH_DAY) * _DAY_S


@functools.lru_cache(maxsize=4096)
def _offset_s(zone: dt.tzinfo, hour_s: int) -> int:
    """How far ``zone`` is ahead of UTC at a local time; of a repeated hour, the first."""
    local = dt.datetime(1970, 1, 1, tzinfo=zone) + dt.timedelta(seconds=hour_s)
    offset = local.utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def _stamp_ns(match: re.Match[str], month: int, day: int, zone: dt.tzinfo) -> int:
    """The instant of a matched date and clock, in ns."""
    hour, minute, second = (int(match[name] or 0) for name in ("hour", "minute", "second"))
    half = match["half"]
    if half:
        if not 1 <= hour <= 12:
            raise TimeFormatError("the hour does not fit am/pm")
        hour = hour % 12 + (12 if half in ("PM", "pm", "Pm", "pM") else 0)
    # ISO 8601 allows 24:00 for the end of a day; loggers that stamp interval ends write it.
    if minute > 59 or second > 59 or hour > 24 or (hour == 24 and (minute or second)):
        raise TimeFormatError("no such time of day")
    try:
        local_s = _day_s(int(match["year"]), month, day) + hour * 3600 + minute * 60 + second
    except ValueError as error:
        raise TimeFormatError(str(error)) from None
    named = match["zone"]
    if named is None:
        # Zones change their offset at whole quarters of an hour.
        offset_s = _offset_s(zone, local_s - local_s % 900)
    elif named in "Zz":
        offset_s = 0
    else:
        digits = named[1:].replace(":", "")
        offset_s = int(digits[:2]) * 3600 + int(digits[2:] or 0) * 60
        offset_s = -offset_s if named[0] == "-" else offset_s
    fraction_ns = int((match["part"] or "").ljust(9, "0") or 0)
    return (local_s - offset_s) * NS_PER_S + fraction_ns


@dataclass(frozen=True, slots=True)
class TimeReader:
    """Reads the cells of one column. ``notation``: one of NOTATIONS but ``epoch``, or a pattern."""

    notation: str
    zone: dt.tzinfo = dt.UTC

    def read(self, cell: str) -> int:
        """The instant in ns since the epoch. Raises TimeFormatError."""
        text = cell.strip()
        if self.notation in UNITS_NS:
            if not _NUMBER.fullmatch(text):
                raise TimeFormatError(f"{text!r} is not a number")
            return int(Decimal(text) * UNITS_NS[self.notation])
        if self.notation == "iso":
            match = _YEAR_FIRST.fullmatch(text)
            if match:
                return _stamp_ns(match, int(match["month"]), int(match["day"]), self.zone)
        elif self.notation in ("dmy", "mdy"):
            match = _YEAR_LAST.fullmatch(text)
            if match:
                day, month = int(match["first"]), int(match["second_"])
                if self.notation == "mdy":
                    day, month = month, day
                return _stamp_ns(match, month, day, self.zone)
        else:
            return self._by_pattern(text)
        raise TimeFormatError(f"{text!r} is not a time in the notation {self.notation}")

    def _by_pattern(self, text: str) -> int:
        try:
            moment = dt.datetime.strptime(text, self.notation)  # noqa: DTZ007 - the zone follows
        except ValueError as error:
            raise TimeFormatError(str(error)) from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=self.zone)
        since = moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
        return (since.days * _DAY_S + since.seconds) * NS_PER_S + since.microseconds * 1000

    def names_no_zone(self, cell: str) -> bool:
        """Whether the instant of this cell depends on the reader's zone."""
        if self.notation in UNITS_NS or "%z" in self.notation:
            return False
        text = cell.strip()
        match = _YEAR_FIRST.fullmatch(text) or _YEAR_LAST.fullmatch(text)
        return match is None or match["zone"] is None


@dataclass(slots=True)
class _Order:
    """How often one reading of the column goes backwards."""

    notation: str
    backwards: int = 0
    possible: bool = True
    _last: int | None = None

    def see(self, cell: str) -> None:
        if not self.possible:
            return
        try:
            instant = TimeReader(self.notation).read(cell)
        except TimeFormatError:
            self.possible = False
            return
        if self._last is not None and instant < self._last:
            self.backwards += 1
        self._last = instant


@dataclass(slots=True)
class TimeSurvey:
    """What one pass over a time column has seen. Constant memory."""

    iso: int = 0
    numbers: int = 0
    year_last: int = 0
    other: int = 0
    first_other: str = ""
    largest: Decimal = Decimal(0)
    _orders: tuple[_Order, _Order] = field(default_factory=lambda: (_Order("dmy"), _Order("mdy")))

    def see(self, cell: str) -> None:
        """Takes one non-empty cell into account."""
        text = cell.strip()
        if _YEAR_FIRST.fullmatch(text):
            self.iso += 1
        elif _YEAR_LAST.fullmatch(text):
            self.year_last += 1
            for order in self._orders:
                order.see(text)
        elif _NUMBER.fullmatch(text):
            self.numbers += 1
            self.largest = max(self.largest, abs(Decimal(text)))
        else:
            self.first_other = self.first_other or text
            self.other += 1

    def decide(self, zone: dt.tzinfo = dt.UTC) -> TimeReader:
        """The reader that fits every cell. Raises TimeFormatError with the reason."""
        seen = [
            name
            for name, count in (
                ("ISO dates", self.iso),
                ("day/month dates", self.year_last),
                ("numbers", self.numbers),
                (f"cells like {self.first_other!r}", self.other),
            )
            if count
        ]
        if len(seen) != 1 or self.other:
            raise TimeFormatError(
                f"the column mixes {' and '.join(seen)}" if len(seen) > 1 else
                f"{seen[0]} are not times" if seen else "the column has no times"
            )  # fmt: skip
        if self.iso:
            return TimeReader("iso", zone)
        if self.numbers:
            unit = next((unit for limit, unit in EPOCH_LIMITS if self.largest < limit), "ns")
            return TimeReader(unit, zone)
        return TimeReader(self._day_or_month_first(), zone)

    def _day_or_month_first(self) -> str:
        possible = [order for order in self._orders if order.possible]
        if not possible:
            raise TimeFormatError("neither day-first nor month-first fits every cell")
        possible.sort(key=lambda order: order.backwards)
        if len(possible) == 2 and possible[0].backwards == possible[1].backwards:
            raise TimeFormatError("no cell says whether the day or the month comes first")
        return possible[0].notation


def reader_for(notation: str, zone: dt.tzinfo = dt.UTC) -> TimeReader | None:
    """The reader that an option names; None for what the column itself has to decide.

    ``auto`` and ``epoch`` need a survey. Raises TimeFormatError for an unknown name.
    """
    if notation in ("auto", "epoch"):
        return None
    if notation in NOTATIONS or "%" in notation:
        return TimeReader(notation, zone)
    raise TimeFormatError(f"{notation!r} is neither auto, {', '.join(NOTATIONS)} nor a pattern")


def zone_named(name: str) -> dt.tzinfo:
    """The IANA zone of that name. Raises TimeFormatError for one that does not exist."""
    if name.upper() in ("UTC", "Z"):
        return dt.UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise TimeFormatError(f"there is no time zone {name!r}") from None


def rfc3339(instant_ns: int) -> str:
    """The instant in UTC, with no more digits than it needs: nobody has to guess unit or zone."""
    seconds, fraction = divmod(instant_ns, NS_PER_S)
    moment = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=seconds)  # noqa: DTZ001 - Z is written
    text = moment.isoformat()
    if fraction:
        text += f".{fraction:09}".rstrip("0")
    return text + "Z"
