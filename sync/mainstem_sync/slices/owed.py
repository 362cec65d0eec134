"""What is owed as slices: the COVER record, and the slices of an EXP record.

1. A range of LSNs whose records are out of the log is owed as images of the slices that they
   touched. The record that says so is durable at both sides before the log is released, and names
   the slices; the range enters R when each of them has come as an image of ``since`` or later.
2. It speaks of one origin: of this node itself, or (``o``) of one whose records this node relays.
   It belongs to the stream of whoever wrote it, and is known everywhere by (writer, LSN).
3. An EXP record says the export rules; the slices of tables that are exported since are owed in the
   same way, without a range.

Header: ``o`` origin or nil, ``r`` flat ranges, ``since`` LSN of the origin, ``t`` per table
``[name, slice_ns, [first, last, ...]]``. Only for the writer, and not sent: ``local`` flat ranges
of its log, ``rows`` by table and ``bytes`` that are pending, ``n`` per table
``[name, slices int64, rows int64]``: rows pending by slice, ``said`` as ``t``: slices about which
manifests are lost, ``old``: LSNs of earlier records that this one speaks for, ``passed`` flat
ranges of LSNs that need nothing and are not acknowledged either, ``others``: records of nodes below
that this one speaks for, ``[uuid, epoch, lsn]`` each; ``policy`` (EXP).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mainstem_engine.log.records import decode_payload
from mainstem_sync.errors import WireError
from mainstem_sync.slices.manifest import SLICE_NS_MAX
from mainstem_sync.wire.fields import integer, list_of, text
from mainstem_sync.wire.messages import OriginKey
from mainstem_sync.wire.ranges import LSN_MAX, RangeSet

TABLES_MAX = 4096
"""Tables in one record; a node has a few templates with a few rollups each."""

RUNS_MAX = 50_000
"""Runs of neighbouring slices in one record: 800 kB. Who would need more writes several."""


@dataclass(slots=True)
class OwedTable:
    """Slices of one table by index, as runs. ``name``: as its origin calls it."""

    name: str
    slice_ns: int
    slices: RangeSet = field(default_factory=RangeSet)

    def to_plain(self) -> list[Any]:
        return [self.name, self.slice_ns, self.slices.to_wire()]

    @classmethod
    def from_plain(cls, value: object) -> OwedTable:
        if not isinstance(value, list) or len(value) != 3:
            raise WireError("owed slices are [table, slice_ns, runs]")
        name, slice_ns, flat = value
        size = integer(slice_ns, "slice_ns", SLICE_NS_MAX)
        if size < 1:
            raise WireError("slices without a length")
        return cls(text(name, "table"), size, slices_of(flat))


@dataclass(slots=True)
class Owed:
    """See the module. ``lsn``: of the record, at its writer; 0 until it is known."""

    target: OriginKey | None
    ranges: RangeSet
    since: int
    tables: list[OwedTable] = field(default_factory=list)
    local: RangeSet = field(default_factory=RangeSet)
    rows: dict[str, int] = field(default_factory=dict)
    size: int = 0
    said: list[OwedTable] = field(default_factory=list)
    policy: list[list[str]] | None = None
    lsn: int = 0
    counts: dict[str, dict[int, int]] = field(default_factory=dict)
    old: list[int] = field(default_factory=list)
    passed: RangeSet = field(default_factory=RangeSet)
    others: list[tuple[str, int, int]] = field(default_factory=list)

    def take(self, other: Owed) -> None:
        """The slices that an earlier record of the same origin speaks of, too."""
        self.since = max(self.since, other.since)
        known = {(table.name, table.slice_ns): table.slices for table in self.tables}
        for table in other.tables:
            slices = known.get((table.name, table.slice_ns))
            if slices is None:
                self.tables.append(OwedTable(table.name, table.slice_ns, table.slices.copy()))
            else:
                slices.update(table.slices)

    def to_header(self) -> dict[str, Any]:
        """For Engine.append."""
        counts = [
            [name, np.fromiter(rows, "<i8").tobytes(), np.fromiter(rows.values(), "<i8").tobytes()]
            for name, rows in self.counts.items()
        ]
        return {
            **self.to_wire(),
            "local": self.local.to_wire(),
            "rows": self.rows,
            "bytes": self.size,
            "n": counts,
            "said": [table.to_plain() for table in self.said],
            "passed": self.passed.to_wire(),
            "others": [list(ref) for ref in self.others],
            "policy": self.policy,
        }

    def to_wire(self, sends: Callable[[str], bool] = lambda table: True) -> dict[str, Any]:
        """What others need of it, of the tables that ``sends`` lets go up."""
        spoken_for = {"old": self.old} if self.old else {}
        return spoken_for | {
            "o": None if self.target is None else self.target.to_wire(),
            "r": self.ranges.to_wire(),
            "since": self.since,
            "t": [table.to_plain() for table in self.tables if sends(table.name)],
        }

    @classmethod
    def from_header(cls, header: Mapping[str, Any], lsn: int) -> Owed:
        """Raises WireError, or ValueError for what only this node writes: the record may come from
        another node, which does not send that."""
        target = header.get("o")
        rows = header.get("rows") or {}
        if not isinstance(rows, dict):
            raise WireError("rows of owed slices are not a map")
        return cls(
            None if target is None else OriginKey.from_wire(target),
            lsns_of_wire(header.get("r")),
            integer(header.get("since"), "since"),
            _tables(header.get("t")),
            lsns_of_wire(header.get("local") or []),
            {text(name, "table"): integer(count, "rows") for name, count in rows.items()},
            integer(header.get("bytes") or 0, "bytes"),
            _tables(header.get("said") or []),
            header.get("policy"),
            lsn,
            {
                str(name): dict(
                    zip(
                        np.frombuffer(keys, "<i8").tolist(),
                        np.frombuffer(counts, "<i8").tolist(),
                        strict=True,
                    )
                )
                for name, keys, counts in header.get("n") or ()
            },
            [
                integer(at, "old", LSN_MAX)
                for at in list_of(header.get("old") or [], "old", RUNS_MAX)
            ],
            lsns_of_wire(header.get("passed") or []),
            [(uuid, epoch, at) for uuid, epoch, at in header.get("others") or ()],
        )

    @classmethod
    def decode(cls, payload: bytes | memoryview, lsn: int) -> Owed:
        """From the payload of a record. Raises WireError, CorruptionError."""
        return cls.from_header(decode_payload(payload)[0], lsn)


def slices_of(flat: object) -> RangeSet:
    """The slices of a flat list of runs. WireError unless they are ascending and apart."""
    if not isinstance(flat, list) or len(flat) % 2 or len(flat) > 2 * RUNS_MAX:
        raise WireError("runs of slices are a list of pairs")
    found = RangeSet()
    previous = -LSN_MAX
    for first, last in zip(flat[0::2], flat[1::2], strict=True):
        if type(first) is not int or type(last) is not int:
            raise WireError("a run of slices is a pair of integers")
        if not previous < first <= last <= LSN_MAX:
            raise WireError(f"the run of slices [{first}, {last}] is out of order")
        found.add(first, last)
        previous = last
    return found


def lsns_of_wire(flat: object) -> RangeSet:
    """As RangeSet.from_wire, with room for more holes: the log has as many as it has."""
    if not isinstance(flat, list) or len(flat) % 2 or len(flat) > 2 * RUNS_MAX:
        raise WireError("ranges are a list of pairs")
    found = RangeSet()
    previous = 0
    for first, last in zip(flat[0::2], flat[1::2], strict=True):
        if type(first) is not int or type(last) is not int or not previous < first <= last:
            raise WireError("a range of LSNs out of order")
        found.add(first, last)
        previous = last
    if previous > LSN_MAX:
        raise WireError("an LSN out of bounds")
    return found


def _tables(value: object) -> list[OwedTable]:
    return [OwedTable.from_plain(item) for item in list_of(value, "tables", TABLES_MAX)]
