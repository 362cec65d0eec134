"""How long windows of time may be, so that an expression of the time has one value in each.

1. time_bucket() counts from a midnight in UTC: a window divides its bucket and the day.
2. date_trunc(), year() and their like follow the zone of the request. In UTC a window divides what
   they cut to, or is a day for weeks and longer. In another zone it also divides every distance of
   that zone from UTC since ZONES_SINCE_NS, and the times of day when it changed; before that zones
   were no whole minutes away.
3. Windows are no shorter than WINDOW_MIN_NS, unless they are the buckets themselves: there would be
   hardly fewer of them than rows.
"""

from __future__ import annotations

import functools
import math
from typing import Any

from sqlglot import exp

from mainstem_engine.analysis.local_time import offset_changes
from mainstem_engine.sql.times import NS_PER_DAY, UNIT_NS, parse_zone

WINDOW_MIN_NS = 60 * UNIT_NS["s"]
ZONES_SINCE_NS = 1_000 * NS_PER_DAY
"""In September 1972: the last zone that was not minutes away from UTC had changed in January."""
_SAMPLED_S = (1_000 * 86_400, 50_000 * 86_400)
"""Until the year 2106."""

_FIXED = {"SECOND": "s", "MINUTE": "m", "HOUR": "h", "DAY": "d"}
_LONG = frozenset({"WEEK", "MONTH", "QUARTER", "YEAR"})
_PARTS: dict[type[exp.Expr], str] = {
    exp.Year: "YEAR", exp.Quarter: "QUARTER", exp.Month: "MONTH", exp.Week: "WEEK",
    exp.DayOfMonth: "DAY", exp.Day: "DAY",
}  # fmt: skip
_UTC = frozenset({"UTC", "Z"})


def is_time_bucket(node: exp.Expr) -> bool:
    """True for expressions that bucket_of may understand."""
    return isinstance(
        node, (exp.DateBin, exp.TimestampTrunc, exp.DateTrunc, exp.Extract, *_PARTS)
    ) or (isinstance(node, exp.Cast) and node.to.is_type(exp.DType.DATE))


def bucket_of(
    node: exp.Expr, zone: str, start_ns: int | None
) -> tuple[int | None, exp.Expr | None]:
    """(longest length in ns of windows, expression of the time), None where it is not understood.

    ``start_ns``: rows are no older; None: they may be of any time.
    """
    given = {key for key, value in node.args.items() if value}
    if isinstance(node, exp.DateBin):
        known = given <= {"this", "expression"}
        return _of_interval(node.this) if known else None, node.expression
    if isinstance(node, exp.Extract):
        known = given <= {"this", "expression"}
        unit, time = (node.name.upper() if known else ""), node.expression
    elif isinstance(node, exp.Cast):
        unit, time = ("DAY" if given <= {"this", "to"} else ""), node.this
    elif type(node) in _PARTS:
        unit, time = (_PARTS[type(node)] if given <= {"this"} else ""), node.this
    else:
        said = node.args.get("unit")
        unit = said.name.upper() if isinstance(said, exp.Expr) and given <= {"this", "unit"} else ""
        time = node.this
    return _of_unit(unit, zone, start_ns), time


def _of_interval(node: Any) -> int | None:
    """A literal interval of a fixed length, or of months and years."""
    if not isinstance(node, exp.Interval) or not isinstance(node.this, exp.Literal):
        return None
    unit, text = node.args.get("unit"), node.this.name
    name = unit.name.upper().removesuffix("S") if isinstance(unit, exp.Expr) else ""
    if not text.isdecimal() or not int(text):
        return None
    if name in _LONG:
        return NS_PER_DAY
    short = {"MILLISECOND": "ms", **_FIXED}.get(name)
    if short is None:
        return None
    width = int(text) * UNIT_NS[short]
    found = math.gcd(width, NS_PER_DAY)
    return found if found == width or found >= WINDOW_MIN_NS else None


def _of_unit(unit: str, zone: str, start_ns: int | None) -> int | None:
    if unit not in _FIXED and unit not in _LONG:
        return None
    width = UNIT_NS[_FIXED.get(unit, "d")]
    # Seconds begin together everywhere.
    if unit == "SECOND" or zone.upper() in _UTC:
        return width
    if start_ns is None or start_ns < ZONES_SINCE_NS:
        return None
    return math.gcd(width, _distances_ns(zone))


@functools.lru_cache(maxsize=64)
def _distances_ns(zone: str) -> int:
    """What divides all distances of a zone from UTC, and the times when they change, at most a
    day."""
    changes, offsets = offset_changes(parse_zone(zone), *_SAMPLED_S)
    return math.gcd(NS_PER_DAY // UNIT_NS["s"], *changes, *offsets) * UNIT_NS["s"]
