"""Formats of TO_CHAR and TO_TIMESTAMP (``yyyy-mm-dd hh24:mi:ss``) as those of strftime."""

from __future__ import annotations

import re

_CODES = {
    "hh24": "%H",
    "hh12": "%I",
    "hh": "%I",
    "mi": "%M",
    "ss": "%S",
    "ms": "%g",
    "us": "%f",
    "ns": "%n",
    "yyyy": "%Y",
    "yy": "%y",
    "month": "%B",
    "mon": "%b",
    "mm": "%m",
    "ddd": "%j",
    "dd": "%d",
    "day": "%A",
    "dy": "%a",
    "am": "%p",
    "pm": "%p",
    "a.m.": "%p",
    "p.m.": "%p",
}
_TOKEN = re.compile(
    r'"([^"]*)"|(' + "|".join(map(re.escape, sorted(_CODES, key=len, reverse=True))) + ")", re.I
)


def strftime_format(written: str) -> str:
    """What stands in double quotes, and all that is no part of a time, stays as it is."""
    pieces: list[str] = []
    position = 0
    for found in _TOKEN.finditer(written):
        pieces.append(written[position : found.start()].replace("%", "%%"))
        quoted, code = found.groups()
        pieces.append(quoted.replace("%", "%%") if code is None else _CODES[code.casefold()])
        position = found.end()
    pieces.append(written[position:].replace("%", "%%"))
    return "".join(pieces)
