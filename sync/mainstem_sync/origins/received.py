"""The RCV record: one received batch of one origin, as it stands in the local log.

It holds everything that applying it needs: the records as the origin wrote them, and how its ids
map to local ones. So applying gives the same state live, at replay, and whatever the catalog has
become.

Header:
  ``node name epoch via q``  origin, the child that brought it, the queue
  ``ranges``   flat list: the LSNs that this record adds to R (contained and covered)
  ``recs``     per record kept here ``[lsn, kind, table, rows, offset, length, quarantined]``;
               ``rows`` are those that are stored, ``quarantined`` those put aside
  ``blocks``   rows of many records, all stored here: ``[table, rows, offset, length, decoded]``,
               as wire/blocks.py has them; absent where there are none
  ``counts``   local table to ``[from_children, duplicates, quarantined_here]`` rows
  ``values``   local table to values put aside
  ``parked``   per slice with anything put aside
               ``[local table, slice_ns, slice, rows, d1, d2, values]``
  ``sch``      ``[lsn, TableMap]``
  ``dev``      ``[lsn, [ids], count]``; their local ids are in the second buffer
  ``said``     of tags and drops, what is kept of them (changes), if there are any
  ``own``      moves of devices that the origin stated and is believed (state/moves.py), if any
  ``denied``   ``[id, path]`` of devices that the child may not write to
  ``chain``    ``[lsn, chain]`` or nil
  ``at``       ms since the epoch, when it was received
Buffers: the records' payloads, one after another; local device ids int64.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_engine.erasures import Erasure, decode_erasure
from mainstem_engine.log.records import RecordKind
from mainstem_engine.model import AnyArray, BoolMask, Column, ColumnType, Lsns, Rows
from mainstem_engine.points import Points, decode_points
from mainstem_sync.errors import UnknownSchemaError
from mainstem_sync.origins.deletions import map_erasure
from mainstem_sync.origins.origin_state import (
    CONFLICT,
    DENIED,
    UNMAPPED,
    MeasurementMap,
    OriginMaps,
    TableMap,
)
from mainstem_sync.slices.loss import Loss
from mainstem_sync.slices.manifest import Manifest
from mainstem_sync.slices.owed import Owed
from mainstem_sync.wire.blocks import decode_block
from mainstem_sync.wire.messages import OriginKey
from mainstem_sync.wire.ranges import LSN_MAX, RangeSet

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class RowGroup:
    """Rows of one table and one set of columns, of one or more records. ``lsn``: the origin's."""

    table: str
    rows: Rows
    lsn: int | Lsns


@dataclass(slots=True)
class Received:
    """A decoded RCV record, ready to be applied. ``manifests`` and ``deletes`` with the LSN of
    their record; these have local ids."""

    header: Mapping[str, Any]
    groups: list[RowGroup]
    manifests: list[tuple[int, Manifest]]
    deletes: list[tuple[int, Erasure]] = field(default_factory=list)
    owed: list[tuple[int, Owed | Loss]] = field(default_factory=list)
    """COVER, EXP and LOSS records."""
    _ranges: RangeSet | None = None

    @property
    def origin(self) -> OriginKey:
        return OriginKey(self.header["node"], self.header["epoch"], self.header["name"])

    @property
    def ranges(self) -> RangeSet:
        """Not to be changed."""
        if self._ranges is None:
            self._ranges = RangeSet.from_wire(self.header["ranges"])
        return self._ranges


@dataclass(slots=True)
class MappedPoints:
    """Rows of one PTS record with local ids, and what was put aside.

    ``rows``: those to store. ``denied``: mask over the origin's rows, None if there is none.
    ``conflicts``: columns whose type differs here. ``refused``: every column of the record does, so
    that no row of it is stored.
    """

    points: Points
    rows: Rows
    denied: BoolMask | None = None
    conflicts: list[tuple[int, MeasurementMap, Column]] = field(default_factory=list)
    refused: bool = False


def map_points(points: Points, table: TableMap, maps: OriginMaps) -> MappedPoints:
    """Translate ids. Raises UnknownSchemaError for what the maps do not know."""
    rows = points.rows
    local = maps.local_devices(rows.device)
    is_plain = not len(local) or int(local.min()) > UNMAPPED
    if not is_plain and bool((local == UNMAPPED).any()):
        raise UnknownSchemaError(f"rows of {points.table} name a device that is not known here")
    columns: dict[int, Column] = {}
    conflicts: list[tuple[int, MeasurementMap, Column]] = []
    codes = {int(column[0]): int(column[1]) for column in points.header["cols"]}
    for key, column in rows.columns.items():
        measurement = table.measurements.get(key)
        if measurement is not None and measurement.type == codes[key]:
            # As nearly always: of the type that was declared.
            if measurement.local == CONFLICT:
                conflicts.append((key, measurement, column))
            else:
                columns[measurement.local] = column
            continue
        if measurement is None:
            raise UnknownSchemaError(f"rows of {points.table} have an unknown measurement {key}")
        declared, kind = ColumnType(measurement.type), ColumnType(codes[key])
        if declared.widens_to(kind):
            raise UnknownSchemaError(f"rows of {points.table} are of a later revision")
        if measurement.local == CONFLICT or not (kind == declared or kind.widens_to(declared)):
            conflicts.append((key, measurement, column))
        else:
            columns[measurement.local] = column
    refused = bool(conflicts) and not columns
    device = local.astype(np.uint32)
    mapped = MappedPoints(points, Rows(device, rows.time, columns), None, conflicts, refused)
    if not is_plain:
        mapped.denied = local == DENIED
        mapped.rows = mapped.rows.take(~mapped.denied)
    if refused:
        mapped.rows = mapped.rows.take(slice(0, 0))
    return mapped


class RowCollector:
    """Gathers rows record by record and joins those of one table and one set of columns: the store
    takes few large batches much faster than many small ones."""

    def __init__(self) -> None:
        self._pieces: dict[
            tuple[str, frozenset[tuple[int, str]]], list[tuple[int | Lsns, Rows]]
        ] = {}

    def add(self, table: str, lsn: int | Lsns, rows: Rows) -> None:
        """Rows of one record, or of several with the LSN of each. Order does not matter: versions
        decide."""
        if len(rows):
            # Rows from before and after a widening are not joined: the store conforms them.
            columns = frozenset((k, c.values.dtype.str) for k, c in rows.columns.items())
            key = (table, columns)
            self._pieces.setdefault(key, []).append((lsn, rows))

    def groups(self) -> list[RowGroup]:
        """In an order that the rows decide, and not in which they came: what is late among them
        depends on it, and a replay meets the rows of blocks after those of records."""
        return [
            RowGroup(table, pieces[0][1], pieces[0][0])
            if len(pieces) == 1
            else RowGroup(table, joined_rows([rows for _, rows in pieces]), _lsns(pieces))
            for (table, _), pieces in sorted(self._pieces.items(), key=_table_and_columns)
        ]


def _table_and_columns(
    item: tuple[tuple[str, frozenset[tuple[int, str]]], object],
) -> tuple[str, list[tuple[int, str]]]:
    (table, columns), _ = item
    return table, sorted(columns)


def _lsns(pieces: Sequence[tuple[int | Lsns, Rows]]) -> Lsns:
    if any(isinstance(lsn, np.ndarray) for lsn, _ in pieces):
        each = (
            lsn if isinstance(lsn, np.ndarray) else np.full(len(rows), lsn, np.uint64)
            for lsn, rows in pieces
        )
        return np.concatenate(list(each))
    return np.repeat(
        np.array([lsn for lsn, _ in pieces], np.uint64), [len(rows) for _, rows in pieces]
    )


def joined_rows(pieces: Sequence[Rows]) -> Rows:
    """All rows, one piece after the other; all have the same columns."""
    columns = {}
    for key in pieces[0].columns:
        parts = [rows.columns[key] for rows in pieces]
        values: AnyArray = np.concatenate([part.values for part in parts])
        valid: BoolMask | None = None
        if any(part.valid is not None for part in parts):
            valid = np.concatenate(
                [
                    np.ones(len(part.values), np.bool_) if part.valid is None else part.valid
                    for part in parts
                ]
            )
        columns[key] = Column(values, valid)
    return Rows(
        np.concatenate([rows.device for rows in pieces]),
        np.concatenate([rows.time for rows in pieces]),
        columns,
    )


def decode_received(
    header: Mapping[str, Any],
    buffers: Sequence[memoryview],
    maps_of: Callable[[OriginKey], OriginMaps],
) -> Received:
    """An RCV record read from the log. Brings the origin's maps up to it first.

    A record whose definitions are gone (damage to the log took the batch that brought them) is left
    out, and out of R too, so that the child sends it again after its definitions. Its rows were
    counted before; until they come again the sums of their table show that they are missing.
    """
    maps = maps_of(OriginKey(header["node"], header["epoch"], header["name"]))
    apply_maps(header, buffers, maps)
    collector = RowCollector()
    manifests = []
    deletes = []
    owed = []
    ranges = RangeSet.from_wire(header["ranges"])
    for lsn, kind, table, _, offset, length, _ in header["recs"]:
        payload = buffers[0][offset : offset + length]
        if kind == RecordKind.PTS:
            try:
                found = maps.known_table(table)
                rows = map_points(decode_points(payload), found, maps).rows
            except UnknownSchemaError as exc:
                logger.error("LSN %d of %s cannot be read again: %s", lsn, header["name"], exc)
                ranges.remove(lsn)
                continue
            collector.add(found.local, lsn, rows)
        elif kind == RecordKind.MAN:
            manifests.append((lsn, Manifest.decode(payload)))
        elif kind == RecordKind.DEL:
            try:
                erasure = map_erasure(decode_erasure(payload), maps.known_table(table), maps)
            except UnknownSchemaError as exc:
                logger.error("LSN %d of %s cannot be read again: %s", lsn, header["name"], exc)
                ranges.remove(lsn)
                continue
            if erasure is not None:
                deletes.append((lsn, erasure))
        elif kind in (RecordKind.COVER, RecordKind.EXP, RecordKind.LOSS):
            owed.append((lsn, decode_owed(kind, payload, lsn)))
    for table, _, offset, length, decoded in header.get("blocks", ()):
        try:
            found = maps.known_table(table)
            encoded = decode_block(buffers[0][offset : offset + length], bytes_max=decoded)
            rows = map_points(encoded.points, found, maps).rows
        except UnknownSchemaError as exc:
            logger.error("a block of %s cannot be read again: %s", header["name"], exc)
            ranges = RangeSet()  # which records were in it cannot be said: all come again
            continue
        lsns = encoded.lsn if encoded.single is None else encoded.single
        collector.add(found.local, lsns, rows)
    header = {**header, "ranges": ranges.to_wire()}
    return Received(header, collector.groups(), manifests, deletes, owed)


def decode_owed(kind: int, payload: memoryview, lsn: int) -> Owed | Loss:
    """A COVER, EXP or LOSS record. Raises WireError, CorruptionError."""
    return Loss.decode(payload) if kind == RecordKind.LOSS else Owed.decode(payload, lsn)


def apply_maps(
    header: Mapping[str, Any],
    buffers: Sequence[memoryview],
    maps: OriginMaps,
    end_lsn: int = LSN_MAX,
) -> None:
    """Put the tables and devices that an RCV record brings into the maps, those that the origin
    defined up to ``end_lsn``."""
    for lsn, table in header["sch"]:
        if lsn <= end_lsn:
            maps.put_table(TableMap.from_plain(table))
    beyond: set[int] = set()
    local: npt.NDArray[np.int64] = np.frombuffer(buffers[1], "<i8")
    position = 0
    for lsn, ids, count in header["dev"]:
        if lsn > end_lsn:
            beyond.update(ids)
            position += count
            continue
        maps.put_devices(ids, local[position : position + count])
        if maps.denied:
            for key, here in zip(ids, local[position : position + count].tolist(), strict=True):
                if here >= 0:
                    maps.denied.pop(key, None)
        position += count
    for key, path in header["denied"]:
        if key not in beyond:
            maps.denied[key] = path
    if not beyond and all(lsn <= end_lsn for lsn, _ in header["sch"]):
        maps.said.put(header.get("said", ()))
