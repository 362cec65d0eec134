"""The flow in: limits, hash, lease, scope, schema, one log record, apply, acknowledge.

1. A request is decoded within the bounds of frames.py. A batch with a wrong hash is answered and
   skipped; the others go on.
2. Per batch, under the origin's lock: records known already are skipped, the rest becomes one RCV
   record (incoming.py). What is put aside is durable in the quarantine before that record.
3. The record is appended. Only when it is durable and applied (its Ack), the batch is acknowledged.
   A batch that is known already is acknowledged when everything of its origin is.
4. A batch of an epoch that is not known here is answered so: the child says HELLO again, which
   tells of it (greeting.py). Of a closed epoch only what is of its line is taken, and what a relay
   has promised of the rest.

Nothing is kept between requests but leases, so a reply that is lost costs a duplicate.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mainstem_engine.consumers import Ack
from mainstem_engine.engine import Engine
from mainstem_engine.errors import EngineError, OverloadedError, StaleImageError
from mainstem_engine.log.records import RecordKind
from mainstem_sync.errors import (
    BusyError,
    FencedError,
    ForkedError,
    PeerError,
    RangeLimitError,
    RejectedError,
    SyncError,
    TooLargeError,
    UnknownEpochError,
    UnknownSchemaError,
    WireError,
)
from mainstem_sync.lines.handshake import Hello
from mainstem_sync.lines.known_lines import Lines
from mainstem_sync.origins.origin_state import Kin, OriginMaps, Origins, OriginState
from mainstem_sync.proof.differences import Differences
from mainstem_sync.receiving.covering import cover
from mainstem_sync.receiving.domain import Domains
from mainstem_sync.receiving.greeting import Greeting
from mainstem_sync.receiving.hello_gate import HelloGate
from mainstem_sync.receiving.incoming import (
    NO_KIN,
    UNUSABLE,
    Prepared,
    duplicate_rows,
    only_definitions,
    prepare,
)
from mainstem_sync.receiving.incoming_images import IncomingImages, is_outside_ranges, touches_of
from mainstem_sync.receiving.quarantine import QuarantineStore
from mainstem_sync.receiving.trespasses import Trespasses
from mainstem_sync.state.accounting import Accounts
from mainstem_sync.state.children import Children
from mainstem_sync.state.moves import Moves
from mainstem_sync.state.patience import ACK_TIMEOUT_S
from mainstem_sync.wire import frames as wire
from mainstem_sync.wire.batch import Acknowledgement, Batch, request_lease
from mainstem_sync.wire.frames import FrameType, decode_frames
from mainstem_sync.wire.messages import (
    AckCode,
    OriginKey,
    decode_status,
    encode_error,
    single_frame,
)
from mainstem_sync.wire.pieces import Assembly, Part
from mainstem_sync.wire.ranges import LSN_MAX, RangeSet

logger = logging.getLogger(__name__)


ACKS_BESIDE_RIDERS_MAX = wire.FRAMES_MAX - 60
"""More than a sender puts into a request: what rides along needs room in the same message."""

SMALL_BYTES = 64 << 10
"""A batch below it is decoded within a millisecond: nobody minds to wait for that."""


@dataclass(frozen=True, slots=True)
class Child:
    """An authenticated child. ``paths``: what it and those below it may write; None: everything."""

    name: str
    paths: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP status with its body. ``retry_after_s``: how long the child should stay away."""

    status: int
    body: bytes
    retry_after_s: int | None = None


def busy(error: BusyError) -> Reply:
    """The refusal of a request that may come again later."""
    return Reply(error.status, encode_error(error), math.ceil(error.retry_after_s))


@dataclass(slots=True)
class _Answer:
    """What to say of a batch; its bytes are not kept while the disk is waited for."""

    hash: bytes
    code: AckCode
    message: str = ""
    ack: Ack | None = None
    state: OriginState | None = None
    held: int = 0
    """Of a batch that comes in pieces: bytes from its beginning."""


@dataclass(slots=True)
class Submission:
    """A request whose batches are in the log, not yet all durable. ``reply`` when ``done``."""

    lease: str = ""
    child: str = ""
    got_ns: int = 0
    answers: list[_Answer] = field(default_factory=list)
    refusal: Reply | None = None

    @property
    def acks(self) -> list[Ack]:
        """What has to be waited for."""
        return [answer.ack for answer in self.answers if answer.ack is not None]

    def add_done_callback(self, function: Callable[[], None]) -> None:
        """Calls ``function()`` once every batch is durable or failed; maybe on another thread."""
        acks = self.acks
        if len(acks) == 1:
            acks[0].add_done_callback(lambda _: function())
            return
        left = [len(acks)]
        lock = threading.Lock()

        def one_more(_: Ack) -> None:
            with lock:
                left[0] -= 1
                last = left[0] == 0
            if last:
                function()

        if not acks:
            function()
        for ack in acks:
            ack.add_done_callback(one_more)


class Receiver:
    """One per node. Thread-safe; ``bind`` before the first call."""

    def __init__(
        self,
        *,
        node: str,
        origins: Origins,
        accounts: Accounts,
        children: Children,
        greeting: Greeting,
        lines: Lines,
        quarantine: QuarantineStore,
        differences: Differences,
        moves: Moves,
        lock: threading.RLock,
        clock_ns: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._node = node
        self._gate = HelloGate(monotonic)
        self._moves = moves
        self._domains = Domains(moves, origins, lambda: self._engine.catalog.devices)
        self._origins = origins
        self._accounts = accounts
        self._children = children
        self._greeting = greeting
        self._lines = lines
        self._quarantine = quarantine
        self._lock = lock
        self._clock_ns = clock_ns
        self._assembly = Assembly()
        self._bound: Engine | None = None
        self.differences = differences
        self._trespasses = Trespasses()
        self.drops: dict[str, int] = {}
        """Batches and requests that were refused, by reason. Since the start."""
        self.riders: list[Callable[[str], bytes]] = []
        """Frames that ride in every reply to a child, by its name; called without the lock."""

    def bind(self, engine: Engine) -> None:
        """Begin to receive into this engine."""
        self._bound = engine

    @property
    def _engine(self) -> Engine:
        if self._bound is None:
            raise SyncError("the receiver is not connected to an engine", hint="call bind() first")
        return self._bound

    # HELLO

    def hello(self, child: Child, body: bytes) -> Reply:
        """Answer a HELLO: lease and R per origin, or the refusal."""
        try:
            frame = single_frame(body)
            if frame.type is not FrameType.HELLO:
                raise WireError("expected a HELLO")
            hello = Hello.from_frame(frame)
            pause_s = self._gate.pause_s(begun=bool(hello.echo))
            if pause_s:
                text = f"{self._node} greets others first"
                raise BusyError(text, retry_after_s=pause_s)
            return Reply(200, self._greeting.welcome(child.name, hello, self._engine).encode())
        except SyncError as exc:
            return self._refuse(child, exc)
        except (EngineError, TimeoutError) as exc:
            logger.error("%s cannot write down what %s says: %s", self._node, child.name, exc)
            return Reply(503, encode_error(PeerError(f"{exc}")))

    # Batches

    def batches(self, child: Child, body: bytes) -> Reply:
        """Take a request of batches; returns when all of them are durable and applied."""
        submission = self.submit(child, body)
        deadline = time.monotonic() + ACK_TIMEOUT_S
        for ack in submission.acks:
            try:
                ack.wait(max(0.0, deadline - time.monotonic()))
            except (EngineError, TimeoutError):
                break  # the reply says which batches are not durable
        return self.reply(submission)

    def submit(self, child: Child, body: bytes) -> Submission:
        """Decode, check and append; returns before the batches are durable."""
        submission = Submission(child=child.name, got_ns=self._clock_ns())
        try:
            frames = list(decode_frames(body))
            if not frames:
                raise WireError("an empty request")
            submission.lease, _ = request_lease(frames[0])
            uuid = self._children.check(child.name, submission.lease)
            raw_left = wire.REQUEST_RAW_BYTES_MAX
            for frame in frames[1:]:
                if frame.type is FrameType.BATCH:
                    batch = Batch.from_frame(frame)
                    raw_left -= batch.raw_length
                    if raw_left < 0:
                        limit = wire.REQUEST_RAW_BYTES_MAX
                        raise TooLargeError("a request", limit - raw_left, limit)
                    submission.answers.append(self._take(child, uuid, batch))
                elif frame.type is FrameType.PIECE:
                    submission.answers.append(self._piece(child, uuid, Part.from_frame(frame)))
                elif frame.type is FrameType.STATUS:
                    self._children.said(child.name, decode_status(frame))
        except SyncError as exc:
            submission.refusal = self._refuse(child, exc)
        except OverloadedError as exc:
            self._drop("busy")
            submission.refusal = busy(BusyError(exc.message, retry_after_s=exc.retry_after_s))
        except EngineError as exc:
            logger.error("%s cannot store what %s sends: %s", self._node, child.name, exc)
            submission.refusal = Reply(503, encode_error(PeerError(f"{exc}")))
        return submission

    def reply(self, submission: Submission) -> Reply:
        """The signed acknowledgements; a batch that did not become durable has none."""
        if submission.refusal is not None:
            return submission.refusal
        parts = []
        with self._lock:
            for answer in submission.answers:
                watermark = answer.held
                if answer.ack is not None:
                    if not answer.ack.done() or answer.ack.exception() is not None:
                        continue
                    assert answer.state is not None
                    watermark = answer.state.received.watermark
                    answer.state.acked = max(answer.state.acked, watermark)
                parts.append(
                    Acknowledgement(answer.hash, answer.code, watermark, answer.message).encode()
                )
        if len(parts) <= ACKS_BESIDE_RIDERS_MAX:
            parts += [rider(submission.child) for rider in self.riders]
        stamps = {"got": submission.got_ns, "gave": self._clock_ns()}
        parts.append(wire.encode_frame(FrameType.TIME, stamps))
        return Reply(200, wire.sign(b"".join(parts), submission.lease.encode()))

    def _piece(self, child: Child, uuid: str, part: Part) -> _Answer:
        """Some bytes of a batch; the batch, when they are the last."""
        try:
            whole = self._assembly.take(child.name, part)
        except (TooLargeError, RangeLimitError) as exc:
            self._drop("half_sent")
            return _Answer(part.digest, AckCode.LATER, exc.message)
        if isinstance(whole, int):
            return _Answer(part.digest, AckCode.PART, held=whole)
        try:
            frame = single_frame(whole)
            batch = Batch.from_frame(frame)
        except WireError as exc:
            self._drop("bad_hash")
            return _Answer(part.digest, AckCode.BAD_HASH, exc.message)
        if frame.type is not FrameType.BATCH or batch.hash != part.digest:
            return _Answer(part.digest, AckCode.BAD_HASH, "pieces of another batch")
        return self._take(child, uuid, batch)

    def _take(self, child: Child, uuid: str, batch: Batch) -> _Answer:
        if batch.decode_error is not None:
            self._drop("bad_hash")
            return _Answer(batch.hash, AckCode.BAD_HASH, batch.decode_error.message)
        try:
            return self._log(child, uuid, batch)
        except UnknownSchemaError as exc:
            return _Answer(batch.hash, AckCode.NEED_SCHEMA, exc.message)
        except UnknownEpochError as exc:
            return _Answer(batch.hash, AckCode.NEED_EPO, exc.message)
        except RangeLimitError as exc:
            self._drop("too_many_holes")
            return _Answer(batch.hash, AckCode.LATER, exc.message)
        except UNUSABLE as exc:
            self._drop("rejected_batch")
            logger.error("a batch of %s by %s is refused: %s", batch.origin.name, child.name, exc)
            return _Answer(batch.hash, AckCode.REJECTED, exc.message[:1000])

    def _log(self, child: Child, uuid: str, batch: Batch) -> _Answer:
        """One batch into the log."""
        self._unwanted(batch, uuid)  # before a state is opened for an epoch that is not known
        state = self._origin_of(child, uuid, batch)
        raw = memoryview(wire.decompress(batch.codec, batch.raw_length, batch.payload))
        moved = self._moves.revision
        early = self._looked_at(child, state, batch, raw)
        with state.intake:
            if is_outside_ranges(batch):
                return self._log_images(child, state, batch, raw)
            unwanted = self._unwanted(batch, uuid)
            known = self._known(state)
            if unwanted:
                known = known.copy()
                known.update(unwanted)
            fresh = batch.ranges.difference(known)
            if not fresh:
                with self._lock:
                    self._accounts.duplicates(duplicate_rows(batch, state.maps))
                return _Answer(batch.hash, AckCode.OK, "duplicate", state.last_ack, state)
            logged = state.logged.copy()
            logged.update(fresh)
            still = moved == self._moves.revision
            if early is not None and early.maps is state.maps and fresh == batch.ranges and still:
                prepared = early
            else:
                try:
                    prepared = self._prepare(child, state, batch, raw, known)
                except UnknownSchemaError:
                    self._keep_definitions(child, state, batch, raw)
                    raise
            if prepared.parking.blocks:
                self._quarantine.add_blocks(prepared.parking.blocks)
            for covering in prepared.parking.coverings:
                cover(self._quarantine, covering)
            ack = self._append(state, prepared)
            denied = [path for _, path in prepared.received.header["denied"]]
            if denied:
                domain = self._domains.of(child.name, child.paths, batch.origin.name)
                at_ms = self._clock_ns() // 1_000_000
                self._trespasses.devices(self._engine, child.name, domain, denied, at_ms)
            state.logged, state.last_ack = logged, ack
            state.note_in_flight(ack, touches_of(prepared.received))
        return _Answer(batch.hash, AckCode.OK, "", ack, state)

    def _known(self, state: OriginState) -> RangeSet:
        """Of an origin, under its ``intake``: LSNs that are logged, and those that came as slices
        or are lost. Of these nothing is wanted as records any more, after a start or before."""
        with self._lock:
            if not state.logged.contains_all(state.received):
                state.logged = state.logged.copy()
                state.logged.update(state.received)
        return state.logged

    def _looked_at(
        self, child: Child, state: OriginState, batch: Batch, raw: memoryview
    ) -> Prepared | None:
        """A batch of rows of which nothing seems to be known, prepared without ``intake``: history
        takes tens of milliseconds, and live rows of the same origin do not wait for it. It counts
        if neither maps nor what is known of it have changed when its turn comes."""
        defines = any(r.kind != RecordKind.PTS for r in batch.records)
        if defines or is_outside_ranges(batch) or batch.raw_length < SMALL_BYTES:
            return None
        if next(batch.ranges.intersection(state.logged).within(1, LSN_MAX), None) is not None:
            return None
        with contextlib.suppress(UnknownSchemaError):  # it may come in the meantime
            return self._prepare(child, state, batch, raw, RangeSet())
        return None

    def _prepare(
        self, child: Child, state: OriginState, batch: Batch, raw: memoryview, known: RangeSet
    ) -> Prepared:
        kin = self._kin(state, batch)
        return prepare(
            batch,
            raw,
            known,
            state.maps,
            via=child.name,
            paths=child.paths,
            engine=self._engine,
            at_ms=self._clock_ns() // 1_000_000,
            kin=kin,
            domain=self._domains.of(child.name, child.paths, batch.origin.name),
        )

    def _keep_definitions(
        self, child: Child, state: OriginState, batch: Batch, raw: memoryview
    ) -> None:
        """A batch has to wait, and the catalog has what it defines: so have the maps. What goes up
        from here meanwhile would say new names as this node's own, and not as the child's."""
        defining = only_definitions(batch)
        if defining is None:
            return
        with contextlib.suppress(UnknownSchemaError):  # even these need what is still to come
            prepared = self._prepare(child, state, defining, raw, RangeSet())
            if not prepared.maps.knows_as(state.maps):
                state.last_ack = self._append(state, prepared)

    def _kin(self, state: OriginState, batch: Batch) -> Kin:
        """How other epochs of the node are mapped, once everything of them that is on its way into
        the log is applied: for a batch that defines something."""
        if all(r.kind != RecordKind.SCH for r in batch.records):
            return NO_KIN
        with self._lock:
            states = self._origins.of(state.key.uuid)
            end_lsn = self._lines.table(state.key.uuid).end_of(state.key.epoch)
        if len(states) == 1:
            return NO_KIN
        for other in states:
            if other is not state and other.last_ack is not None:
                with contextlib.suppress(EngineError, TimeoutError):  # not acknowledged
                    other.last_ack.wait(ACK_TIMEOUT_S)
        return state.kin(end_lsn)

    def _log_images(
        self, child: Child, state: OriginState, batch: Batch, raw: memoryview
    ) -> _Answer:
        """A batch of slice images into the log; one that came too late or too early is put off."""
        at_ms = self._clock_ns() // 1_000_000
        with self._lock:
            epochs = self._lines.table(state.key.uuid)
        domain = self._domains.of(child.name, child.paths, batch.origin.name)
        images = IncomingImages(
            self._engine, self._quarantine, self._append, domain, child.name, at_ms,
            self.differences, self._lock, epochs,
        )  # fmt: skip
        try:
            ack = images.take(state, batch, raw)
        except (StaleImageError, OverloadedError) as exc:
            return _Answer(batch.hash, AckCode.LATER, exc.message)
        state.last_ack = ack or state.last_ack
        return _Answer(batch.hash, AckCode.OK, "", ack, state)

    def _append(self, state: OriginState, prepared: Prepared) -> Ack:
        """The maps change before the record that brings them is applied. If it is not appended
        they change back: rows that need them may only be logged after it."""
        before = state.maps
        with self._lock:
            state.maps = prepared.maps
        try:
            return self._engine.append(
                RecordKind.RCV,
                prepared.received.header,
                prepared.buffers,
                decoded=prepared.received,
                rows=(group.rows for group in prepared.received.groups),
            )
        except BaseException:
            with self._lock:
                state.maps = before
            raise

    def _unwanted(self, batch: Batch, uuid: str) -> RangeSet:
        """LSNs of a batch that are of no line and that nobody promised. UnknownEpochError for an
        epoch that is not known here, RejectedError for what its origin cannot mean."""
        key = batch.origin
        with self._lock:
            line = self._lines.open(key.uuid, key.name)
            table = line.table
            if not table.forks and not key.epoch:
                return RangeSet()  # as nearly always
            if key.epoch > table.current:
                raise UnknownEpochError(f"epoch {key.epoch} of {key.name} is not known here")
            begin, end = table.begin_of(key.epoch), table.end_of(key.epoch)
            if key.epoch not in table.epochs or next(batch.ranges.within(1, begin), None):
                raise RejectedError(f"LSNs of {key.name} that are not of its epoch {key.epoch}")
            beyond = RangeSet(batch.ranges.within(end + 1, LSN_MAX))
            if beyond and key.uuid != uuid:
                closed = line.closed.get(key.epoch)
                beyond = beyond.difference(RangeSet() if closed is None else closed.below)
        if beyond:
            self._drop("beyond_a_fork")
        return beyond

    def _origin_of(self, child: Child, uuid: str, batch: Batch) -> OriginState:
        """The origin's state. RejectedError for an origin that this child may not bring."""
        own = self._engine.node_uuid
        if batch.origin.uuid == own:
            raise self._trespass(child, f"{child.name} sends records of {self._node} itself")
        if batch.origin.uuid == uuid and batch.origin.name != child.name:
            raise self._trespass(child, f"{child.name} calls itself {batch.origin.name}")
        with self._lock:
            state = self._origins.open(batch.origin, child.name)
        if state.via != child.name:
            text = f"records of {batch.origin.name} come over {state.via}, not {child.name}"
            raise self._trespass(child, text, "a node has one parent")
        return state

    def _trespass(self, child: Child, text: str, hint: str | None = None) -> RejectedError:
        """A refusal that raises an alarm."""
        at_ms = self._clock_ns() // 1_000_000
        self._trespasses.tell(self._engine, child.name, text, at_ms)
        return RejectedError(text, hint=hint)

    def _refuse(self, child: Child, error: SyncError) -> Reply:
        status = error.status if isinstance(error, PeerError) else 400
        if isinstance(error, TooLargeError):
            status = 413
        self._drop(error.code.lower())
        if isinstance(error, FencedError):
            self._greeting.fenced(self._engine)
        if isinstance(error, BusyError):
            logger.info("%s puts %s off: %s", self._node, child.name, error)
            return busy(error)
        level = logging.ERROR if isinstance(error, FencedError | ForkedError) else logging.WARNING
        logger.log(level, "%s refuses a request of %s: %s", self._node, child.name, error)
        return Reply(status, encode_error(error))

    def _drop(self, reason: str) -> None:
        with self._lock:
            self.drops[reason] = self.drops.get(reason, 0) + 1

    # Applying (called by the federation, under its lock)

    def maps_of(self, key: OriginKey) -> OriginMaps:
        """The maps of an origin, empty ones if it is new."""
        state = self._origins.get(key)
        return OriginMaps() if state is None else state.maps
