"""What a function of analysis is: its name, its columns, its parameters, and what runs it.

1. A *point function* makes points of each partition (DIFF, TOP, M4, resample). With ``keeps_rows``
   it has exactly one value per row, and may stand beside other columns and in WHERE.
2. A *window function* makes one value of the rows of each window (TWA, ELAPSED, completeness). It
   sees the rows outside of its window too, for values at the edges.
3. A name may have both: the first is meant in a query that does not group, the second in one that
   does.
4. Parameters come by position, as constants after the columns (``mavg(x, 3)``), or by name, as the
   peers write them (``mvavg(x, 'window'='3')``). ``bind`` checks them all before anything is read.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mainstem_engine.analysis.rows import Points, Signal, Timeline, Windows
from mainstem_engine.errors import SqlError

Options = Mapping[str, Any]
"""Bound parameters by name: None, bool, int, float, str; durations and times int in ns."""
_INT64 = range(-(2**63), 2**63)
"""Whole numbers are computed with in 64 bits."""
REQUIRED = object()
"""Default of a parameter that has none."""


_WHOLE_END = 2**64
"""Whole numbers of columns are below this, signed or not."""


class _Tick(int):
    """A number of its own type, so that it is told from a plain default."""


TICK = _Tick(1_000_000)
"""Default of a duration: what a plain number counts in, which is the precision of the table's times
where a statement is bound, and a millisecond elsewhere."""


class Kind(enum.Enum):
    """What a parameter holds, and what it may be written as."""

    INTEGER = "an integer"
    NUMBER = "a number"
    """int where it is written as one."""
    TEXT = "a text"
    FLAG = "true or false"
    DURATION = "a duration such as 10s"
    """Plain numbers count in the precision of the table's times."""
    COUNT_OR_DURATION = "a number of points or a duration such as 1h"
    """Bound to a negative integer for plain numbers (-15), to a positive one for ns."""
    TIME = "a time"


@dataclass(frozen=True, slots=True)
class Parameter:
    """``name`` is matched without regard to case and underscores. ``choices``: texts, in lower
    case, of which it is one. ``low`` and ``high`` are inclusive."""

    name: str
    kind: Kind
    default: Any = REQUIRED
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    aliases: tuple[str, ...] = ()


PointRun = Callable[[Timeline, Sequence[Signal], Options], Points]
WindowRun = Callable[[Timeline, Sequence[Signal], Windows, Options], Signal]


@dataclass(frozen=True, slots=True)
class PointFunction:
    """``columns``: (least, most) columns that it takes; they come first. ``parameters`` in the
    order of their positions. ``outputs``: names of its columns, empty: one, named by the call.
    ``skips_empty``, with ``keeps_rows``: whether options ask for rows without a value to be left
    out; they are where all functions of the SELECT ask for it and none has a value."""

    name: str
    run: PointRun
    columns: tuple[int, int] = (1, 1)
    parameters: tuple[Parameter, ...] = ()
    keeps_rows: bool = False
    outputs: tuple[str, ...] = ()
    takes_text: bool = False
    skips_empty: Callable[[Options], bool] | None = None


@dataclass(frozen=True, slots=True)
class WindowFunction:
    """As ``PointFunction``, with one value per window. ``takes_time``: its first argument is the
    time of the rows, as in ELAPSED(ts), and is left out of the signals."""

    name: str
    run: WindowRun
    columns: tuple[int, int] = (1, 1)
    parameters: tuple[Parameter, ...] = ()
    takes_time: bool = False
    takes_text: bool = False


Function = PointFunction | WindowFunction


@dataclass(frozen=True, slots=True)
class Written:
    """The constants of a call. Durations and times of the grammar come as ``Ns``."""

    positional: tuple[Any, ...] = ()
    named: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Ns:
    """A duration such as ``10s``, which the grammar knows as one."""

    value: int


def bind(
    function: Function,
    written: Written,
    *,
    parse_duration: Callable[[str], int],
    parse_time: Callable[[str], int],
) -> dict[str, Any]:
    """The parameters of a call, complete with defaults. ``parse_duration`` and ``parse_time`` read
    text, plain numbers too (ns; they raise SqlError). Raises SqlError naming function and
    parameter."""
    found: dict[str, Any] = {}
    parameters = function.parameters
    if len(written.positional) > len(parameters):
        most = f"{len(parameters)} parameter{'' if len(parameters) == 1 else 's'}"
        raise SqlError(
            f"{function.name} takes {most} after its columns, not {len(written.positional)}",
            field=function.name,
            hint=describe(function),
        )
    given = list(zip(parameters, written.positional, strict=False))
    by_name = {
        _plain(alias): parameter
        for parameter in parameters
        for alias in (parameter.name, *parameter.aliases)
    }
    for name, value in written.named:
        known = by_name.get(_plain(name))
        if known is None:
            raise SqlError(
                f"{function.name} has no parameter {name!r}",
                field=function.name,
                hint=describe(function),
            )
        given.append((known, value))
    for parameter, value in given:
        if parameter.name in found:
            raise SqlError(
                f"{function.name}: {parameter.name} is given twice",
                field=function.name,
                hint=describe(function),
            )
        found[parameter.name] = _value(function, parameter, value, parse_duration, parse_time)
    for parameter in parameters:
        if parameter.name not in found:
            if parameter.default is REQUIRED:
                raise SqlError(
                    f"{function.name} needs {parameter.name}",
                    field=function.name,
                    hint=describe(function),
                )
            is_tick = isinstance(parameter.default, _Tick)
            found[parameter.name] = parse_duration("1") if is_tick else parameter.default
    return found


def describe(function: Function) -> str:
    """How a function is called, for messages and listings."""
    columns = ["x", "y", "z"][: max(function.columns[0], 1)]
    if function.columns[1] > len(columns):
        columns.append("...")
    parts = [*columns]
    for parameter in function.parameters:
        written = f"{parameter.name}: {' or '.join(parameter.choices) or parameter.kind.value}"
        parts.append(written if parameter.default is REQUIRED else f"[{written}]")
    return f"{function.name}({', '.join(parts)})"


def kind_of(function: Function) -> str:
    """What a function makes, for listings."""
    if isinstance(function, WindowFunction):
        return "one value per window"
    return "one value per row" if function.keeps_rows else "points"


def _plain(name: str) -> str:
    return name.replace("_", "").casefold()


def _value(
    function: Function,
    parameter: Parameter,
    value: Any,
    parse_duration: Callable[[str], int],
    parse_time: Callable[[str], int],
) -> Any:
    try:
        found = _read(parameter, value, parse_duration, parse_time)
    except (ValueError, TypeError, OverflowError):
        found = None
    if found is None:
        shown = value.value if isinstance(value, Ns) else value
        raise SqlError(
            f"{function.name}: {parameter.name} is {parameter.kind.value}, not {shown!r}",
            field=function.name,
            hint=describe(function),
        )
    # Numbers are bounded where they are read: those of unsigned columns go further.
    if isinstance(found, int) and found not in _INT64 and parameter.kind is not Kind.NUMBER:
        raise SqlError(
            f"{function.name}: {parameter.name} is too large",
            field=function.name,
            hint="it is an integer of 64 bits",
        )
    if parameter.choices and found not in parameter.choices:
        raise SqlError(
            f"{function.name}: {parameter.name} is {' or '.join(parameter.choices)}, not {value!r}",
            field=function.name,
            hint=describe(function),
        )
    too_low = parameter.low is not None and abs_count(parameter, found) < parameter.low
    if too_low or (parameter.high is not None and abs_count(parameter, found) > parameter.high):
        low = "" if parameter.low is None else f" at least {parameter.low:g}"
        high = "" if parameter.high is None else f" at most {parameter.high:g}"
        raise SqlError(
            f"{function.name}: {parameter.name} must be{low}{high}",
            field=function.name,
            hint=describe(function),
        )
    return found


def abs_count(parameter: Parameter, found: Any) -> Any:
    """The size of a value: counts of points are bound as negative numbers."""
    return abs(found) if parameter.kind is Kind.COUNT_OR_DURATION else found


def _number(value: Any) -> float | int | None:
    """A whole number stays one, so that it may be compared with others exactly."""
    if isinstance(value, int) or (isinstance(value, str) and value.lstrip("-").isdecimal()):
        whole = int(value)
        return whole if -_WHOLE_END // 2 <= whole < _WHOLE_END else float(whole)
    number = float(value)
    return None if math.isnan(number) else number


def _read(
    parameter: Parameter,
    value: Any,
    parse_duration: Callable[[str], int],
    parse_time: Callable[[str], int],
) -> Any:
    """None where it cannot be that."""
    kind = parameter.kind
    text = value.strip() if isinstance(value, str) else None
    if kind is Kind.TEXT:
        if text is None:
            return None
        return text.lower() if parameter.choices else text
    if kind is Kind.FLAG:
        if isinstance(value, bool | int):
            return bool(value)
        return {"true": True, "false": False, "1": True, "0": False}.get((text or "").lower())
    if kind is Kind.NUMBER:
        if isinstance(value, bool | Ns):
            return None
        return _number(text if text is not None else value)
    if kind is Kind.INTEGER:
        if isinstance(value, bool | Ns | float):
            return None
        return int(text if text is not None else value)
    if kind is Kind.TIME:
        return parse_time(text if text is not None else str(int(value)))
    if isinstance(value, Ns):
        return value.value
    if kind is Kind.COUNT_OR_DURATION and (text is None or text.isdecimal()):
        return -int(text if text is not None else value)
    if isinstance(value, bool | float):
        return None
    return parse_duration(text if text is not None else str(value))
