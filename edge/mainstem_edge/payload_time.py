"""From what a payload says about time to int64 nanoseconds UTC.

1. The field is the configured one, else the first of ``ts``, ``timestamp`` and ``time`` that is
   there (in that spelling, then in any case). A row without it takes the arrival time of its
   message, unless the source must be the payload.
2. A number is in the configured unit, or in the one its magnitude says: below 10^11 seconds, below
   10^14 milliseconds, below 10^17 microseconds, else nanoseconds. A fraction is rounded to the
   microsecond, which is what a double still tells apart at today's dates.
3. Text is RFC 3339 or another ISO 8601 form, or of the notation that is configured; where the time
   of day is a field of its own, it is put behind the date. Without a zone it is read in the
   configured one (the first of two readings where a clock was set back), and refused when none is
   configured.
4. A number too large for int64 nanoseconds becomes the nearest extreme, which no clock check
   passes.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from mainstem_edge.errors import PayloadTimeError
from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_engine.model import AnyArray, TimesNs
from mainstem_node import time_notations as notations
from mainstem_node.reasons import BAD_TIME, NO_TIME, TIME_WITHOUT_ZONE

DEFAULT_FIELDS = ("ts", "timestamp", "time")
AUTO = "auto"
ISO = "iso"

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_SECOND_NS = 1_000_000_000
_DAY_NS = 86_400 * _SECOND_NS


@dataclass(frozen=True, slots=True)
class RowTimes:
    """``ns`` int64[n]; rows in ``refused`` (row to (reason, raw value)) have an arbitrary time.
    ``from_arrival``: how many rows took the arrival time."""

    ns: TimesNs
    refused: dict[int, tuple[str, Any]] = field(default_factory=dict)
    from_arrival: int = 0


class TimeReader:
    """Reads the times of one subscription's rows.

    ``source``: ``auto``, ``payload`` (a row without a time is refused) or ``arrival`` (the
    payload's time is not looked at). ``not_times``: names that are measurements, which the default
    fields must not take away. ``clock_field``: where the time of day is; ``field`` has the date.
    ``notation``: that of texts, ``iso`` or another one of mainstem_node.time_notations.
    """

    def __init__(
        self,
        *,
        field: str | None = None,
        unit: str = AUTO,
        zone: str | None = None,
        source: str = AUTO,
        not_times: Iterable[str] = (),
        clock_field: str | None = None,
        notation: str = ISO,
    ) -> None:
        taken = {name.casefold() for name in not_times}
        self.fields: tuple[str, ...] = (
            (field,) if field else tuple(name for name in DEFAULT_FIELDS if name not in taken)
        )
        self._clock_field = clock_field
        self._unit = unit
        self._zone = None if zone is None else ZoneInfo(zone)
        self._noted = (
            None if notation == ISO else notations.TimeReader(notation, self._zone or datetime.UTC)
        )
        self._source = source

    @property
    def names(self) -> tuple[str, ...]:
        """All fields that are looked at."""
        return self.fields if self._clock_field is None else (*self.fields, self._clock_field)

    @property
    def number_names(self) -> tuple[str, ...]:
        """Those of them in which a text may be a number since the epoch: 20261124 is none where a
        notation is configured."""
        is_iso = self._noted is None and self._clock_field is None
        return self.fields if is_iso else ()

    def read(self, columns: Mapping[str, Sequence[Any]], arrived_ns: TimesNs) -> RowTimes:
        """The times of all rows. ``columns``: those of ``names`` that the payloads have, one raw
        value (or None) per row; ``arrived_ns`` int64[n]."""
        present = [columns[name] for name in self.fields if name in columns]
        if self._source == "arrival" or not present:
            if self._source == "payload":
                missing = dict.fromkeys(range(len(arrived_ns)), (NO_TIME, None))
                return RowTimes(arrived_ns.copy(), missing)
            return RowTimes(arrived_ns.copy(), {}, len(arrived_ns))
        raw = present[0]
        for column in present[1:]:
            raw = [b if a is None else a for a, b in zip(raw, column, strict=True)]
        if self._clock_field is not None:
            clocks = columns.get(self._clock_field) or [None] * len(raw)
            raw = [
                None if date is None else date if clock is None else f"{date} {clock}"
                for date, clock in zip(raw, clocks, strict=True)
            ]
        return self._parse(raw, arrived_ns)

    def read_values(self, raw: Sequence[Any]) -> tuple[TimesNs, list[int]]:
        """Values of a TIMESTAMP measurement: (ns int64[n], rows that cannot be read).

        None gives an arbitrary time and is not listed.
        """
        found = self._parse(raw, np.zeros(len(raw), np.int64), absent_allowed=True)
        return found.ns, list(found.refused)

    def _parse(
        self, raw: Sequence[Any], fallback_ns: TimesNs, *, absent_allowed: bool = False
    ) -> RowTimes:
        kinds = set(map(type, raw)) if self._noted is None else set()
        if kinds == {int}:
            return RowTimes(self._integers(raw))
        if kinds == {float}:
            floats = np.array(raw, np.float64)
            if np.isfinite(floats).all():
                return RowTimes(self._floats(floats))
        ns = fallback_ns.copy()
        refused: dict[int, tuple[str, Any]] = {}
        absent = 0
        for row, value in enumerate(raw):
            if value is None:
                absent += 1
                if self._source == "payload" and not absent_allowed:
                    refused[row] = (NO_TIME, None)
                continue
            try:
                ns[row] = self._one(value)
            except PayloadTimeError as error:
                refused[row] = (error.reason, value)
        return RowTimes(ns, refused, absent)

    def _one(self, value: Any) -> int:
        if self._noted is not None and isinstance(value, str | int):
            return self._noted_ns(str(value), self._noted)
        if isinstance(value, str):
            return parse_text_ns(value, self._zone)
        if isinstance(value, datetime.datetime) and value.tzinfo is not None:  # of MessagePack
            return _since_epoch_ns(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise PayloadTimeError(f"{value!r} is not a time", BAD_TIME)
        if isinstance(value, int):
            return int(self._integers([value])[0])
        if not math.isfinite(value):
            raise PayloadTimeError(f"{value!r} is not a time", BAD_TIME)
        return int(self._floats(np.array([value], np.float64))[0])

    def _noted_ns(self, text: str, reader: notations.TimeReader) -> int:
        """What parse_text_ns() does, of a text in another notation."""
        try:
            ns = reader.read(text)
        except notations.TimeFormatError:
            problem = f"{text!r} is not a time as {reader.notation}"
            raise PayloadTimeError(problem, BAD_TIME) from None
        if self._zone is None and reader.names_no_zone(text):
            raise PayloadTimeError(f"{text!r} has no time zone", TIME_WITHOUT_ZONE)
        return min(max(ns, TIME_MIN_NS), TIME_MAX_NS)

    def _integers(self, raw: Sequence[int]) -> TimesNs:
        try:
            numbers = np.array(raw, np.int64)
        except OverflowError:
            numbers = np.array([min(max(v, TIME_MIN_NS), TIME_MAX_NS) for v in raw], np.int64)
        factor = self._factors(numbers)
        limit = TIME_MAX_NS // factor
        inside = np.clip(numbers, -limit, limit)
        times: TimesNs = inside * factor
        beyond = numbers != inside
        if beyond.any():
            times[beyond] = np.where(numbers[beyond] > 0, TIME_MAX_NS, TIME_MIN_NS)
        return times

    def _floats(self, numbers: AnyArray) -> TimesNs:
        factor = self._factors(numbers)
        # Microseconds as whole numbers first: factor / 1000 is exact, so one rounding happens.
        micro = np.rint(numbers * (factor / 1000.0))
        limit = TIME_MAX_NS // 1000
        beyond = np.abs(micro) >= limit
        times: TimesNs = np.where(beyond, 0.0, micro).astype(np.int64) * 1000
        if beyond.any():
            times[beyond] = np.where(micro[beyond] > 0, TIME_MAX_NS, TIME_MIN_NS)
        return times

    def _factors(self, numbers: AnyArray) -> AnyArray:
        """int64[n]: nanoseconds per unit of each number."""
        if self._unit != AUTO:
            return np.full(len(numbers), notations.UNITS_NS[self._unit], np.int64)
        size = np.abs(numbers)
        factors = np.full(len(numbers), notations.UNITS_NS["ns"], np.int64)
        for bound, unit in reversed(notations.EPOCH_LIMITS):
            factors[size < bound] = notations.UNITS_NS[unit]
        return factors


def parse_text_ns(text: str, zone: datetime.tzinfo | None) -> int:
    """Nanoseconds of an ISO 8601 text. Raises PayloadTimeError (bad_time, time_without_zone)."""
    try:
        stamp = datetime.datetime.fromisoformat(text.strip())
    except ValueError:
        raise PayloadTimeError(f"{text!r} is not a time", BAD_TIME) from None
    if stamp.tzinfo is None:
        if zone is None:
            raise PayloadTimeError(f"{text!r} has no time zone", TIME_WITHOUT_ZONE)
        stamp = stamp.replace(tzinfo=zone)
    ns = _since_epoch_ns(stamp)
    if "." in text or "," in text:
        ns += _below_microsecond(text)
    return min(max(ns, TIME_MIN_NS), TIME_MAX_NS)


def _since_epoch_ns(stamp: datetime.datetime) -> int:
    try:
        since = stamp - _EPOCH
    except OverflowError:
        raise PayloadTimeError(f"{stamp} is beyond the calendar", BAD_TIME) from None
    return since.days * _DAY_NS + since.seconds * _SECOND_NS + since.microseconds * 1000


def _below_microsecond(text: str) -> int:
    """The seventh to ninth digit of the fraction as ns; datetime drops them."""
    fraction = text.replace(",", ".").partition(".")[2]
    digits = 0
    while digits < len(fraction) and fraction[digits].isdigit():
        digits += 1
    return int(fraction[6:9].ljust(3, "0")) if digits > 6 else 0
