"""What the link to the parent may carry: a rate, and other rates at certain hours.

1. The first window that a moment lies in says its rate; outside of all windows the link's own rate
   holds. No rate is no limit, a rate of zero is silence.
2. A window is a time of day on certain days of the week, as clocks of its zone show it. One that
   ends before it starts goes on over midnight, and belongs to the day on which it began.
3. What is sent is counted afterwards, with what HTTP and TCP add. Something may be sent while
   nothing is owed, so that the mean is the rate and a burst is one request (a token bucket whose
   debt is paid off at the rate). Time without traffic saves up a quarter of a second at most.
"""

from __future__ import annotations

import datetime as dt
import threading
import zoneinfo
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

DAY_NAMES = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES_PER_DAY = 24 * 60

REQUEST_OVERHEAD_BYTES = 500
"""Headers of a request and its answer, about."""
PACKET_OVERHEAD = 1.04
"""TCP, IP and Ethernet headers of full packets."""

SAVED_S = 0.25
"""A longer burst would stand in the way of whatever else uses the link."""

SILENCE_DAYS_MAX = 8
"""Windows repeat every week: what does not end within it never ends."""


@dataclass(frozen=True, slots=True)
class LinkWindow:
    """Hours with a rate of their own. ``days``: 0 is Monday; minutes of the day, ``end_minute`` up
    to 1440; ``bytes_per_s`` 0 is silence."""

    days: frozenset[int]
    start_minute: int
    end_minute: int
    zone: zoneinfo.ZoneInfo
    bytes_per_s: float

    @classmethod
    def parse(cls, days: str, start: str, end: str, zone: str, bits_per_s: int) -> LinkWindow:
        """From ``mon-fri`` or ``sat,sun``, ``HH:MM`` (``24:00`` is the end of the day) and the name
        of an IANA zone. Raises ValueError or zoneinfo.ZoneInfoNotFoundError."""
        return cls(
            frozenset(_days(days)),
            _minute(start),
            _minute(end),
            zoneinfo.ZoneInfo(zone),
            bits_per_s / 8,
        )

    def contains(self, moment: dt.datetime) -> bool:
        """``moment`` has a zone, any."""
        local = moment.astimezone(self.zone)
        minute = local.hour * 60 + local.minute
        day = local.weekday()
        if self.start_minute < self.end_minute:
            return day in self.days and self.start_minute <= minute < self.end_minute
        if minute >= self.start_minute:
            return day in self.days
        return minute < self.end_minute and (day - 1) % 7 in self.days

    def edges(self, moment: dt.datetime) -> Iterator[dt.datetime]:
        """Starts and ends on the days after ``moment``, and on its own and the one before."""
        date = moment.astimezone(self.zone).date()
        for number in range(-1, SILENCE_DAYS_MAX + 1):
            for minute in (self.start_minute, self.end_minute):
                midnight = dt.datetime.combine(date + dt.timedelta(days=number), dt.time.min)
                yield (midnight + dt.timedelta(minutes=minute)).replace(tzinfo=self.zone)


class LinkBudget:
    """See the module. ``bytes_per_s`` None: no limit. Thread-safe."""

    def __init__(
        self,
        bytes_per_s: float | None,
        windows: Sequence[LinkWindow] = (),
        *,
        clock_ns: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self._base = bytes_per_s
        self._windows = tuple(windows)
        self._clock_ns = clock_ns
        self._monotonic = monotonic
        self._credit = 0.0
        self._counted_at = monotonic()
        self._lock = threading.Lock()

    def change(self, bytes_per_s: float | None, windows: Sequence[LinkWindow] = ()) -> None:
        """Other rates from now on; what is owed stays owed."""
        rate = self.bytes_per_s()
        with self._lock:
            self._earn(rate)
            self._base, self._windows = bytes_per_s, tuple(windows)

    def bytes_per_s(self) -> float | None:
        """The rate that holds now; None without a limit."""
        return self._rate_at(self._now()) if self._windows else self._base

    def sent(self, size: int) -> None:
        """A request with a body of so many bytes was sent."""
        rate = self.bytes_per_s()
        with self._lock:
            self._earn(rate)
            if rate is not None:
                self._credit -= size * PACKET_OVERHEAD + REQUEST_OVERHEAD_BYTES

    def wait_s(self) -> float:
        """Seconds until something may be sent; 0 if now, infinity in a silent window."""
        rate = self.bytes_per_s()
        with self._lock:
            self._earn(rate)
            credit = self._credit
        if rate is None or credit >= 0:
            return float("inf") if rate == 0 else 0.0
        return float("inf") if rate == 0 else -credit / rate

    def next_silence_ns(self) -> tuple[int, int] | None:
        """[from, until) of the silence that it is now, or of the next within a week; None if there
        is none. One that does not end within a week is said to last that long."""
        if not any(window.bytes_per_s == 0 for window in self._windows) and self._base != 0:
            return None
        now = self._now()
        edges = {edge for window in self._windows for edge in window.edges(now)}
        moments = [now, *sorted(edge for edge in edges if edge > now)]
        silent = [self._rate_at(moment) == 0 for moment in moments]
        if True not in silent:
            return None
        first = silent.index(True)
        until = now + dt.timedelta(days=SILENCE_DAYS_MAX)
        if False in silent[first:]:
            until = moments[silent.index(False, first)]
        return _ns(moments[first]), _ns(until)

    def _earn(self, rate: float | None) -> None:
        now = self._monotonic()
        passed, self._counted_at = now - self._counted_at, now
        if rate is None:
            self._credit = 0.0
        else:
            self._credit = min(self._credit + passed * rate, rate * SAVED_S)

    def _rate_at(self, moment: dt.datetime) -> float | None:
        for window in self._windows:
            if window.contains(moment):
                return window.bytes_per_s
        return self._base

    def _now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self._clock_ns() // 1_000_000_000, dt.UTC)


def _ns(moment: dt.datetime) -> int:
    return int(moment.timestamp()) * 1_000_000_000


def _days(text: str) -> Iterable[int]:
    for part in text.lower().split(","):
        first, dash, last = part.strip().partition("-")
        start = DAY_NAMES.index(first)
        end = DAY_NAMES.index(last) if dash else start
        yield from ((start + n) % 7 for n in range((end - start) % 7 + 1))


def _minute(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)
