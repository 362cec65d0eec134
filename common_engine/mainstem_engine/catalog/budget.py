"""The metadata budget: what templates and devices may take in memory.

1. Counted are devices that are not in the base, tag values and bitmaps, and templates with their
   measurements. What is mapped from the base is not: the system may take those pages back.
2. From three quarters of the budget, or OVERLAY_BYTES_MAX, on a merge is *due*: devices move from
   memory into the base.
3. A definition that would go beyond the budget waits for that merge; if there is nothing that a
   merge would free, or it does not come, it is refused with MetadataLimitError.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence

from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.sections import CatalogFiles
from mainstem_engine.catalog.tags import CodedTag
from mainstem_engine.errors import MetadataLimitError
from mainstem_engine.model import Template

TEMPLATE_BYTES = 1500
MEASUREMENT_BYTES = 500
"""Estimates, measured with templates of 30 measurements: objects, names and three lookups each."""
DEVICE_BYTES = 60
"""Estimate of a device in the overlay without its path and tags."""
TAG_BYTES = 5
"""Estimate of a tag of one device whose value others have too."""
VALUE_BYTES = 30
"""Estimate of a tag value without its text."""
OVERLAY_BYTES_MAX = 16 << 20
"""About 200,000 devices. A merge takes up to twice as much for a moment, and half a second. With
32 MiB the creation of a million devices takes no less processor time."""
METADATA_BYTES_MIN = 32 << 20
"""A smaller default would refuse what even the smallest node is meant to hold."""


WAIT_S_MAX = 30.0
"""A definition waits so long for a merge, which takes less than a second for a million devices."""
_LOOK_AGAIN_S = 1.0
"""How often a waiter checks whether the engine still works."""


class MetadataBudget:
    """Guards one catalog. ``make_room``: asks for a flush, and raises when there can be none.

    ``background``: the flush runs on another thread; otherwise within ``make_room``.
    """

    def __init__(
        self,
        limit_bytes: int,
        catalog: Callable[[], Catalog],
        files: CatalogFiles,
        make_room: Callable[[], None],
        *,
        background: bool,
    ) -> None:
        self.limit_bytes = limit_bytes
        files.overlay_bytes_max = min(limit_bytes * 3 // 4, OVERLAY_BYTES_MAX)
        self._catalog = catalog
        self._files = files
        self._make_room = make_room
        self._background = background
        self._merged = threading.Condition()

    @property
    def used_bytes(self) -> int:
        """The estimate for what is there."""
        catalog = self._catalog()
        templates = catalog.templates
        held = TEMPLATE_BYTES * len(templates) + MEASUREMENT_BYTES * templates.measurements
        return catalog.devices.nbytes + held

    @property
    def merge_due(self) -> bool:
        return self._catalog().devices.overlay_bytes > self._files.overlay_bytes_max

    def fits(self, needed_bytes: int) -> bool:
        """True when so much more is within the budget."""
        return self.used_bytes + needed_bytes <= self.limit_bytes

    def require(self, needed_bytes: int, what: str) -> None:
        """As admit(), without waiting: for definitions under the append lock."""
        if not self.fits(needed_bytes):
            raise MetadataLimitError(what, self.used_bytes, needed_bytes, self.limit_bytes)

    def admit(self, needed_bytes: int, what: str) -> None:
        """Waits until so much more fits. Raises MetadataLimitError.

        Never called with the append lock held: the merge that makes room needs it.
        """
        attempt = 0
        while not self.fits(needed_bytes):
            fixed = self.used_bytes - self._catalog().devices.overlay_bytes
            if fixed + needed_bytes > self.limit_bytes or not self._wait(attempt):
                raise MetadataLimitError(what, self.used_bytes, needed_bytes, self.limit_bytes)
            attempt += 1

    def merged(self) -> None:
        """A new base is in place: whoever waits looks again."""
        with self._merged:
            self._merged.notify_all()

    def _wait(self, attempt: int) -> bool:
        """Gives a merge time to happen. False when there was none and it is too late."""
        base = self._catalog().devices.base
        self._files.merge_next = True
        self._make_room()
        with self._merged:
            if self._background and self._catalog().devices.base is base:
                self._merged.wait(_LOOK_AGAIN_S)
        if self._catalog().devices.base is not base:
            return True
        return self._background and attempt * _LOOK_AGAIN_S < WAIT_S_MAX


def templates_bytes(templates: Iterable[Template]) -> int:
    """The estimate for templates."""
    return sum(TEMPLATE_BYTES + MEASUREMENT_BYTES * len(t.measurements) for t in templates)


def devices_bytes(paths: Sequence[str], tags: Collection[CodedTag]) -> int:
    """The estimate for new devices; as if every tag value of theirs were new."""
    values = sum(sum(map(len, map(str, tag.values))) for tag in tags)
    values += VALUE_BYTES * sum(len(tag.values) for tag in tags)
    return sum(map(len, paths)) + (DEVICE_BYTES + TAG_BYTES * len(tags)) * len(paths) + values


def default_metadata_bytes(memory_limit_bytes: int) -> int:
    """A quarter of the memory limit."""
    return max(METADATA_BYTES_MIN, memory_limit_bytes // 4)
