"""What planning learns of the devices that there are: whether a plan holds when others are added.

1. A device that is there stays: its id, path, template and database change only with definitions.
   What a plan was made of is such devices alone, or all of a template, which the scan asks for.
2. A path that no device has, patterns, tags and lists of devices are other ones with every device
   that is added.
3. A plan that looked at paths holds for its own devices only.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np

from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.devices import Devices
from mainstem_engine.model import NO_DEVICE, DeviceIds

_STEADY = frozenset(
    {"family_name", "database_index", "database_indexes", "family_databases", "all_in_family"}
)
"""Of devices that there are; a new database of a family is a change of definitions."""


class SeenDevices:
    """Stands for the devices of a catalog while one statement is planned."""

    def __init__(self, devices: Devices) -> None:
        self._devices = devices
        self.is_of_all = False
        """Rule 2."""
        self.has_paths = False
        """Rule 3."""

    def id_of(self, path: str) -> int | None:
        found = self._devices.id_of(path)
        self.is_of_all |= found is None
        return found

    def lookup(self, paths: Sequence[str]) -> DeviceIds:
        found = self._devices.lookup(paths)
        self.is_of_all |= bool((found == np.uint32(NO_DEVICE)).any())
        return found

    def paths(self, devices: Iterable[int]) -> list[str]:
        self.has_paths = True
        return self._devices.paths(devices)

    def __len__(self) -> int:
        self.is_of_all = True
        return len(self._devices)

    def __getattr__(self, name: str) -> Any:
        if name not in _STEADY:
            self.is_of_all = self.has_paths = True
        return getattr(self._devices, name)


def watched(catalog: Catalog) -> tuple[Catalog, SeenDevices]:
    """The catalog as it is, but that what is asked of its devices is noted."""
    seen = SeenDevices(catalog.devices)
    view = copy.copy(catalog)
    view.devices = cast("Devices", seen)
    return view, seen
