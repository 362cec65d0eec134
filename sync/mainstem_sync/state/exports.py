"""Which tables a node sends to its parent.

1. A rule names a whole table: ``raw`` the template's own, ``rollup`` the table ``T_<every>``.
2. ``under`` limits a rule to devices at or below a path. Single measurements are never chosen.
3. A table without a rule stays here. Its records are sent as *covered*, so that the parent's
   range set has no holes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mainstem_sync.errors import ExportError

RAW = "raw"
ROLLUP = "rollup"


@dataclass(frozen=True, slots=True)
class Export:
    """One export rule.

    ``template``: name of the template. ``mode``: ``raw`` or ``rollup``. ``every``: name of the
    window (``1m``), for ``rollup`` only. ``under``: device path prefix, or None for all devices.
    ``urgent``: few rows, for which somebody waits: they go before those of other tables.
    """

    template: str
    mode: str = RAW
    every: str | None = None
    under: str | None = None
    urgent: bool = False

    def __post_init__(self) -> None:
        if self.mode not in (RAW, ROLLUP):
            raise ExportError(
                f"export mode {self.mode!r} of {self.template} is unknown", hint="use raw or rollup"
            )
        if (self.mode == ROLLUP) != (self.every is not None):
            raise ExportError(
                f"export of {self.template}: a window belongs to mode rollup, and only there",
                hint="write {mode: rollup, every: 1m} or {mode: raw}",
            )

    @property
    def table(self) -> str:
        """The table that the rule sends."""
        return self.template if self.every is None else f"{self.template}_{self.every}"


class ExportPolicy:
    """All rules of a node; table names are compared without case. One object, known to all who
    judge by it; other rules are set under the federation's lock."""

    def __init__(self, exports: Iterable[Export]) -> None:
        self.change(exports)

    def change(self, exports: Iterable[Export]) -> None:
        """Other rules from now on. What was judged by the ones before has to be judged again:
        ``Federation.change_exports`` sees to that."""
        self.exports = tuple(exports)
        prefixes: dict[str, tuple[str, ...] | None] = {}
        for rule in self.exports:
            key = rule.table.casefold()
            known = prefixes.get(key, ())
            if rule.under is None or known is None:
                prefixes[key] = None  # one rule for all devices makes the others superfluous
            else:
                prefixes[key] = (*known, rule.under)
        self._prefixes = prefixes
        self._urgent = {rule.table.casefold() for rule in self.exports if rule.urgent}

    def sends(self, table: str) -> bool:
        """True if some rows of the table are sent."""
        return table.casefold() in self._prefixes

    def is_urgent(self, table: str) -> bool:
        """True if rows of the table go before those of others."""
        return table.casefold() in self._urgent

    def prefixes(self, table: str) -> tuple[str, ...] | None:
        """The paths below which rows of a sent table go up; None: all of them."""
        return self._prefixes[table.casefold()]

    def all_prefixes(self) -> set[tuple[str, ...]]:
        """Every distinct list of paths that limits a table."""
        return {prefixes for prefixes in self._prefixes.values() if prefixes is not None}

    @property
    def fingerprint(self) -> list[list[str]]:
        """Equal for equal rules; kept in checkpoints to notice a change."""
        return sorted(
            [rule.table.casefold(), "" if rule.under is None else rule.under]
            for rule in self.exports
        )


def is_below(path: str, prefixes: Sequence[str]) -> bool:
    """True if ``path`` is one of ``prefixes`` or lies below one (whole path elements)."""
    return any(path == prefix or path.startswith(f"{prefix}.") for prefix in prefixes)
