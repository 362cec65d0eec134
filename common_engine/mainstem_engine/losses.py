"""What repairs declared lost: a fact of the part list, beside the parts that it concerns.

It is in the record that puts the repaired parts in place, so that rows are counted as lost in the
same instant in which they are given up: the sums of the store hold before and after.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

LOST_FACT = "lost"

Spans = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Losses:
    """``rows`` by table that were in parts. ``lsns``: ranges of log records, ends included."""

    rows: Mapping[str, int] = field(default_factory=dict)
    lsns: Spans = ()

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Losses:
        """As the facts of a part list say."""
        plain = facts.get(LOST_FACT) or {}
        return cls(
            dict(plain.get("rows", {})),
            tuple((int(first), int(last)) for first, last in plain.get("lsns", ())),
        )

    def to_facts(self) -> dict[str, Any]:
        """For the part list."""
        return {LOST_FACT: {"rows": dict(self.rows), "lsns": [list(span) for span in self.lsns]}}

    def plus(self, rows: Mapping[str, int], lsns: Iterable[tuple[int, int]]) -> Losses:
        """With further losses. Ranges that touch become one."""
        total = dict(self.rows)
        for table, count in rows.items():
            if count:
                total[table] = total.get(table, 0) + count
        return Losses(total, _joined([*self.lsns, *lsns]))

    def declares(self, first: int, last: int) -> bool:
        """True when all LSNs of the range were declared lost."""
        return any(low <= first and last <= high for low, high in self.lsns)


def _joined(spans: Iterable[tuple[int, int]]) -> Spans:
    joined: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return tuple(joined)
