"""What one question asks for, as plain values: the body of a QUERY frame.

A wish is of one table. Devices go by their paths and measurements by their names: numbers mean
something else at every node. Whoever answers checks every field: it comes from another machine.
A field that is left out has its default; one that is not known is passed over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack

from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_node.federated.kept_answers import STAMP_CHARS_MAX
from mainstem_sync.errors import WireError
from mainstem_sync.wire.fields import NAME_CHARS_MAX, list_of, text

PIECES = "pieces"
"""Groups of rows, which can be merged with those of others: count, sum, extremes, ends."""
ROWS = "rows"
NEWEST = "newest"
"""The newest values of each device."""

KINDS = (PIECES, ROWS, NEWEST)
NODES_MAX = 4096
SPANS_MAX = 1000
DEVICES_MAX = 100_000
COLUMNS_MAX = 10_000
PATH_CHARS_MAX = 1024

Span = tuple[int, int]
"""[from, to) in ns."""


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of some nodes in some spans of time."""

    nodes: tuple[str, ...]
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Wish:
    """See the module. ``devices`` None: all. ``role`` and ``by``: of whoever asked first. ``kept``:
    the stamp of the answer that the asking node has. The rest as Storage's methods have it."""

    kind: str
    table: str
    parts: tuple[Part, ...]
    devices: tuple[str, ...] | None = None
    functions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    every_ns: int | None = None
    by_device: bool = False
    filters: tuple[tuple[str, str, int | float], ...] = ()
    row_times: bool = False
    columns: tuple[str, ...] = ()
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    edge: tuple[int, bool] | None = None
    role: str = ""
    by: str = ""
    kept: str = ""

    def pack(self) -> bytes:
        """The body of a question."""
        packed: bytes = msgpack.packb(
            {
                "kind": self.kind,
                "table": self.table,
                "parts": [[part.nodes, part.spans] for part in self.parts],
                "devices": self.devices,
                "functions": {name: list(some) for name, some in self.functions.items()},
                "every": self.every_ns,
                "by_device": self.by_device,
                "filters": self.filters,
                "row_times": self.row_times,
                "columns": self.columns,
                "ranges": dict(self.ranges),
                "edge": self.edge,
                "role": self.role,
                "by": self.by,
                "kept": self.kept,
            }
        )
        return packed

    @classmethod
    def unpack(cls, body: bytes) -> Wish:
        """Raises WireError."""
        try:
            plain = msgpack.unpackb(body)
        except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as exc:
            raise WireError(f"a question is not msgpack ({exc})") from exc
        if not isinstance(plain, dict) or plain.get("kind") not in KINDS:
            raise WireError("a question of an unknown kind", hint="upgrade this node")
        try:
            return cls(
                plain["kind"],
                text(plain["table"], "table"),
                tuple(_part(part) for part in list_of(plain["parts"], "parts", NODES_MAX)),
                _texts(plain["devices"], "devices", DEVICES_MAX, PATH_CHARS_MAX),
                _functions(plain["functions"]),
                _optional_time(plain["every"]),
                bool(plain["by_device"]),
                tuple(_filter(each) for each in list_of(plain["filters"], "filters", COLUMNS_MAX)),
                bool(plain["row_times"]),
                _texts(plain["columns"], "columns", COLUMNS_MAX) or (),
                {name: (float(a), float(b)) for name, (a, b) in dict(plain["ranges"]).items()},
                None if plain["edge"] is None else (int(plain["edge"][0]), bool(plain["edge"][1])),
                text(plain["role"], "role"),
                text(plain["by"], "by", empty=True),
                text(plain.get("kept", ""), "kept", STAMP_CHARS_MAX, empty=True),
            )
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as exc:
            if isinstance(exc, WireError):
                raise
            raise WireError(f"a question that cannot be read ({exc})") from exc


def _part(value: object) -> Part:
    nodes, spans = list_of(value, "a part", 2)
    return Part(
        _texts(nodes, "nodes", NODES_MAX) or (),
        tuple((_time(a), _time(b)) for a, b in list_of(spans, "spans", SPANS_MAX)),
    )


def _time(value: object) -> int:
    if type(value) is not int or not TIME_MIN_NS <= value <= TIME_MAX_NS + 1:
        raise WireError(f"{value!r} is not a time in ns")
    return value


def _optional_time(value: object) -> int | None:
    if value is None:
        return None
    if _time(value) <= 0:
        raise WireError("a window without length")
    return _time(value)


def _texts(
    value: object, what: str, count: int, characters: int = NAME_CHARS_MAX
) -> tuple[str, ...] | None:
    if value is None:
        return None
    return tuple(text(each, what, characters) for each in list_of(value, what, count))


def _functions(value: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict) or len(value) > COLUMNS_MAX:
        raise WireError("functions is not a map")
    found: dict[str, tuple[str, ...]] = {}
    for name, some in value.items():
        found[text(name, "functions")] = _texts(some, "functions", 16) or ()
    return found


def _filter(value: Any) -> tuple[str, str, int | float]:
    name, operator, number = list_of(value, "a filter", 3)
    if type(number) not in (int, float):
        raise WireError("a filter compares with a number")
    return text(name, "a filter"), text(operator, "a filter", 8), number
