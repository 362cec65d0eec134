"""The LOSS record: what of this node's rows its parent will never get, and why.

1. Lost are records of the log that damage took before they were delivered (``r``), or slices that
   were owed and whose rows are gone here: expired, or given up for room (``t``).
2. The record is counted here when it is applied, and travels to every tier above. There its slices
   are crossed off every backlog and shown as LOST; nothing is deleted.
3. A relay says it of slices of another node (``o``) that it deleted itself, when it is asked for
   them.

Header: ``o`` origin or absent, ``r`` flat ranges of LSNs, ``rows`` by table that were pending and
are lost, ``t`` per table ``[name, slice_ns, [slices], [rows]]``, ``u`` by table the
greatest LSN that touched each of its slices (0: not known), ``why``; only for the writer ``bytes``
and ``parts``: the rows of lost records above it were in no data file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mainstem_engine.log.records import decode_payload
from mainstem_sync.errors import WireError
from mainstem_sync.slices.manifest import SLICE_NS_MAX, Ints
from mainstem_sync.slices.owed import TABLES_MAX, lsns_of_wire
from mainstem_sync.wire.fields import integer, list_of, text
from mainstem_sync.wire.messages import OriginKey
from mainstem_sync.wire.ranges import LSN_MAX, RangeSet

LOST_SLICES_MAX = 20_000
"""Slices of one table in one record: two weeks of minutes, 200 kB."""

LOG_DAMAGED = "log_damaged"
EXPIRED = "expired"
REFUSED = "refused"
NOT_EXPORTED = "not_exported"
"""Reasons. ``refused``: the parent will not take an image of the slice. ``not_exported``: the table
was owed, and is not exported any more."""

DELETED = "deleted"
"""A tier between deleted rows of it."""

WHY_CHARS_MAX = 64


@dataclass(frozen=True, slots=True)
class LostTable:
    """Slices of one table by index, ascending, and the rows lost in each (0: not known).
    ``newest``: the greatest LSN that touched each (0: not known), or empty."""

    name: str
    slice_ns: int
    keys: Ints
    rows: Ints
    newest: Ints = field(default_factory=lambda: np.empty(0, np.int64))


@dataclass(frozen=True, slots=True)
class Loss:
    """See the module."""

    why: str
    ranges: RangeSet = field(default_factory=RangeSet)
    rows: Mapping[str, int] = field(default_factory=dict)
    tables: tuple[LostTable, ...] = ()
    size: int = 0
    target: OriginKey | None = None
    parts_lsn: int = LSN_MAX

    @property
    def first_gone(self) -> int | None:
        """The first record of which no row is left here; None if data files have all of them."""
        gone = self.ranges.within(self.parts_lsn + 1, LSN_MAX)
        return next((first for first, _ in gone), None)

    def to_header(self) -> dict[str, Any]:
        """For Engine.append."""
        parts = {} if self.parts_lsn == LSN_MAX else {"parts": self.parts_lsn}
        return {**self.to_wire(), "bytes": self.size, **parts}

    def to_wire(self, sends: Callable[[str], bool] = lambda table: True) -> dict[str, Any]:
        """What others need of it, of the tables that ``sends`` lets go up."""
        whose = {} if self.target is None else {"o": self.target.to_wire()}
        newest = {
            t.name: t.newest.tolist() for t in self.tables if t.newest.any() and sends(t.name)
        }
        return {
            **whose,
            **({"u": newest} if newest else {}),
            "r": self.ranges.to_wire(),
            "rows": {table: rows for table, rows in self.rows.items() if sends(table)},
            "t": [
                [table.name, table.slice_ns, table.keys.tolist(), table.rows.tolist()]
                for table in self.tables
                if sends(table.name)
            ],
            "why": self.why,
        }

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> Loss:
        """Raises WireError: the record may come from another node."""
        rows = header.get("rows")
        if not isinstance(rows, dict):
            raise WireError("lost rows are not a map")
        newest = header.get("u", {})
        if not isinstance(newest, dict):
            raise WireError("what touched lost slices is not a map")
        return cls(
            text(header.get("why"), "why", WHY_CHARS_MAX),
            lsns_of_wire(header.get("r")),
            {text(name, "table"): integer(count, "rows") for name, count in rows.items()},
            tuple(_table(item, newest) for item in list_of(header.get("t"), "tables", TABLES_MAX)),
            integer(header.get("bytes") or 0, "bytes"),
            None if header.get("o") is None else OriginKey.from_wire(header["o"]),
            integer(header.get("parts", LSN_MAX), "parts", LSN_MAX),
        )

    @classmethod
    def decode(cls, payload: bytes | memoryview) -> Loss:
        """From the payload of a record. Raises WireError, CorruptionError."""
        return cls.from_header(decode_payload(payload)[0])


def _table(value: object, newest: Mapping[str, object]) -> LostTable:
    if not isinstance(value, list) or len(value) != 4:
        raise WireError("lost slices are [table, slice_ns, slices, rows]")
    name, slice_ns, keys, rows = value
    if integer(slice_ns, "slice_ns", SLICE_NS_MAX) < 1:
        raise WireError("slices without a length")
    name = text(name, "table")
    try:
        found = [
            np.array(list_of(part, "slices", LOST_SLICES_MAX), np.int64)
            for part in (keys, rows, newest.get(name, []))
        ]
    except (ValueError, TypeError, OverflowError) as exc:
        raise WireError(f"lost slices that cannot be read ({exc})") from exc
    if len(found[0]) != len(found[1]) or bool((np.diff(found[0]) <= 0).any()):
        raise WireError("lost slices out of order")
    if len(found[2]) not in (0, len(found[0])) or bool((found[2] < 0).any()):
        raise WireError("what touched lost slices does not fit them")
    return LostTable(name, slice_ns, *found)
