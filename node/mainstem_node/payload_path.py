"""Where something stands in a payload: ``state.reported.temp``, ``metrics[*]``, ``[0]``.

1. Names are joined by dots; one with a dot or a bracket stands in double quotes. ``[n]`` is the
   n-th element of a list, from 0, or from its end with a minus. ``*`` and ``[*]`` are every element
   of a list and every value of an object. ``.`` alone is the thing itself.
2. A path that begins with ``$`` starts at the whole payload, others where their user says.
3. ``@n`` stands for the key (or the index) that the n-th ``*`` above it met, from 0.

There are no conditions and no arithmetic: what is found is read by a template, which has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_STEP = re.compile(
    r'\.?(?:(?P<every>\*|\[\*\])|\[(?P<index>-?\d{1,9})\]|"(?P<quoted>[^"]+)"|(?P<name>[^.\[\]"*@$]+))'
)
_KEY = re.compile(r"@(\d)")

Step = str | int | None
"""A name, an index, or None for every element."""

ABSENT: Any = object()
"""Found in place of a value where there is none; a null is a value."""


@dataclass(frozen=True, slots=True)
class Found:
    """A value and the keys that the path's ``*`` met on the way to it."""

    value: Any
    keys: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True)
class PayloadPath:
    """One path. ``from_root``: from the whole payload. ``key``: n of ``@n``, None for others."""

    text: str
    steps: tuple[Step, ...]
    from_root: bool = False
    key: int | None = None

    @property
    def stars(self) -> int:
        """How many ``*`` it has."""
        return sum(step is None for step in self.steps)

    def one(self, value: Any) -> Any:
        """The value of a path without ``*``; ABSENT where there is none."""
        for step in self.steps:
            value = _step(value, step)
            if value is ABSENT:
                return ABSENT
        return value

    def all(self, value: Any) -> tuple[list[Found], list[Any]]:
        """(what is found, in order; elements that lack what the path goes on with)."""
        found = [Found(value)]
        lacking: list[Any] = []
        for step in self.steps:
            if step is None:
                found = [each for parent in found for each in _every(parent, lacking)]
                continue
            there: list[Found] = []
            for parent in found:
                value = _step(parent.value, step)
                if value is ABSENT:
                    lacking.append(parent.value)
                else:
                    there.append(Found(value, parent.keys))
            found = there
        return found, lacking


def _step(value: Any, step: Step) -> Any:
    if isinstance(step, str):
        return value.get(step, ABSENT) if isinstance(value, Mapping) else ABSENT
    is_list = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    if step is None or not is_list or not -len(value) <= step < len(value):
        return ABSENT
    return value[step]


def _every(parent: Found, lacking: list[Any]) -> Iterator[Found]:
    value, keys = parent.value, parent.keys
    if isinstance(value, Mapping):
        yield from (Found(each, (*keys, key)) for key, each in value.items())
    elif isinstance(value, list):
        yield from (Found(each, (*keys, index)) for index, each in enumerate(value))
    else:
        lacking.append(value)


def parse_path(text: str) -> PayloadPath:
    """Raises ValueError(problem, remedy)."""
    if text == ".":
        return PayloadPath(text, ())
    key = _KEY.fullmatch(text)
    if key is not None:
        return PayloadPath(text, (), key=int(key[1]))
    from_root = text.startswith("$")
    rest = text.removeprefix("$")
    steps: list[Step] = []
    position = 0
    while position < len(rest):
        match = _STEP.match(rest, position)
        # The first step has no dot before it, but after the $; any later name has one.
        dotted = match is not None and match[0].startswith(".")
        named = match is not None and match["index"] is None and match["every"] != "[*]"
        wanted = named and (position > 0 or from_root)
        if match is None or dotted != wanted:
            raise ValueError(
                f"{text!r} is not a path in a payload: not understood from {rest[position:]!r} on",
                'write state.reported, metrics[*] or "a.b"[0]',
            )
        position = match.end()
        index = match["index"]
        if match["every"]:
            steps.append(None)
        else:
            steps.append(int(index) if index is not None else match["quoted"] or match["name"])
    if not steps and not from_root:
        raise ValueError("a path in a payload is empty", "write . for the payload itself")
    return PayloadPath(text, tuple(steps), from_root)


def parse_one(text: str) -> PayloadPath:
    """A path of one value. Raises ValueError(problem, remedy)."""
    path = parse_path(text)
    if path.stars:
        raise ValueError(f"{text!r} may stand for several values", "write no * here")
    return path
