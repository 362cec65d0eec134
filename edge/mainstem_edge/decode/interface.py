"""The seam between codecs and everything after them: payloads in, rows of raw columns out.

1. A codec never raises for a payload: what it cannot read becomes a failure of that message.
2. Values are raw: Python numbers, booleans, text, lists and maps. Their types are judged later,
   against the template, so that one wrong value does not cost its row.
3. Names are those of ``KnownNames`` where the payload's differ only by case. Values under any other
   name go to ``extras``; so the work is bounded by the payloads, however many names they invent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

DEVICE_KEY = "device"
"""The key under which a payload names its device; no measurement can be called so."""

VALUE_KEY = "value"
"""Where a message has its one value, if the subscription says what that is called."""


class KnownNames:
    """The names that a subscription looks for: measurements, time fields, placeholders.

    ``get`` gives the known spelling of a payload's name, or None. An exact match goes before one
    that differs by case. ``numbers``: names whose values are used as floating-point numbers only.
    """

    def __init__(self, names: Iterable[str], numbers: Iterable[str] = ()) -> None:
        self._names = {name: name for name in names}
        self.numbers = frozenset(numbers)
        self._folded = {name.casefold(): name for name in reversed(self._names)}
        self.exact = frozenset(self._names)

    def get(self, name: str) -> str | None:
        return self._names.get(name) or self._folded.get(name.casefold())

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None


@dataclass(frozen=True, slots=True)
class Failure:
    """A message, or one element of it, that could not be read. ``message`` counts from 0."""

    message: int
    problem: str
    value: Any = None
    """The element; None means the whole payload."""


@dataclass(slots=True)
class Decoded:
    """n rows out of some messages.

    ``source`` [n]: the message each row came from, ascending. ``columns``: known name to n raw
    values, None where a row has none. ``extras``: (row, name, value) under names not known.
    ``textual``: every value is text, as in CSV; types are then read from it. ``floats``: columns
    that hold nothing but finite floats and None.
    """

    source: list[int]
    columns: dict[str, list[Any]]
    extras: list[tuple[int, str, Any]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    textual: bool = False
    floats: set[str] = field(default_factory=set)
    _extras_of: dict[int, dict[str, Any]] | None = None

    def __len__(self) -> int:
        return len(self.source)

    def add(self, source: Sequence[int], columns: Mapping[str, list[Any]]) -> None:
        """Appends rows; a name that either side lacks is None there. Takes over the lists."""
        before = len(self.source)
        self.source.extend(source)
        for name, values in columns.items():
            present = self.columns.get(name)
            if present is not None:
                present.extend(values)
            else:
                self.columns[name] = [None] * before + values if before else values
        for values in self.columns.values():
            if len(values) < len(self.source):
                values.extend([None] * (len(self.source) - len(values)))

    def row(self, index: int) -> dict[str, Any]:
        """One row as a map, for the quarantine. Nothing may be added after the first call."""
        found = {
            name: values[index]
            for name, values in self.columns.items()
            if values[index] is not None
        }
        if self._extras_of is None:  # once: many rows may be asked for
            self._extras_of = {}
            for row, name, value in self.extras:
                self._extras_of.setdefault(row, {})[name] = value
        return {**found, **self._extras_of.get(index, {})}


class Codec(Protocol):
    """One payload format."""

    def decode(self, payloads: Sequence[bytes]) -> Decoded:
        """All rows of these messages, in order."""
