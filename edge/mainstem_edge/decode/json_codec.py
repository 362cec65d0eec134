"""JSON payloads, in the shapes that makers send.

An object of measurements; an array of them; ``{"ts": .., "values": {..}}``, whose values are
spread; ``[{"name", "value", "timestamp"}]``, whose elements of one time become one row. Other
nested objects are joined with a dot: ``{"motor": {"rpm": 5}}`` is ``motor.rpm``.

1. Each payload is parsed by msgspec. What it refuses is tried once more with the standard library,
   which reads the ``NaN`` that many programs write, and numbers beyond a double as infinite: such a
   value is then put aside as the wrong type, and its row stays.
2. Rows of all payloads are gathered, then turned into columns in one pass per known name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from typing import Any

import msgspec

from mainstem_edge.decode.interface import DEVICE_KEY, Decoded, Failure, KnownNames
from mainstem_edge.errors import PayloadError

NESTING_MAX = 16
"""Deeper objects are taken as a value (of the wrong type): no machine's telemetry nests so deep."""

_SPREAD = "values"
_SAMPLE_NAME = "name"
_SAMPLE_VALUE = "value"
_BOM = b"\xef\xbb\xbf"

Row = dict[str, Any]

_parse = msgspec.json.Decoder().decode


class JsonCodec:
    """Reads JSON for one subscription. ``time_fields``: what names the time of a sample."""

    def __init__(self, known: KnownNames, time_fields: Sequence[str] = ()) -> None:
        self._known = known
        self._key_of_sample = (DEVICE_KEY, *time_fields)
        self._spreads = _SPREAD not in known
        self._pivots = _SAMPLE_NAME not in known

    def decode(self, payloads: Sequence[bytes]) -> Decoded:
        """All rows of these messages, in order."""
        rows: list[Row] = []
        source: list[int] = []
        failures: list[Failure] = []
        for message, payload in enumerate(payloads):
            try:
                value = _parse(payload)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                try:
                    value = _parse_leniently(payload)
                except PayloadError as error:
                    failures.append(Failure(message, error.message))
                    continue
            if type(value) is dict:
                rows.append(value)
                source.append(message)
            elif type(value) is list:
                self._array(message, value, rows, source, failures)
            else:
                failures.append(Failure(message, "neither an object nor an array of objects"))
        rows, source = self._shape(rows, source)
        return self._columns(rows, source, failures)

    def _array(
        self,
        message: int,
        elements: list[Any],
        rows: list[Row],
        source: list[int],
        failures: list[Failure],
    ) -> None:
        if set(map(type, elements)) <= {dict}:
            rows.extend(elements)
            source.extend([message] * len(elements))
            return
        for element in elements:
            if type(element) is dict:
                rows.append(element)
                source.append(message)
            else:
                failures.append(Failure(message, "an element that is not an object", element))

    def _shape(self, rows: list[Row], source: list[int]) -> tuple[list[Row], list[int]]:
        """Samples become rows, ``values`` are spread, nested objects joined."""
        names = dict.fromkeys(chain.from_iterable(rows))
        if self._pivots and _SAMPLE_NAME in names and _SAMPLE_VALUE in names:
            rows, source = self._pivot(rows, source)
            names = dict.fromkeys(chain.from_iterable(rows))
        if all(name in self._known.exact for name in names):
            return rows, source
        exact = self._known.exact
        return [
            row if exact.issuperset(row) or not _has_map(row) else self._flat(row) for row in rows
        ], source

    def _pivot(self, rows: list[Row], source: list[int]) -> tuple[list[Row], list[int]]:
        """Samples of one message with the same time and device are one row."""
        shaped: list[Row] = []
        shaped_source: list[int] = []
        open_rows: dict[tuple[Any, ...], Row] = {}
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

    def _columns(self, rows: list[Row], source: list[int], failures: list[Failure]) -> Decoded:
        columns: dict[str, list[Any]] = {}
        unknown: set[str] = set()
        for name in dict.fromkeys(chain.from_iterable(rows)):
            known = self._known.get(name)
            if known is None:
                unknown.add(name)
                continue
            values = [row.get(name) for row in rows]
            earlier = columns.get(known)
            if earlier is None:
                columns[known] = values
            else:  # two spellings of one name: the first that has a value stands
                columns[known] = [
                    b if a is None else a for a, b in zip(earlier, values, strict=True)
                ]
        extras: list[tuple[int, str, Any]] = []
        if unknown:
            for index, row in enumerate(rows):
                if not unknown.isdisjoint(row):
                    extras += [
                        (index, name, value)
                        for name, value in row.items()
                        if name in unknown and value is not None
                    ]
        return Decoded(source, columns, extras, failures)


def _has_map(row: Row) -> bool:
    return dict in set(map(type, row.values()))


def _join(flat: Row, name: str, value: Any, depth: int) -> None:
    if isinstance(value, dict) and depth > 0:
        for inner, each in value.items():
            _join(flat, f"{name}.{inner}", each, depth - 1)
    else:
        flat[name] = value


def _parse_leniently(payload: bytes) -> Any:
    """What msgspec refused, once more. Raises PayloadError."""
    text = payload.removeprefix(_BOM)
    if b"\\ud" in text.lower():
        raise PayloadError("half of a surrogate pair, or JSON that is malformed")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PayloadError(f"not JSON: {error}") from None
