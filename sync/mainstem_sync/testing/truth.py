"""What one node has accepted, as plainly as it can be said: the judge of a simulation.

1. Every write and delete is remembered with the LSN of its record, so that a power cut or a
   restored backup can take back what the node itself has lost.
2. No value is ever written twice, so that a value tells which write it came from, and which column
   it belongs to (see ``value_of``).
3. ``stated`` has, per slice, every content that the owner may have made a statement about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

Key = tuple[str, int]
"""(device path, time in ms)."""

TABLE = "meters"
"""The table that all nodes write to."""

SLICE_MS = 60_000

COLUMNS = ("a", "b", "c", "d")
"""What the columns are called at the beginning, by their kind."""


def value_of(column: str, number: int) -> Any:
    """A value that no other (column, number) has: int, float, text, negative int."""
    if column == "a":
        return number
    if column == "b":
        return number + 0.25
    return f"w{number}" if column == "c" else -number - 1


@dataclass(slots=True)
class Write:
    """Rows of one record: values by column, for each key."""

    lsn: int
    rows: Mapping[Key, Mapping[str, Any]]


@dataclass(slots=True)
class Delete:
    """``columns`` None: whole rows."""

    lsn: int
    keys: frozenset[Key]
    columns: frozenset[str] | None = None


Row = tuple[str, int, frozenset[Any]]
Content = frozenset[Row]
"""Rows as (device, time in ms, values)."""


@dataclass
class Truth:
    """The rows of one node."""

    rows: dict[Key, dict[str, Any]] = field(default_factory=dict)
    ever: dict[Key, set[Any]] = field(default_factory=dict)
    """Every value that was ever written to a key, also in a line of the log that was given up."""
    stated: dict[int, set[Content]] = field(default_factory=dict)
    orphans: set[Key] = field(default_factory=set)
    """Keys that records touched which the node itself has lost: what others have there may be of
    those records, or deleted by them."""
    damaged: set[Key] = field(default_factory=set)
    """Keys that records touched which damage took from the node: others may have what it had
    acknowledged, and need not."""
    rests: set[int] = field(default_factory=set)
    """Slices in which it has made room up to somewhere inside: it cannot state or send them any
    more, and declares what comes into them later lost for the tiers above."""
    whole_from_ms: int = 0
    """Of what is older the node has given some up to make room: others have it, or say what is
    lost."""
    _records: list[Write | Delete] = field(default_factory=list)
    _saved: list[Write | Delete] | None = None
    _dirty: set[int] = field(default_factory=set)
    _has_stated: bool = False
    _parted: bool = False
    """There is, or was, another line: each states slices that only the other has rows of."""

    def write(self, lsn: int, rows: Mapping[Key, Mapping[str, Any]]) -> None:
        """A record of rows was accepted."""
        record = Write(lsn, rows)
        self._records.append(record)
        self._apply(record)
        for key, values in rows.items():
            self.ever.setdefault(key, set()).update(values.values())

    def delete(self, lsn: int, keys: Iterable[Key], columns: frozenset[str] | None = None) -> None:
        """A delete was accepted."""
        record = Delete(lsn, frozenset(keys), columns)
        self._records.append(record)
        self._apply(record)

    def back_to(self, lsn: int) -> int:
        """The node lost what came after ``lsn``; returns how many records that were."""
        self.given_up(lsn)
        return self._keep([record for record in self._records if record.lsn <= lsn])

    def save(self) -> None:
        """A backup was made: what damage takes later is in it."""
        self._saved = list(self._records)

    def restored(self, lsn: int) -> int:
        """The node is back at its last backup, which ends at ``lsn``; returns how many records
        that took."""
        if self._saved is None:
            return self.back_to(lsn)
        self.given_up(lsn)
        before = len(self._records)
        self._records = [*self._saved, *self._records]
        self._keep(list(self._saved))
        return before - len(self._saved)

    def forget(self, lsns: Set[int]) -> int:
        """Damage took these records from the node; returns how many of them were known here."""
        for record in self._records:
            if record.lsn in lsns:
                self.damaged.update(record.rows if isinstance(record, Write) else record.keys)
        return self._keep([record for record in self._records if record.lsn not in lsns])

    def _keep(self, records: list[Write | Delete]) -> int:
        lost = len(self._records) - len(records)
        if lost:
            self._records, self.rows = records, {}
            for record in records:
                self._apply(record)
            self._dirty.update(key[1] // SLICE_MS for key in self.ever)
        return lost

    def copy(self) -> Truth:
        """Of a second process on a copy of the disk: it goes on from here with rows of its own.
        What was written, stated or given up is known of both, whoever did it."""
        self._parted = True
        return Truth(
            {key: dict(values) for key, values in self.rows.items()},
            self.ever, self.stated, self.orphans, self.damaged, self.rests, self.whole_from_ms,
            list(self._records), None, set(self._dirty),
            self._has_stated, True,
        )  # fmt: skip

    def given_up(self, lsn: int) -> None:
        """What came after ``lsn`` is of a line that nobody goes on with."""
        for record in self._records:
            if record.lsn > lsn:
                self.orphans.update(record.rows if isinstance(record, Write) else record.keys)

    @property
    def is_whole(self) -> bool:
        """True if nothing was given up or lost here."""
        return not self.damaged and not self.whole_from_ms

    def state(self) -> None:
        """The owner may say now what it has."""
        if self._parted:
            self._dirty.update(key[1] // SLICE_MS for key in self.ever)
        for slice_ in self._dirty:
            if slice_ not in self.stated:
                # What was said before was said of a slice without rows.
                self.stated[slice_] = set()
                if self._has_stated or self._parted:
                    self.stated[slice_].add(frozenset())
            self.stated[slice_].add(self.content_of(slice_))
        self._has_stated = self._has_stated or bool(self._dirty)
        self._dirty.clear()

    def content_of(self, slice_: int) -> Content:
        """The rows of one slice."""
        return frozenset(
            (device, time, frozenset(values.values()))
            for (device, time), values in self.rows.items()
            if time // SLICE_MS == slice_
        )

    @property
    def content(self) -> Content:
        """All rows."""
        return frozenset(
            (device, time, frozenset(values.values()))
            for (device, time), values in self.rows.items()
        )

    def _apply(self, record: Write | Delete) -> None:
        if isinstance(record, Write):
            for key, values in record.rows.items():
                self.rows.setdefault(key, {}).update(values)
                self._dirty.add(key[1] // SLICE_MS)
            return
        for key in record.keys:
            row = self.rows.get(key)
            if row is None:
                continue
            self._dirty.add(key[1] // SLICE_MS)
            left = {} if record.columns is None else {
                column: value for column, value in row.items() if column not in record.columns
            }  # fmt: skip
            if left:
                self.rows[key] = left
            else:
                del self.rows[key]


def by_slice(content: Iterable[tuple[str, int, frozenset[Any]]]) -> dict[int, Content]:
    """The same rows by the slice that they lie in."""
    found: dict[int, set[tuple[str, int, frozenset[Any]]]] = {}
    for row in content:
        found.setdefault(row[1] // SLICE_MS, set()).add(row)
    return {slice_: frozenset(rows) for slice_, rows in found.items()}
