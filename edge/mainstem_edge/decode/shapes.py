"""What objects become rows of: samples of one time are joined, nested objects are flattened, names
are looked up. For JSON and MessagePack alike."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from mainstem_edge.decode.interface import DEVICE_KEY, KnownNames

NESTING_MAX = 16
"""Deeper objects are taken as a value (of the wrong type): no machine's telemetry nests so deep."""

_SPREAD = "values"
_SAMPLE_NAME = "name"
_SAMPLE_VALUE = "value"

Row = dict[str, Any]
Columns = dict[str, list[Any]]


class Shapes:
    """What the other shapes of payloads become."""

    def __init__(self, known: KnownNames, time_fields: Sequence[str]) -> None:
        self._known = known
        self._key_of_sample = (DEVICE_KEY, *time_fields)
        self._spreads = _SPREAD not in known
        self._pivots = _SAMPLE_NAME not in known

    def shape(self, rows: list[Row], source: list[int]) -> tuple[list[Row], list[int]]:
        """Samples become rows, ``values`` are spread, nested objects joined."""
        if self._pivots and any(_SAMPLE_NAME in row and _SAMPLE_VALUE in row for row in rows):
            rows, source = self._pivot(rows, source)
        return [self._flat(row) if _has_map(row) else row for row in rows], source

    def columns(self, rows: list[Row]) -> tuple[Columns, list[tuple[int, str, Any]]]:
        """(columns of known names, (row, name, value) of the others)."""
        columns: Columns = {}
        unknown: set[str] = set()
        names = dict.fromkeys(chain.from_iterable(rows))
        # Exact spellings first: they go before those that differ by case.
        for name in sorted(names, key=lambda name: name not in self._known.exact):
            known = self._known.get(name)
            if known is None:
                unknown.add(name)
                continue
            values = [row.get(name) for row in rows]
            earlier = columns.get(known)
            if earlier is not None:  # two spellings of one name: the first that has a value
                values = [b if a is None else a for a, b in zip(earlier, values, strict=True)]
            columns[known] = values
        extras: list[tuple[int, str, Any]] = []
        if unknown:
            for index, row in enumerate(rows):
                extras += [
                    (index, name, value)
                    for name, value in row.items()
                    if name in unknown and value is not None
                ]
        return columns, extras

    def _pivot(self, rows: list[Row], source: list[int]) -> tuple[list[Row], list[int]]:
        """Samples of one message with the same time and device are one row."""
        shaped: list[Row] = []
        shaped_source: list[int] = []
        open_rows: dict[tuple[str, ...], Row] = {}
        last = -1
        for row, message in zip(rows, source, strict=True):
            if message != last:
                open_rows.clear()
                last = message
            name = row.get(_SAMPLE_NAME)
            if not isinstance(name, str) or _SAMPLE_VALUE not in row:
                shaped.append(row)
                shaped_source.append(message)
                continue
            key = tuple(repr(row.get(part)) for part in self._key_of_sample)
            target = open_rows.get(key)
            if target is None or name in target:
                target = open_rows[key] = {}
                shaped.append(target)
                shaped_source.append(message)
            rest = {k: v for k, v in row.items() if k not in (_SAMPLE_NAME, _SAMPLE_VALUE)}
            target.update(rest)
            target[name] = row[_SAMPLE_VALUE]
        return shaped, shaped_source

    def _flat(self, row: Row) -> Row:
        flat: Row = {}
        for name, value in row.items():
            if not isinstance(value, dict) or name in self._known:
                flat[name] = value
            elif name == _SPREAD and self._spreads:
                for inner, each in value.items():
                    _join(flat, inner, each, NESTING_MAX)
            else:
                _join(flat, name, value, NESTING_MAX)
        return flat


def _has_map(row: Row) -> bool:
    return dict in set(map(type, row.values()))


def _join(flat: Row, name: str, value: Any, depth: int) -> None:
    if isinstance(value, dict) and depth > 0:
        for inner, each in value.items():
            _join(flat, f"{name}.{inner}", each, depth - 1)
    else:
        flat[name] = value
