"""Where every stored row went: the sums of the store, per table.

``logged = live + unresolved + overwritten + deleted + expired + lost_local`` holds at every
instant.

1. A row that is newer than everything known of its device cannot share its (device, time) with any
   stored row: it is live at once.
2. Any other row is *unresolved* until the flush compares its key with the head and the older parts:
   then it is live (the first of its key) or overwritten (one more of a key that is counted).
3. A delete of this node says how many visible rows it erased, and they are deleted at once. How
   many rows a delete or slice image of another node erased is counted by the flush. A row that
   arrives under a tombstone is deleted at once, one below a floor is overwritten.
4. All of it is a function of the log: the newest times and the counts are in every checkpoint, and
   replay continues from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np

from mainstem_engine.columns import TIME_MIN_NS
from mainstem_engine.merge import is_strictly_sorted, key_order
from mainstem_engine.model import BoolMask, DeviceIds, TimesNs

NEVER_NS = TIME_MIN_NS - 1
"""Before every time: the newest time of a device without rows."""


@dataclass(frozen=True, slots=True)
class StoreCounts:
    """Rows of one table, as contract: ``logged`` is the sum of the others."""

    logged: int = 0
    live: int = 0
    unresolved: int = 0
    overwritten: int = 0
    deleted: int = 0
    expired: int = 0
    lost_local: int = 0

    @property
    def balanced(self) -> bool:
        """True when the sum holds."""
        parts = self.live + self.unresolved + self.overwritten
        return self.logged == parts + self.deleted + self.expired + self.lost_local


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a flush found out. ``late``: unresolved rows that it compared; ``live`` and ``deleted``:
    by how much those counts change. What is left of ``late`` was overwritten."""

    late: int = 0
    live: int = 0
    deleted: int = 0

    @property
    def overwritten(self) -> int:
        return self.late - self.live - self.deleted

    def __add__(self, other: Resolution) -> Resolution:
        return Resolution(
            self.late + other.late, self.live + other.live, self.deleted + other.deleted
        )


class TableAccount:
    """Counts and newest times of one table. The store's lock serialises all calls."""

    __slots__ = (
        "deleted", "expired", "live", "logged", "lost", "newest", "overwritten", "unresolved",
    )  # fmt: skip

    def __init__(self) -> None:
        self.logged = 0
        self.live = 0
        """Below zero while late rows are deleted that no flush has compared yet."""
        self.unresolved = 0
        self.overwritten = 0
        self.deleted = 0
        self.expired = 0
        """Of the live rows so many were removed. Not in the snapshot: the part list has it, for it
        changes with the parts and not with the log."""
        self.lost = 0
        """Of the rows in parts so many were given up by repairs. In the part list too."""
        self.newest: TimesNs = np.full(16, NEVER_NS, np.int64)

    def note(self, device: DeviceIds, time: TimesNs) -> BoolMask | None:
        """Counts rows that enter the head. Returns which are late, None when none is."""
        count = len(time)
        if count == 0:
            return None
        self._reserve(int(device.max()))
        late = self._late(device, time)
        late_count = 0 if late is None else int(np.count_nonzero(late))
        self.logged += count
        self.unresolved += late_count
        self.live += count - late_count
        return late if late_count else None

    def resolve(self, found: Resolution) -> None:
        """A flush has compared late rows and counted what was deleted."""
        self.unresolved -= found.late
        self.live += found.live
        self.overwritten += found.overwritten
        self.deleted += found.deleted

    def erase(self, rows: int) -> None:
        """A delete of this node erased so many visible rows."""
        self.live -= rows
        self.deleted += rows

    def leave_out(self, superseded: int, deleted: int) -> None:
        """Rows arrived that a slice image or a tombstone had already spoken about."""
        self.logged += superseded + deleted
        self.overwritten += superseded
        self.deleted += deleted

    def counts(self) -> StoreCounts:
        live = self.live - self.expired
        debt = min(live, 0)
        # Whether a row that cannot be read was live is not known: at most as many as there are.
        lost_live = min(self.lost, live - debt)
        lost_old = min(self.lost - lost_live, self.overwritten)
        return StoreCounts(
            self.logged,
            live - debt - lost_live,
            self.unresolved + debt,
            self.overwritten - lost_old,
            self.deleted,
            self.expired,
            lost_live + lost_old,
        )

    def newest_of(self, devices: DeviceIds) -> TimesNs:
        """Newest time of each device, NEVER_NS where there is no row."""
        known = devices < len(self.newest)
        found: TimesNs = self.newest[np.where(known, devices, 0)]
        return np.where(known, found, NEVER_NS)

    def _reserve(self, device: int) -> None:
        if device >= len(self.newest):
            grown = np.full(max(device + 1, 2 * len(self.newest)), NEVER_NS, np.int64)
            grown[: len(self.newest)] = self.newest
            self.newest = grown

    def _late(self, device: DeviceIds, time: TimesNs) -> BoolMask | None:
        one_device = device[0] == device[-1] and bool((device == device[0]).all())
        if one_device and (len(time) == 1 or bool((time[1:] > time[:-1]).all())):
            known = self.newest[device[0]]
            if time[-1] > known:
                self.newest[device[0]] = time[-1]
            return None if time[0] > known else time <= known
        if bool((device[1:] > device[:-1]).all()):
            # A row of each device, as live rows come: no two are of one.
            known_times = self.newest[device]
            each_late: BoolMask = time <= known_times
            if not each_late.any():
                self.newest[device] = time
                return None
            self.newest[device] = np.maximum(known_times, time)
            return each_late
        if is_strictly_sorted(device, time):
            return self._late_sorted(device, time)
        order = key_order(device, time)
        late = np.empty(len(time), np.bool_)
        late[order] = self._late_sorted(device[order], time[order])
        return late

    def _late_sorted(self, device: DeviceIds, time: TimesNs) -> BoolMask:
        late: BoolMask = time <= self.newest[device]
        late[1:] |= (device[1:] == device[:-1]) & (time[1:] == time[:-1])
        ends: BoolMask = np.ones(len(device), np.bool_)
        np.not_equal(device[1:], device[:-1], out=ends[:-1])
        last = ends.nonzero()[0]
        devices = device[last]
        self.newest[devices] = np.maximum(self.newest[devices], time[last])
        return late


class StoreAccounting:
    """The accounts of all tables."""

    def __init__(self) -> None:
        self._accounts: dict[str, TableAccount] = {}

    def account(self, table: str) -> TableAccount:
        """The account of a table, opened when it is new."""
        found = self._accounts.get(table)
        if found is None:
            found = self._accounts[table] = TableAccount()
        return found

    def counts(self) -> dict[str, StoreCounts]:
        return {name: account.counts() for name, account in self._accounts.items()}

    def set_expired(self, rows: Mapping[str, int]) -> None:
        """The rows removed by retention so far, by table."""
        for name, count in rows.items():
            self.account(name).expired = count

    def set_lost(self, rows: Mapping[str, int]) -> None:
        """The rows that repairs gave up so far, by table."""
        for name, count in rows.items():
            self.account(name).lost = count

    def snapshot(self) -> dict[str, Any]:
        """A copy for the checkpoint."""
        return {
            name: {
                "logged": account.logged,
                "live": account.live,
                "unresolved": account.unresolved,
                "overwritten": account.overwritten,
                "deleted": account.deleted,
                "newest": account.newest.tobytes(),
            }
            for name, account in self._accounts.items()
        }

    @classmethod
    def restore(cls, data: bytes) -> StoreAccounting:
        accounting = cls()
        for name, fields in msgpack.unpackb(data).items():
            account = accounting.account(name)
            account.logged = fields["logged"]
            account.live = fields["live"]
            account.unresolved = fields["unresolved"]
            account.overwritten = fields["overwritten"]
            account.deleted = fields.get("deleted", 0)
            account.newest = np.frombuffer(fields["newest"], np.int64).copy()
        return accounting


def resolved_snapshot(snapshot: dict[str, Any], resolutions: dict[str, Resolution]) -> bytes:
    """The checkpoint section of a snapshot, with what the flush found out about each table.

    The snapshot is left as it is: a flush that fails is tried again.
    """
    resolved = dict(snapshot)
    for name, found in resolutions.items():
        fields = resolved[name]
        resolved[name] = {
            **fields,
            "live": fields["live"] + found.live,
            "overwritten": fields["overwritten"] + found.overwritten,
            "deleted": fields["deleted"] + found.deleted,
            "unresolved": fields["unresolved"] - found.late,
        }
    packed: bytes = msgpack.packb(resolved)
    return packed
