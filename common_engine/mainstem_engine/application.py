"""Applying: what a record of the log does to the store, live and again at replay.

1. Records come in LSN order, live on the log's committer thread, at replay on the thread that opens
   the store. What they do depends on nothing but the records before them.
2. Rows enter the heads and are counted; deletes and slice images become tombstones and floors;
   definitions enter the catalog (live ones did when they were appended).
3. Each effect is visible to readers in one step, under the store's state lock. Consumers are told
   afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mainstem_engine.columns import conform_rows
from mainstem_engine.consumers import AppliedDelete, AppliedRows, DeleteFollower
from mainstem_engine.deletes import Tombstone
from mainstem_engine.erasures import Erasure, decode_erasure
from mainstem_engine.images import SliceImage, decode_image
from mainstem_engine.log.records import Record, RecordKind, decode_payload
from mainstem_engine.model import SELF_ORIGIN, Lsns, Origin, Rows
from mainstem_engine.points import Points, decode_points
from mainstem_engine.vnode import split_rows

if TYPE_CHECKING:
    from mainstem_engine.store import Store


class Application:
    """Applies records to one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def apply(self, record: Record, decoded: object, *, live: bool) -> None:
        """One record; ``decoded``: what it was made of, where that is known."""
        store = self._store
        if record.kind == RecordKind.PTS:
            points = decoded if isinstance(decoded, Points) else decode_points(record.payload)
            self.add_rows(points.table, SELF_ORIGIN, points.rows, record.lsn, record.lsn)
            decoded = points
        elif record.kind == RecordKind.DEL:
            erasure = decoded if isinstance(decoded, Erasure) else decode_erasure(record.payload)
            origin = SELF_ORIGIN if erasure.origin is None else self._index(erasure.origin)
            # Of what it erased records may be gone at a replay: then the next flush counts. Live
            # too, for a replay could not tell a delete that knew of the damage.
            rows = erasure.rows if self._is_whole(record.lsn) else None
            tombstone = erasure.tombstone(record.lsn, origin, rows=rows)
            self._delete(erasure.table, tombstone, erasure.spans)
            decoded = erasure
        elif record.kind == RecordKind.IMG:
            image = decoded if isinstance(decoded, SliceImage) else decode_image(record.payload)
            self.replace_slice(image, record.lsn)
            decoded = image
        elif record.kind == RecordKind.SCH and not live:
            store.catalog.apply_schema(decode_payload(record.payload)[0])
        elif record.kind == RecordKind.DEV and not live:
            store.catalog.apply_devices(decode_payload(record.payload)[0])
        for consumer in store.consumers:
            if record.kind in consumer.kinds:
                consumer.apply(record, decoded, _Sink(self, record.lsn))

    def _is_whole(self, lsn: int) -> bool:
        """True if no record between the checkpoint and ``lsn`` was damaged."""
        first = self._store.checkpoint_lsn + 1
        return not any(d.last_lsn >= first and d.first_lsn < lsn for d in self._store.log.damages)

    def add_rows(
        self,
        table: str,
        origin: int,
        rows: Rows,
        lsn: int | Lsns,
        local_lsn: int,
        image: SliceImage | None = None,
    ) -> None:
        """Rows of the local record ``local_lsn``; of ``image`` if they are its content."""
        if not len(rows) and image is None:
            return
        store = self._store
        whole = rows
        known = store.catalog.templates.get(table)
        if known is not None:
            rows = conform_rows(rows, known.types)
        with store.state_lock:
            store.visible_lsn = local_lsn
            account = store.accounting.account(table)
            put = lsn
            if image is not None:
                self._clear(table, origin, image, local_lsn)
            elif origin != SELF_ORIGIN:
                arrival = store.standing.arriving(table, origin, rows, lsn)
                rows, put = arrival.rows, arrival.lsn
                account.leave_out(arrival.superseded, arrival.deleted)
            late = account.note(rows.device, rows.time)
            pieces = split_rows(rows, put, late, len(store.vnodes)) if len(rows) else ()
            grown = 0
            for number, some, lsns, some_late in pieces:
                head = store.vnodes[number].head
                grown += head.append(table, some, origin, lsns, some_late, local_lsn)
        store.memory.take("head", grown)
        if store.consumers and len(whole):
            batch = AppliedRows(table, origin, whole.device, whole.time, lsn, local_lsn)
            for consumer in store.consumers:
                consumer.rows_applied(batch)

    def add_foreign_rows(
        self, table: str, origin: Origin, rows: Rows, lsn: int | Lsns, local_lsn: int
    ) -> None:
        """Rows of another node."""
        self.add_rows(table, self._index(origin), rows, lsn, local_lsn)

    def delete_foreign_rows(self, origin: Origin, erasure: Erasure, local_lsn: int) -> None:
        """A delete of another node."""
        tombstone = erasure.tombstone(local_lsn, self._index(origin), rows=None)
        self._delete(erasure.table, tombstone, erasure.spans)

    def replace_slice(self, image: SliceImage, local_lsn: int) -> None:
        """A slice image: what came before of its origin in its slice goes, its rows come."""
        origin = self._index(image.origin)
        if image.part == 0:
            spans = np.array([[image.start_ns, image.end_ns]], np.int64)
            self._tell(image.table, _clearing(image, origin, local_lsn), spans)
        self.add_rows(image.table, origin, image.rows, image.lsn, local_lsn, image)

    def _clear(self, table: str, origin: int, image: SliceImage, local_lsn: int) -> None:
        """The first step of an image, under the state lock."""
        if image.part:
            return
        store = self._store
        if not image.fresh:
            # The rows of the image must not join a chunk with rows that it replaces.
            for vnode in store.vnodes:
                head = vnode.head.tables.get(table)
                if head is not None:
                    head.seal()
            store.standing.end(table, origin, image.start_ns, image.end_ns, image.as_of, local_lsn)
            store.standing.add(table, _clearing(image, origin, local_lsn))
        store.standing.raise_floor(table, origin, image.start_ns, image.end_ns, image.as_of)

    def _delete(self, table: str, tombstone: Tombstone, spans: npt.NDArray[np.int64]) -> None:
        store = self._store
        with store.state_lock:
            store.visible_lsn = tombstone.lsn
            store.standing.add(table, tombstone)
            store.accounting.account(table).erase(tombstone.rows or 0)
        self._tell(table, tombstone, spans)

    def _tell(self, table: str, tombstone: Tombstone, spans: npt.NDArray[np.int64]) -> None:
        for consumer in self._store.consumers:
            if isinstance(consumer, DeleteFollower):
                consumer.rows_deleted(AppliedDelete(table, tombstone, spans))

    def _index(self, origin: Origin) -> int:
        with self._store.state_lock:
            return self._store.origins.index(origin)


class _Sink:
    """The RowSink that a consumer gets with one record."""

    __slots__ = ("_application", "_lsn")

    def __init__(self, application: Application, local_lsn: int) -> None:
        self._application = application
        self._lsn = local_lsn

    def add(self, table: str, origin: Origin, rows: Rows, lsn: int | Lsns) -> None:
        self._application.add_foreign_rows(table, origin, rows, lsn, self._lsn)

    def delete(self, origin: Origin, erasure: Erasure) -> None:
        self._application.delete_foreign_rows(origin, erasure, self._lsn)

    def replace_slice(self, image: SliceImage) -> None:
        self._application.replace_slice(image, self._lsn)


def _clearing(image: SliceImage, origin: int, local_lsn: int) -> Tombstone:
    """The tombstone of an image: everything that came before it."""
    return Tombstone(
        local_lsn, origin, image.as_of, local_lsn, None, image.start_ns, image.end_ns, rows=None
    )
