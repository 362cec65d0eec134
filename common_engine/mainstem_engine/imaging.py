"""Making and applying slice images: the part of an Engine that does.

An image is made of a snapshot of what is on disk. Applying is one record of the log per piece, so
that it is durable, visible at once, and the same at replay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_engine.catalog.templates import Table
from mainstem_engine.columns import conform_rows
from mainstem_engine.consumers import Ack
from mainstem_engine.errors import (
    NotFoundError,
    OutOfRetentionError,
    OverloadedError,
    StaleImageError,
)
from mainstem_engine.head import Chunk
from mainstem_engine.images import SliceImage, encode_image
from mainstem_engine.log.records import RecordKind
from mainstem_engine.merge import merge_versions
from mainstem_engine.model import SELF_ORIGIN, Origin, Rows, VersionedRows
from mainstem_engine.queries import Queries
from mainstem_engine.retention import moment
from mainstem_engine.scan import Selection, iterate_rows, read_fragments, read_rows
from mainstem_engine.view import TableView

IMAGE_ROWS_MAX = 4_000_000
"""Rows of one image while it is made: a minute of 60,000 devices every second."""
RETRY_S = 1.0
"""What is committed is on disk within an interval of the log."""


class Imaging(Queries):
    """Slice images of one engine."""

    def slice_image(
        self,
        table: str,
        origin: int,
        start_ns: int,
        end_ns: int,
        *,
        as_of: int | None = None,
        older: Sequence[tuple[int, int]] = (),
    ) -> SliceImage:
        """The content of [start, end) of one origin (by index), times in ns.

        ``older``: further origins that are earlier epochs of the same log, each with the last LSN
        of it that counts; their rows up to it are part of the content, below those of ``origin``
        (which may be among them).
        ``as_of``: for rows of other nodes the LSN of that node up to which everything here is
        complete, which only the caller knows; None for rows of this node. Raises StaleImageError
        when a stored row is newer, OutOfRetentionError when rows of the slice were removed,
        OverloadedError when what is committed is not on disk yet, or for too many rows.
        """
        store = self._store
        applied_lsn = store.applied_lsn
        visible_lsn, found, view = store.view_at(table)
        synced_lsn = store.log.fsynced_lsn
        self._check_whole(found, start_ns)
        if origin == SELF_ORIGIN:
            # Records without rows change nothing: what was applied before the view is in it.
            as_of = min(max(visible_lsn, applied_lsn), synced_lsn)
            # Own versions are local LSNs: the state at as_of is what was written up to it.
            view = _synced(replace(view, tombstones=view.tombstones.through(as_of)), as_of)
        elif as_of is None:
            raise ValueError("the image of another node's rows needs as_of")
        elif synced_lsn < visible_lsn:
            raise OverloadedError("rows of the slice are not on disk yet", retry_after_s=RETRY_S)
        chosen = (*(index for index, _ in older), origin) if older else origin
        selection = Selection(None, start_ns, end_ns, None, chosen, versions=True)
        if sum(len(rows) for rows in _keys(view, selection)) > IMAGE_ROWS_MAX:
            raise OverloadedError(f"the slice has more than {IMAGE_ROWS_MAX} rows: ask for less")
        rows = _line_rows(view, selection, dict(older)) if older else read_rows(view, selection)
        newest = int(rows.lsn.max()) if len(rows) else 0
        if newest > as_of:
            raise StaleImageError(found.name, start_ns, as_of, newest)
        who = store.origins.all[origin]
        values = Rows(rows.device, rows.time, rows.columns)
        return SliceImage(found.name, who, start_ns, end_ns, as_of, values, rows.lsn)

    def slice_max_lsn(
        self,
        table: str,
        origin: Origin,
        start_ns: int,
        end_ns: int,
        through_lsn: int | None = None,
    ) -> int:
        """The greatest LSN of ``origin`` that is known to have touched [start, end) here: of stored
        rows, of deletes and of earlier images. 0 when nothing has. What lies above ``through_lsn``
        is passed over."""
        store = self._store
        index = store.origins.find(origin)
        if index is None:
            return 0
        _, found, view = store.view_at(table)
        with store.state_lock:
            known = [store.standing.floors(found.name).of(index, start_ns, end_ns)]
        erased = view.tombstones.overlapping(None, start_ns, end_ns)
        known += [item.as_of for item in erased if item.origin == index]
        selection = Selection(None, start_ns, end_ns, (), index, versions=True)
        if through_lsn is None:
            known += [int(rows.lsn.max()) for rows in _keys(view, selection)]
            return max(known)
        lsns = read_fragments(view, selection).lsn
        known += lsns[lsns <= np.uint64(through_lsn)].tolist()
        return max((lsn for lsn in known if lsn <= through_lsn), default=0)

    def stored_slices(
        self, table: str, origin: int, slice_ns: int, first_lsn: int, last_lsn: int
    ) -> npt.NDArray[np.int64]:
        """Indexes (ascending) of the slices that hold rows of ``origin`` (by index) whose version
        is in [first, last], by scanning. What was deleted since leaves no row."""
        view = self._store.view(self._store.catalog.table(table))
        found: set[int] = set()
        selection = Selection(None, measurement_ids=(), origin=origin, versions=True)
        for rows in iterate_rows(view, selection):
            inside = (rows.lsn >= np.uint64(first_lsn)) & (rows.lsn <= np.uint64(last_lsn))
            found.update(np.unique(rows.time[inside] // slice_ns).tolist())
        return np.array(sorted(found), np.int64)

    def apply_image(
        self,
        image: SliceImage,
        *,
        max_lsn: int = 0,
        header: Mapping[str, Any] | None = None,
        joins: bool = False,
    ) -> Ack:
        """Replaces what is stored of the image's origin in its slice; ids are those of this node.

        ``max_lsn``: what the caller knows of LSNs that touched the slice here, beyond what is
        stored. ``header``: further keys of the record, of its last piece where there are several.
        A large image becomes several records; the Ack is that of the last.
        ``joins``: its rows (a ``part`` above 0) are joined to what is stored, whatever that is.
        Raises StaleImageError when one is above the image's ``as_of``, OverloadedError when too
        many floors or deletes wait, NotFoundError, LogFailedError.
        """
        store = self._store
        table = store.catalog.table(image.table)
        if image.origin == store.origins.all[SELF_ORIGIN]:
            raise NotFoundError(
                f"{image.origin.node} is this node: an image of its rows is not applied here",
                field="origin",
            )
        known = self.slice_max_lsn(table.name, image.origin, image.start_ns, image.end_ns)
        known = max(known, max_lsn)
        if image.as_of < known and not joins:
            raise StaleImageError(table.name, image.start_ns, image.as_of, known)
        with store.state_lock:
            full = store.standing.floors(table.name).full
        if full or store.standing.of(table.name).full:
            store.on_full()
            raise OverloadedError(f"too many slices of {table.name} are being repaired")
        store.admit()
        acks = []
        # Its owner may not have widened what another one has: logged rows have the types of here.
        rows = conform_rows(image.rows, table.types)
        whole = replace(image, table=table.name, rows=rows, fresh=not known)
        pieces = list(whole.pieces())
        for piece in pieces:
            fields, buffers = encode_image(piece, table.types)
            if piece is pieces[-1]:
                fields = {**(header or {}), **fields}
            acks.append(store.append(RecordKind.IMG, fields, buffers, piece))
        return acks[-1]

    def drop_floors(self, table: str, origin: Origin, through_lsn: int) -> None:
        """Everything of ``origin`` up to ``through_lsn`` was received: floors up to it say nothing
        any more. The engine drops them by itself when ``settled`` says so."""
        store = self._store
        index = store.origins.find(origin)
        name = store.catalog.table(table).name
        if index is not None:
            with store.state_lock:
                store.standing.floors(name).drop(index, through_lsn)

    def _check_whole(self, table: Table, start_ns: int) -> None:
        whole = self._store.retention.whole(table)
        if whole is not None and start_ns < whole.greatest_ns:
            raise OutOfRetentionError(
                f"rows of {table.name} before {moment(whole.greatest_ns)} have been removed here",
                device="",
                time_ns=start_ns,
                cutoff_ns=whole.greatest_ns,
                reason="too_late",
                hint="the slice is no longer whole, and its image would delete what others keep",
            )


def _keys(view: TableView, selection: Selection) -> Iterator[VersionedRows]:
    """The selected rows step by step, with their versions and no values."""
    return iterate_rows(view, replace(selection, measurement_ids=(), versions=True))


def _line_rows(view: TableView, selection: Selection, through: Mapping[int, int]) -> VersionedRows:
    """As read_rows, of each origin in ``through`` only what is not above that LSN."""
    rows = read_fragments(view, selection)
    if not len(rows):
        return rows
    keep = np.ones(len(rows), np.bool_)
    for index, last in through.items():
        keep &= (rows.origin != index) | (rows.lsn <= np.uint64(last))
    rows = rows.take(keep)
    return merge_versions(rows, view.epochs, whole_rows=view.whole_rows) if len(rows) else rows


def _synced(view: TableView, as_of: int) -> TableView:
    """The view without the rows of later records. Parts have none: a flush waits for the disk."""
    return replace(view, chunks=[_until(chunk, as_of) for chunk in view.chunks])


def _until(chunk: Chunk, as_of: int) -> Chunk:
    if chunk.applied[1] <= as_of:
        return chunk
    keep = chunk.lsn[: chunk.length] <= np.uint64(as_of)
    rows = chunk.all_rows().take(keep)
    return replace(
        chunk,
        device=rows.device,
        time=rows.time,
        origin=rows.origin,
        lsn=rows.lsn,
        columns=rows.columns,
        length=len(rows),
        by_device=None,
        ranges=None,
    )
