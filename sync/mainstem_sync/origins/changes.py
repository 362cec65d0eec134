"""What a child takes away, or tags otherwise, followed by its parent.

1. Such records may arrive in any order, and after or before the devices that they are about. So the
   greatest LSN that spoke of a device or of one of its tags is kept, with what it said, until
   everything before it has arrived (``Said.forget``).
2. An older record then says nothing; a device that arrives later is made, and what was said of it
   before is done again.
3. Only devices and templates that are here for children's data are dropped. A tag that is not here,
   or has another type, is left out.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mainstem_engine.engine import Engine
from mainstem_engine.errors import NotFoundError, SchemaError
from mainstem_engine.model import DeviceIds

if TYPE_CHECKING:
    from mainstem_sync.origins.origin_state import OriginMaps

logger = logging.getLogger(__name__)

GONE = ""
"""In place of a tag's name: whether the device is dropped."""

TEMPLATE = -1
"""In place of a device: the template of that name."""

Item = Sequence[Any]
"""``[device, tag, lsn, value]``."""


class Said:
    """The last word about devices and tags whose earlier records may still arrive. Not changed in
    place once others see it but by ``put`` and ``forget``."""

    def __init__(self, items: Iterable[Item] = ()) -> None:
        self._items: dict[tuple[int, str], tuple[int, Any]] = {}
        self.put(items)

    def copy(self) -> Said:
        return Said(self.to_plain())

    def put(self, items: Iterable[Item]) -> None:
        """The later record wins."""
        for device, what, lsn, value in items:
            if lsn > self.lsn(device, what):
                self._items[device, what] = (lsn, value)

    def lsn(self, device: int, what: str) -> int:
        return self._items.get((device, what), (0, None))[0]

    def of(self, device: int) -> Iterator[tuple[str, Any]]:
        """What was said of a device, drops last."""
        for (known, what), (_, value) in sorted(
            ((key, item) for key, item in self._items.items() if key[0] == device),
            key=lambda pair: pair[0][1] == GONE,
        ):
            assert known == device
            yield what, value

    def forget(self, watermark: int) -> None:
        """Everything up to this LSN has arrived."""
        if self._items:
            self._items = {key: item for key, item in self._items.items() if item[0] > watermark}

    def to_plain(self) -> list[Item]:
        return [[device, what, *item] for (device, what), item in self._items.items()]

    def __len__(self) -> int:
        return len(self._items)


def follow_change(
    header: Mapping[str, Any], lsn: int, maps: OriginMaps, engine: Engine
) -> list[Item]:
    """Does here what a record ``tags`` or ``drop`` of a child says; what is to be kept of it."""
    if header["op"] == "tags":
        return _tags(header, lsn, maps, engine)
    if "devices" in header:
        ids = _fresh(_ids(header), GONE, lsn, maps.said)
        engine.follow_dropped(_local(ids, maps), gone=bool(header["gone"]))
        return [[device, GONE, lsn, bool(header["gone"])] for device in ids.tolist()]
    if "template" in header:
        name = str(header["template"])
        table = maps.table(name)
        if header["gone"] and table is not None and maps.said.lsn(TEMPLATE, name.casefold()) < lsn:
            _drop_template(table.local, engine)
        return [[TEMPLATE, name.casefold(), lsn, bool(header["gone"])]]
    return []


def follow_again(ids: Iterable[int], family: str, maps: OriginMaps, engine: Engine) -> None:
    """Devices were made: what was said of them before is done now."""
    if not len(maps.said):
        return
    for device in ids:
        local = _local(np.array([device], np.uint32), maps)
        for what, value in maps.said.of(device):
            if what == GONE:
                engine.follow_dropped(local, gone=value)
            else:
                _set(family, local, {what: value}, maps, engine)


def _tags(header: Mapping[str, Any], lsn: int, maps: OriginMaps, engine: Engine) -> list[Item]:
    kept: list[Item] = []
    for tag, value in header["tags"].items():
        ids = _fresh(_ids(header), tag.casefold(), lsn, maps.said)
        _set(str(header["name"]), _local(ids, maps), {tag: value}, maps, engine)
        kept += [[device, tag.casefold(), lsn, value] for device in ids.tolist()]
    return kept


def _set(
    family: str, local: DeviceIds, tags: Mapping[str, Any], maps: OriginMaps, engine: Engine
) -> None:
    table = maps.table(family)
    if table is None or not len(local):
        return
    for tag, value in tags.items():
        here = table.tag(tag)
        if here is None:
            continue
        try:
            engine.set_tags(table.local, local, {here: value}, foreign=True)
        except (SchemaError, NotFoundError) as exc:
            logger.warning("a tag of %s is left as it was: %s", table.local, exc)


def _drop_template(name: str, engine: Engine) -> None:
    """Unless it is this node's own, or has devices of another child."""
    try:
        if engine.catalog.table(name).foreign:
            engine.drop_template(name, foreign=True)
    except (SchemaError, NotFoundError) as exc:
        logger.info("template %s stays: %s", name, exc)


def _ids(header: Mapping[str, Any]) -> DeviceIds:
    return np.frombuffer(header["devices"], "<u4").astype(np.uint32)


def _fresh(ids: DeviceIds, what: str, lsn: int, said: Said) -> DeviceIds:
    if not len(said):
        return ids
    return ids[[said.lsn(device, what) < lsn for device in ids.tolist()]]


def _local(ids: DeviceIds, maps: OriginMaps) -> DeviceIds:
    """Those that are here, by their ids here."""
    found = maps.local_devices(ids)
    return found[found >= 0].astype(np.uint32)
