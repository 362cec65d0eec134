"""Options of a database that decide how its rows are written, beside partitions and retention.

``block_rows``   rows of a block of its parts, at most; None: as the engine is run
``compression``  of measurements that name none
``flush_every``  its rows reach a part at the latest after this long; the least of all databases and
                 of the engine's own counts, for one flush writes the rows of all
``auto_extend``  on: INSERT adds a measurement that its template lacks

Values are kept as they were written. Other options are kept too and have no effect.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from mainstem_engine.errors import SchemaError
from mainstem_engine.model import AUTO, Measurement, Template

if TYPE_CHECKING:
    from mainstem_engine.catalog.databases import Database

KNOWN = ("block_rows", "compression", "flush_every", "auto_extend")
COMPRESSIONS = ("AUTO", "UNCOMPRESSED", "SNAPPY", "LZ4", "ZSTD")
BLOCK_ROWS_MIN, BLOCK_ROWS_MAX = 8, 1 << 20
"""What a part can hold (part/layout.py)."""
_DURATION = re.compile(r"\s*(\d+)\s*(ms|s|m|h|d|)\s*")
_UNIT_NS = {
    "ms": 10**6,
    "": 10**9,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86_400 * 10**9,
}


def check_options(options: Mapping[str, str]) -> None:
    """Raises SchemaError for a value that a known option cannot have."""
    for name, value in options.items():
        expected = None
        if name == "block_rows":
            fits = value.isdecimal() and BLOCK_ROWS_MIN <= int(value) <= BLOCK_ROWS_MAX
            expected = None if fits else f"a number from {BLOCK_ROWS_MIN} to {BLOCK_ROWS_MAX}"
        elif name == "compression" and value.upper() not in COMPRESSIONS:
            expected = f"one of {', '.join(COMPRESSIONS)}"
        elif name == "flush_every" and not _duration_ns(value):
            expected = "a duration such as 60s"
        elif name == "auto_extend" and value.lower() not in ("on", "off"):
            expected = "'on' or 'off'"
        if expected is not None:
            raise SchemaError(
                f"database option {name} is {value!r}", field=name, hint=f"use {expected}"
            )


def part_settings(
    database: Database, template: Template, block_rows: int
) -> tuple[dict[int, Measurement], int]:
    """(measurements by id, rows of a block) of parts that hold rows of a database.

    ``block_rows``: of databases that do not say.
    """
    named = database.options.get("block_rows")
    compression = database.options.get("compression", AUTO).upper()
    measurements = {
        m.id: dataclasses.replace(m, compression=compression) if m.compression == AUTO else m
        for m in template.measurements
    }
    return measurements, block_rows if named is None else int(named)


def least_flush_every_ns(databases: Iterable[Database], engine_ns: int) -> int:
    """How often to flush: the least that is asked for; 0 when nobody asks."""
    named = [_duration_ns(database.options.get("flush_every", "")) for database in databases]
    return min((value for value in (engine_ns, *named) if value), default=0)


def extends_templates(database: Database | None) -> bool:
    """True when INSERT may add a measurement that a template lacks."""
    return database is not None and database.options.get("auto_extend", "").lower() == "on"


def _duration_ns(text: str) -> int:
    """0 for what is no duration."""
    match = _DURATION.fullmatch(text.lower())
    return 0 if match is None else int(match.group(1)) * _UNIT_NS[match.group(2)]
