"""A cheap edge: it posts what a full one posts, under a name of its own and a moment later.

1. Requests of data are those of a full edge, labelled anew (relabel.py). HELLO, leases, pauses
   after a failure, retries and the long poll are its own.
2. As many requests are under way as a sender has. What had no answer, or none that is OK, is
   posted again after a pause.
"""

from __future__ import annotations

import dataclasses
import random
from collections import deque
from collections.abc import Callable

from mainstem_sync.errors import BusyError, SyncError
from mainstem_sync.http.client import REQUEST_TIMEOUT_S
from mainstem_sync.lines.handshake import Hello, Welcome
from mainstem_sync.sending.lanes import PUT_OFF_S
from mainstem_sync.sending.scheduler import IN_FLIGHT
from mainstem_sync.sending.session import Request, jittered, pause_after
from mainstem_sync.testing.agenda import Agenda
from mainstem_sync.wire.batch import Acknowledgement
from mainstem_sync.wire.frames import FrameType, decode_frames, verify_signature
from mainstem_sync.wire.messages import (
    BATCHES_PATH,
    HELLO_PATH,
    AckCode,
    ChainPoint,
    OriginKey,
    single_frame,
)
from simulated.edge import Edge, Latencies, edge_name
from simulated.relabel import Label, Template
from simulated.tier import Answered, Post
from simulated.uplink import WAY_S, Door, Poll

HELLO_AFTER_S = 0.2
"""A leader that has not yet said HELLO is asked again so soon."""


class Leader:
    """A full edge that others follow."""

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self.mirrors: list[Mirror] = []
        self.hello: Hello | None = None
        """The last one."""
        self._posted: dict[int, Template] = {}
        self._number = 0
        edge.uplink.posted = self._post
        self._replied = edge.replied
        edge.replied = self._answer  # type: ignore[method-assign]

    @property
    def label(self) -> Label:
        return Label(self.edge.name, self.edge.node.engine.node_uuid)

    def _post(self, request: Request) -> None:
        if request.path == HELLO_PATH:
            self.hello = Hello.from_frame(single_frame(request.body))
            return
        self._number += 1
        made = Template.of(self._number, self.label, request.body, self.edge.times)
        self._posted[request.number] = made
        for mirror in self.mirrors:
            mirror.follow(made)

    def _answer(self, request: Request, answer: Answered | None) -> None:
        made = self._posted.pop(request.number, None)
        if made is not None and (answer is None or answer.status != 200):
            made.dead = True
        self._replied(request, answer)


class Mirror:
    """See the module. ``delay_s``: how long after its leader it measures."""

    def __init__(
        self, number: int, leader: Leader, agenda: Agenda, server: Door, latencies: Latencies
    ) -> None:
        self._rng = random.Random(f"mirror/{number}")
        self.label = Label(edge_name(number), f"{self._rng.getrandbits(128):032x}")
        self.delay_s = self._rng.random()
        self.lease = ""
        self.acked = 0
        self.refused: dict[str, int] = {}
        self.poll = Poll(agenda, self.label.name, server, lambda: self.lease)
        self._leader = leader
        self._agenda = agenda
        self._server = server
        self._latencies = latencies
        self._todo: deque[Template] = deque()
        self._flying: dict[int, Template] = {}
        self.newest = 0
        """The number of its leader's newest request."""
        self._owed: set[int] = set()
        """Numbers of those with batches that have no good answer yet."""
        self._parent = ""
        self._echo = ""
        self._nonce = ""
        self._wanted: tuple[int, ...] = ()
        self._instance = f"{self._rng.getrandbits(64):016x}"
        self._attempts = 0
        self._number = 0
        leader.mirrors.append(self)

    @property
    def rows(self) -> int:
        """Rows that its parent has to have in the end."""
        return self._leader.edge.rows

    @property
    def devices(self) -> list[str]:
        """Their paths."""
        edge = self._leader.edge
        return [path.replace(edge.name, self.label.name) for path in edge.devices]

    def has_delivered(self, number: int) -> bool:
        """True if its parent has all up to a request of its leader."""
        return not any(owed <= number for owed in self._owed)

    def start(self) -> None:
        """It says HELLO once its leader has a log."""
        self._agenda.after(self.delay_s, self._hello)
        self._agenda.after(self.delay_s + self._rng.random(), self.poll.ask)

    def follow(self, made: Template) -> None:
        """The leader posts it now."""
        self.newest = made.number
        if made.contents:
            self._owed.add(made.number)

        def mine() -> None:
            self._todo.append(made)
            self._advance()

        self._agenda.after(self.delay_s, mine)

    def _advance(self) -> None:
        while self.lease and self._todo and len(self._flying) < IN_FLIGHT:
            made = self._todo.popleft()
            if made.dead:
                self._owed.discard(made.number)
            else:
                self._post(made)

    def _post(self, made: Template) -> None:
        self._number += 1
        number, lease = self._number, self.lease
        self._flying[number] = made
        body, hashes = made.encode(
            self.label, self._leader.edge.node.engine, lease, number, self._agenda.now_ns
        )
        self._send(
            Post(self.label.name, BATCHES_PATH, body),
            lambda answer: self._answered(number, lease, hashes, answer),
        )

    def _send(self, post: Post, then: Callable[[Answered | None], None]) -> None:
        agenda, is_open = self._agenda, [True]

        def back(answer: Answered | None) -> None:
            if is_open[0]:
                is_open[0] = False
                then(answer)

        agenda.after(REQUEST_TIMEOUT_S, lambda: back(None))
        agenda.after(
            WAY_S,
            lambda: self._server.post(post, lambda a: agenda.after(WAY_S, lambda: back(a))),
        )

    def _answered(
        self, number: int, lease: str, hashes: dict[bytes, int], answer: Answered | None
    ) -> None:
        made = self._flying.pop(number)
        if answer is None or not verify_signature(answer.body, lease.encode()):
            self._again(made)
            if lease == self.lease:
                self._fail("no answer" if answer is None else "refused")
            return
        codes = {}
        for frame in decode_frames(answer.body):
            if frame.type is FrameType.ACK:
                ack = Acknowledgement.from_frame(frame)
                codes[ack.hash] = ack.code
                self.acked = max(self.acked, ack.watermark)
        if all(codes.get(digest) is AckCode.OK for digest in hashes):
            self._attempts = 0
            self._owed.discard(made.number)
            for made_s in made.rows:
                self._latencies.note(made_s + self.delay_s, self._agenda.now_s)
        else:
            self._note(",".join(sorted({str(codes.get(digest)) for digest in hashes})))
            self._agenda.after(PUT_OFF_S, lambda: self._again(made))
        self._advance()

    def _again(self, made: Template) -> None:
        self._todo = deque(sorted([*self._todo, made], key=lambda each: each.number))
        self._advance()

    # HELLO

    def _fail(self, why: str) -> None:
        """As session.py does: HELLO after a pause."""
        self._note(why)
        self.lease = ""
        self._attempts += 1
        self._agenda.after(jittered(pause_after(self._attempts), self._rng), self._hello)

    def _hello(self) -> None:
        said = self._leader.hello
        if said is None:
            self._agenda.after(HELLO_AFTER_S, self._hello)
            return
        log = self._leader.edge.node.engine.log
        points = {point.lsn: point for point in said.chain}
        for lsn in {log.fsynced_lsn, self.acked, *self._wanted} - {0, *points}:
            points[lsn] = ChainPoint(lsn, log.chain_at(lsn))
        self._nonce = f"{self._rng.getrandbits(64):016x}"
        hello = dataclasses.replace(
            said,
            origin=OriginKey(self.label.uuid, said.origin.epoch, self.label.name),
            instance=self._instance,
            nonce=self._nonce,
            first_lsn=log.first_lsn,
            durable_lsn=log.fsynced_lsn,
            chain=tuple(points[lsn] for lsn in sorted(points)),
            acked=self.acked,
            parent=self._parent,
            echo=self._echo,
        )
        self._send(Post(self.label.name, HELLO_PATH, hello.encode()), self._welcomed)

    def _welcomed(self, answer: Answered | None) -> None:
        try:
            if answer is None:
                raise SyncError("no answer")
            welcome = Welcome.from_frame(single_frame(answer.body))
        except BusyError as exc:
            # As sender.py does: when it was told to, and some more.
            self._note(exc.message)
            self._agenda.after(exc.retry_after_s * self._rng.uniform(1.0, 2.0), self._hello)
            return
        except SyncError as exc:
            self._fail(exc.message)
            return
        if welcome.table is not None:
            raise SystemExit(f"benchmark: {self.label.name} is taken for a copy")
        self._echo, self._wanted = welcome.challenge, welcome.need_chain
        if welcome.challenge or welcome.need_chain:
            self._hello()
            return
        self.lease, self._parent = welcome.lease, welcome.uuid
        self._advance()

    def _note(self, why: str) -> None:
        self.refused[why] = self.refused.get(why, 0) + 1
