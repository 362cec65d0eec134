"""The sums that every row falls under, per table, as counters over the log.

1. Own PTS records carry their share of the intake in the header (``in``), so that counts and rows
   become durable in the same instant. RCV records carry theirs in ``counts``.
2. ``Accounts`` follows the log: counters are in the checkpoint, and replay continues from them.
3. Batches that are known already leave no record. They are counted in memory, on both sides of
   their sum; a crash forgets those since the last checkpoint.

``check`` names the sums that do not hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

Sums = Mapping[str, Any]


@dataclass(slots=True)
class TableSums:
    """Counters of one table; the contract says what each means."""

    received: int = 0
    accepted: int = 0
    filtered: int = 0
    quarantined: int = 0
    refused: int = 0
    merged: int = 0
    derived: int = 0
    from_children: int = 0
    in_batches: int = 0
    duplicates: int = 0
    quarantined_here: int = 0
    values_quarantined: int = 0
    late: int = 0
    redelivered: int = 0

    @property
    def logged(self) -> int:
        """Rows in the log of this node."""
        return self.accepted - self.merged + self.derived + self.from_children

    def to_sections(self) -> dict[str, Any]:
        """As the contract groups them; ``forward`` and ``store`` are added by others."""
        return {
            "intake": {
                "received": self.received,
                "accepted": self.accepted,
                "filtered": self.filtered,
                "quarantined": self.quarantined,
                "refused": self.refused,
            },
            "log": {
                "logged": self.logged,
                "accepted": self.accepted,
                "merged": self.merged,
                "derived": self.derived,
                "from_children": self.from_children,
            },
            "children": {
                "in_batches": self.in_batches,
                "from_children": self.from_children,
                "duplicates": self.duplicates,
                "quarantined_here": self.quarantined_here,
            },
            "values_quarantined": self.values_quarantined,
            "late": self.late,
            "redelivered": self.redelivered,
        }


class Accounts:
    """Counters of all tables. Guarded by the federation's lock."""

    def __init__(self) -> None:
        self.tables: dict[str, TableSums] = {}

    def table(self, name: str) -> TableSums:
        """The counters of a table, opened when it is new."""
        found = self.tables.get(name)
        if found is None:
            found = self.tables[name] = TableSums()
        return found

    def points(self, header: Mapping[str, Any]) -> None:
        """An own PTS record was applied."""
        sums = self.table(header["t"])
        rows = int(header["n"])
        if header.get("der"):
            sums.derived += rows
            return
        accepted = int(header["acc"])
        intake = header.get("in") or {}
        filtered = int(intake.get("filtered", 0))
        quarantined = int(intake.get("quarantined", 0))
        refused = int(intake.get("refused", 0))
        sums.accepted += accepted
        sums.merged += accepted - rows
        sums.filtered += filtered
        sums.quarantined += quarantined
        sums.refused += refused
        sums.received += int(intake.get("received", accepted + filtered + quarantined + refused))
        sums.values_quarantined += int(intake.get("values_quarantined", 0))
        sums.late += int(intake.get("late", 0))
        sums.redelivered += int(intake.get("redelivered", 0))

    def received(self, counts: Mapping[str, Sequence[int]], values: Mapping[str, int]) -> None:
        """An RCV record was applied."""
        for name, (from_children, duplicates, quarantined) in counts.items():
            sums = self.table(name)
            sums.from_children += from_children
            sums.duplicates += duplicates
            sums.quarantined_here += quarantined
            sums.in_batches += from_children + duplicates + quarantined
        for name, count in values.items():
            self.table(name).values_quarantined += count

    def duplicates(self, rows: Iterable[tuple[str, int]]) -> None:
        """Rows of a batch that was known already, by table."""
        for name, count in rows:
            sums = self.table(name)
            sums.duplicates += count
            sums.in_batches += count

    def snapshot(self) -> dict[str, list[int]]:
        return {
            name: [getattr(sums, f.name) for f in fields(TableSums)]
            for name, sums in self.tables.items()
        }

    def restore(self, data: Mapping[str, Sequence[int]]) -> None:
        self.tables = {name: TableSums(*values) for name, values in data.items()}


def check(table_sums: Mapping[str, Sums]) -> list[str]:
    """Every sum of the contract that does not hold, as one line each; empty if all hold.

    ``table_sums`` is what ``Federation.accounting()`` or ``status["accounting"]`` gives:
    table to ``{"intake", "log", "children", "forward" (absent without a parent), "store"}``.
    """
    problems: list[str] = []
    for table, sums in sorted(table_sums.items()):
        for section, total, parts in _SUMS:
            values = sums.get(section)
            if values is None:
                continue
            absent = [name for name in (total, *parts) if name not in values]
            if absent:  # of another machine
                problems.append(f"{table}: {section}: {', '.join(absent)} is not said")
                continue
            expected = sum(sign * values[name] for name, sign in parts.items())
            if values[total] != expected:
                problems.append(_unequal(table, section, total, values, parts, expected))
            negative = [name for name in (total, *parts) if values[name] < 0]
            problems += [f"{table}: {section}: {name} is {values[name]}" for name in negative]
        problems += _linked(table, sums)
    return problems


def _unequal(
    table: str, section: str, total: str, values: Sums, parts: Mapping[str, int], expected: int
) -> str:
    terms = " ".join(
        f"{'+' if sign > 0 else '-'} {name} {values[name]}" for name, sign in parts.items()
    )
    terms = terms.removeprefix("+ ")
    return f"{table}: {section}: {total} {values[total]} is not {terms} = {expected}"


_SUMS: tuple[tuple[str, str, Mapping[str, int]], ...] = (
    ("intake", "received", {"accepted": 1, "filtered": 1, "quarantined": 1, "refused": 1}),
    ("log", "logged", {"accepted": 1, "merged": -1, "derived": 1, "from_children": 1}),
    ("children", "in_batches", {"from_children": 1, "duplicates": 1, "quarantined_here": 1}),
    (
        "forward",
        "logged",
        {"not_exported": 1, "delivered": 1, "pending": 1, "parked": 1, "lost": 1},
    ),
    (
        "store",
        "logged",
        {
            "live": 1,
            "unresolved": 1,
            "overwritten": 1,
            "deleted": 1,
            "expired": 1,
            "lost_local": 1,
        },
    ),
)

_LINKS = (
    (("intake", "accepted"), ("log", "accepted")),
    (("children", "from_children"), ("log", "from_children")),
    (("log", "logged"), ("forward", "logged")),
    (("log", "logged"), ("store", "logged")),
)
"""The same number stands in two sums; it must be the same."""


def _linked(table: str, sums: Sums) -> list[str]:
    problems = []
    for (left, left_name), (right, right_name) in _LINKS:
        if left_name in (sums.get(left) or ()) and right_name in (sums.get(right) or ()):
            a, b = sums[left][left_name], sums[right][right_name]
            if a != b:
                problems.append(f"{table}: {left}.{left_name} {a} is not {right}.{right_name} {b}")
    return problems
