"""Tells one receiver of changes of alarms, one after the other, in a thread of its own.

1. In the order in which they became durable: the end of an alarm never overtakes it. One that
   cannot be told holds up those behind it, and is tried again after growing pauses.
2. Three things are given up: what is older than ``expire_ns``, what the receiver refuses for good,
   and what was dropped because too many waited. They are counted and logged, and an alarm of the
   node says so, at most once an hour.
3. At most ``per_minute``; what is more waits.

Nothing here is waited for by the intake.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from mainstem_edge.notices.book import NoticeBook
from mainstem_edge.notices.notice import Notice, Telling
from mainstem_engine.errors import EngineError
from mainstem_engine.log.records import RecordKind
from mainstem_node.allowance import Allowance
from mainstem_sync.state.line_following import ALARM

if TYPE_CHECKING:
    from mainstem_engine.engine import Engine

log = logging.getLogger("mainstem.notices")

PAUSE_S_MIN, PAUSE_S_MAX = 1.0, 300.0
"""A receiver that restarts is back by the first; one that is down for a night is asked twelve times
an hour."""
AFTER_S_MAX = 3600.0
"""A receiver that asks for a longer pause is asked once an hour: an alarm of yesterday is none."""
LOOK_S = 60.0
"""How often an idle courier looks for what was dropped."""
RATE_S = 1.0
"""How long it waits where it has told as many as it may in a minute."""
MARK_EVERY = 50
"""A crash in the middle of a flood tells so many again at most."""
ALARM_EVERY_S = 3600.0
CODE = "NOTICES_LOST"


class SendError(Exception):
    """It was not told, or nobody knows. Its text has no secret. ``after_s``: not to be tried again
    before that, None if nobody says."""

    def __init__(self, problem: str, after_s: float | None = None) -> None:
        super().__init__(problem)
        self.after_s = after_s


class RefusedError(Exception):
    """The receiver will never take this one. Its text has no secret."""


class DoubtError(Exception):
    """It can be reached, and will perhaps not take what it is told. Its text has no secret."""


class Sender(Protocol):
    """How a receiver is told. Used by one thread."""

    @property
    def shown(self) -> str:
        """Where it is, for people; without a secret."""

    def send(self, telling: Telling) -> None:
        """Returns when the receiver has it. Raises SendError, RefusedError."""

    def greet(self) -> None:
        """Finds out whether it can be reached, and tells nothing. Raises SendError, DoubtError."""

    def rest(self) -> None:
        """There is nothing to tell for a while: connections may end."""


@dataclass(slots=True)
class Counts:
    """Since the start. ``failed``: tries, after which it is tried again."""

    delivered: int = 0
    failed: int = 0
    refused: int = 0
    expired: int = 0


class Courier:
    """See the module. ``tell(notice)``: what the receiver is told; None for nothing."""

    def __init__(
        self,
        name: str,
        kind: str,
        sender: Sender,
        book: NoticeBook,
        engine: Engine,
        tell: Callable[[Notice], Telling | None],
        *,
        node: str,
        expire_ns: int,
        per_minute: int,
        rng: random.Random | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.kind = kind
        self._sender = sender
        self._book = book
        self._engine = engine
        self._tell = tell
        self._node = node
        self._expire_ns = expire_ns
        self._allowance = Allowance(per_minute, monotonic)
        self._rng = rng or random.Random()
        self._clock_ns = clock_ns
        self._monotonic = monotonic
        self._counts = Counts()
        self._problem = ""
        self._failures = 0
        self._lost_said, self._alarmed_at = book.dropped(name), float("-inf")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"mainstem-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def halt(self) -> None:
        """Begins nothing more. Whoever waits in the book is woken by closing that."""
        self._stopping.set()

    def join(self, timeout_s: float) -> None:
        """What is under way may end for a moment; the rest is told after the next start."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def status(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "type": self.kind,
            "to": self._sender.shown,
            "pending": self._book.waiting(self.name),
            "dropped": self._book.dropped(self.name),
            **asdict(self._counts),
            "problem": self._problem or None,
        }

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                pause_s = self.turn()
            except EngineError as error:  # the log takes no marks: what was told is told again
                log.warning("%s: what was told is not written down: %s", self.name, error)
                pause_s = PAUSE_S_MAX
            except Exception:
                # A defect that one change shows must not end the telling of all others unseen.
                log.exception("%s: telling of alarms failed", self.name)
                pause_s = PAUSE_S_MAX
            if pause_s is None:
                self._book.wait(self.name, LOOK_S)
            else:
                self._stopping.wait(pause_s)
        self._sender.rest()

    def turn(self) -> float | None:
        """Tells what there is to tell. Seconds after which to go on; None when all is told."""
        pause_s: float | None = None
        passed = 0
        while pause_s is None and not self._stopping.is_set():
            notice = self._book.next(self.name)
            if notice is None:
                break
            pause_s = self._one(notice)
            if pause_s is None:
                self._book.passed(self.name, notice.key)
                passed += 1
                if passed % MARK_EVERY == 0:
                    self._book.mark(self.name)
        self._book.mark(self.name)
        if pause_s is None:
            self._sender.rest()
        self._say_lost()
        return pause_s

    def _one(self, notice: Notice) -> float | None:
        """None when nothing is owed of it any more, else after how many seconds to go on."""
        telling = self._tell(notice)
        if telling is None:
            return None
        if self._clock_ns() - notice.time_ns > self._expire_ns:
            self._counts.expired += 1
            log.warning("%s was not told of %s: it is too old", self.name, telling.id)
            return None
        if not self._allowance.take(1):
            return RATE_S
        try:
            self._sender.send(telling)
        except SendError as error:
            return self._failed(error)
        except RefusedError as error:
            self._counts.refused += 1
            self._problem = str(error)
            log.error("%s refuses %s: %s", self.name, telling.id, error)
        else:
            self._counts.delivered += 1
            self._problem = ""
        self._failures = 0
        return None

    def _failed(self, error: SendError) -> float:
        self._counts.failed += 1
        if str(error) != self._problem:
            self._problem = str(error)
            log.warning("%s cannot be told: %s", self.name, error)
        pause_s = min(PAUSE_S_MAX, PAUSE_S_MIN * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return max(pause_s * self._rng.uniform(0.75, 1.25), min(error.after_s or 0.0, AFTER_S_MAX))

    def _say_lost(self) -> None:
        lost = self._book.dropped(self.name) + self._counts.refused + self._counts.expired
        now = self._monotonic()
        if lost <= self._lost_said or now - self._alarmed_at < ALARM_EVERY_S:
            return
        text = (
            f"{self.name} was not told of {lost - self._lost_said} changes of alarms: refused, too"
            " old, or too many (`notify` of the status)"
        )
        log.error(text)
        self._lost_said, self._alarmed_at = lost, now
        header = {
            "op": ALARM, "code": CODE, "node": self._node, "text": text,
            "at": self._clock_ns() // 1_000_000,
        }  # fmt: skip
        self._engine.append(RecordKind.EVT, header)
