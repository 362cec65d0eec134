"""How much of which queue goes into the next request, and how many requests are under way.

1. A request is one eighth of a second of the link, and at most a few milliseconds of work for the
   parent. Live and history have requests of their own. Of history one is under way; on a link with
   a long way as many more as it holds: bandwidth times round trip, and one, for a request is
   answered as a whole. So what was just written never waits for more than one request of history
   on the link and one at the parent.
2. Control goes first: what follows may need its definitions. Of what nothing waits for, such as
   statements about the past, a tenth of a request goes beside other data.
3. Live comes next. History gets what live leaves, and is guaranteed a quarter.
4. The quickest reply says how long the way there and back is. The parent had a request that long
   before its reply; from then, or from when it had the one before, its bytes took their time: that
   is the link's rate. One that took four times as long as it should says at once that the link is
   slower; a request that is not full may only say that the link is faster.
5. Queues are cut by bytes of the log; how many of them make a byte of the link is learnt from what
   was sent, for each queue.
6. Live data is gathered for a tenth of a second, or up to one where a request takes its time: a
   parent with a thousand children is asked less often.
7. Where live requests take more than two seconds in the mean, the parent or the link has a queue:
   one request waits in it then, not two. What is made meanwhile goes together in the next.
"""

from __future__ import annotations

from collections import deque

from mainstem_sync.wire.messages import Queue

REQUEST_S = 0.125
"""Two of them are the quarter of a second for which live data may wait."""

FRAME_BYTES_MAX = 4 << 20
FRAME_BYTES_MIN = 4 << 10
"""Below it the headers of a request would be most of what is sent."""

FRAME_BYTES_START = 16 << 10
"""A first guess: a link of 64 kbit/s takes it in two seconds, and a LAN shows at once that it
takes more."""

RAW_BYTES_MAX = 4 << 20
"""Bytes of the log in one request: some ten milliseconds of work on either side."""

RAW_BYTES_MIN = 1 << 10

HISTORY_SHARE = 0.25
CONTROL_SHARE = 0.1

IN_FLIGHT = 2
"""Live requests: one is made and sent while the other is applied."""
IN_FLIGHT_MAX = 16
"""On a link with a long way; more would only fill the parent's queue."""

IDLE_SHARE_MAX = 0.25
"""Of the time that a request takes on the link, so much may pass without one: only then one more
is under way, which live data may have to wait for."""

SAMPLES = 4
"""Requests whose mean says what the link carries."""

SLOWER = 4.0
"""A full request that took so many times as long speaks for itself."""

SERVED_SHARE_MIN = 0.1
SERVED_MAX = 8
SERVED_S_MIN = 0.001
"""Requests are judged together until what their bytes took is a tenth of the way, or there are so
many: replies that come at once, over two connections, would say that bytes take no time."""

RATIO_START = {Queue.CONTROL: 2.0, Queue.LIVE: 3.0, Queue.HISTORY: 6.0}
"""Bytes of the log for one of the link, before anything was sent: what sensors give."""

RATIO_MAX = 64.0
"""Columns that never change shrink without limit; the next ones may not."""

WEIGHT_OF_NEW = 0.25
"""Of the newest batch, or reply, in a mean: about four of them count."""

LIVE_EVERY_S = 0.1
LIVE_EVERY_S_MAX = 1.0
FULL_S = 2.0
"""A second request would only lengthen a queue of so long, until answers come later than they are
waited for, and everything is sent again."""

LIVE_PAUSE = 4.0
"""Live data is gathered for so many times what the last requests of it took beside their way."""


class Scheduler:
    """Rates in bytes of the link a second. Not thread-safe."""

    def __init__(self) -> None:
        self.rate = FRAME_BYTES_START / REQUEST_S
        self.trip_s = 0.0
        self.live_every_s = LIVE_EVERY_S
        self._most: float | None = None
        self._samples: deque[float] = deque(maxlen=SAMPLES)
        self._ratio = dict(RATIO_START)
        self._service_s = 0.0
        self._took_s = 0.0
        self._busy: deque[tuple[float, float]] = deque(maxlen=IN_FLIGHT_MAX)
        self._served_bytes, self._served_s, self._served = 0, 0.0, 0

    def bound(self, bytes_per_s: float | None) -> None:
        """The link has a budget, which may change: it carries no more than that."""
        self._most = bytes_per_s

    @property
    def frame_bytes(self) -> int:
        """What a request may have on the link."""
        rate = self.rate if self._most is None else min(self.rate, self._most)
        return int(min(max(rate * REQUEST_S, FRAME_BYTES_MIN), FRAME_BYTES_MAX))

    def raw_bytes(self, queue: Queue, frame_bytes: int | None = None) -> int:
        """Bytes of the log that make ``frame_bytes`` (a whole request) of this queue."""
        wanted = self.frame_bytes if frame_bytes is None else frame_bytes
        return int(min(max(wanted * self._ratio[queue], RAW_BYTES_MIN), RAW_BYTES_MAX))

    def live_share(self, *, history: bool) -> int:
        """Bytes of the log that live data may have of the next request."""
        part = 1.0 - HISTORY_SHARE if history else 1.0
        raw = self.raw_bytes(Queue.LIVE, int(self.frame_bytes * part))
        return min(raw, int(RAW_BYTES_MAX * part))

    def history_share(self, live_raw_bytes: int) -> int:
        """Bytes of the log for history in a request that holds so many of live data."""
        taken = live_raw_bytes / self._ratio[Queue.LIVE]
        most = int(RAW_BYTES_MAX - min(live_raw_bytes, RAW_BYTES_MAX * (1.0 - HISTORY_SHARE)))
        left = max(self.frame_bytes - taken, self.frame_bytes * HISTORY_SHARE)
        return min(self.raw_bytes(Queue.HISTORY, int(left)), most)

    def control_share(self, *, beside: bool) -> int:
        """Bytes of the log that statements may have of the next request; ``beside`` other data."""
        raw = self.raw_bytes(Queue.CONTROL)
        return int(raw * CONTROL_SHARE) if beside else raw

    def may_send_history(self, requests: int, flying_bytes: int) -> bool:
        """True if another request of history may follow those that are under way: it is on the link
        when the one before is with the parent."""
        if not requests:
            return True
        if requests >= IN_FLIGHT_MAX or not self._samples:
            return False
        held = self.rate * self.trip_s
        if self.trip_s > REQUEST_S * IDLE_SHARE_MAX:
            held += flying_bytes / requests * (1.0 - IDLE_SHARE_MAX)
        return flying_bytes < held

    def may_send(self, requests: int, flying_bytes: int) -> bool:
        """True if another live request may follow those that are under way."""
        if not requests:
            return True
        if self._took_s > FULL_S:
            return False
        if requests < IN_FLIGHT:
            return True
        if requests >= IN_FLIGHT_MAX or not self._samples:
            return False  # a first guess is not worth a burst
        return flying_bytes < self.rate * (self.trip_s + REQUEST_S)

    # What was learnt

    def encoded(self, queue: Queue, raw_bytes: int, frame_bytes: int) -> None:
        """A batch of so many bytes of the log became so many of the link."""
        found = min(max(raw_bytes / max(frame_bytes, 1), 0.25), RATIO_MAX)
        self._ratio[queue] += (found - self._ratio[queue]) * WEIGHT_OF_NEW

    def connected(self, seconds: float) -> None:
        """A HELLO, which is small, was answered after so long."""
        self.trip_s = seconds
        self._took_s = 0.0
        self._forget()

    def replied(
        self, now: float, sent_at: float, size: int, flying_bytes: int, *, live_only: bool
    ) -> None:
        """A request of ``size`` bytes was answered. ``flying_bytes``: of those before it that were
        not answered when it was sent."""
        took = now - sent_at
        if size < FRAME_BYTES_MIN and not flying_bytes and took > self.trip_s:
            self.trip_s += (took - self.trip_s) * WEIGHT_OF_NEW
        self.trip_s = min(self.trip_s, took)
        arrived_at = now - self.trip_s
        if size >= FRAME_BYTES_MIN:
            self._served_bytes += size
            self._served_s += self._occupied(sent_at, arrived_at)
            self._served += 1
        if self._served_s > took * SERVED_SHARE_MIN or self._served >= SERVED_MAX:
            rate = self._served_bytes / max(self._served_s, SERVED_S_MIN)
            self._sample(rate, full=self._served_bytes >= self.frame_bytes // 2)
        if live_only:
            self._took_s += (took - self._took_s) * WEIGHT_OF_NEW
            self._service_s += (took - self.trip_s - self._service_s) * WEIGHT_OF_NEW
            every = LIVE_PAUSE * self._service_s
            self.live_every_s = min(max(every, LIVE_EVERY_S), LIVE_EVERY_S_MAX)

    def _occupied(self, start: float, end: float) -> float:
        """Seconds of [start, end) that no request before has accounted for: replies of two lanes
        overtake each other."""
        left = [(start, end)]
        for first, last in self._busy:
            left = [
                (low, high)
                for a, b in left
                for low, high in ((a, min(b, first)), (max(a, last), b))
                if low < high
            ]
        self._busy.append((start, end))
        return sum(high - low for low, high in left)

    def _sample(self, rate: float, *, full: bool) -> None:
        self._served_bytes, self._served_s, self._served = 0, 0.0, 0
        if full and rate * SLOWER < self.rate:
            self._samples.clear()
        elif not full and rate <= self.rate:
            return
        self._samples.append(rate)
        self.rate = sum(self._samples) / len(self._samples)

    def _forget(self) -> None:
        self._samples.clear()
        self._served_bytes, self._served_s, self._served = 0, 0.0, 0

    def failed(self) -> None:
        """A request was not answered in time, or the link broke."""
        self._forget()
        self.rate = max(FRAME_BYTES_MIN / REQUEST_S, self.rate / 2)
