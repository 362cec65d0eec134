"""Checks of message fields: a message comes from another machine.

Each returns the value with its type, or raises WireError naming the field.
"""

from __future__ import annotations

from typing import Any

from mainstem_sync.errors import WireError
from mainstem_sync.wire.ranges import LSN_MAX

NAME_CHARS_MAX = 255
"""Names of nodes and tables: the longest path element."""


def integer(value: object, what: str, limit: int = LSN_MAX) -> int:
    if type(value) is not int or not 0 <= value <= limit:
        raise WireError(f"{what} {value!r} is not a number from 0 to {limit}")
    return value


def text(value: object, what: str, limit: int = NAME_CHARS_MAX, *, empty: bool = False) -> str:
    if not isinstance(value, str) or len(value) > limit or not (value or empty):
        raise WireError(f"{what} is not a text of 1 to {limit} characters")
    return value


def list_of(value: object, what: str, limit: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > limit:
        raise WireError(f"{what} is not a list of at most {limit}")
    return value


def pair(value: object) -> tuple[int, int]:
    low, high = (*list_of(value, "v", 2), None, None)[:2]
    return integer(low, "v"), integer(high, "v")
