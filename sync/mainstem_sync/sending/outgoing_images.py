"""Slice images on their way up: ids of the origin, pieces of a request, definitions beside them.

1. On the wire an image is an IMG record of a batch without ranges: it adds nothing to R. Its rows
   are a block in the encodings of parts (encoded_points.py), each with the LSN that wrote it, under
   the ids of their origin.
2. A relay stores rows under ids of its own; they are mapped back, and values that it holds wider
   than their owner declared them are made narrow again, which loses nothing.
3. Definitions of what an image is about may travel before it in the same batch, made from the
   catalog: records with the LSN of the image, outside R like it.

4. Orphans, of a closed epoch, go in images of their own, which ``joins`` says.

Header of the record: ``t node name epoch s e as_of part n``, times in ns, ``joins`` 1 where it
does, ``kept`` where there is such (receiving/kept_rows.py); one buffer if there are rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.device_records import DeviceRecord
from mainstem_engine.catalog.templates import template_to_map
from mainstem_engine.encoded_points import Choices, encode_rows
from mainstem_engine.errors import NotFoundError
from mainstem_engine.filesystem import Buffer, byte_view
from mainstem_engine.images import SliceImage
from mainstem_engine.log.records import RecordKind, encode_payload
from mainstem_engine.merge import key_order
from mainstem_engine.model import Column, ColumnType, Measurement, Rows, Template
from mainstem_sync.origins.definition_log import DefinitionLog
from mainstem_sync.origins.origin_state import CONFLICT, OriginMaps, TableMap
from mainstem_sync.sending.announce import device_record
from mainstem_sync.sending.outside_ranges import Definition, OutsideDraft
from mainstem_sync.slices.manifest import Manifest
from mainstem_sync.slices.wants import Want
from mainstem_sync.wire.messages import OriginKey, Queue

_CHOICES_MAX = 4096
"""Columns of which is remembered how they are encoded; then all of it is found out again."""


@dataclass(frozen=True, slots=True)
class OutgoingImage:
    """An image of the slices [first, last] of ``want``, under its origin's ids. ``last_piece``: no
    further piece of these slices follows."""

    key: OriginKey
    want: Want
    first: int
    last: int
    image: SliceImage
    types: Mapping[int, ColumnType]
    last_piece: bool = True
    joins: bool = False
    """Of a closed epoch: its orphans, which replace nothing."""
    kept: Sequence[Sequence[int]] = ()
    """``[slice, rows, d1, d2]``: of its rows such as their owner delivered and lost."""

    @property
    def bytes(self) -> int:
        """About what its rows take."""
        widths = sum(column.values.itemsize for column in self.image.rows.columns.values())
        return len(self.image.rows) * (20 + widths) + 128

    def cut(self, bytes_max: int) -> list[OutgoingImage]:
        """As images of fewer slices, in order of time; one slice that is too large as pieces."""
        if self.bytes <= bytes_max or not len(self.image.rows):
            return [self]
        size = self.want.slice_ns
        slices, counts = np.unique(self.image.rows.time // size, return_counts=True)
        row_bytes = self.bytes / len(self.image.rows)
        cuts, filled = [self.first], 0.0
        for number, rows in zip(slices.tolist(), counts.tolist(), strict=True):
            if filled and filled + rows * row_bytes > bytes_max:
                cuts.append(number)
                filled = 0.0
            filled += rows * row_bytes
        found: list[OutgoingImage] = []
        for first, end in itertools.pairwise([*cuts, self.last + 1]):
            found += self._between(first, end - 1).pieces(bytes_max)
        return found

    def _between(self, first: int, last: int) -> OutgoingImage:
        image, size = self.image, self.want.slice_ns
        start, end = first * size, (last + 1) * size
        inside = (image.rows.time >= start) & (image.rows.time < end)
        some = replace(
            image, start_ns=start, end_ns=end, rows=image.rows.take(inside), lsn=image.lsn[inside]
        )
        return replace(self, first=first, last=last, image=some)

    def pieces(self, bytes_max: int) -> list[OutgoingImage]:
        """One slice that is too large, cut by time; otherwise itself."""
        if self.first != self.last:
            return [self]
        pieces = list(self.image.pieces(bytes_max))
        return [
            replace(self, image=piece, last_piece=number == len(pieces) - 1)
            for number, piece in enumerate(pieces)
        ]


@dataclass(slots=True)
class ImageDraft(OutsideDraft):
    """A batch with one image, and the definitions that it needs."""

    image: OutgoingImage | None = None
    devices: frozenset[int] = frozenset()

    @classmethod
    def of(
        cls,
        image: OutgoingImage,
        definitions: Sequence[Definition],
        devices: frozenset[int],
        choices: Choices,
        said: Iterable[tuple[int, Manifest]] = (),
    ) -> ImageDraft:
        """``definitions``: in order; ``devices`` are in them.
        ``said``: manifests of the same slices, with their LSNs."""
        draft = cls(image.key, Queue.HISTORY, image=image, devices=devices)
        for definition in definitions:
            draft.define(image.image.as_of, definition)
        payload, rows = encode_wire_image(image, choices), len(image.image.rows)
        draft.put(image.image.as_of, RecordKind.IMG, image.want.name, payload, rows)
        for lsn, manifest in said:
            payload = _one(encode_payload(*manifest.encode()))
            draft.put(lsn, RecordKind.MAN, manifest.table, payload)
        draft.raw_bytes = sum(map(len, draft.parts))
        draft.weight = draft.raw_bytes + image.bytes
        return draft


def encode_wire_image(outgoing: OutgoingImage, choices: Choices) -> bytes:
    """The payload of the IMG record as it is sent."""
    image = outgoing.image
    header: dict[str, Any] = {
        "t": outgoing.want.name,
        "node": outgoing.key.uuid,
        "name": outgoing.key.name,
        "epoch": outgoing.key.epoch,
        "s": image.start_ns,
        "e": image.end_ns,
        "as_of": image.as_of,
        "part": image.part + outgoing.joins,
        "n": len(image.rows),
    }
    if outgoing.joins:
        header["joins"] = 1
    size = outgoing.want.slice_ns
    kept = [list(k) for k in outgoing.kept if image.start_ns <= k[0] * size < image.end_ns]
    if kept and not image.part:
        header["kept"] = kept
    buffers: list[Buffer] = []
    if len(image.rows):
        if len(choices) > _CHOICES_MAX:
            choices.clear()
        fields = {"t": outgoing.want.name, "rev": 0, "der": 0}
        buffers.append(_one(encode_rows(fields, image.rows, image.lsn, outgoing.types, choices)))
    return _one(encode_payload(header, buffers))


def to_origin(
    image: SliceImage, table: TableMap, maps: OriginMaps
) -> tuple[SliceImage, dict[int, ColumnType]]:
    """An image of rows stored here, under the ids and types of their owner. NotFoundError for
    devices whose definition is to come again."""
    known = np.flatnonzero(maps.devices >= 0)
    highest = max(int(maps.devices.max(initial=-1)), int(image.rows.device.max(initial=0)))
    theirs = np.full(highest + 1, -1, np.int64)
    theirs[maps.devices[known]] = known
    ids = theirs[image.rows.device]
    if bool((ids < 0).any()):
        raise NotFoundError(f"rows of {table.name} have a device that their owner did not name")
    device = ids.astype(np.uint32)
    columns: dict[int, Column] = {}
    types: dict[int, ColumnType] = {}
    for key, measurement in table.measurements.items():
        column = image.rows.columns.get(measurement.local)
        if measurement.local == CONFLICT or column is None:
            continue
        types[key] = ColumnType(measurement.type)
        columns[key] = _narrowed(column, types[key])
    order = key_order(device, image.rows.time)
    rows = Rows(device, image.rows.time, columns).take(order)
    return replace(image, table=table.name, rows=rows, lsn=image.lsn[order]), types


def _narrowed(column: Column, kind: ColumnType) -> Column:
    if kind.is_variable or column.values.dtype == kind.dtype:
        return column
    return Column(column.values.astype(kind.dtype), column.valid)


def own_definitions(catalog: Catalog, name: str, devices: Sequence[int]) -> list[Definition]:
    """Records that define own table ``name``, its source and these devices."""
    table = catalog.table(name)
    found = []
    for known in dict.fromkeys((table.family, table.name)):
        template = catalog.table(known).template
        found.append(Definition(RecordKind.SCH, known, _template(template)))
    ids = np.array(sorted(devices), np.uint32)
    if len(ids):
        records = device_record(catalog, table, ids).pieces()
        found += [Definition(RecordKind.DEV, record.family, _devices(record)) for record in records]
    return found


def relayed_definitions(
    catalog: Catalog, table: TableMap, maps: OriginMaps, log: DefinitionLog, devices: Sequence[int]
) -> list[Definition]:
    """The same for another node's table and devices, under its ids. ``log``: what it said."""
    local = catalog.table(table.local)
    found = []
    for name in dict.fromkeys((local.family, table.local)):
        mapped = next((t for t in maps.tables.values() if t.local == name), None)
        if mapped is not None:
            template = _template(_theirs(catalog, mapped))
            lsn = log.newest(mapped.name)
            found.append(Definition(RecordKind.SCH, mapped.name, template, lsn))
    ids = np.array(sorted(devices), np.uint32)
    here = maps.local_devices(ids)
    ids, known = ids[here >= 0], here[here >= 0].astype(np.uint32)
    if len(ids):
        order = np.argsort(known)
        record = device_record(catalog, local, known[order])
        back = np.argsort(ids[order], kind="stable")
        theirs = replace(record.take(back.tolist()), ids=ids[order][back])
        found += [Definition(RecordKind.DEV, r.family, _devices(r)) for r in theirs.pieces()]
    return found


def _theirs(catalog: Catalog, table: TableMap) -> Template:
    """The template as its owner has it, as far as this node was told."""
    local = catalog.table(table.local)
    measurements = []
    for key, mapped in sorted(table.measurements.items()):
        here = local.measurement_by_id(mapped.local)
        if here is not None:
            kind = ColumnType(mapped.type)
            measurements.append(Measurement(key, mapped.name, kind, unit=here.unit))
    return replace(
        local.template,
        name=table.name,
        measurements=tuple(measurements),
        revision=max(1, table.revision),
        keep_ns=None,
    )


def _template(template: Template) -> bytes:
    return _one(encode_payload({"op": "template", "foreign": False, **template_to_map(template)}))


def _devices(record: DeviceRecord) -> bytes:
    return _one(encode_payload(replace(record, foreign=False).to_header()))


def _one(pieces: Sequence[Buffer]) -> bytes:
    return b"".join(map(byte_view, pieces))
