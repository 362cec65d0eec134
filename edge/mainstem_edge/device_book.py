"""Devices as an edge's data names them: known ones by a look into a map, new ones made here.

1. A name that data uses becomes an ``Entry`` once; later rows find its device id in it.
2. A device that does not exist is created when the subscription allows it, at most so many a
   minute for the whole node: a publisher that invents names must not fill the catalog.
3. What cannot be resolved now gets a reason, and is tried again with the next row: the device may
   be created meanwhile, or the minute be over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.errors import (
    ClosedError,
    LogFailedError,
    MetadataLimitError,
    OutOfRangeError,
    OverloadedError,
    SchemaError,
)
from mainstem_engine.model import DeviceIds
from mainstem_node.allowance import Allowance
from mainstem_node.inbox import InboxBook
from mainstem_node.reasons import DEVICE_LIMIT, NOT_OWNER, OTHER_TEMPLATE, REFUSED, UNKNOWN_DEVICE

REFUSALS = (SchemaError, MetadataLimitError, OutOfRangeError)
"""The catalog will not take this device, now or later."""
NOT_NOW = (OverloadedError, LogFailedError, ClosedError)
UNRESOLVED = -1


@dataclass(slots=True, eq=False)
class Entry:
    """A device as data names it. ``id`` is UNRESOLVED until known; then ``reason`` is empty.
    ``topic``: where it was named, if by one topic.

    With a ``reason`` from the start the path could not be formed; ``path`` is then what there was.
    """

    path: str
    tags: Mapping[str, Any] = field(default_factory=dict)
    id: int = UNRESOLVED
    reason: str = ""
    permanent: bool = False
    topic: str = ""


class DeviceMaker(Protocol):
    """What is needed of the engine."""

    @property
    def catalog(self) -> Catalog: ...

    @property
    def device_ids(self) -> Callable[..., DeviceIds]: ...


class DeviceLimit:
    """At most ``per_minute`` new devices in any minute's worth of time.

    Shared by all collectors of a node; not thread-safe, callers hold the intake's lock.
    """

    def __init__(self, per_minute: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._allowance = Allowance(per_minute, monotonic)

    def take(self) -> bool:
        """True when one more device may be made now."""
        return self._allowance.take(1) == 1

    def give_back(self, count: int) -> None:
        """So many were not made after all."""
        self._allowance.give_back(count)


class DeviceBook:
    """The devices of one template.

    ``owner``: says which other node a path belongs to, None when it may be written here.
    ``inbox``: says which names were adopted under another path.
    """

    def __init__(
        self,
        engine: DeviceMaker,
        template: str,
        limit: DeviceLimit,
        owner: Callable[[str], str | None] | None = None,
        inbox: InboxBook | None = None,
    ) -> None:
        self._inbox = inbox or InboxBook()
        self._engine = engine
        self._template = template
        self._limit = limit
        self._owner = owner

    def resolve(self, entries: Iterable[Entry], *, create: bool) -> None:
        """Sets ``id`` of every entry that has none, or ``reason``.

        Raises OverloadedError, LogFailedError, ClosedError: the engine takes no device now, which
        is not the row's fault; may be called again.
        """
        devices = self._engine.catalog.devices
        missing: dict[str, list[Entry]] = {}
        for entry in entries:
            if entry.id != UNRESOLVED or entry.permanent:
                continue
            entry.path = self._inbox.path_of(self._template, entry.path) or entry.path
            if entry.path in missing:  # two topics that name one device
                missing[entry.path].append(entry)
                continue
            found = devices.id_of(entry.path)
            if found is not None:
                if devices.family_name(found).casefold() == self._template.casefold():
                    entry.id, entry.reason = found, ""
                else:
                    entry.reason = OTHER_TEMPLATE
            elif self._owner is not None and self._owner(entry.path) is not None:
                entry.reason = NOT_OWNER
            elif not create:
                entry.reason = UNKNOWN_DEVICE
            elif not self._limit.take():
                entry.reason = DEVICE_LIMIT
            else:
                missing[entry.path] = [entry]
        if not missing:
            return
        try:
            self._create(list(missing.values()))
        except NOT_NOW:
            self._limit.give_back(len(missing))
            raise

    def _create(self, groups: Sequence[list[Entry]]) -> None:
        try:
            self._make(groups)
        except REFUSALS:
            # One path or tag that the catalog refuses must not stop the others.
            for group in groups:
                try:
                    self._make([group])
                except REFUSALS:
                    for entry in group:
                        entry.reason = REFUSED

    def _make(self, groups: Sequence[list[Entry]]) -> None:
        firsts = [group[0] for group in groups]
        names = dict.fromkeys(name for entry in firsts for name in entry.tags)
        tags = {name: [entry.tags.get(name) for entry in firsts] for name in names}
        ids = self._engine.device_ids(
            self._template,
            [entry.path for entry in firsts],
            tags=tags,
            create=True,
            durable=False,
        )
        for group, device in zip(groups, ids.tolist(), strict=True):
            for entry in group:
                entry.id, entry.reason = device, ""
