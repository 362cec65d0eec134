"""Payloads that are objects, in the shapes that makers send: JSON and MessagePack are read alike.

An object of measurements; an array of them; ``{"ts": .., "values": {..}}``, whose values are
spread; ``[{"name", "value", "timestamp"}]``, whose elements of one time become one row. Other
nested objects are joined with a dot: ``{"motor": {"rpm": 5}}`` is ``motor.rpm``.

1. A payload whose objects have none but known names, and numbers where numbers are wanted, is
   parsed straight into slots, a third of the work of dictionaries. It is what equal machines send.
2. Any other payload is parsed into dictionaries; names are looked up, joined and sorted out
   (shapes.py).
3. Where the configuration has a map (payload_map.py), it says what the rows of a payload are.

Rows become columns in chunks: small enough to be still in the processor's cache.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import msgspec

from mainstem_edge.decode.interface import Decoded, Failure, KnownNames
from mainstem_edge.decode.payload_map import PayloadMap
from mainstem_edge.decode.shapes import Columns, Row, Shapes
from mainstem_edge.errors import PayloadError

CHUNK_ROWS = 256

ParseAny = Callable[[bytes], Any]
"""Any payload as plain values; raises PayloadError."""
MakeDecoder = Callable[[Any], Any]
"""A type to a decoder of it: ``msgspec.json.Decoder`` or ``msgspec.msgpack.Decoder``."""


class ObjectCodec(abc.ABC):
    """Reads one format for one subscription. ``time_fields``: what names the time of a sample.
    ``payload_map``: where the rows are; None for the shapes above."""

    make_decoder: ClassVar[type[Any]]
    """As ``msgspec.json.Decoder``."""

    @staticmethod
    @abc.abstractmethod
    def parse_any(payload: bytes) -> Any:
        """Any payload as plain values; raises PayloadError."""

    def __init__(
        self,
        known: KnownNames,
        time_fields: Sequence[str] = (),
        payload_map: PayloadMap | None = None,
    ) -> None:
        self._map = payload_map
        self._slots = _Slots(sorted(known.exact), known.numbers, self.make_decoder)
        self._shapes = Shapes(known, time_fields)

    def decode(self, payloads: Sequence[bytes]) -> Decoded:
        """All rows of these messages, in order."""
        decoding = _Decoding(self._slots, self._shapes, self.parse_any)
        if self._map is not None:
            return decoding.run_mapped(payloads, self._map)
        return decoding.run(payloads)


class _Decoding:
    """One call of decode: collects rows in slots, or rows as dictionaries, and the columns."""

    def __init__(self, slots: _Slots, shapes: Shapes, parse_any: ParseAny) -> None:
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
        return self._whole()

    def run_mapped(self, payloads: Sequence[bytes], payload_map: PayloadMap) -> Decoded:
        """Every payload by the map."""
        for message, payload in enumerate(payloads):
            try:
                rows, problems = payload_map.rows_of(self._parse_any(payload))
            except PayloadError as error:
                self._decoded.failures.append(Failure(message, error.message))
                continue
            self._decoded.failures += [Failure(message, text, value) for text, value in problems]
            self._mapped += rows
            self._mapped_source += [message] * len(rows)
            if len(self._mapped) >= CHUNK_ROWS:
                self._flush_mapped()
        return self._whole()

    def _whole(self) -> Decoded:
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


def _is_empty(values: list[Any]) -> bool:
    return not values or (values[0] is None and values.count(None) == len(values))
