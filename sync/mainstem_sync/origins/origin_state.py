"""What a receiver knows of one origin: what arrived, and how the origin's ids map to local ones.

1. ``received`` is R: the LSNs whose record is durable and applied here. ``logged`` runs ahead of it
   by what was appended to the local log and is not applied yet; it decides what is a duplicate.
2. The maps only grow. They are changed before the record that needs them is appended, and again by
   that record at replay, to the same content.
3. A child's device outside its paths, and a measurement whose type differs from the local one, are
   mapped to DENIED and CONFLICT: their rows and values are put aside.
4. There is one state per epoch of a node (epochs.py). That of the current epoch is the node's
   *line*: its ``received`` holds what was received of every epoch as far as it is of the line, and
   it alone has watches. The state of a closed epoch keeps all that was received of it, orphans too.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_engine.consumers import Ack
from mainstem_engine.model import Origin
from mainstem_sync.errors import UnknownSchemaError
from mainstem_sync.lines.epochs import EpochTable
from mainstem_sync.lines.moments import Moments
from mainstem_sync.origins.backlog import Backlog
from mainstem_sync.origins.changes import Said
from mainstem_sync.origins.definition_log import DefinitionLog
from mainstem_sync.origins.due import Due
from mainstem_sync.origins.gone_records import GoneRecords
from mainstem_sync.slices.wants import Repairs
from mainstem_sync.slices.watch import TableWatch
from mainstem_sync.wire.messages import OriginKey
from mainstem_sync.wire.ranges import RANGES_MAX, RangeSet

UNMAPPED = -1
"""A device id that no DEV record of the origin has named here."""

DENIED = -2
"""A device that the child may not write to."""

CONFLICT = -1
"""A measurement whose type is not that of the local one of that name, nor widens to it."""

DEVICE_ID_MAX = 1 << 26
"""A child may have 67 million devices: half a gigabyte of map. More is an attack or a mistake."""

DeviceMap = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class MeasurementMap:
    """One measurement of an origin's table. ``local``: the id here, or CONFLICT. ``type``: the
    widest that its rows may have. ``name``: what the origin calls it."""

    local: int
    type: int
    name: str


@dataclass(frozen=True, slots=True)
class TableMap:
    """One table of an origin, at a revision of the origin. ``local``: the table's name here, as
    rows are stored under it."""

    name: str
    local: str
    slice_ns: int
    measurements: Mapping[int, MeasurementMap]
    revision: int = 0
    tags: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """By the tag's first name, casefolded: what the origin calls it, and what it is called here."""

    def tag(self, name: str) -> str | None:
        """What a tag of the origin is called here. ``name`` may be the one that it had first."""
        wanted = name.casefold()
        for theirs, here in self.tags.values():
            if theirs.casefold() == wanted:
                return here
        first = self.tags.get(wanted)
        return None if first is None else first[1]

    def to_plain(self) -> list[Any]:
        columns = [[key, m.local, m.type, m.name] for key, m in self.measurements.items()]
        tags = [[first, *names] for first, names in self.tags.items()]
        return [self.name, self.local, self.slice_ns, columns, self.revision, tags]

    @classmethod
    def from_plain(cls, value: Sequence[Any]) -> TableMap:
        name, local, slice_ns, columns, *rest = value
        measurements = {key: MeasurementMap(*fields) for key, *fields in columns}
        # Maps of the first format have no revision, those of the second no tags.
        revision = int(rest[0]) if rest else 0
        tags = {first: (theirs, here) for first, theirs, here in (rest[1] if rest[1:] else ())}
        return cls(name, local, slice_ns, measurements, revision, tags)

    @property
    def foreign_ids(self) -> dict[int, int]:
        """The owner's measurement id by the local one, for digests."""
        return {m.local: key for key, m in self.measurements.items() if m.local != CONFLICT}


@dataclass(slots=True)
class OriginMaps:
    """Tables by name (casefolded) and local device ids by the origin's."""

    tables: dict[str, TableMap] = field(default_factory=dict)
    devices: DeviceMap = field(default_factory=lambda: np.empty(0, np.int64))
    denied: dict[int, str] = field(default_factory=dict)
    """Paths of denied devices, to say what was put aside."""
    said: Said = field(default_factory=Said)
    """Drops and tags whose earlier records may still arrive."""

    def copy(self) -> OriginMaps:
        return OriginMaps(
            dict(self.tables), self.devices.copy(), dict(self.denied), self.said.copy()
        )

    def only(self, log: DefinitionLog) -> OriginMaps:
        """Of these, what the log knows."""
        found = OriginMaps()
        for plain in log.tables:
            found.put_table(TableMap.from_plain(plain))
        found.devices = self.devices[: log.device_top + 1].copy()
        found.denied = {key: path for key, path in self.denied.items() if key <= log.device_top}
        return found

    def fill(self, other: OriginMaps) -> None:
        """What is not known here, as ``other`` has it."""
        for table in other.tables.values():
            self.put_table(table)
        size = max(len(self.devices), len(other.devices))
        filled = np.full(size, UNMAPPED, np.int64)
        filled[: len(other.devices)] = other.devices
        known = np.flatnonzero(self.devices != UNMAPPED)
        filled[known] = self.devices[known]
        self.devices = filled
        for key, path in other.denied.items():
            if key < size and filled[key] == DENIED:
                self.denied.setdefault(key, path)

    def inheriting(self, older: OriginMaps) -> OriginMaps:
        """With what ``older``, of an epoch before, calls devices and columns without a name here.
        Nothing here gets another name, and no name is given twice."""
        devices = np.full(max(len(self.devices), len(older.devices)), UNMAPPED, np.int64)
        devices[: len(self.devices)] = self.devices
        ids = np.flatnonzero((older.devices >= 0) & ~np.isin(older.devices, self.devices))
        ids = ids[devices[ids] == UNMAPPED]
        devices[ids] = older.devices[ids]
        found = OriginMaps(dict(self.tables), devices, self.denied, self.said)
        for name, table in older.tables.items():
            known = found.tables.setdefault(name, table)
            named = {mapped.local for mapped in known.measurements.values()}
            more = {
                key: mapped
                for key, mapped in table.measurements.items()
                if key not in known.measurements and mapped.local not in named
            }
            if more:
                measurements = {**known.measurements, **more}
                found.tables[name] = replace(known, measurements=measurements)
        return found

    def knows_as(self, other: OriginMaps) -> bool:
        """True if both map tables and devices in the same way."""
        return self.tables == other.tables and np.array_equal(self.devices, other.devices)

    def table(self, name: str) -> TableMap | None:
        return self.tables.get(name.casefold())

    def stored_as(self, local: str) -> TableMap | None:
        """The table that is stored here as ``local``."""
        return next((table for table in self.tables.values() if table.local == local), None)

    def known_table(self, name: str) -> TableMap:
        """As ``table``; raises UnknownSchemaError."""
        found = self.table(name)
        if found is None:
            raise UnknownSchemaError(f"table {name} is not known here")
        return found

    def put_table(self, table: TableMap) -> None:
        known = self.tables.get(table.name.casefold())
        if known is not None:
            # An older revision may come later: measurements are never taken away.
            older, newer = known, table
            if table.revision < known.revision:
                older, newer = table, known
            measurements = {**older.measurements, **newer.measurements}
            if older.revision == newer.revision:
                # What had another type, until somebody mended that, has not again.
                for key, mapped in older.measurements.items():
                    if measurements[key].local == CONFLICT:
                        measurements[key] = mapped
            table = TableMap(
                table.name,
                table.local,
                table.slice_ns,
                measurements,
                newer.revision,
                newer.tags,
            )
        self.tables[table.name.casefold()] = table

    def put_devices(self, ids: Sequence[int] | npt.NDArray[Any], local: DeviceMap) -> None:
        """``local``: int64[n], a local id or DENIED each."""
        if not len(ids):
            return
        at = np.asarray(ids, np.int64)
        top = int(at.max()) + 1
        if top > len(self.devices):
            grown = np.full(max(top, len(self.devices) * 2), UNMAPPED, np.int64)
            grown[: len(self.devices)] = self.devices
            self.devices = grown
        self.devices[at] = local

    def local_devices(self, ids: npt.NDArray[np.uint32]) -> DeviceMap:
        """int64[n]: local id, DENIED or UNMAPPED for each of the origin's ids."""
        if not len(self.devices):
            return np.full(len(ids), UNMAPPED, np.int64)
        with contextlib.suppress(IndexError):
            known: DeviceMap = self.devices[ids]
            return known
        inside = ids < len(self.devices)
        found: DeviceMap = self.devices[np.where(inside, ids, 0)]
        return np.where(inside, found, UNMAPPED)


@dataclass(frozen=True, slots=True)
class Kin:
    """Maps of the other epochs of a node, the newest first. ``line``: those of its line, unless it
    is this one; what this epoch defines up to ``end_lsn`` is of the line, ids and all."""

    others: Sequence[OriginMaps] = ()
    line: OriginMaps | None = None
    end_lsn: int = 0
    defined: Sequence[DefinitionLog] = ()
    """What was said of the maps, by record."""

    def tables(self, name: str) -> list[TableMap]:
        """How a table was ever mapped, as it is now first: a node that goes on from a backup calls
        its columns what they were called then."""
        now = [table for maps in self.others if (table := maps.table(name)) is not None]
        ever = [
            TableMap.from_plain(plain) for log in self.defined for plain in reversed(log.tables)
        ]
        return [*now, *(table for table in ever if table.name.casefold() == name.casefold())]

    def line_table(self, name: str, lsn: int) -> TableMap | None:
        """How the line has a table that the record ``lsn`` defines; None if that is beyond it."""
        return None if self.line is None or lsn > self.end_lsn else self.line.table(name)


@dataclass(slots=True)
class OriginState:
    """One origin. ``via``: the child whose connection brings it. ``acked``: D last acknowledged."""

    key: OriginKey
    via: str
    received: RangeSet = field(default_factory=RangeSet)
    logged: RangeSet = field(default_factory=lambda: RangeSet(limit=RANGES_MAX))
    acked: int = 0
    maps: OriginMaps = field(default_factory=OriginMaps)
    definitions: DefinitionLog = field(default_factory=DefinitionLog)
    line: OriginState | None = None
    """The state of the newest epoch; None if this is it."""
    older: tuple[OriginState, ...] = ()
    """The states of the epochs before this one, if this is the newest."""
    watches: dict[str, TableWatch] = field(default_factory=dict)
    intake: threading.Lock = field(default_factory=threading.Lock)
    """Serialises what is decided and appended for this origin; never taken by ``apply``."""
    last_ack: Ack | None = None
    moments: Moments = field(default_factory=Moments)
    """When its records were received here."""
    written: Moments = field(default_factory=Moments)
    """Until when its owner had written them, from the times of its manifests."""
    backlog: Backlog = field(default_factory=Backlog)
    """What is still to come as slices."""
    gone: GoneRecords = field(default_factory=GoneRecords)
    """What its owner wrote and has no more."""
    repairs: Repairs = field(default_factory=Repairs)
    """What is asked for again; not durable."""
    due: Due = field(default_factory=Due, repr=False, compare=False)
    """Where it says what has to be looked at: that of all origins."""
    in_flight: list[tuple[Ack, list[tuple[str, int, int, int]]]] = field(default_factory=list)
    """What records that are logged and not applied yet touch: table, first and last time, LSN."""

    def note_in_flight(self, ack: Ack, touches: list[tuple[str, int, int, int]]) -> None:
        """A record was logged. The caller holds ``intake``."""
        self.in_flight = [item for item in self.in_flight if not item[0].done()]
        self.in_flight.append((ack, touches))

    def newest_in_flight(self, table: str, start_ns: int, end_ns: int) -> int:
        """The greatest LSN that is about to touch [start, end) of a local table; 0 if none is."""
        return max(
            (
                lsn
                for ack, touches in self.in_flight
                if not ack.done()
                for name, first, last, lsn in touches
                if name == table and first < end_ns and last >= start_ns
            ),
            default=0,
        )

    @property
    def origin(self) -> Origin:
        return Origin(self.key.uuid, self.key.name, self.key.epoch)

    @property
    def home(self) -> OriginState:
        """The state of the node's line: this one, or that of its newest epoch."""
        return self if self.line is None else self.line

    def kin(self, end_lsn: int) -> Kin:
        """How the node's other epochs are mapped. ``end_lsn``: the last of this one's line."""
        home = self.home
        others = [state for state in (home, *reversed(home.older)) if state is not self]
        return Kin(
            [state.maps for state in others],
            None if home is self else home.maps,
            end_lsn,
            [state.definitions for state in others],
        )

    def line_maps(self, line: EpochTable | None = None) -> OriginMaps:
        """Its maps, and what rows of closed epochs need besides. Which record defined a device may
        not be known, when an image brought it: it counts as defined beyond a fork then. But where a
        row is of the line, its definition came before it, and is of the line, ids and all.
        ``line``: only what these epochs are known to define on it; other devices are of orphans."""
        maps = self.maps
        for older in reversed(self.older):
            theirs = older.maps
            if line is not None:
                end = line.end_of(older.key.epoch)
                known = theirs.only(older.definitions.until(end))
                # A relay may have said what the columns are after rows that use them.
                theirs = OriginMaps(dict(theirs.tables), known.devices, known.denied, known.said)
            maps = maps.inheriting(theirs)
        return maps

    def watch(self, local_table: str, slice_ns: int) -> TableWatch:
        """The watch of a table, made when it is new."""
        home = self.home
        found = home.watches.get(local_table)
        if found is None:
            found = home.watches[local_table] = TableWatch(slice_ns)
            found.heard_by(partial(home.due.table, home.key, local_table))
        return found

    def heard_by(self, due: Due) -> None:
        """From now on ``due`` is told what has to be looked at; all of it is."""
        self.due = due
        for table, watch in self.watches.items():
            watch.heard_by(partial(due.table, self.key, table))
        self.repairs.on_want = partial(due.asks, self.key)
        if self.repairs:
            due.asks(self.key)

    def local_table(self, local: str) -> TableMap | None:
        """The map of the table that is stored here as ``local``."""
        return self.maps.stored_as(local)

    def name_of(self, local: str) -> str:
        """What the origin calls a table that is watched here. A log that goes on from a backup may
        state slices of one of which it defines nothing any more: an older epoch has named it, or
        nobody has, and it is watched under the name that the statement has."""
        found = (state.local_table(local) for state in (self, *reversed(self.older)))
        return next((table.name for table in found if table is not None), local)

    def snapshot(self) -> dict[str, Any]:
        return {
            "key": self.key.to_wire(),
            "via": self.via,
            "received": self.received.to_wire(),
            "defined": self.definitions.snapshot(),
            "tables": [table.to_plain() for table in self.maps.tables.values()],
            "devices": self.maps.devices.tobytes(),
            "denied": list(self.maps.denied.items()),
            "said": self.maps.said.to_plain(),
            "watches": [[name, watch.snapshot()] for name, watch in self.watches.items()],
            "moments": self.moments.to_plain(),
            "written": self.written.to_plain(),
            "backlog": self.backlog.snapshot(),
            "gone": self.gone.snapshot(),
        }

    @classmethod
    def restore(cls, data: Mapping[str, Any]) -> OriginState:
        received = RangeSet.from_wire(data["received"])
        state = cls(OriginKey.from_wire(data["key"]), data["via"], received)
        for table in data["tables"]:
            state.maps.put_table(TableMap.from_plain(table))
        state.maps.devices = np.frombuffer(data["devices"], np.int64).copy()
        state.maps.denied = {int(key): str(path) for key, path in data["denied"]}
        state.maps.said = Said(data.get("said", ()))
        state.watches = {name: TableWatch.restore(watch) for name, watch in data["watches"]}
        state.moments = Moments.from_plain(data.get("moments"))
        state.written = Moments.from_plain(data.get("written"))
        if "defined" in data:
            state.definitions = DefinitionLog.restore(data["defined"])
        else:
            # Of a checkpoint without: nothing is older than what was received last.
            last = received.last
            ids = [last, [len(state.maps.devices) - 1], 1] if len(state.maps.devices) else None
            state.definitions.note(
                [[last, table] for table in data["tables"]], [ids] if ids else [], last
            )
        if data.get("backlog") is not None:
            state.backlog = Backlog.restore(data["backlog"])
        state.gone = GoneRecords.restore(data.get("gone", ()))
        return state


class Origins:
    """Every origin whose records arrive here, except this node itself. Guarded by the federation's
    lock. ``table_of``: the epoch table of a node, by its uuid."""

    def __init__(self) -> None:
        self.table_of: Callable[[str], EpochTable] = lambda _: EpochTable()
        self.due = Due()
        self._all: dict[OriginKey, OriginState] = {}
        self._nodes: dict[str, list[OriginState]] = {}
        self._names: dict[str, list[str]] = {}
        """By name the nodes that had it, in the order in which they came."""
        self._behind: dict[str, list[OriginState]] = {}
        """By the child that they come over: each reply looks there, and a parent may have
        thousands of children."""

    def __iter__(self) -> Iterator[OriginState]:
        return iter(list(self._all.values()))

    def get(self, key: OriginKey) -> OriginState | None:
        return self._all.get(key)

    def open(self, key: OriginKey, via: str) -> OriginState:
        """The state of an origin, made when it is new. That of a closed epoch, which is heard of
        after the ones that followed it, begins with what is defined up to its end: the ids there
        are those of the line, whatever they were called then."""
        found = self._all.get(key)
        if found is None:
            found = OriginState(key, via)
            self._add(found)
            self.begin(found)
        elif not found.via:  # known from above only until its child came
            self._behind[""].remove(found)
            if not self._behind[""]:
                del self._behind[""]
            found.via = via
            self._behind.setdefault(via, []).append(found)
        return found

    def begin(self, state: OriginState) -> None:
        """Before the first record of a state is applied. A batch may have made the state of a
        closed epoch when less was defined of the line."""
        if state.line is not None and not state.received:
            end = self.table_of(state.key.uuid).end_of(state.key.epoch)
            state.maps.fill(state.line.maps.only(state.line.definitions.until(end)))

    def of(self, uuid: str) -> list[OriginState]:
        """The states of all epochs of a node, ascending."""
        return list(self._nodes.get(uuid, ()))

    def line(self, uuid: str) -> OriginState | None:
        """The state of a node's line: of the newest epoch that is known."""
        states = self._nodes.get(uuid)
        return states[-1] if states else None

    def lines(self) -> list[OriginState]:
        """The line of every node."""
        return [states[-1] for states in self._nodes.values()]

    def successor(self, state: OriginState) -> OriginState | None:
        """The line of the node that took this one's name over: it was replaced, its log ended."""
        after = self._names.get(state.key.name, [])
        if len(after) < 2 or state.key.uuid not in after:
            return None
        for uuid in after[after.index(state.key.uuid) + 1 :]:
            line = self.line(uuid)
            if line is not None and line.via == state.via:
                return line
        return None

    def _add(self, state: OriginState) -> None:
        self._all[state.key] = state
        state.heard_by(self.due)
        self._behind.setdefault(state.via, []).append(state)
        named = self._names.setdefault(state.key.name, [])
        if state.key.uuid not in named:
            named.append(state.key.uuid)
        epochs = self._nodes.setdefault(state.key.uuid, [])
        epochs.append(state)
        epochs.sort(key=lambda item: item.key.epoch)
        for item in epochs:
            item.line = None if item is epochs[-1] else epochs[-1]
            item.older = tuple(epochs[:-1]) if item is epochs[-1] else ()

    def has_namesakes(self, state: OriginState) -> bool:
        """True if another node had or has its name."""
        return len(self._names.get(state.key.name, ())) > 1

    def begin_epoch(
        self, uuid: str, name: str, via: str, table: EpochTable, fork: int
    ) -> dict[str, tuple[int, npt.NDArray[np.int64]]]:
        """A node's log goes on in the newest epoch of ``table``; with the line before it has
        everything up to ``fork`` in common. Returns the slices that hold records from beyond it,
        by the node's table: (slice length in ns, slice indexes)."""
        before = self.line(uuid)
        state = self.open(
            OriginKey(uuid, table.current, name), via if before is None else before.via
        )
        for segment in table.line():
            held = self.get(OriginKey(uuid, segment.epoch, name))
            if held is not None and held is not state:
                for first, last in held.received.within(segment.first, segment.last):
                    state.received.add(first, last)
        if before is not None and before is not state:
            # What came as slices is of the line, and of none of its records.
            for first, last in before.received.within(1, fork):
                state.received.add(first, last)
        state.logged = RangeSet(state.received, limit=RANGES_MAX)
        state.acked = state.received.watermark
        if before is None or before is state:
            return {}
        state.definitions = before.definitions.until(fork)
        state.maps = before.maps.only(state.definitions)
        touched = {}
        for local, watch in before.watches.items():
            mapped = before.local_table(local)
            keys = watch.fork(fork)
            if len(keys):
                touched[local if mapped is None else mapped.name] = (watch.slice_ns, keys)
        state.watches, before.watches = before.watches, {}
        state.backlog, before.backlog = before.backlog, Backlog()
        state.backlog.forked(uuid, fork)
        state.gone, before.gone = before.gone.until(fork), GoneRecords()
        state.repairs, before.repairs = before.repairs, Repairs()
        before.heard_by(self.due)
        state.heard_by(self.due)
        return touched

    def due_watches(self) -> list[tuple[OriginState, str, TableWatch]]:
        """(origin, table, watch) of what has to be looked at."""
        found = []
        for key, table in self.due.tables:
            state = self._all.get(key)
            watch = None if state is None else state.watches.get(table)
            if state is None or watch is None:
                self.due.quiet(key, table)  # a new epoch has it
            else:
                found.append((state, table, watch))
        return found

    def behind(self, child: str) -> list[OriginState]:
        """The origins that come over a child's connection."""
        return list(self._behind.get(child, ()))

    def replay_finished(self) -> None:
        """Nothing is on its way to be applied any more: what is received is what is logged."""
        for state in self._all.values():
            state.logged = RangeSet(state.received, limit=RANGES_MAX)
            state.acked = state.received.watermark

    def snapshot(self) -> list[Any]:
        return [state.snapshot() for state in self._all.values()]

    def restore(self, data: Sequence[Mapping[str, Any]]) -> None:
        for item in data:
            self._add(OriginState.restore(item))
