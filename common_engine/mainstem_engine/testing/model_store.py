"""A store of dictionaries that does what the engine must do, as plainly as it can be said.

Fragments are kept for ever, each with its version; every answer is computed from all of them.
Devices are paths, measurements are names, times are ns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Version = tuple[int, int, int]
"""(epoch, index of the origin, LSN)."""
Values = Mapping[str, Any]


@dataclass(slots=True)
class ModelTable:
    """All fragments of one table, by (device, time)."""

    whole_rows: bool = False
    fragments: dict[tuple[str, int], list[tuple[Version, Values]]] = field(default_factory=dict)
    logged: int = 0

    def add(self, device: str, time_ns: int, version: Version, values: Values) -> None:
        """Stores a fragment; None among ``values`` is a null."""
        self.fragments.setdefault((device, time_ns), []).append((version, dict(values)))
        self.logged += 1

    def row(self, device: str, time_ns: int, origin: int | None = None) -> dict[str, Any]:
        """The merged row: per measurement the newest value that is not null."""
        fragments = sorted(
            (f for f in self.fragments[device, time_ns] if origin is None or f[0][1] == origin),
            key=lambda fragment: fragment[0],
        )
        if self.whole_rows:
            fragments = fragments[-1:]
        merged: dict[str, Any] = {}
        for _, values in fragments:
            merged.update({name: value for name, value in values.items() if value is not None})
        return merged

    def rows(self, origin: int | None = None) -> dict[tuple[str, int], dict[str, Any]]:
        """Every row by (device, time)."""
        return {
            key: self.row(*key, origin)
            for key, fragments in self.fragments.items()
            if origin is None or any(version[1] == origin for version, _ in fragments)
        }

    def last(self, device: str) -> tuple[int, dict[str, tuple[int, Any]]] | None:
        """(time of the newest row, {measurement: (time, value)} of the newest values)."""
        times = sorted(time for path, time in self.fragments if path == device)
        if not times:
            return None
        newest: dict[str, tuple[int, Any]] = {}
        for time in times:
            newest.update({name: (time, value) for name, value in self.row(device, time).items()})
        return times[-1], newest


@dataclass(slots=True)
class ModelStore:
    """Tables by name."""

    tables: dict[str, ModelTable] = field(default_factory=dict)

    def table(self, name: str, *, whole_rows: bool = False) -> ModelTable:
        """The table, made when it is new."""
        return self.tables.setdefault(name, ModelTable(whole_rows))
