"""Literals of INSERT, TAGS and SET TAG as values: parameters, the clock, times as users write them.

Integers of time are in the precision of a database; text is read in the request's zone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mainstem_engine.errors import OutOfRangeError, SchemaError, SqlError
from mainstem_engine.sql.plan import Request
from mainstem_engine.sql.select.time_expressions import datetime_ns
from mainstem_engine.sql.statements import Literal, Now, Parameter
from mainstem_engine.sql.times import TIME_UNITS, parse_time_ns


class LiteralValues:
    """What literals mean in one request."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def plain(self, value: Literal) -> Any:
        """The Python value of a literal; ``Now`` becomes nanoseconds only where a time is due.
        Raises SqlError for a parameter without a value."""
        if isinstance(value, Parameter):
            params: Sequence[Any] = self._request.params
            if value.index >= len(params):
                raise SqlError(
                    f"there is no value for parameter {value.index + 1}",
                    hint="pass one value for each ?",
                )
            found = params[value.index]
            is_array_scalar = hasattr(found, "item") and not isinstance(found, bytes)
            return found.item() if is_array_scalar else found
        return value

    def time_ns(self, name: str, literal: Literal, precision_ns: int) -> int:
        """The time of a literal. Raises SchemaError, OutOfRangeError when it is finer than the
        precision."""
        value = self.plain(literal)
        if isinstance(value, Now):
            return (self._request.now_ns + value.offset_ns) // precision_ns * precision_ns
        if isinstance(value, str):
            found = parse_time_ns(value, self._request.zone)
        elif hasattr(value, "utcoffset"):
            found = datetime_ns(value, self._request.zone)
        elif isinstance(value, int) and not isinstance(value, bool):
            return value * precision_ns
        else:
            raise SchemaError(
                f"{name} is a time, not {value!r}",
                field=name,
                hint="write an integer, '2026-10-03T06:00:00Z' or now",
            )
        if found % precision_ns:
            raise too_fine(name, value, precision_ns)
        return found


def too_fine(name: str, value: object, precision_ns: int) -> OutOfRangeError:
    """The error of a time that the precision of its database cannot hold."""
    return OutOfRangeError(
        f"{name}: {value} is finer than the database's precision",
        field=name,
        hint=f"use at most {TIME_UNITS[precision_ns]}, or a database of finer precision",
    )
