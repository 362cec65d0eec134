"""From a batch on the wire to an RCV record: what is new, where it belongs, what is put aside.

1. Records whose LSN is in R (or on its way into it) are skipped, one by one.
2. Templates and devices of the rest are made here first, as foreign ones, so that applying the
   record needs nothing but the record.
3. A device outside the child's paths, or that is of another template here, is denied: it is taken
   out of the records that are kept and forwarded, and its rows are put aside. A measurement whose
   type differs is put aside here and stays in the forwarded record.
4. Nothing is changed before all of this has succeeded: a batch that needs a schema first leaves no
   trace but definitions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.device_records import DeviceRecord
from mainstem_engine.catalog.names import canonical_path, database_path
from mainstem_engine.catalog.templates import template_from_map
from mainstem_engine.engine import Engine
from mainstem_engine.erasures import Erasure, decode_erasure
from mainstem_engine.errors import CorruptionError, NotFoundError, SchemaError
from mainstem_engine.filesystem import Buffer, byte_view
from mainstem_engine.log.records import RecordKind, decode_payload, encode_payload
from mainstem_engine.model import ColumnType, DeviceIds
from mainstem_engine.points import decode_points, encode_points
from mainstem_sync.errors import RejectedError, UnknownSchemaError, WireError
from mainstem_sync.lines.trail import BOOT_ID_BYTES
from mainstem_sync.origins.changes import Item, follow_again, follow_change
from mainstem_sync.origins.deletions import map_erasure
from mainstem_sync.origins.origin_state import (
    DENIED,
    DEVICE_ID_MAX,
    DeviceMap,
    Kin,
    OriginMaps,
    TableMap,
)
from mainstem_sync.origins.received import (
    MappedPoints,
    Received,
    RowCollector,
    decode_owed,
    map_points,
)
from mainstem_sync.receiving.definitions import define_table, with_kin
from mainstem_sync.receiving.domain import Domain
from mainstem_sync.receiving.parking import Parking
from mainstem_sync.slices.loss import Loss
from mainstem_sync.slices.manifest import Manifest
from mainstem_sync.slices.owed import Owed
from mainstem_sync.state.content import OWED_KINDS
from mainstem_sync.state.exports import is_below
from mainstem_sync.state.moves import moves_from_wire
from mainstem_sync.wire.batch import Batch, WireBlock, WireRecord
from mainstem_sync.wire.blocks import decode_block
from mainstem_sync.wire.frames import DECODED_BYTES_MAX
from mainstem_sync.wire.order import Word
from mainstem_sync.wire.packing import column_types
from mainstem_sync.wire.ranges import RangeSet

NO_KIN = Kin()


@dataclass(slots=True)
class Prepared:
    """A batch ready to be logged. ``maps``: the origin's maps with what the batch adds."""

    received: Received
    buffers: list[Buffer]
    maps: OriginMaps
    parking: Parking


@dataclass(slots=True)
class _Draft:
    """What is gathered while the records of a batch are looked at."""

    maps: OriginMaps
    domain: Domain
    collector: RowCollector = field(default_factory=RowCollector)
    manifests: list[tuple[int, Manifest]] = field(default_factory=list)
    deletes: list[tuple[int, Erasure]] = field(default_factory=list)
    owed: list[tuple[int, Owed | Loss]] = field(default_factory=list)
    records: list[list[Any]] = field(default_factory=list)
    blocks: list[list[Any]] = field(default_factory=list)
    pieces: list[Buffer] = field(default_factory=list)
    length: int = 0
    schemas: list[list[Any]] = field(default_factory=list)
    devices: list[list[Any]] = field(default_factory=list)
    local: list[DeviceMap] = field(default_factory=list)
    denied: list[list[Any]] = field(default_factory=list)
    boots: list[list[Any]] = field(default_factory=list)
    words: list[list[int]] = field(default_factory=list)
    said: list[Item] = field(default_factory=list)
    own: list[Any] = field(default_factory=list)
    counts: dict[str, list[int]] = field(default_factory=dict)

    def keep(
        self, record: WireRecord, payload: Buffer, length: int, rows: int = 0, put_aside: int = 0
    ) -> None:
        self.records.append(
            [record.lsn, record.kind, record.table, rows, self.length, length, put_aside]
        )
        self.pieces.append(payload)
        self.length += length

    def keep_block(self, block: WireBlock, payload: Buffer) -> None:
        self.blocks.append([block.table, block.rows, self.length, block.length, block.decoded])
        self.pieces.append(payload)
        self.length += block.length

    def count(self, table: str, stored: int, duplicates: int, put_aside: int) -> None:
        sums = self.counts.setdefault(table, [0, 0, 0])
        for place, number in enumerate((stored, duplicates, put_aside)):
            sums[place] += number


def prepare(
    batch: Batch,
    raw: memoryview,
    known: RangeSet,
    maps: OriginMaps,
    *,
    via: str,
    paths: Sequence[str] | None,
    engine: Engine,
    at_ms: int,
    kin: Kin = NO_KIN,
    domain: Domain | None = None,
) -> Prepared:
    """Make the RCV record of a batch.

    ``known``: LSNs to skip. ``kin``: how the node's other epochs are mapped. ``domain``: what the
    child may bring, where more is known of it than its ``paths``. Raises
    UnknownSchemaError (send the schema first), RejectedError or CorruptionError (never to be
    taken).
    """
    changes = any(r.kind in (RecordKind.SCH, RecordKind.DEV) for r in batch.records)
    domain = domain or Domain(paths)
    draft = _Draft(maps.copy() if changes else maps, domain)
    parking = Parking(batch.origin, at_ms)
    # Definitions first: what is said again for a parent that lacked it has a later LSN than a
    # delete that needs it, and both are of the control queue.
    records: Iterable[tuple[WireRecord, memoryview]] = _records(batch, raw)
    if changes:
        records = sorted(records, key=_after_definitions)
    for record, payload in records:
        if record.lsn in known:
            if record.kind == RecordKind.PTS:
                draft.count(_local_name(record.table, draft.maps), 0, record.rows, 0)
        elif record.kind == RecordKind.PTS:
            _points(draft, record, payload, engine.catalog, parking)
        elif record.kind == RecordKind.SCH:
            _schema(draft, record, payload, paths, engine, kin)
        elif record.kind == RecordKind.DEV:
            _devices(draft, record, payload, engine)
        elif record.kind == RecordKind.MAN:
            draft.manifests.append((record.lsn, Manifest.decode(payload)))
            draft.keep(record, payload, len(payload))
        elif record.kind == RecordKind.DEL:
            _deletes(draft, record, payload, engine, parking)
        elif record.kind == RecordKind.BOOT:
            draft.boots.append([record.lsn, _boot(payload)])
            draft.keep(record, payload, len(payload))
        elif record.kind == RecordKind.RES:
            Word.from_header(decode_payload(payload)[0])
            draft.words.append([record.lsn, draft.length, len(payload)])
            draft.keep(record, payload, len(payload))
        elif record.kind == RecordKind.OWN:
            _moves(draft, record, payload)
        elif record.kind in OWED_KINDS:
            draft.owed.append((record.lsn, decode_owed(record.kind, payload, record.lsn)))
            draft.keep(record, payload, len(payload))
    if sum(block.decoded for block in batch.blocks) > DECODED_BYTES_MAX:
        raise RejectedError(f"a batch of {batch.origin.name} with too many rows in blocks")
    for block in batch.blocks:
        _block(draft, batch, block, raw, known, engine.catalog, parking)
    header: dict[str, Any] = {
        "node": batch.origin.uuid,
        "name": batch.origin.name,
        "epoch": batch.origin.epoch,
        "via": via,
        "q": str(batch.queue),
        "ranges": batch.ranges.difference(known).to_wire(),
        "recs": draft.records,
        "counts": draft.counts,
        "values": parking.values_by_table(),
        "parked": parking.slices(),
        "sch": draft.schemas,
        "dev": draft.devices,
        "denied": draft.denied,
        "boots": draft.boots,
        "chain": None if batch.chain is None else batch.chain.to_wire(),
        "at": at_ms,
    }
    rare = {"blocks": draft.blocks, "words": draft.words, "said": draft.said, "own": draft.own}
    header |= {name: found for name, found in rare.items() if found}
    local = np.concatenate(draft.local) if draft.local else np.empty(0, np.int64)
    received = Received(
        header, draft.collector.groups(), draft.manifests, draft.deletes, draft.owed
    )
    return Prepared(received, [b"".join(map(byte_view, draft.pieces)), local], draft.maps, parking)


def only_definitions(batch: Batch) -> Batch | None:
    """Of a batch that waits for something what it defines, outside R; None if nothing."""
    records = tuple(r for r in batch.records if r.kind in (RecordKind.SCH, RecordKind.DEV))
    if not records:
        return None
    return replace(batch, ranges=RangeSet(), records=records, blocks=(), chain=None)


def duplicate_rows(batch: Batch, maps: OriginMaps) -> list[tuple[str, int]]:
    """Rows by local table of a batch that is known already."""
    records = [(r.table, r.rows) for r in batch.records if r.kind == RecordKind.PTS]
    blocks = [(block.table, block.rows) for block in batch.blocks]
    return [(_local_name(table, maps), rows) for table, rows in (*records, *blocks)]


def _records(batch: Batch, raw: memoryview) -> Iterable[tuple[WireRecord, memoryview]]:
    """Records with their payloads. Raises RejectedError where they do not lie in the batch."""
    previous = 0
    for record in batch.records:
        end = record.offset + record.length
        # What travels outside R is named by the LSN that it is as of.
        placed = record.lsn > previous and record.lsn in batch.ranges
        if end > len(raw) or not (placed or not batch.ranges):
            raise RejectedError(
                f"record {record.lsn} of {batch.origin.name} does not lie in its batch"
            )
        previous = record.lsn
        yield record, raw[record.offset : end]


def _after_definitions(item: tuple[WireRecord, memoryview]) -> bool:
    return item[0].kind not in (RecordKind.SCH, RecordKind.DEV)


def _boot(payload: memoryview) -> bytes:
    ident = decode_payload(payload)[0].get("id")
    if not isinstance(ident, bytes) or len(ident) != BOOT_ID_BYTES:
        raise WireError(f"a BOOT record without an id of {BOOT_ID_BYTES} bytes")
    return ident


def _local_name(table: str, maps: OriginMaps) -> str:
    found = maps.table(table)
    return table if found is None else found.local


def _points(
    draft: _Draft, record: WireRecord, payload: memoryview, catalog: Catalog, parking: Parking
) -> None:
    points = decode_points(payload)
    table = draft.maps.known_table(points.table)
    if len(points.rows) != record.rows:
        raise RejectedError(f"record {record.lsn} has {len(points.rows)} rows, not {record.rows}")
    mapped = draft.domain.within(map_points(points, table, draft.maps), draft.maps)
    if mapped.denied is not None:
        payload = _without_denied(mapped)
    if mapped.denied is not None or mapped.conflicts:
        parking.put(record.lsn, mapped, table, draft.maps, catalog)
    stored = len(mapped.rows)
    put_aside = record.rows - stored
    draft.count(table.local, stored, 0, put_aside)
    draft.collector.add(table.local, record.lsn, mapped.rows)
    draft.keep(record, payload, len(payload), stored, put_aside)


def _block(
    draft: _Draft,
    batch: Batch,
    block: WireBlock,
    raw: memoryview,
    known: RangeSet,
    catalog: Catalog,
    parking: Parking,
) -> None:
    """Rows of many records. Where all of them are new and welcome the block is kept as it came;
    otherwise it is taken apart, and what is left is kept record by record."""
    end = block.offset + block.length
    if end > len(raw):
        raise RejectedError(f"a block of {batch.origin.name} does not lie in its batch")
    payload = raw[block.offset : end]
    found = decode_block(payload, bytes_max=block.decoded)
    points, lsn = found.points, found.lsn
    if len(points.rows) != block.rows or points.table.casefold() != block.table.casefold():
        raise RejectedError(f"a block has {len(points.rows)} rows of {points.table}")
    low, high = found.span
    if not batch.ranges.covers(low, high) and not batch.ranges.mask(lsn).all():
        raise RejectedError(f"a block of {batch.origin.name} names records of other ranges")
    table = draft.maps.known_table(points.table)
    mapped = draft.domain.within(map_points(points, table, draft.maps), draft.maps)
    # Definitions and manifests between the records went before them.
    some_known = next(known.within(low, high), None) is not None and known.mask(lsn).any()
    if not some_known and mapped.denied is None and not mapped.conflicts:
        draft.count(table.local, block.rows, 0, 0)
        draft.collector.add(table.local, lsn if low < high else low, mapped.rows)
        draft.keep_block(block, payload)
        return
    types = column_types(points)
    for number, some in found.records():
        record = WireRecord(number, int(RecordKind.PTS), block.table, len(some.rows), 0, 0)
        if number in known:
            draft.count(table.local, 0, record.rows, 0)
            continue
        pieces = encode_points(some.header, some.rows, types)
        one = memoryview(b"".join(map(byte_view, pieces)))
        _points(draft, record, one, catalog, parking)


def _moves(draft: _Draft, record: WireRecord, payload: memoryview) -> None:
    """What the child may not state of devices that were moved is neither kept nor handed on."""
    moves = moves_from_wire(decode_payload(payload)[0].get("moves"))
    if draft.domain.believes(moves):
        draft.own += [move.to_wire() for move in moves]
        draft.keep(record, payload, len(payload))


def _deletes(
    draft: _Draft, record: WireRecord, payload: memoryview, engine: Engine, parking: Parking
) -> None:
    erasure = decode_erasure(payload)
    if erasure.table.casefold() != record.table.casefold():
        raise RejectedError(f"record {record.lsn} deletes from {erasure.table}, not {record.table}")
    table = draft.maps.known_table(erasure.table)
    mapped = map_erasure(erasure, table, draft.maps)
    parking.cover(erasure, table, draft.maps, engine.catalog)
    if mapped is not None:
        engine.check_room_for_delete(table.local)
        draft.deletes.append((record.lsn, mapped))
    draft.keep(record, payload, len(payload))


def _without_denied(mapped: MappedPoints) -> memoryview:
    """The record as it is kept and forwarded: without rows of denied devices."""
    assert mapped.denied is not None
    points = mapped.points
    rows = points.rows.take(~mapped.denied)
    types = {int(column[0]): ColumnType(column[1]) for column in points.header["cols"]}
    header = {**points.header, "n": len(rows), "mrg": 0, "acc": len(rows)}
    return memoryview(b"".join(map(byte_view, encode_points(header, rows, types))))


def _schema(
    draft: _Draft,
    record: WireRecord,
    payload: memoryview,
    paths: Sequence[str] | None,
    engine: Engine,
    kin: Kin,
) -> None:
    header, _ = decode_payload(payload)
    op = header.get("op")
    if op == "database":
        _define_database(header, paths, engine)
    elif op == "template":
        # The rollups of a template are revised with it, and after it.
        for fields in (header, *header.get("rollups", ())):
            theirs = template_from_map(fields)
            aliases = header.get("tag_aliases", {})
            known = draft.maps.table(theirs.name)
            if kin.others:
                line = kin.line_table(theirs.name, record.lsn)
                known = with_kin(theirs, known, kin.tables(theirs.name), line)
            table = define_table(theirs, known, engine, aliases)
            draft.maps.put_table(table)
            draft.schemas.append([record.lsn, table.to_plain()])
    elif op in ("drop", "tags"):
        kept = follow_change(header, record.lsn, draft.maps, engine)
        draft.maps.said.put(kept)
        draft.said += kept
    draft.keep(record, payload, len(payload))


def _define_database(
    header: Mapping[str, Any], paths: Sequence[str] | None, engine: Engine
) -> None:
    """A child's database gives its devices their precision here too; its retention is its own."""
    name = database_path(str(header["name"]))
    inside = paths is None or is_below(name, paths) or any(is_below(p, [name]) for p in paths)
    if inside and engine.catalog.databases.get(name) is None:
        engine.create_database(name, precision=str(header["precision"]), if_not_exists=True)


def _devices(
    draft: _Draft,
    record: WireRecord,
    payload: memoryview,
    engine: Engine,
) -> None:
    header, _ = decode_payload(payload)
    try:
        devices = DeviceRecord.from_header(header)
    except SchemaError as exc:
        raise WireError(exc.message) from exc
    family, ids, names = devices.family, devices.ids, devices.paths
    try:
        engine.catalog.family(family)
    except NotFoundError as exc:
        raise UnknownSchemaError(f"devices of {family}, which is not known here") from exc
    if len(ids) and int(ids.max()) > DEVICE_ID_MAX:
        raise WireError(f"a device id above {DEVICE_ID_MAX}")
    allowed = [_may_hold(path, family, draft.domain, engine.catalog) for path in names]
    mine = [at for at, ok in enumerate(allowed) if ok]
    kept = devices if len(mine) == len(ids) else devices.take(mine)
    local = np.full(len(ids), DENIED, np.int64)
    if mine:
        local[mine] = _define_devices(kept, draft.maps.table(family), engine)
    numbers = ids.tolist()
    draft.maps.put_devices(numbers, local)
    draft.devices.append([record.lsn, numbers, len(numbers)])
    draft.local.append(local)
    follow_again(numbers, family, draft.maps, engine)
    if len(mine) < len(ids):
        for at in (at for at, ok in enumerate(allowed) if not ok):
            draft.maps.denied[numbers[at]] = names[at]
            draft.denied.append([numbers[at], names[at]])
        further = {key: header[key] for key in header if key not in _DEVICE_KEYS}
        payload = memoryview(b"".join(map(byte_view, encode_payload(kept.to_header(**further)))))
    draft.keep(record, payload, len(payload))


def _define_devices(devices: DeviceRecord, table: TableMap | None, engine: Engine) -> DeviceIds:
    """Local ids. Tags that the local template lacks, or has with another type, are left out."""
    family, paths = devices.family, devices.paths
    local = engine.catalog.templates.get(family)
    known = {}
    for name, tag in devices.tags.items():
        # Maps of earlier versions know no tags: those go by their names.
        here = table.tag(name) if table is not None and table.tags else name
        if here is not None and local is not None and local.tag(here) is not None:
            known[here] = tag.to_list()
    try:
        return engine.device_ids(family, paths, known, create=True, foreign=True, durable=False)
    except SchemaError:
        return engine.device_ids(family, paths, create=True, foreign=True, durable=False)


def _may_hold(path: str, family: str, domain: Domain, catalog: Catalog) -> bool:
    """True if the path is one, the child may write to it, and it is no other template's here."""
    try:
        usable = canonical_path(path) == path
    except SchemaError:
        usable = False
    if not usable or not domain.holds(path):
        return False
    known = catalog.devices.id_of(path)
    if known is None:
        return True
    return catalog.devices.family_name(known).casefold() == family.casefold()


_DEVICE_KEYS = frozenset({"t", "foreign", "first", "n", "ids", "paths", "coded", "tags", "b"})
"""What a record of devices is made of anew; the rest is kept as it came. ``b``: its buffers."""

UNUSABLE = (RejectedError, WireError, CorruptionError, SchemaError)
"""What makes a batch one that will never be taken."""
