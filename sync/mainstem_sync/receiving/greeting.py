"""HELLO at the parent: is it the log that is known, who may send from now on, what is held.

1. The protocol version is the greatest that both sides speak; without one the refusal names the
   side to upgrade.
2. A node that has a parent asks it first what it knows of the lines below: after every start, and
   for as long as it takes where a child remembers more to be acknowledged than is held here. A node
   that was restored or wiped would else take a forked log for the one that those above know.
3. What the child's log says of itself is judged (forking.py) when everything of it that is on its
   way into the log here is applied. At a fork an EPO record is durable here before the child is
   told its new epoch, and the child writes it down too before it says HELLO again.
4. What a child announces of its log (starts, head) is logged before it gets a lease: what is
   received under that lease comes after it in the log, so nothing is ever held here of a process
   whose start is not known.
5. A HELLO that was under way for long, of a process that is gone, must neither fork a log nor take
   a lease: whoever would is asked to say it once more, with a token that only the living hear. A
   token serves once: the HELLO that echoes it may be under way for long as well, and come twice.
   Where an epoch begins the lease of the process before ends: nothing more is taken of it, and it
   is not told that it was.
6. A child's statements about the lines of nodes behind it are joined to what is known; what is
   known here beyond them goes back with the answer.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from mainstem_engine.consumers import Ack
from mainstem_engine.engine import Engine
from mainstem_engine.errors import EngineError
from mainstem_engine.log.records import RecordKind
from mainstem_sync.errors import BusyError, ForkedError, PeerError, RejectedError, VersionError
from mainstem_sync.lines.epochs import EpochTable
from mainstem_sync.lines.forking import Claim, Verdict, judge
from mainstem_sync.lines.handshake import Hello, Welcome
from mainstem_sync.lines.known_lines import Closed, Line, Lines, Source
from mainstem_sync.lines.trail import Trail
from mainstem_sync.origins.origin_state import Origins, OriginState
from mainstem_sync.state.children import Children
from mainstem_sync.state.patience import LOG_TIMEOUT_S
from mainstem_sync.state.upward import Upward, log_line, orphans
from mainstem_sync.wire.messages import EPOCHS_VERSION, VERSION, VERSION_MIN, OriginKey
from mainstem_sync.wire.ranges import RangeSet

logger = logging.getLogger(__name__)

ASK_AGAIN_S = 1.0
"""A parent that is there answers within a second or two; then the child may come in."""

OFFERS_MAX = 256
"""Processes that were told a new epoch and may not have heard it: they are told the same again."""

POINTS_LOGGED = 4
"""Of the points that a child shows: the newest, for it may show sixty at every HELLO."""

ALARM = "alarm"
"""``op`` of the EVT record of an alarm."""


@dataclass(slots=True)
class _Known:
    """What is known of the node that says HELLO."""

    state: OriginState | None
    line: Line


class Greeting:
    """See the module. One per node. Thread-safe."""

    def __init__(
        self,
        *,
        node: str,
        origins: Origins,
        lines: Lines,
        children: Children,
        upward: Upward,
        lock: threading.RLock,
        clock_ns: Callable[[], int],
    ) -> None:
        self._node = node
        self._origins = origins
        self._lines = lines
        self._children = children
        self._upward = upward
        self._lock = lock
        self._clock_ns = clock_ns
        self._offers: dict[str, EpochTable] = {}
        self._leases: dict[str, tuple[tuple[str, str] | None, str]] = {}
        """By child, the HELLO that got the newest lease."""
        self._challenges: dict[str, str] = {}
        self._told: dict[str, Ack] = {}
        """The last statement of each node that is on its way into the log."""
        self._judging = threading.Lock()
        """One fork is decided at a time: an epoch number is given out once."""

    def welcome(self, child: str, hello: Hello, engine: Engine) -> Welcome:
        """The answer. Raises the refusal, or EngineError when the log cannot take what must be
        written down first."""
        version = self._version(child, hello)
        if hello.origin.name != child or hello.origin.uuid == engine.node_uuid:
            raise RejectedError(
                f"the credential of {child} was used by node {hello.origin.name}",
                hint="give every node a credential and a data directory of its own",
            )
        running = self._children.is_newest(child, hello.instance)
        if self._upward.must_wait(hello.acked, hello.table, hello.origin.uuid, hello.parent):
            raise BusyError(
                f"{self._node} asks its own parent first what is known of {child}",
                retry_after_s=ASK_AGAIN_S,
            )
        with self._judging:
            answer = self._judge(child, hello, engine, running, version)
        if answer is not None:
            return answer
        if self._children.is_taken(child, hello.instance):
            if not self._is_alive(hello, version):
                return self._challenge(hello, version)
            self._challenges.pop(hello.instance, None)
        self._listen(child, hello, engine)
        return self._admitted(child, hello, self._lease(child, hello), version)

    def _lease(self, child: str, hello: Hello) -> str:
        """A new lease; the same again for a HELLO that comes twice, as every request may."""
        said = (hello.instance, hello.nonce)
        nonce, lease = self._leases.get(child, (None, ""))
        if nonce == said and lease == self._children.lease_of(child):
            return lease
        lease = self._children.admit(child, hello.origin.uuid, hello.instance)
        self._leases[child] = (said, lease)
        return lease

    def fenced(self, engine: Engine) -> None:
        """A process was refused because another one has its lease: an alarm, once for each."""
        for child in self._children.newly_fenced():
            text = f"two processes of {child} are running; the older one is refused"
            with contextlib.suppress(EngineError):  # the refusal itself needs no log
                self._alarm(engine, "FENCED", child, text)

    def _version(self, child: str, hello: Hello) -> int:
        low, high = hello.versions
        if low > VERSION or high < VERSION_MIN:
            side = "the child" if high < VERSION_MIN else "this parent"
            raise VersionError(
                f"{child} speaks versions {low} to {high}, "
                f"{self._node} speaks {VERSION_MIN} to {VERSION}",
                hint=f"upgrade {side}",
            )
        return min(high, VERSION)

    # Is it the log that is known

    def _judge(
        self, child: str, hello: Hello, engine: Engine, running: bool, version: int
    ) -> Welcome | None:
        """What the child has to do first, or None if it may come in."""
        known = self._known(hello, child)
        self._settle(hello.origin.uuid)
        with self._lock:
            if running and self._is_late(known, hello):
                # A process does not lose what it sent: this HELLO was under way for long.
                raise PeerError(f"a HELLO of {child} arrived too late")
            trail = hello.trail
            claim = Claim(
                hello.table, trail, hello.first_lsn, hello.durable_lsn, frozenset(hello.chain_lost)
            )
            verdict = judge(known.line.table, known.line.trail, claim)
        if verdict.ask:
            return self._answer(hello, version, need_chain=verdict.ask)
        if verdict.fork is not None and not self._is_alive(hello, version):
            return self._challenge(hello, version)
        if verdict.fork is not None:
            table = self._fork(child, hello, engine, known, verdict, version)
            self._challenges.pop(hello.instance, None)
            if self._children.is_taken(child, hello.instance):
                self._children.suspend(child)
            return self._answer(hello, version, table=table)
        self._write_down(child, hello, engine, known, verdict)
        return None

    def _known(self, hello: Hello, child: str) -> _Known:
        with self._lock:
            line = self._lines.open(hello.origin.uuid, hello.origin.name)
            return _Known(self._origins.line(hello.origin.uuid), line)

    def _settle(self, uuid: str) -> None:
        """Everything of the node that is on its way into the log is applied."""
        with self._lock:
            acks = [state.last_ack for state in self._origins.of(uuid)]
        acks.append(self._told.get(uuid))
        for ack in acks:
            if ack is not None:
                with contextlib.suppress(EngineError):  # it was never acknowledged
                    ack.wait(LOG_TIMEOUT_S)

    @staticmethod
    def _is_late(known: _Known, hello: Hello) -> bool:
        """True for what the process that holds the lease cannot say any more."""
        if hello.table.current < known.line.table.current:
            return True
        return known.state is not None and hello.durable_lsn < known.state.received.last

    def _is_alive(self, hello: Hello, version: int) -> bool:
        """True if the HELLO answers what was asked of its process. Version 1 knows no questions."""
        wanted = self._challenges.get(hello.instance)
        return version < EPOCHS_VERSION or (wanted is not None and hello.echo == wanted)

    def _challenge(self, hello: Hello, version: int) -> Welcome:
        if hello.instance not in self._challenges:
            self._challenges[hello.instance] = self._children.new_token()
            while len(self._challenges) > OFFERS_MAX:
                del self._challenges[next(iter(self._challenges))]
        return self._answer(hello, version, challenge=self._challenges[hello.instance])

    def _fork(
        self,
        child: str,
        hello: Hello,
        engine: Engine,
        known: _Known,
        verdict: Verdict,
        version: int,
    ) -> EpochTable:
        """The table with the new epoch, durable here."""
        assert verdict.fork is not None
        if version < EPOCHS_VERSION:
            raise ForkedError(
                f"the log of {child} {verdict.why}: it was restored from a backup or cloned",
                hint=f"nothing was merged; upgrade {child}, which then goes on in a new epoch",
            )
        offered = self._offers.get(hello.instance)
        if offered is not None and offered == known.line.table and offered != hello.table:
            return offered
        try:
            table = known.line.table.with_fork(verdict.epoch, verdict.fork)
        except ValueError as exc:
            raise ForkedError(f"the log of {child} {verdict.why}, and {exc}") from exc
        said = Line(hello.origin.uuid, child, table)
        log_line(engine, said, own=False, source=Source.HERE, via=child).wait(LOG_TIMEOUT_S)
        self._offers[hello.instance] = table
        while len(self._offers) > OFFERS_MAX:
            del self._offers[next(iter(self._offers))]
        text = (
            f"the log of {child} {verdict.why}: it was restored from a backup or cloned; "
            f"it goes on after LSN {verdict.fork} in epoch {verdict.epoch}"
        )
        logger.error("%s: %s", self._node, text)
        self._alarm(engine, "FORKED", child, text)
        return table

    def _write_down(
        self, child: str, hello: Hello, engine: Engine, known: _Known, verdict: Verdict
    ) -> None:
        """What the child announces of its log, and epochs that only it knows."""
        said = Line(hello.origin.uuid, child, hello.table)
        with self._lock:
            mine = known.line.trail
            announced = Trail()
            announced.boots = {
                lsn: ident
                for lsn, ident in hello.boots.items()
                if mine.boots.get(lsn) != ident and mine.boots_from <= lsn <= hello.durable_lsn
            }  # a start that is not on disk yet may be of a process that nobody hears of again
            announced.points = hello.trail.newest(POINTS_LOGGED).points
            announced.boots_from = hello.boots_from if not mine.boots else 1
            announced.head = hello.durable_lsn
            nothing = not verdict.adopt and mine.contains(announced)
        if nothing:
            return
        said.trail = announced
        ack = log_line(engine, said, own=False, source=Source.HERE, via=child)
        self._told[hello.origin.uuid] = ack
        if verdict.adopt:
            ack.wait(LOG_TIMEOUT_S)

    # What is known of those behind it

    def _listen(self, child: str, hello: Hello, engine: Engine) -> None:
        ack: Ack | None = None
        statements = {said.uuid: said for said in hello.lines}
        with self._lock:
            for key in [state.key for state in self._origins.behind(child)]:
                # One that says nothing of a node has nothing of it, and will not deliver any.
                statements.setdefault(key.uuid, Line(key.uuid, key.name))
        for said in statements.values():
            if said.uuid in (engine.node_uuid, hello.origin.uuid):
                continue
            with self._lock:
                state = self._origins.line(said.uuid)
                line = self._lines.open(said.uuid, said.name)
                for epoch in line.closed:
                    said.closed.setdefault(epoch, Closed())
                mine = state is None or state.via in ("", child)
                news = mine and line.would_learn(said, Source.BELOW)
            if news:
                ack = log_line(engine, said, own=False, source=Source.BELOW, via=child)
        if ack is not None:
            ack.wait(LOG_TIMEOUT_S)

    def _admitted(self, child: str, hello: Hello, lease: str, version: int) -> Welcome:
        with self._lock:
            key = OriginKey(hello.origin.uuid, hello.table.current, child)
            own = self._origins.open(key, child)
            asked = [s for key in hello.origins if (s := self._origins.get(key)) is not None]
            known = {s.key: s for s in (own, *self._origins.behind(child), *asked)}
            held = tuple((key, s.received.copy()) for key, s in known.items())
            for s in known.values():
                s.acked = max(s.acked, s.received.watermark)
            lines = self._news(child, hello) if version >= EPOCHS_VERSION else ()
        return self._answer(hello, version, lease=lease, held=held, lines=lines)

    def _news(self, child: str, hello: Hello) -> tuple[Line, ...]:
        """Statements about the nodes behind the child, where they say more than it knows."""
        said = {line.uuid: line for line in hello.lines}
        told = []
        for uuid in dict.fromkeys(state.key.uuid for state in self._origins.behind(child)):
            line = self._lines.get(uuid)
            if line is None or uuid == hello.origin.uuid:
                continue
            mine = line.statement(orphans(line, self._origins))
            theirs = said.get(uuid)
            if theirs is None or theirs.would_learn(mine, Source.ABOVE):
                told.append(mine)
        return tuple(told)

    # Answers

    def _answer(
        self,
        hello: Hello,
        version: int,
        *,
        lease: str = "",
        held: tuple[tuple[OriginKey, RangeSet], ...] = (),
        need_chain: tuple[int, ...] = (),
        table: EpochTable | None = None,
        lines: tuple[Line, ...] = (),
        challenge: str = "",
    ) -> Welcome:
        return Welcome(
            self._node, self._upward.key.uuid, hello.nonce, lease, self._clock_ns(), held,
            need_chain, version, table, lines, challenge,
        )  # fmt: skip

    def _alarm(self, engine: Engine, code: str, child: str, text: str) -> None:
        header = {
            "op": ALARM, "code": code, "node": child, "text": text,
            "at": self._clock_ns() // 1_000_000,
        }  # fmt: skip
        engine.append(RecordKind.EVT, header)
