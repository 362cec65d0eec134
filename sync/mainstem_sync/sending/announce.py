"""Definitions said again: what the parent needs to read rows and has never been told.

Normally every definition goes up once, from its own log record. It is missing at the parent when
that record is out of reach: released before there was a parent, or lost with the parent's disk; or
when rows of this node are about a child's devices (a rollup made here). Then the definitions are
logged again, marked, and travel like any record. The local catalog knows them already and does not
change. What a log gives up undelivered is said again at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.device_records import DeviceRecord
from mainstem_engine.catalog.tags import CodedTag
from mainstem_engine.catalog.templates import Table, template_to_map
from mainstem_engine.consumers import Ack
from mainstem_engine.engine import Engine
from mainstem_engine.erasures import decode_erasure
from mainstem_engine.log.records import RecordKind, decode_payload
from mainstem_sync.state.content import ANNOUNCED, Content

_NONE: npt.NDArray[np.uint32] = np.empty(0, np.uint32)


def announce(engine: Engine, contents: Iterable[Content]) -> Ack | None:
    """Log the tables and devices that own rows and deletes in ``contents`` are about. Does not
    wait."""
    devices: dict[str, list[npt.NDArray[np.uint32]]] = {}
    for content in contents:
        for piece in content.pieces:
            if piece.kind == RecordKind.PTS and content.ranges is None:
                _, buffers = decode_payload(piece.payload)
                devices.setdefault(piece.table, []).append(np.frombuffer(buffers[0], np.uint32))
            elif piece.kind == RecordKind.DEL and content.ranges is None:
                named = decode_erasure(piece.payload).devices
                devices.setdefault(piece.table, []).append(_NONE if named is None else named)
    return announce_devices(engine, devices)


def announce_devices(
    engine: Engine, devices: Mapping[str, Sequence[npt.NDArray[np.uint32]]]
) -> Ack | None:
    """Log tables, and devices (by this node's ids) of each. Does not wait."""
    catalog = engine.catalog
    ack = None
    families = set()
    for name, ids in devices.items():
        if catalog.templates.get(name) is None:
            continue
        table = catalog.table(name)
        source = catalog.templates.get(table.family)
        for known in (source, table):
            if known is not None and known.name not in families:
                families.add(known.name)
                ack = _announce_table(engine, known)
        wanted = np.unique(np.concatenate([_NONE, *ids]))
        if not len(wanted):
            continue
        for record in device_record(catalog, table, wanted).pieces():
            ack = engine.append(RecordKind.DEV, record.to_header(**{ANNOUNCED: True}))
    return ack


def _announce_table(engine: Engine, table: Table) -> Ack:
    fields = template_to_map(table.template)
    header = {"op": "template", "foreign": table.foreign, **fields, ANNOUNCED: True}
    return engine.append(RecordKind.SCH, header)


def device_record(catalog: Catalog, table: Table, ids: npt.NDArray[np.uint32]) -> DeviceRecord:
    """Devices (ascending, of this node's ids) of the table's family, with their tags."""
    devices = catalog.devices
    source = catalog.templates.get(table.family)
    tags = {}
    for tag in () if source is None else source.template.tags:
        codes, values = devices.tag_codes(table.family, tag.name, ids)
        if codes.any():
            # Only the values in use: of all of them there may be as many as devices.
            used, place = np.unique(codes, return_inverse=True)
            meant = [values[code] for code in used.tolist()]
            tags[tag.name] = CodedTag(meant, place.astype(np.uint32))
    foreign = all(devices.is_foreign(device) for device in ids.tolist())
    return DeviceRecord(table.family, ids, devices.paths(ids), tags, foreign)
