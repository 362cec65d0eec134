"""A store of dictionaries that does what the engine must do, as plainly as it can be said.

Fragments are kept for ever, each with its version, and so is every delete; every answer is computed
from all of them. Devices are paths, measurements are names, times are ns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Version = tuple[int, int, int]
"""(epoch, index of the origin, LSN)."""
Values = Mapping[str, Any]
Key = tuple[str, int]
"""(device, time in ns)."""


@dataclass(slots=True)
class ModelDelete:
    """Erases what ``origin`` wrote up to ``as_of``, where ``covers(device, time)``: the whole row,
    or the values of ``names``; a fragment that has no value left goes."""

    origin: int
    as_of: int
    covers: Callable[[str, int], bool]
    names: frozenset[str] | None = None

    def erase(self, key: Key, version: Version, values: Values) -> Values | None:
        """What is left of a fragment; None when nothing is."""
        if version[1] != self.origin or version[2] > self.as_of or not self.covers(*key):
            return values
        if self.names is None:
            return None
        left = {name: value for name, value in values.items() if name not in self.names}
        return left if any(value is not None for value in left.values()) else None


@dataclass(slots=True)
class ModelTable:
    """All fragments and deletes of one table. Rows older than ``cutoff_ns`` are not visible."""

    whole_rows: bool = False
    fragments: dict[Key, list[tuple[Version, Values]]] = field(default_factory=dict)
    deletes: list[ModelDelete] = field(default_factory=list)
    cutoff_ns: int | None = None
    logged: int = 0

    def add(self, device: str, time_ns: int, version: Version, values: Values) -> None:
        """Stores a fragment; None among ``values`` is a null."""
        self.fragments.setdefault((device, time_ns), []).append((version, dict(values)))
        self.logged += 1

    def rename(self, old: str, new: str) -> None:
        """What was called ``old`` is ``new``, in every row ever written."""
        for key, fragments in self.fragments.items():
            self.fragments[key] = [
                (version, {new if name == old else name: value for name, value in values.items()})
                for version, values in fragments
            ]
        for delete in self.deletes:
            if delete.names is not None and old in delete.names:
                delete.names = delete.names - {old} | {new}

    def stored(self, key: Key, origin: int | None = None) -> list[tuple[Version, Values]]:
        """The fragments that no delete has erased, oldest version first."""
        left: list[tuple[Version, Values]] = []
        for version, values in sorted(self.fragments.get(key, []), key=lambda item: item[0]):
            if origin is not None and version[1] != origin:
                continue
            kept: Values | None = values
            for delete in self.deletes:
                kept = None if kept is None else delete.erase(key, version, kept)
            if kept is not None:
                left.append((version, kept))
        return left

    def stored_keys(self) -> set[Key]:
        """Rows that exist, whether they are visible or expired."""
        return {key for key in self.fragments if self.stored(key)}

    def rows(
        self, origin: int | None = None, *, expired: bool = False
    ) -> dict[Key, dict[str, Any]]:
        """Every visible row, or with ``expired`` every row: per measurement the newest value that
        is not null."""
        return dict(self._rows(origin, expired))

    def _rows(self, origin: int | None, expired: bool) -> Iterator[tuple[Key, dict[str, Any]]]:
        for key in self.fragments:
            if not expired and self.cutoff_ns is not None and key[1] < self.cutoff_ns:
                continue
            fragments = self.stored(key, origin)
            if not fragments:
                continue
            merged: dict[str, Any] = {}
            for _, values in fragments[-1:] if self.whole_rows else fragments:
                merged.update({name: value for name, value in values.items() if value is not None})
            yield key, merged

    def last(self, device: str) -> tuple[int, dict[str, tuple[int, Any]]] | None:
        """(time of the newest row, {measurement: (time, value)} of the newest values)."""
        rows = {time: row for (path, time), row in self._rows(None, False) if path == device}
        if not rows:
            return None
        newest: dict[str, tuple[int, Any]] = {}
        for time in sorted(rows):
            newest.update({name: (time, value) for name, value in rows[time].items()})
        return max(rows), newest


@dataclass(slots=True)
class ModelStore:
    """Tables by name."""

    tables: dict[str, ModelTable] = field(default_factory=dict)

    def table(self, name: str, *, whole_rows: bool = False) -> ModelTable:
        """The table, made when it is new."""
        return self.tables.setdefault(name, ModelTable(whole_rows))
