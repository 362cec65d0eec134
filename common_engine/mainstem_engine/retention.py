"""Retention: which rows are too old to be seen, to be accepted, and to be kept.

1. A row is kept for the TTL of the longest path above its device, else for the keep of its
   template, else for that of its database, else for ever. A rollup table knows only its own keep:
   what expires its source never takes the rollup with it.
2. The *cutoff* is retention's clock less that time. A row before it is invisible at once, and one
   that arrives is refused: no row is acknowledged and then gone.
3. The *horizon* is the time from which on rows are still whole here. It advances in the record of
   the part list that removes the parts, and never goes back: a keep that is raised later does not
   show half of what was.

A *retention class* is the set of devices that share a rule: those of one database below one path
with a TTL of its own. A table without TTLs in one database has one class.
"""

from __future__ import annotations

import datetime
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.databases import Database
from mainstem_engine.catalog.templates import Table
from mainstem_engine.columns import TIME_MIN_NS
from mainstem_engine.errors import OutOfRetentionError
from mainstem_engine.model import BoolMask, DeviceIds, Rows, TimesNs, VersionedRows
from mainstem_engine.retention_clock import RetentionClock

NOTHING_NS = TIME_MIN_NS
"""The cutoff that cuts nothing off: before every time."""
FACT = "retention"
"""Name of retention's entry in the part list."""
CLOCK_SECTION = "retention_clock"
"""Section of the checkpoint."""

ClassIndexes = npt.NDArray[np.uint16]
ClassName = tuple[str, str]
"""(database, path with a TTL or '')."""
Horizons = Mapping[ClassName, int]
_NO_HORIZONS: Horizons = {}


class Cutoff:
    """Where the visible rows of one table begin, at one instant: a row with time < cutoff of its
    device is expired. Immutable.

    ``by_class``: ns by retention class. ``class_of``: uint16 by device id; None when all devices
    are of class 0. A device beyond it is of no class yet and has the least cutoff.
    """

    __slots__ = ("_by_class", "_class_of", "greatest_ns", "least_ns")

    def __init__(self, by_class: Sequence[int], class_of: ClassIndexes | None = None) -> None:
        self._by_class = by_class
        self._class_of = class_of
        self.least_ns = min(by_class)
        """Rows before it are expired whatever their device: a lower bound for every scan."""
        self.greatest_ns = max(by_class)
        """Rows from here on are visible whatever their device."""

    def of(self, devices: DeviceIds) -> TimesNs:
        """int64[n] ns: the cutoff of each device."""
        if self._class_of is None or self.least_ns == self.greatest_ns:
            return np.full(len(devices), self.least_ns, np.int64)
        known = devices < len(self._class_of)
        classes = self._class_of[np.where(known, devices, 0)]
        return np.where(known, np.array(self._by_class, np.int64)[classes], self.least_ns)

    def least_between(self, device_min: int, device_max: int) -> int:
        """The least cutoff in ns of any device in [min, max]: what is before it is expired."""
        if self._class_of is None or self.least_ns == self.greatest_ns:
            return self.least_ns
        classes = np.unique(self._class_of[device_min : device_max + 1])
        return min((self._by_class[number] for number in classes.tolist()), default=self.least_ns)

    def keeps(self, rows: Rows | VersionedRows) -> BoolMask | None:
        """bool[n]: which rows are visible; None when all are."""
        if not len(rows) or int(rows.time.min()) >= self.greatest_ns:
            return None
        mask: BoolMask = rows.time >= self.of(rows.device)
        return None if mask.all() else mask


@dataclass(frozen=True, slots=True)
class OutOfRetention:
    """bool[n] each: rows older than what is kept, and rows that are not but whose neighbours have
    been removed already."""

    expired: BoolMask
    too_late: BoolMask


@dataclass(frozen=True, slots=True)
class RetentionState:
    """What is durable beside the rows, in the part list: rows removed and horizons, by table."""

    expired: Mapping[str, int]
    horizons: Mapping[str, Horizons]

    def to_plain(self) -> dict[str, Any]:
        return {
            "expired": dict(self.expired),
            "horizons": {
                table: [[database, path, ns] for (database, path), ns in horizons.items()]
                for table, horizons in self.horizons.items()
            },
        }

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> RetentionState:
        return cls(
            dict(data.get("expired", {})),
            {
                table: {(database, path): ns for database, path, ns in entries}
                for table, entries in data.get("horizons", {}).items()
            },
        )


@dataclass(frozen=True, slots=True)
class TableRules:
    """The classes of one table: names, keeps (None: for ever) and horizons by class; and what they
    were made of: the databases of its devices, how many were ``known``, rules and devices."""

    table: Table
    indexes: Sequence[int]
    databases: Sequence[Database]
    known: int
    revision: int
    devices: int
    horizons: Horizons
    names: Sequence[ClassName]
    keeps: Sequence[int | None]
    horizon: Sequence[int]
    class_of: ClassIndexes | None

    @property
    def forgets(self) -> bool:
        """False when every row is kept for ever, and all there were are there."""
        return bool(self.horizons) or any(keep is not None for keep in self.keeps)

    def cutoff(self, now_ns: int) -> Cutoff | None:
        """Where visible rows begin at ``now_ns``; None when all are visible."""
        return _cutoff(list(map(max, self.kept_from(now_ns), self.horizon)), self.class_of)

    def kept(self, now_ns: int) -> Cutoff | None:
        """Where kept time begins, whatever was removed before."""
        return _cutoff(self.kept_from(now_ns), self.class_of)

    def whole(self) -> Cutoff | None:
        """Where whole rows begin."""
        return _cutoff(self.horizon, self.class_of)

    def kept_from(self, now_ns: int) -> list[int]:
        """Where kept time begins, in ns by class."""
        return [NOTHING_NS if k is None else max(now_ns - k, NOTHING_NS) for k in self.keeps]


def _cutoff(floor: Sequence[int], class_of: ClassIndexes | None) -> Cutoff | None:
    return Cutoff(floor, class_of) if floor and max(floor) > NOTHING_NS else None


class _Classes:
    """The class of every device, where there is more than one: uint16 by device id. Grows with the
    devices; made anew when the rules or databases change."""

    def __init__(self) -> None:
        self._made_of: tuple[object, ...] = ()
        self._names: list[tuple[int, int]] = []
        self._of: ClassIndexes = np.empty(0, np.uint16)

    def update(self, catalog: Catalog) -> tuple[list[tuple[int, int]], ClassIndexes]:
        """((database index, rule) by class, class by device id)."""
        made_of = (catalog, catalog.rules.revision, len(catalog.databases))
        if made_of != self._made_of:
            self._made_of, self._names = made_of, []
            self._of = np.empty(0, np.uint16)
        count = len(catalog.devices)
        if count > len(self._of):
            new = np.arange(len(self._of), count, dtype=np.uint32)
            databases = catalog.devices.database_indexes(new).astype(np.int64)
            rules = np.zeros(len(new), np.int64)
            if catalog.rules:
                rule_of = catalog.rules.rule_of
                paths = catalog.devices.paths(new.tolist())
                rules = np.fromiter((rule_of(p) for p in paths), np.int64, count=len(new))
            pairs, place = np.unique(databases << 32 | rules, return_inverse=True)
            number = np.array(
                [self._number((int(p) >> 32, int(p) & 0xFFFFFFFF)) for p in pairs], np.uint16
            )
            self._of = np.concatenate([self._of, number[place]])
        return self._names, self._of

    def _number(self, name: tuple[int, int]) -> int:
        if name not in self._names:
            self._names.append(name)
        return self._names.index(name)


class Retention:
    """The retention of one store. Thread-safe."""

    def __init__(self, catalog: Catalog, clock: RetentionClock, state: RetentionState) -> None:
        self.catalog = catalog
        self.clock = clock
        self._state = state
        self._lock = threading.Lock()
        self._classes = _Classes()
        self._tables: dict[str, TableRules] = {}

    @property
    def state(self) -> RetentionState:
        return self._state

    def publish(self, state: RetentionState) -> None:
        """Horizons that are durable now. Called under the store's state lock."""
        self._state = state

    def cutoff(self, table: Table) -> Cutoff | None:
        """Where the visible rows of the table begin now; None when all are visible."""
        rules = self.rules(table)
        return rules.cutoff(self.clock.now_ns()) if rules.forgets else None

    def whole(self, table: Table) -> Cutoff | None:
        """Where the rows of the table are whole; None when none was ever removed."""
        return self.rules(table).whole()

    def horizon_ns(self, table: Table) -> int:
        """The oldest time from which on every device is whole; NOTHING_NS: nothing was removed."""
        whole = self.whole(table)
        return NOTHING_NS if whole is None else whole.greatest_ns

    def safe_from_ns(self, table: Table) -> int:
        """From here on no row of the table is refused, whatever its device, which need not exist
        yet; until a rule changes and the clock moves on."""
        rules = self.catalog.rules
        keeps = {rules.keep_of(table.name, table.template.keep_ns)}
        if not table.replaces_rows:
            if None in keeps:
                keeps = {database.keep_ns for database in self.catalog.databases}
            keeps.update(rules.ttls().values())
        least = min((keep for keep in keeps if keep is not None), default=None)
        kept_ns = NOTHING_NS if least is None else self.clock.now_ns() - least
        return max(kept_ns, self.horizon_ns(table))

    def judge(self, table: Table, device: DeviceIds, time: TimesNs) -> OutOfRetention | None:
        """Which rows may not be stored; None when all may."""
        rules = self.rules(table)
        cutoff = rules.cutoff(self.clock.now_ns()) if rules.forgets else None
        if cutoff is None or not len(time) or int(time.min()) >= cutoff.greatest_ns:
            return None
        bad: BoolMask = time < cutoff.of(device)
        if not bad.any():
            return None
        kept = rules.kept(self.clock.now_ns())
        expired = bad & (time < kept.of(device)) if kept is not None else np.zeros_like(bad)
        return OutOfRetention(expired, bad & ~expired)

    def check(self, table: Table, device: DeviceIds, time: TimesNs) -> None:
        """Raises OutOfRetentionError, naming the oldest of the rows that may not be stored."""
        found = self.judge(table, device, time)
        if found is None:
            return
        bad = np.flatnonzero(found.expired | found.too_late)
        row = int(bad[np.argmin(time[bad])])
        cutoff = self.cutoff(table)
        cutoff_ns = NOTHING_NS if cutoff is None else int(cutoff.of(device[row : row + 1])[0])
        path = self.catalog.devices.path(int(device[row]))
        when, since = moment(int(time[row])), moment(cutoff_ns)
        if found.expired[row]:
            raise OutOfRetentionError(
                f"{path}: a row of {when} is older than what {table.name} keeps (from {since} on); "
                f"nothing of {len(time)} rows was stored",
                device=path,
                time_ns=int(time[row]),
                cutoff_ns=cutoff_ns,
                hint="leave such rows out, or raise the KEEP of the database or template, or the "
                "TTL of the path",
            )
        raise OutOfRetentionError(
            f"{path}: a row of {when} is too late: rows of {table.name} before {since} have been "
            f"removed; nothing of {len(time)} rows was stored",
            device=path,
            time_ns=int(time[row]),
            cutoff_ns=cutoff_ns,
            reason="too_late",
            hint="leave such rows out: what was computed of that time can no longer change",
        )

    def check_delete(self, table: Table, devices: DeviceIds | None, start_ns: int | None) -> None:
        """Raises OutOfRetentionError when a delete from ``start_ns`` on reaches below the horizon
        of one of ``devices`` (None: all). From None on, of all time, only a table with rollups is
        refused: what they say of that time could not follow."""
        whole = self.whole(table)
        if whole is None or (start_ns is None and not self._has_rollups(table)):
            return
        if devices is None:
            devices = self.catalog.devices.of_family(table.family)
        start = NOTHING_NS if start_ns is None else start_ns
        horizons = whole.of(devices)
        if not len(devices) or start >= int(horizons.max()):
            return
        worst = int(np.argmax(horizons))
        path, horizon_ns = self.catalog.devices.path(int(devices[worst])), int(horizons[worst])
        raise OutOfRetentionError(
            f"rows of {table.name} before {moment(horizon_ns)} have been removed: what was "
            "computed of that time cannot follow a delete",
            device=path,
            time_ns=start,
            cutoff_ns=horizon_ns,
            reason="too_late",
            hint=f"delete from {moment(horizon_ns)} on",
        )

    def _has_rollups(self, table: Table) -> bool:
        known = self.catalog.templates.all()
        return any(other.template.rollup_of == table.name for other in known)

    def rules(self, table: Table) -> TableRules:
        """The classes of a table as they are now."""
        horizons = self._state.horizons.get(table.name, _NO_HORIZONS)
        known = self._tables.get(table.name)
        if known is not None and self._is_current(known, table, horizons):
            return known
        with self._lock:
            found = self._tables[table.name] = self._made(table, horizons)
            return found

    def _is_current(self, known: TableRules, table: Table, horizons: Horizons) -> bool:
        """What they were made of is as it was; devices count where there are several classes."""
        catalog = self.catalog
        if known.table is not table or known.horizons is not horizons:
            return False
        if known.revision != catalog.rules.revision or known.known != len(catalog.databases):
            return False
        if known.class_of is not None and known.devices != len(catalog.devices):
            return False
        if len(catalog.devices.family_databases(known.table.family)) != len(known.indexes):
            return False
        found = catalog.databases.at
        return all(
            found(i) is database for i, database in zip(known.indexes, known.databases, strict=True)
        )

    def _made(self, table: Table, horizons: Horizons) -> TableRules:
        known = len(self.catalog.databases)
        indexes = sorted(self.catalog.devices.family_databases(table.family))
        databases = tuple(self.catalog.databases.at(index) for index in indexes)
        rules = self.catalog.rules
        revision, devices = rules.revision, len(self.catalog.devices)
        class_of: ClassIndexes | None = None
        members = [(index, 0) for index in indexes]
        if databases and (len(databases) > 1 or rules):
            members, class_of = self._classes.update(self.catalog)
            devices = len(class_of)
            # Classes of other databases have no device of this table. They count as the first of
            # its own, so that they say nothing about its least and greatest cutoff.
            own = next((member for member in members if member[0] in indexes), (indexes[0], 0))
            members = [member if member[0] in indexes else own for member in members]
        names = [(self.catalog.databases.at(d).name, rules.path_of(rule)) for d, rule in members]
        keeps = [self._keep(table, d, rule) for d, rule in members]
        horizon = [self._horizon(horizons, *name) for name in names]
        return TableRules(
            table,
            indexes,
            databases,
            known,
            revision,
            devices,
            horizons,
            names,
            keeps,
            horizon,
            class_of,
        )

    def _keep(self, table: Table, database: int, rule: int) -> int | None:
        rules = self.catalog.rules
        own = rules.keep_of(table.name, table.template.keep_ns)
        if table.replaces_rows:
            return own
        ttl = rules.ttl_of(rule)
        if ttl is not None:
            return ttl
        return own if own is not None else self.catalog.databases.at(database).keep_ns

    def _horizon(self, horizons: Horizons, database: str, path: str) -> int:
        """A class that has none of its own was split off: it has that of the class it was in."""
        if not horizons:
            return NOTHING_NS
        where = database
        while where:
            for rule in self.catalog.rules.lineage(path):
                found = horizons.get((where, rule))
                if found is not None:
                    return found
            where = where.rpartition(".")[0]
        return NOTHING_NS


def moment(time_ns: int) -> str:
    """A time for people: RFC 3339 in UTC, or ns where a calendar has no such day."""
    try:
        seconds, ns = divmod(time_ns, 1_000_000_000)
        at = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
        return f"{at:%Y-%m-%dT%H:%M:%S}.{ns // 1_000_000:03d}Z"
    except (OverflowError, OSError, ValueError):
        return f"{time_ns} ns"
