"""Where else the path of a device may be found than in the catalog that lost it.

An id means one device for ever, so every file of this directory that names it is right:

1. DEV records that the log still holds;
2. bases of the catalog, in use, left over or kept by a repair, each as far as it is whole;
3. checkpoints, left over or kept, with the devices that were in no base then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgpack
import numpy as np

from mainstem_engine.catalog.base_file import CATALOG_DIRECTORY, BaseName, base_files
from mainstem_engine.catalog.base_salvage import salvaged_names
from mainstem_engine.catalog.device_records import DeviceRecord
from mainstem_engine.catalog.devices import LOST_DEVICES
from mainstem_engine.catalog.salvaged_file import SalvagedFile
from mainstem_engine.catalog.sections import overlay_records
from mainstem_engine.checkpoint import CHECKPOINT_SUFFIX, inspect_checkpoint
from mainstem_engine.errors import EngineError
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.flush import CATALOG_SECTION
from mainstem_engine.inventory import CHECKPOINT_DIRECTORY
from mainstem_engine.log.records import Record, RecordKind, decode_payload

KEPT_PREFIX = "repair-"
"""Directories with what repairs replaced."""
_UNREADABLE = (
    EngineError,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    RuntimeError,
    msgpack.UnpackException,
)
"""A file that raises one of these says nothing; the next one is asked."""


def find_names(
    names: list[bytes | None], fs: Filesystem, root: Path, definitions: Iterable[Record]
) -> None:
    """Fills in the None of ``names``, by id, as far as they are found. ``definitions``: SCH and DEV
    records of the log."""
    missing = names.count(None)
    if not missing:
        return
    made_up = f"{LOST_DEVICES}.".encode()
    taken = set(names)
    for ids, paths in _sources(fs, root, definitions):
        for device, path in zip(ids, paths, strict=True):
            if device >= len(names) or names[device] is not None:
                continue
            if path is None or path in taken or path.startswith(made_up):
                continue
            names[device] = path
            taken.add(path)
            missing -= 1
        if not missing:
            return


_Named = tuple[Iterable[int], list[bytes] | list[bytes | None]]


def _sources(fs: Filesystem, root: Path, definitions: Iterable[Record]) -> Iterator[_Named]:
    """(ids, their paths) of one source after the other."""
    for record in definitions:
        if record.kind == RecordKind.DEV:
            yield _of_record(DeviceRecord.from_header(decode_payload(record.payload)[0]))
    places = [root, *sorted(root.glob(f"{KEPT_PREFIX}*"), reverse=True)]
    for place in places:
        directory = place / CATALOG_DIRECTORY
        for name in sorted(base_files(fs, directory), reverse=True):
            try:
                file = SalvagedFile.open(fs, directory / name)
                held = [] if file is None else salvaged_names(file)
            except _UNREADABLE:
                continue
            yield range(len(held)), held
    for place in places:
        directory = place / CHECKPOINT_DIRECTORY
        for name in sorted(fs.list(directory), reverse=True):
            if not name.endswith(CHECKPOINT_SUFFIX):
                continue
            try:
                records = _of_checkpoint(fs, directory, name)
            except _UNREADABLE:
                continue
            yield from map(_of_record, records)


def _of_record(record: DeviceRecord) -> _Named:
    return np.asarray(record.ids).tolist(), [path.encode() for path in record.paths]


def _of_checkpoint(fs: Filesystem, directory: Path, name: str) -> list[DeviceRecord]:
    """The devices that a checkpoint holds itself, when it is known which ids these are."""
    for section in inspect_checkpoint(fs, directory, name)[1]:
        if section.name == CATALOG_SECTION and section.whole:
            devices = msgpack.unpackb(section.data, strict_map_key=False)["devices"]
            named = devices.get("base")
            first = 0 if named is None else BaseName.from_list(named).devices
            return overlay_records(devices, first) if named is None or first else []
    return []
