"""Images for the parent: what it asked for, made when there is room in a request.

1. What the parent wants is what its last reply said (wants.py), and is forgotten with the lease. Of
   each origin the newest slices go first, some at a time: as many as make an image of a good size.
2. An image of own slices says what is on disk now. Of another node's slices this one answers only
   for what it knows to be whole (``relay_as_of``); what it cannot repair itself it asks for below.
   Of a slice that is FORKED the line is answered for like that of any other; what is here of its
   closed epochs goes up as an image of theirs, which joins.
3. Rows go up under the origin's ids. Where the parent does not know them, the definitions travel in
   the same batch: they are made from the catalog, and add nothing to R.
4. An image is compared with what was stated of its slices. Of another node's, what differs is not
   sent but repaired; of own ones it is said and stated anew first. What cannot be read is put off.
5. A slice whose rows are gone here is declared lost, one that the parent refuses too: whoever waits
   for it must not wait for ever.

Thread-safe. Its lock is taken after the sender's and before the federation's.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mainstem_engine.encoded_points import Choices
from mainstem_engine.engine import Engine
from mainstem_engine.errors import (
    CorruptionError,
    NotFoundError,
    OutOfRetentionError,
    OverloadedError,
    StaleImageError,
)
from mainstem_engine.images import SliceImage
from mainstem_engine.log.records import RecordKind
from mainstem_engine.model import SELF_ORIGIN, Rows
from mainstem_sync.lines.epochs import EpochTable
from mainstem_sync.origins.line_rows import closed_epochs, newest_on_line
from mainstem_sync.origins.origin_state import OriginState, TableMap
from mainstem_sync.sending.announce import announce
from mainstem_sync.sending.naming import Naming
from mainstem_sync.sending.outbox import Draft
from mainstem_sync.sending.outgoing_images import (
    ImageDraft,
    OutgoingImage,
    own_definitions,
    relayed_definitions,
    to_origin,
)
from mainstem_sync.sending.outside_ranges import Definition, OutsideDraft, devices_in
from mainstem_sync.sending.said_again import manifests_of, stored_manifest
from mainstem_sync.slices.loss import DELETED, EXPIRED, NOT_EXPORTED, REFUSED
from mainstem_sync.slices.manifest import Ints, Manifest
from mainstem_sync.slices.unreadable import Unreadable
from mainstem_sync.slices.wants import Want, Wanted
from mainstem_sync.slices.watch import EMPTY_STATED, TableWatch
from mainstem_sync.slices.word import Word
from mainstem_sync.state.content import Classifier, Content
from mainstem_sync.state.line_following import DOUBT
from mainstem_sync.wire.batch import Acknowledgement
from mainstem_sync.wire.messages import AckCode, OriginKey
from mainstem_sync.wire.ranges import LSN_MAX, RangeSet

logger = logging.getLogger(__name__)

IMAGE_BYTES = 512 << 10
"""An image aims at this size: a few milliseconds to make and to apply, and small beside a request
of a fast link. Larger ones are cut to the room that a request has."""

PIECE_BYTES_MIN = 64 << 10
"""A piece of an image is not smaller, however thin the link: each is a record with its header."""

SLICES_MAX = 1440
"""Slices of one image, however empty: a day of minutes."""

IMAGES_MAX = 32
"""Images of one request: an empty one is a frame too, and frames have a bound."""

LATER_S = 1.0
"""Pause before a slice is tried again that could not be made or was too old on arrival: it is still
written to, and closes within a minute or two."""

LATER_MAX = 4096
"""Slices that are put off; beyond it those put off first are tried sooner."""

_NO_ROWS = Rows(np.empty(0, np.uint32), np.empty(0, np.int64), {})

Place = tuple[OriginKey, str]


@dataclass(slots=True)
class _Table:
    """Images of one table of one origin."""

    step: int = 1
    flying: RangeSet = field(default_factory=RangeSet)
    defined: set[int] | None = None
    """Devices that the parent was told of in this lease; None while it seems to know them all."""
    named: bool = False
    """Whether it was told of the table in this lease: a revision may have been in a log that is
    gone, and rows alone do not need it."""


class Imagery:
    """See the module. ``own``: this node's stream; ``state_of`` the state of a relayed origin,
    ``epochs_of`` the epochs of a node by its uuid, ``relayed`` the lines below; ``lock`` the
    federation's; ``lose(want, slices, why, target)`` declares slices lost, own ones or (target)
    such as were deleted here; ``word(table, first, end)`` what was stated of own slices,
    ``broken(table, slices)`` is told of those that are not so."""

    def __init__(
        self,
        engine: Engine,
        classifier: Classifier,
        *,
        own: Callable[[], OriginKey],
        state_of: Callable[[OriginKey], OriginState | None],
        epochs_of: Callable[[str], EpochTable],
        relayed: Callable[[], Sequence[OriginState]],
        lock: threading.RLock,
        lose: Callable[[Want, RangeSet, str, OriginKey | None], None],
        word: Callable[[str, int, int], Word],
        broken: Callable[[str, Ints], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._classifier = classifier
        self._own = own
        self._state_of = state_of
        self._epochs_of = epochs_of
        self._naming = Naming(engine, relayed, lock)
        self._state_lock = lock
        self._lose = lose
        self._word = word
        self._broken = broken
        self._said_anew: dict[tuple[str, int], None] = {}
        self.unreadable = Unreadable()
        self._monotonic = monotonic
        self._lock = threading.RLock()
        self._wants: dict[OriginKey, tuple[Want, ...]] = {}
        self._tables: dict[Place, _Table] = {}
        self._later: dict[tuple[OriginKey, str, int], float] = {}
        self._ready: deque[OutgoingImage] = deque()
        self._definitions: dict[OriginKey, OutsideDraft] = {}
        self._choices: Choices = {}
        self.sent = 0
        """Images that the parent applied. Since the start."""

    def wanted(self, frame: Wanted) -> None:
        """What the parent waits for of one origin now."""
        with self._lock:
            if frame.wants:
                self._wants[frame.origin] = frame.wants
            else:
                self._wants.pop(frame.origin, None)

    def reset(self) -> None:
        """A new lease: nothing is wanted and nothing is on its way."""
        with self._lock:
            self._wants.clear()
            self._tables.clear()
            self._ready.clear()
            self._definitions.clear()
            self._naming.reset()

    @property
    def pending(self) -> bool:
        """True if images are wanted that are not on their way."""
        with self._lock:
            return bool(self._ready or self._definitions or self._naming or self._open())

    def drafts(self, bytes_max: int) -> list[Draft]:
        """Batches of images, about ``bytes_max`` raw bytes; at least one image if one can be made
        now."""
        found: list[Draft] = []
        left = bytes_max
        with self._lock:
            found += [*self._definitions.values(), *self._naming.take()]
            self._definitions.clear()
            for _ in range(IMAGES_MAX):
                if left <= 0 or not (self._ready or self._make(max(PIECE_BYTES_MIN, bytes_max))):
                    break
                if self._ready:
                    first = self._ready[0]
                    if first.key == self._own() and not self._naming.owners_told(first.want.name):
                        found += self._naming.take()
                        break
                    draft = self._draft(self._ready.popleft())
                    left -= draft.weight
                    found.append(draft)
        return found

    def owners_told(self, name: str) -> bool:
        """True if this node may say what its table ``name`` is; see naming.py."""
        with self._lock:
            return self._naming.owners_told(name)

    def waits_to_define(self, origin: OriginKey, contents: Sequence[Content]) -> bool:
        """True while this node may not say yet what its own records are about: whose template it
        is has to be heard first."""
        if origin != self._own():
            return False
        with self._lock:
            told = [self._naming.owners_told(name) for name in devices_in(contents)]
        return not all(told)

    def define(self, origin: OriginKey, contents: Sequence[Content]) -> None:
        """The parent lacks what these records are about. What this node writes now it logs once
        more; of another node, or of a line that has ended, it is told beside the records."""
        if origin == self._own():
            if not self.waits_to_define(origin, contents):
                announce(self._engine, contents)
            return
        found: list[tuple[int, Definition]] = []
        said: dict[str, set[int]] = {}
        for content in contents:
            # With the LSN of what needs it: beyond a fork it may be another device's number.
            lsn = content.ranges.last if content.ranges else content.lsn
            for name, devices in devices_in([content]).items():
                fresh = devices - said.get(name, set())
                if name in said and not fresh:
                    continue
                said.setdefault(name, set()).update(fresh)
                try:
                    found += [(lsn, d) for d in self._defined(origin, name, sorted(fresh))]
                except NotFoundError as exc:
                    logger.debug("a definition of %s is gone: %s", origin.name, exc)
        with self._lock:
            if found:
                self._definitions[origin] = OutsideDraft.defining(origin, found)

    def _defined(self, origin: OriginKey, name: str, devices: list[int]) -> list[Definition]:
        catalog = self._engine.catalog
        if origin.uuid == self._own().uuid:
            return own_definitions(catalog, name, devices)
        state = self._state_of(origin)
        if state is None:
            return []
        with self._state_lock:
            maps = state.line_maps()
        mapped = maps.table(name)
        if mapped is None:
            return []
        return relayed_definitions(catalog, mapped, maps, state.definitions, devices)

    def _draft(self, image: OutgoingImage) -> ImageDraft:
        table = self._tables.setdefault((image.key, image.want.name), _Table())
        said = () if image.joins else self._said(image)
        if table.defined is None and image.joins:
            table.defined = set()  # of a line that is no more nobody says anything again
        devices: set[int] = set()
        if table.defined is not None:
            devices = set(np.unique(image.image.rows.device).tolist()) - table.defined
        elif table.named:
            return ImageDraft.of(image, (), frozenset(), self._choices, said)
        records = self._defined(image.key, image.want.name, sorted(devices))
        return ImageDraft.of(image, records, frozenset(devices), self._choices, said)

    def _said(self, image: OutgoingImage) -> list[tuple[int, Manifest]]:
        """What another node said about the slices of its image; an own image needs nothing: this
        node says it by its log."""
        state = None if image.key == self._own() else self._state_of(image.key)
        if state is None or not image.last_piece:
            return []
        with self._state_lock:
            table = state.maps.table(image.want.name)
            watch = None if table is None else state.watches.get(table.local)
            if (
                table is None
                or watch is None
                or not self._classifier.speaks_of_all(table.name, image.key)
            ):
                return []
            said = list(manifests_of(watch, table, image.first, image.last))
        stored = stored_manifest(self._engine, state, watch, table, image.first, image.last)
        return said if stored is None else [(EMPTY_STATED + 1, stored), *said]

    # What came back

    def judged(self, draft: OutsideDraft, answer: Acknowledgement | None) -> None:
        """What the parent said about a batch; None: nothing. What it lacks it asks for again."""
        if not isinstance(draft, ImageDraft):
            with self._lock:
                self._naming.judged(draft, answer)
            return
        image = draft.image
        assert image is not None
        with self._lock:
            table = self._tables.setdefault((image.key, image.want.name), _Table())
            code = None if answer is None else answer.code
            if code is AckCode.OK:
                self.sent += 1
                table.named = True
                if table.defined is not None:
                    table.defined |= draft.devices
            elif code is AckCode.NEED_SCHEMA and not draft.devices:
                table.defined = set()
            elif code is not None:
                self._put_off(image.key, image.want.name, image.first, image.last)
            if image.last_piece:
                table.flying.remove(image.first, image.last)
        if answer is not None and code is AckCode.REJECTED:
            logger.error("the parent refuses slices of %s: %s", image.want.name, answer.message)
            if image.key == self._own():
                self._lose(image.want, RangeSet([(image.first, image.last)]), REFUSED, None)

    # Making

    def _open(self) -> list[tuple[OriginKey, Want, RangeSet]]:
        """Wanted slices that are neither on their way nor put off."""
        now = self._monotonic()
        self._later = {place: at for place, at in self._later.items() if at > now}
        found = []
        for key, wants in self._wants.items():
            for want in wants:
                table = self._tables.get((key, want.name))
                left = want.slices if table is None else want.slices.difference(table.flying)
                for k, name, number in self._later:
                    if k == key and name == want.name and left:
                        left = left.copy()
                        left.remove(number, number)
                if left:
                    found.append((key, want, left))
        return found

    def _make(self, bytes_max: int) -> bool:
        """Make the next image ready, or put it off; False if nothing is wanted now."""
        candidates = self._open()
        if not candidates:
            return False
        key, want, slices = max(candidates, key=lambda item: item[2].last * item[1].slice_ns)
        table = self._tables.setdefault((key, want.name), _Table())
        run, last = list(slices)[-1]
        first = max(run, last - table.step + 1)
        images = self._images(key, want, first, last)
        if not images:
            table.step = max(1, table.step // 2)
            return True
        size = sum(image.bytes for image in images)
        if size < IMAGE_BYTES // 2:
            table.step = min(SLICES_MAX, table.step * 2)
        elif size > IMAGE_BYTES:
            table.step = max(1, table.step // 2)
        for image in images:
            table.flying.add(image.first, image.last)
            self._ready += image.cut(min(bytes_max, IMAGE_BYTES))
        return True

    def _images(self, key: OriginKey, want: Want, first: int, last: int) -> list[OutgoingImage]:
        """Images of the slices [first, last]; what cannot be made now is put off."""
        own = key == self._own()
        try:
            if not self._classifier.policy.sends(want.name):
                if own:
                    self._lose(want, RangeSet([(first, last)]), NOT_EXPORTED, None)
                images = []
            elif own:
                images = [self._own_image(key, want, first, last)]
            else:
                state = self._state_of(key)
                images = [] if state is None else self._relayed(state, want, first, last)
        except OutOfRetentionError:
            images = []
            if own and first == last:  # one slice decides: others may still be whole
                self._lose(want, RangeSet([(first, last)]), EXPIRED, None)
            elif first < last:
                self._tables[key, want.name].step = 1
                return []
        except CorruptionError as exc:
            images = []
            if first < last:  # one slice decides: the others can be read
                self._tables[key, want.name].step = 1
                return []
            self._cannot_read(key, want, first, exc)
        except (StaleImageError, OverloadedError, NotFoundError) as exc:
            logger.debug("slices of %s cannot be imaged now: %s", want.name, exc)
            images = []
        if not images:
            self._put_off(key, want.name, first, last)
        return images

    def _cannot_read(self, key: OriginKey, want: Want, number: int, error: Exception) -> None:
        """Somebody has to see to a slice before an image of it can be made."""
        name: str | None = want.name
        if key != self._own():
            state = self._state_of(key)
            with self._state_lock:
                mapped = None if state is None else state.maps.table(want.name)
            name = None if mapped is None else mapped.local
        if name is not None:
            self.unreadable.note(name, want.slice_ns, [number])
        logger.error("a slice of %s that the parent asks for cannot be read: %s", want.name, error)

    def _own_image(self, key: OriginKey, want: Want, first: int, last: int) -> OutgoingImage:
        size = want.slice_ns
        before = self._word(want.name, first, last + 1)
        image = self._engine.slice_image(want.name, SELF_ORIGIN, first * size, (last + 1) * size)
        if image.as_of >= want.since and len(before.keys):
            self._keep_word(want, image, before)
        if image.as_of < want.since:
            raise OverloadedError("what is asked for is not on disk yet", retry_after_s=LATER_S)
        types = dict(self._engine.catalog.table(want.name).types)
        return OutgoingImage(key, want, first, last, self._exported(want.name, image), types)

    def _keep_word(self, want: Want, image: SliceImage, before: Word) -> None:
        """OverloadedError when own rows are not what this node last said of them, once each: then
        it says so first."""
        found = self._engine.digests_of(want.name, image.rows, want.slice_ns)
        first, end = image.start_ns // want.slice_ns, image.end_ns // want.slice_ns
        broken = before.broken_by(found, want.slice_ns, self._word(want.name, first, end))
        fresh = [key for key in broken.tolist() if (want.name, key) not in self._said_anew]
        if fresh:
            self._said_anew.update(dict.fromkeys((want.name, key) for key in fresh))
            while len(self._said_anew) > LATER_MAX:
                del self._said_anew[next(iter(self._said_anew))]
            self._broken(want.name, np.array(fresh, np.int64))
            raise OverloadedError("the slice is stated anew first", retry_after_s=LATER_S)

    def _exported(self, name: str, image: SliceImage) -> SliceImage:
        """Of the image what goes up: its device ids are local."""
        with self._state_lock:
            mask = self._classifier.scope.mask(name, image.rows.device.astype(np.int64))
        if mask is None or bool(mask.all()):
            return image
        rows: Rows = image.rows.take(mask)
        return replace(image, rows=rows, lsn=image.lsn[mask])

    def _relayed(
        self, state: OriginState, want: Want, first: int, last: int
    ) -> list[OutgoingImage]:
        """Images of those slices of another node that are whole here. Whole is what no record can
        still change below an LSN that is known: D, or what the last image of the slice said."""
        with self._state_lock:
            mapped = state.maps.table(want.name)
            watch = None if mapped is None else state.watches.get(mapped.local)
            watermark = state.received.watermark
            epochs = self._epochs_of(state.key.uuid)
        if mapped is None:
            return []
        if state.line is not None:
            as_of = max(want.since, state.received.last)
            return [self._orphans(state, want, first, last, as_of, epochs)]
        size = want.slice_ns
        gone = [] if watch is None else watch.gone_here(first, last + 1).tolist()
        unsound = {} if watch is None else watch.unsound(first, last + 1)
        if not unsound and watermark >= want.since:
            start, end = first * size, (last + 1) * size
            if newest_on_line(self._engine, state, epochs, mapped.local, start, end) <= watermark:
                return self._relay(state, want, first, last, watermark, epochs)
        found = []
        for number in range(first, last + 1):
            floor = 0 if watch is None else watch.floor_of(number)
            start = number * size
            as_of = max(watermark, floor)
            touched = newest_on_line(self._engine, state, epochs, mapped.local, start, start + size)
            if number in gone:
                self._lose(want, RangeSet([(number, number)]), DELETED, state.key)
            elif number in unsound:
                with self._state_lock:
                    state.repairs.want(mapped.local, [number], want.since)
            elif touched <= as_of and as_of >= want.since:
                found += self._relay(state, want, number, number, as_of, epochs)
                continue
            self._put_off(state.key, want.name, number, number)
        return found

    def _relay(
        self,
        state: OriginState,
        want: Want,
        first: int,
        last: int,
        as_of: int,
        epochs: EpochTable,
    ) -> list[OutgoingImage]:
        """The line as of an LSN, and the orphans beside it."""
        with self._state_lock:
            maps = state.line_maps()
        mapped = maps.known_table(want.name)
        ends = [(older.origin, end) for older, end in closed_epochs(state, epochs) if end]
        known = [
            (index, end)
            for origin, end in (*ends, (state.origin, LSN_MAX))
            if (index := self._engine.origin_index(origin)) is not None
        ]
        start, end_ns = first * want.slice_ns, (last + 1) * want.slice_ns
        if not known:
            nothing = np.empty(0, np.uint64)
            image = SliceImage(mapped.local, state.origin, start, end_ns, as_of, _NO_ROWS, nothing)
        else:
            before = self._stated(state, mapped, first, last, as_of)
            image = self._engine.slice_image(
                mapped.local, known[-1][0], start, end_ns, as_of=as_of, older=known
            )
            if len(before.keys) and not self._is_as_stated(state, mapped, image, before):
                return []
        theirs, types = to_origin(self._exported(mapped.local, image), mapped, maps)
        with self._state_lock:
            watch = state.watches.get(mapped.local)
            kept = [] if watch is None else watch.kept(first, last + 1)
        found = [OutgoingImage(state.key, want, first, last, theirs, types, kept=kept)]
        for older, _ in closed_epochs(state, epochs):
            if older.maps.table(want.name) is not None:
                orphans = self._orphans(older, want, first, last, older.received.last, epochs)
                found += [orphans] if len(orphans.image.rows) else []
        return found

    def _is_as_stated(
        self, state: OriginState, mapped: TableMap, image: SliceImage, before: Word
    ) -> bool:
        """False when rows of another node are not what it stated: they are repaired first."""
        size = mapped.slice_ns
        found = self._engine.digests_of(mapped.local, image.rows, size, mapped.foreign_ids)
        last = image.end_ns // size - 1
        now = self._stated(state, mapped, image.start_ns // size, last, image.as_of)
        broken = before.broken_by(found, size, now)
        if len(broken):
            with self._state_lock:
                state.watches[mapped.local].differ(broken)
            span = [int(broken[0]) * size, (int(broken[-1]) + 1) * size]
            self._engine.append(RecordKind.EVT, {"op": DOUBT, "t": mapped.local, "spans": [span]})
        return not len(broken)

    def _stated(
        self, state: OriginState, table: TableMap, first: int, last: int, as_of: int
    ) -> Word:
        """What the owner of slices stated of those that have to be so here."""
        with self._state_lock:
            watch = state.watches.get(table.local)
            return (
                TableWatch(table.slice_ns).word(0, 0)
                if watch is None
                else watch.word(first, last + 1, as_of)
            )

    def _orphans(
        self, state: OriginState, want: Want, first: int, last: int, as_of: int, epochs: EpochTable
    ) -> OutgoingImage:
        """What is here of a closed epoch beyond its end: an image that joins."""
        mapped = state.maps.known_table(want.name)
        start, end_ns = first * want.slice_ns, (last + 1) * want.slice_ns
        index = self._engine.origin_index(state.origin)
        rows, lsn = _NO_ROWS, np.empty(0, np.uint64)
        if index is not None:
            held = self._engine.slice_image(mapped.local, index, start, end_ns, as_of=LSN_MAX)
            beyond = held.lsn > np.uint64(epochs.end_of(state.key.epoch))
            rows, lsn = held.rows.take(beyond), held.lsn[beyond]
            as_of = max(as_of, int(lsn.max(initial=0)))
        image = SliceImage(mapped.local, state.origin, start, end_ns, as_of, rows, lsn)
        theirs, types = to_origin(self._exported(mapped.local, image), mapped, state.maps)
        return OutgoingImage(state.key, want, first, last, theirs, types, joins=True)

    def _put_off(self, key: OriginKey, name: str, first: int, last: int) -> None:
        until = self._monotonic() + LATER_S
        for number in range(first, last + 1):
            self._later[(key, name, number)] = until
        while len(self._later) > LATER_MAX:
            del self._later[next(iter(self._later))]
