"""Payloads that are objects, in the shapes that makers send: JSON and MessagePack are read alike.

An object of measurements; an array of them; ``{"ts": .., "values": {..}}``, whose values are
spread; ``[{"name", "value", "timestamp"}]``, whose elements of one time become one row. Other
nested objects are joined with a dot: ``{"motor": {"rpm": 5}}`` is ``motor.rpm``.

1. A payload whose objects have none but known names, and numbers where numbers are wanted, is
   parsed straight into slots, a third of the work of dictionaries. It is what equal machines send.
2. Any other payload is parsed into dictionaries; names are looked up, joined and sorted out.

Rows become columns in chunks: small enough to be still in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import msgspec

from mainstem_edge.decode.interface import DEVICE_KEY, Decoded, Failure, KnownNames
from mainstem_edge.errors import PayloadError

NESTING_MAX = 16
"""Deeper objects are taken as a value (of the wrong type): no machine's telemetry nests so deep."""
CHUNK_ROWS = 256

_SPREAD = "values"
_SAMPLE_NAME = "name"
_SAMPLE_VALUE = "value"

Row = dict[str, Any]
Columns = dict[str, list[Any]]
ParseAny = Callable[[bytes], Any]
"""Any payload as plain values; raises PayloadError."""
MakeDecoder = Callable[[Any], Any]
"""A type to a decoder of it: ``msgspec.json.Decoder`` or ``msgspec.msgpack.Decoder``."""


class ObjectCodec:
    """Reads one format for one subscription. ``time_fields``: what names the time of a sample."""

    def __init__(
        self,
        known: KnownNames,
        time_fields: Sequence[str],
        make_decoder: MakeDecoder,
        parse_any: ParseAny,
    ) -> None:
        self._slots = _Slots(sorted(known.exact), known.numbers, make_decoder)
        self._shapes = _Shapes(known, time_fields)
        self._parse_any = parse_any

    def decode(self, payloads: Sequence[bytes]) -> Decoded:
        """All rows of these messages, in order."""
        return _Decoding(self._slots, self._shapes, self._parse_any).run(payloads)


class _Decoding:
    """One call of decode: collects rows in slots, or rows as dictionaries, and the columns."""

    def __init__(self, slots: _Slots, shapes: _Shapes, parse_any: ParseAny) -> None:
        self._slots = slots
        self._shapes = shapes
        self._parse_any = parse_any
        self._decoded = Decoded([], {}, floats=set(slots.numbers))
        self._slotted: list[Any] = []
        self._slotted_source: list[int] = []
        self._mapped: list[Row] = []
        self._mapped_source: list[int] = []

    def run(self, payloads: Sequence[bytes]) -> Decoded:
        parse, slotted, source = self._slots.parse, self._slotted, self._slotted_source
        for message, payload in enumerate(payloads):
            try:
                found = parse(payload)
            except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
                self._other(message, payload)
                continue
            if self._mapped:
                self._flush_mapped()
            if type(found) is list:
                slotted.extend(found)
                source.extend([message] * len(found))
            else:
                slotted.append(found)
                source.append(message)
            if len(slotted) >= CHUNK_ROWS:
                self._flush_slotted()
        self._flush_slotted()
        self._flush_mapped()
        columns = self._decoded.columns
        for name in [n for n, values in columns.items() if _is_empty(values)]:
            del columns[name]
        return self._decoded

    def _other(self, message: int, payload: bytes) -> None:
        """A payload that is no object of known names alone, nor an array of such."""
        try:
            value = self._parse_any(payload)
        except PayloadError as error:
            self._decoded.failures.append(Failure(message, error.message))
            return
        if type(value) is not list and type(value) is not dict:
            problem = "neither an object nor an array of objects"
            self._decoded.failures.append(Failure(message, problem))
            return
        self._flush_slotted()
        for element in value if type(value) is list else (value,):
            if type(element) is dict:
                self._mapped.append(element)
                self._mapped_source.append(message)
            else:
                problem = "an element that is not an object"
                self._decoded.failures.append(Failure(message, problem, element))
        if len(self._mapped) >= CHUNK_ROWS:
            self._flush_mapped()

    def _flush_slotted(self) -> None:
        if self._slotted:
            self._decoded.add(self._slotted_source, self._slots.columns(self._slotted))
            self._slotted.clear()
            self._slotted_source.clear()

    def _flush_mapped(self) -> None:
        if not self._mapped:
            return
        rows, source = self._shapes.shape(self._mapped, self._mapped_source)
        columns, extras = self._shapes.columns(rows)
        before = len(self._decoded)
        self._decoded.extras += [(before + row, name, value) for row, name, value in extras]
        self._decoded.floats.difference_update(columns)
        self._decoded.add(source, columns)
        self._mapped, self._mapped_source = [], []


class _Slots:
    """Objects of known names as msgspec structs; any other name is refused, and so is anything but
    a number under one of ``numbers``."""

    def __init__(
        self, names: Sequence[str], numbers: frozenset[str], make_decoder: MakeDecoder
    ) -> None:
        self.numbers = numbers
        self._names = tuple(names)
        fields = [f"f{position}" for position in range(len(names))]
        types = [float | None if name in numbers else object for name in names]
        row = msgspec.defstruct(
            "Row",
            [(field, kind, None) for field, kind in zip(fields, types, strict=True)],
            rename=dict(zip(fields, names, strict=True)),
            forbid_unknown_fields=True,
            gc=False,  # holds plain values: no cycle can lead through it
        )
        self.parse: Callable[[bytes], Any] = make_decoder(row | list[row]).decode  # type: ignore[valid-type]

    def columns(self, rows: Sequence[Any]) -> Columns:
        """Every name to the values of these rows, None where absent."""
        transposed = zip(*map(msgspec.structs.astuple, rows), strict=True)
        return dict(zip(self._names, map(list, transposed), strict=True))


class _Shapes:
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


def _is_empty(values: list[Any]) -> bool:
    return not values or (values[0] is None and values.count(None) == len(values))


def _has_map(row: Row) -> bool:
    return dict in set(map(type, row.values()))


def _join(flat: Row, name: str, value: Any, depth: int) -> None:
    if isinstance(value, dict) and depth > 0:
        for inner, each in value.items():
            _join(flat, f"{name}.{inner}", each, depth - 1)
    else:
        flat[name] = value
