"""The connection to the parent: HELLO, lease, pauses, refusals that last. Sans-IO.

1. Without a lease the only thing to send is HELLO; after a failure only after a pause that doubles
   up to half a minute and is jittered. The pauses shrink again when a batch is
   acknowledged: a parent that greets and then fails is not greeted five times a second.
2. FENCED is final for this process. FORKED, which only a parent of version 1 says, is asked again
   from time to time: somebody may have brought the right data back.
3. A parent may want to see chain values before it decides, or have the node write down a new epoch:
   HELLO is then repeated.

Guarded by the sender's lock.
"""

from __future__ import annotations

import contextlib
import enum
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mainstem_engine.errors import LogRangeError
from mainstem_engine.log.log import Log
from mainstem_sync.errors import SyncError, WireError
from mainstem_sync.lines.handshake import Hello, Welcome
from mainstem_sync.lines.known_lines import Line
from mainstem_sync.sending.parent_clock import ParentClock
from mainstem_sync.wire.frames import FrameType
from mainstem_sync.wire.messages import (
    HELLO_PATH,
    VERSION,
    VERSION_MIN,
    ChainPoint,
    OriginKey,
    single_frame,
)
from mainstem_sync.wire.ranges import RangeSet

RETRY_MIN_S = 0.2
RETRY_MAX_S = 30.0
"""Pauses between attempts: soon after a hiccup, gently after an outage."""

JITTER = 0.2
"""A pause is at least so much of itself: of a thousand nodes that lost their parent together, two
hundred at most come back in one second of an outage of ten."""

POINTS_SHOWN = 32
"""Chain values that are remembered and shown unasked; further ones are asked for."""


class LinkState(enum.StrEnum):
    """What the uplink is doing."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    FENCED = "fenced"
    FORKED = "forked"


@dataclass(frozen=True, slots=True)
class Request:
    """A body to be posted. ``number`` is unique per sender."""

    number: int
    path: str
    body: bytes


def pause_after(failures: int) -> float:
    """Seconds to wait after so many failures in a row, at most."""
    return min(RETRY_MAX_S, RETRY_MIN_S * 2.0 ** min(failures - 1, 20))


def jittered(pause_s: float, rng: random.Random) -> float:
    """A pause that others who began it at the same time do not end at the same time."""
    return pause_s * rng.uniform(JITTER, 1.0)


class Session:
    """See the module. ``clock_ns`` wall clock, ``monotonic`` s."""

    def __init__(
        self,
        log: Log,
        *,
        clock_ns: Callable[[], int],
        monotonic: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self.state = LinkState.CONNECTING
        self.error: str | None = None
        self.lease = ""
        self.parent: str | None = None
        self.clock = ParentClock(clock_ns, monotonic)
        self.hello: Request | None = None
        """The HELLO that is under way."""
        self._log = log
        self._clock_ns = clock_ns
        self._monotonic = monotonic
        self._rng = rng
        self._instance = f"{rng.getrandbits(64):016x}"
        self._nonce = ""
        self._hello_at = 0.0
        self._want_chain: tuple[int, ...] = ()
        self._told_lsn = 0
        self._echo = ""
        self._attempts = 0
        self._retry_at = 0.0
        self._contact: float | None = None
        self._asked: float | None = None

    @property
    def is_connected(self) -> bool:
        return self.state is LinkState.CONNECTED

    def next_hello(
        self,
        number: int,
        own: Line,
        acked: RangeSet,
        relayed: Iterable[OriginKey],
        lines: Sequence[Line] = (),
        parent: str = "",
    ) -> Request | None:
        """A HELLO if one is due. ``own``: this node's line; ``acked``: what the parent is known to
        hold of it; ``relayed`` and ``lines``: the nodes behind this one; ``parent``: uuid of
        the one that last let this node in."""
        if not self.hello_is_due():
            return None
        self._nonce = f"{self._rng.getrandbits(64):016x}"
        points = dict(own.trail.newest(POINTS_SHOWN).points)
        durable = self._log.fsynced_lsn
        points = {lsn: chain for lsn, chain in points.items() if lsn <= durable}
        wanted = {acked.last, durable, self._told_lsn, *self._want_chain} - {0, *points}
        points.update(self._chain_values(wanted))
        hello = Hello(
            OriginKey(own.uuid, own.table.current, own.name),
            self._instance,
            self._nonce,
            self._log.first_lsn,
            durable,
            tuple(ChainPoint(lsn, points[lsn]) for lsn in sorted(points)),
            tuple(relayed),
            tuple(lsn for lsn in self._want_chain if lsn not in points),
            table=own.table,
            boots=own.trail.boots,
            boots_from=own.trail.boots_from,
            acked=acked.watermark,
            parent=parent,
            lines=tuple(lines),
            echo=self._echo,
        )
        self._told_lsn = durable
        self._hello_at = self._monotonic()
        self.hello = Request(number, HELLO_PATH, hello.encode())
        return self.hello

    def hello_is_due(self) -> bool:
        """False while one is under way, or a pause is not over."""
        if self.state is LinkState.FENCED or self.hello is not None:
            return False
        return self._monotonic() >= self._retry_at

    def wait_s(self) -> float:
        """Seconds until a HELLO may be due; only while not connected."""
        if self.state is LinkState.FENCED or self.hello is not None:
            return RETRY_MAX_S
        return max(0.0, self._retry_at - self._monotonic())

    def welcomed(self, body: bytes) -> Welcome | None:
        """The parent's answer to HELLO; None if it wants another one first. Raises WireError, or
        the refusal. The caller takes over what the parent holds, then calls ``connected``; or, if
        the answer has a table, writes it down and says HELLO again."""
        frame = single_frame(body)
        if frame.type is not FrameType.WELCOME:
            raise WireError("the answer to HELLO is not a WELCOME")
        welcome = Welcome.from_frame(frame)
        if welcome.nonce != self._nonce:
            raise WireError("the answer belongs to another HELLO")
        self.hello = None
        if not VERSION_MIN <= welcome.version <= VERSION:
            raise WireError(
                f"the parent speaks version {welcome.version}", hint="upgrade this node"
            )
        # All that was asked since the last lease: the parent remembers no earlier HELLO.
        self._want_chain = tuple(sorted({*self._want_chain, *welcome.need_chain}))
        self._echo = welcome.challenge
        if welcome.need_chain or welcome.challenge or welcome.table is not None:
            self._retry_at = 0.0
        if welcome.need_chain or welcome.challenge:
            return None
        self.clock.exchanged(self._hello_at, welcome.time_ns, welcome.time_ns)
        return welcome

    def connected(self, welcome: Welcome) -> None:
        """The lease is taken: batches may go."""
        self.lease = welcome.lease
        self._want_chain = ()
        self.parent = welcome.node
        self.state = LinkState.CONNECTED
        self._contact = self._monotonic()
        self._asked = self._hello_at

    def answered(self, sent_at: float) -> None:
        """The parent acknowledged a request, sent at ``sent_at`` (monotonic s)."""
        self._contact = self._monotonic()
        self._asked = sent_at if self._asked is None else max(self._asked, sent_at)
        self._attempts, self.error = 0, None

    def failed(self, why: str) -> None:
        """Begin again after a pause."""
        self.error = why
        self._attempts += 1
        self.restart(pause_after(self._attempts))

    def restart(self, pause_s: float = RETRY_MIN_S) -> None:
        """Say HELLO after a pause, jittered."""
        if self.is_connected:
            self.state = LinkState.CONNECTING
        self._retry_at = self._monotonic() + jittered(pause_s, self._rng)

    def stop(self, state: LinkState, error: SyncError) -> None:
        """The parent refuses this node, for good or until somebody acts."""
        self.state, self.error, self.hello = state, error.message, None
        self._retry_at = self._monotonic() + RETRY_MAX_S

    def contact_age_s(self) -> float | None:
        """Seconds since the parent last answered; None before the first time."""
        contact = self._contact
        return None if contact is None else self._monotonic() - contact

    def asked_age_s(self) -> float | None:
        """Seconds since the youngest request was sent that the parent has answered; None before
        the first."""
        asked = self._asked
        return None if asked is None else self._monotonic() - asked

    def _chain_values(self, lsns: Iterable[int]) -> dict[int, bytes]:
        values = {}
        for lsn in sorted(lsns):
            with contextlib.suppress(LogRangeError):  # released or damaged
                values[lsn] = self._log.chain_at(lsn)
        return values
