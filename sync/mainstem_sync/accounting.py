"""The sums that every row falls under. ``check`` names the ones that do not hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Sums = Mapping[str, Any]


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
            expected = sum(sign * values[name] for name, sign in parts.items())
            if values[total] != expected:
                terms = " ".join(
                    f"{'+' if sign > 0 else '-'} {name} {values[name]}"
                    for name, sign in parts.items()
                )
                problems.append(
                    f"{table}: {section}: {total} {values[total]} is not {terms.removeprefix('+ ')}"
                    f" = {expected}"
                )
            negative = [name for name in (total, *parts) if values[name] < 0]
            problems += [f"{table}: {section}: {name} is {values[name]}" for name in negative]
        problems += _linked(table, sums)
    return problems


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
        if left in sums and right in sums:
            a, b = sums[left][left_name], sums[right][right_name]
            if a != b:
                problems.append(f"{table}: {left}.{left_name} {a} is not {right}.{right_name} {b}")
    return problems
