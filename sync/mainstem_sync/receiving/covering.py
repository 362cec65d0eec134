"""What leaves the quarantine because its owner said more: by a delete, or by an image of the slice.

1. A delete of the owner removes what it covers, by version: whole items, or the values of the
   measurements that it names.
2. An image is everything that its owner has in its range. What was put aside before of rows up to
   its LSN is dropped, unless the image has it too: of one fact there is one entry, however often
   the slice is repaired.

New items are durable before the record that speaks of them is logged. What a delete covers goes
before its record, too: the batch comes again until it is logged. What an image stands for goes when
the image is durable: one that is refused, or that a crash takes, may never come again, and nobody
would ask for a slice of which no entry says that something is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_engine.consumers import Ack
from mainstem_engine.engine import Engine
from mainstem_engine.erasures import Erasure
from mainstem_engine.errors import EngineError, NotFoundError
from mainstem_engine.model import BoolMask, TimesNs
from mainstem_sync.receiving.quarantine import QuarantineBlock, QuarantineStore
from mainstem_sync.state.follower import Follower
from mainstem_sync.state.patience import ACK_TIMEOUT_S
from mainstem_sync.wire.ranges import LSN_MAX

PUT_ASIDE = "aside"
"""Key of a delete of rows that were put aside before: it does not cover what is there of them."""


Places = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Covering:
    """A delete, by names: ``node``'s rows of ``table`` (as it is called here) up to (``epoch``,
    ``as_of``). ``spans``: by device path its ranges, int64[k, 2] ns ascending; None: all devices in
    [start, end). ``measurements``: names, casefolded; None: whole rows."""

    node: str
    uuid: str
    epoch: int
    table: str
    as_of: int
    start_ns: int
    end_ns: int
    spans: Mapping[str, TimesNs] | None
    measurements: frozenset[str] | None

    @classmethod
    def of(
        cls,
        erasure: Erasure,
        paths: Mapping[int, str],
        names: Mapping[int, str],
        *,
        node: str,
        uuid: str,
        epoch: int,
        table: str,
    ) -> Covering:
        """``paths`` of its devices and ``names`` of its measurements, by the owner's ids."""
        spans: dict[str, TimesNs] | None = None
        if erasure.devices is not None:
            spans = {}
            starts = np.full(len(erasure.devices), erasure.start_ns, np.int64)
            ends = np.full(len(erasure.devices), erasure.end_ns, np.int64)
            if erasure.times is not None:
                starts = erasure.times
                ends = erasure.times + 1 if erasure.ends is None else erasure.ends
            ids = erasure.devices
            firsts = np.flatnonzero(np.append(True, ids[1:] != ids[:-1]))
            for first, end in zip(firsts, np.append(firsts[1:], len(ids)), strict=True):
                path = paths.get(int(ids[first]))
                if path is not None:
                    spans[path] = np.stack([starts[first:end], ends[first:end]], axis=1)
        keys = erasure.measurements
        chosen = None if keys is None else frozenset(names.get(k, "").casefold() for k in keys)
        return cls(
            node, uuid, epoch, table, erasure.as_of, erasure.start_ns, erasure.end_ns, spans, chosen
        )

    def mask(self, block: QuarantineBlock) -> BoolMask:
        """bool[n]: which items of the block it removes."""
        count = len(block.times_ms)
        if not self._is_meant(block):
            return np.zeros(count, np.bool_)
        found: BoolMask = np.ones(count, np.bool_)
        if block.epoch == self.epoch or not block.uuid:
            found = block.versions <= np.uint64(self.as_of)
        if self.measurements is not None and not block.measurement:
            found &= np.array([self._takes_all(value) for value in block.values], np.bool_)
        if self.spans is not None:
            found &= self._inside(block)
        return found

    def _is_meant(self, block: QuarantineBlock) -> bool:
        if block.uuid not in ("", self.uuid) or block.epoch > self.epoch:
            return False
        named = self.measurements is None or not block.measurement
        return named or block.measurement.casefold() in (self.measurements or ())

    def _takes_all(self, value: object) -> bool:
        """True if nothing is left of a row without the measurements that are deleted."""
        wanted = self.measurements or frozenset()
        return isinstance(value, dict) and all(str(name).casefold() in wanted for name in value)

    def _inside(self, block: QuarantineBlock) -> BoolMask:
        assert self.spans is not None
        times = block.exact
        devices = np.array(block.devices, dtype=object)
        found = np.zeros(len(times), np.bool_)
        for path in set(block.devices):
            spans = self.spans.get(path)
            if spans is None:
                continue
            at = np.flatnonzero(devices == path)
            place = np.searchsorted(spans[:, 0], times[at], side="right") - 1
            hit = (place >= 0) & (times[at] < spans[np.maximum(place, 0), 1])
            found[at[hit]] = True
        return found


def cover(store: QuarantineStore, covering: Covering) -> int:
    """Drop what a delete covers; returns how many items."""
    if not store.holds(covering.node, covering.table, covering.start_ns, covering.end_ns):
        return 0
    gone: dict[str, Places] = {}
    counts: dict[str, int] = {}
    where = (covering.node, covering.table, covering.start_ns, covering.end_ns)
    for entry, block, places in store.blocks(*where):
        hit = places[covering.mask(block)[places]]
        if len(hit):
            gone[entry], counts[entry] = hit, len(block.times_ms)
    return store.erase(gone, counts) if gone else 0


def follow_own_deletes(
    node: str, engine: Engine, follower: Follower, store: QuarantineStore
) -> int:
    """What this node deleted of its own rows leaves its quarantine too: items of its intake that
    are there by now, but for rows that were put aside to be deleted; returns how many."""
    count = 0
    while follower.own_deletes:
        erasure = follower.own_deletes.popleft()
        if erasure.header.get(PUT_ASIDE):
            continue
        try:
            table = engine.catalog.table(erasure.table)
        except NotFoundError:
            continue  # dropped since
        if erasure.origin is not None or not store.holds(
            node, table.name, erasure.start_ns, erasure.end_ns
        ):
            continue
        ids = () if erasure.devices is None else np.unique(erasure.devices).tolist()
        paths = {device: engine.catalog.devices.path(device) for device in ids}
        names = {m.id: m.name for m in table.template.measurements}
        covering = Covering.of(erasure, paths, names, node=node, uuid="", epoch=0, table=table.name)
        count += cover(store, covering)
    return count


@dataclass(frozen=True, slots=True)
class Superseded:
    """Items that an image stands for: ``items`` by entry, ``counts`` of all that an entry has."""

    store: QuarantineStore
    items: Mapping[str, Places]
    counts: Mapping[str, int]

    def forget(self, image: Ack) -> None:
        """Erases them once the image is durable; what cannot be waited for stays, and goes with the
        next image of the slice."""
        try:
            image.wait(ACK_TIMEOUT_S)
        except (EngineError, TimeoutError):
            return
        self.store.erase(self.items, self.counts)


def put_aside_of_image(
    store: QuarantineStore,
    blocks: Sequence[QuarantineBlock],
    *,
    node: str,
    uuid: str,
    table: str,
    start_ns: int,
    end_ns: int,
    as_of: int | None,
) -> Superseded:
    """Keeps ``blocks``, which an image of [start, end) puts aside, durably. Returns what was put
    aside before of versions up to ``as_of``, and is not among them; ``as_of`` None: nothing."""
    before: dict[tuple[Any, ...], tuple[str, int]] = {}
    counts: dict[str, int] = {}
    if store.holds(node, table, start_ns, end_ns):
        for entry, block, places in store.blocks(node, table, start_ns, end_ns):
            if block.uuid != uuid:
                continue
            counts[entry] = len(block.times_ms)
            limit = LSN_MAX if as_of is None else as_of
            older = places[block.versions[places] <= np.uint64(limit)]
            for at in older.tolist():
                before[_fact(block, at)] = (entry, at)
    fresh = []
    for block in blocks:
        # Row by row: what is put aside are values of any kind, and few.
        new = [
            at for at in range(len(block.times_ms)) if before.pop(_fact(block, at), None) is None
        ]
        if new:
            fresh.append(block.take(np.array(new, np.intp)))
    store.add_blocks(fresh)
    gone: dict[str, list[int]] = {}
    for entry, at in before.values() if as_of is not None else ():
        gone.setdefault(entry, []).append(at)
    return Superseded(store, {e: np.array(at, np.intp) for e, at in gone.items()}, counts)


def _fact(block: QuarantineBlock, at: int) -> tuple[Any, ...]:
    """What makes an item what it is, but for who brought it."""
    return (
        block.measurement, block.reason, block.devices[at], int(block.exact[at]),
        block.epoch, repr(block.plain_value(at)),
    )  # fmt: skip
