"""Which devices lie below the paths of export rules that are limited by ``under``.

Kept per distinct list of paths as one boolean per local device id, filled by the log's DEV records
(own and foreign devices alike), so that a record is filtered without looking at a single path.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_engine.catalog.devices import Devices
from mainstem_engine.model import BoolMask, DeviceIds
from mainstem_sync.state.exports import ExportPolicy, is_below


class DeviceScope:
    """See the module. Guarded by the federation's lock."""

    def __init__(self, policy: ExportPolicy) -> None:
        self._policy = policy
        self._masks: dict[tuple[str, ...], BoolMask] = {}
        self._own: set[int] = set()
        self.clear()

    def clear(self) -> None:
        """Nothing is known of any device: after other rules, until ``rebuild``."""
        self._masks = {prefixes: np.empty(0, np.bool_) for prefixes in self._policy.all_prefixes()}
        self._own = set()

    @property
    def used(self) -> bool:
        """False if no rule is limited."""
        return bool(self._masks)

    def devices(
        self, ids: Sequence[int] | DeviceIds, paths: Sequence[str], *, foreign: bool
    ) -> None:
        """A DEV record was applied."""
        if not self._masks or not len(ids):
            return
        ids = np.asarray(ids, np.uint32)
        if not foreign:
            self._own.update(ids.tolist())
        for prefixes, mask in self._masks.items():
            top = int(ids.max()) + 1
            if top > len(mask):
                grown = np.zeros(max(top, 2 * len(mask)), np.bool_)
                grown[: len(mask)] = mask
                mask = grown
            mask[ids] = [is_below(path, prefixes) for path in paths]
            self._masks[prefixes] = mask

    def rebuild(self, devices: Devices) -> None:
        """From the catalog: when the rules may have changed."""
        if not self._masks:
            return
        ids = np.arange(len(devices), dtype=np.uint32)
        for start in range(0, len(ids), 10_000):
            some = ids[start : start + 10_000]
            self.devices(some, devices.paths(some), foreign=True)
            self._own.update(d for d in some.tolist() if not devices.is_foreign(d))

    def mask(self, table: str, local: npt.NDArray[Any]) -> BoolMask | None:
        """Which rows go up, by their local device id (negative: none); None if all do."""
        prefixes = self._policy.prefixes(table)
        if prefixes is None:
            return None
        mask = self._masks[prefixes]
        known = (local >= 0) & (local < len(mask))
        inside: BoolMask = np.zeros(len(local), np.bool_)
        inside[known] = mask[local[known].astype(np.int64)]
        return inside

    def holds_all(self, table: str, local: Iterable[int] | None = None) -> bool:
        """True if all of these devices (None: this node's own) go up: then the table's manifests
        speak of what the parent gets."""
        devices = self._own if local is None else local
        mask = self.mask(table, np.fromiter(devices, np.int64))
        return mask is None or bool(mask.all())
