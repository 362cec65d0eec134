"""Times in the texts that a source is asked with: ``{now}``, ``{now-1h}``, ``{since:date}``.

``{now}`` is when it is asked, ``{since}`` when it was asked the last time that it answered. A
duration may be added or taken away. What follows the colon says how it is written: ``iso``
(2026-11-23T05:00:00Z, as without it), ``minute`` (2026-11-23T05:00), ``date``, ``s`` or ``ms``
since the epoch; always UTC. Other braces are left as they are.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mainstem_node.config.units import parse_duration

_MOMENT = re.compile(r"\{(now|since)\b([^{}]*)\}")
_REST = re.compile(r"(?:([+-])([^:+-]+))?(?::(\w+))?")
NS_PER_S = 1_000_000_000
YEARS_NS_MAX = 100 * 365 * 86_400 * NS_PER_S
"""Further from now is a mistake, and beyond what a calendar can write."""


def _calendar(form: str) -> Callable[[int], str]:
    def write(time_ns: int) -> str:
        return datetime.datetime.fromtimestamp(time_ns // NS_PER_S, datetime.UTC).strftime(form)

    return write


FORMS: Mapping[str, Callable[[int], str]] = {
    "iso": _calendar("%Y-%m-%dT%H:%M:%SZ"),
    "minute": _calendar("%Y-%m-%dT%H:%M"),
    "date": _calendar("%Y-%m-%d"),
    "s": lambda time_ns: str(time_ns // NS_PER_S),
    "ms": lambda time_ns: str(time_ns // 1_000_000),
}


@dataclass(frozen=True, slots=True)
class Moment:
    """One placeholder. ``shift_ns`` is added to now, or to the last time."""

    since: bool
    shift_ns: int
    form: str


@dataclass(frozen=True, slots=True)
class MomentText:
    """A text with placeholders. ``pieces``: plain text and moments, in order."""

    text: str
    pieces: tuple[str | Moment, ...]

    def at(self, now_ns: int, since_ns: int) -> str:
        """The text as it is sent."""
        return "".join(
            piece
            if isinstance(piece, str)
            else FORMS[piece.form]((since_ns if piece.since else now_ns) + piece.shift_ns)
            for piece in self.pieces
        )


def parse_moments(text: str) -> MomentText:
    """Raises ValueError(problem, remedy)."""
    pieces: list[str | Moment] = []
    position = 0
    for match in _MOMENT.finditer(text):
        if match.start() > position:
            pieces.append(text[position : match.start()])
        pieces.append(_moment(match[0], match[1] == "since", match[2]))
        position = match.end()
    if position < len(text):
        pieces.append(text[position:])
    return MomentText(text, tuple(pieces))


def _moment(text: str, since: bool, rest: str) -> Moment:
    match = _REST.fullmatch(rest)
    form = (match[3] or "iso") if match is not None else ""
    if match is None or form not in FORMS:
        raise ValueError(
            f"{text} is no moment",
            f"write {{now}}, {{now-1h}} or {{now:FORM}} of {', '.join(FORMS)}",
        )
    shift_ns = parse_duration(match[2]) if match[1] else 0
    if shift_ns > YEARS_NS_MAX:
        raise ValueError(f"{text} is too far away", "write {now-1h}")
    return Moment(since, -shift_ns if match[1] == "-" else shift_ns, form)
