"""Device paths and tag values, formed from a topic and a payload by a pattern.

1. A pattern is text with placeholders: ``{topic[n]}`` is the n-th level of the topic, from 0, or
   from its end with a minus; ``{payload.NAME}`` the payload's value of that name (nested ones
   joined with a dot).
2. In a device path each placeholder stands inside one path element: what it brings can never add an
   element. An element that holds a dot is put in backquotes; one with a character that paths
   refuse makes the path impossible.
3. A payload that names its device by a whole path (``"device": "root. ..."``) is believed. A
   pattern that begins with ``{payload.NAME}`` takes a whole path from there too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mainstem_edge.errors import PathFormError, PatternError
from mainstem_engine.catalog.names import ROOT, canonical_path, check_element, join_path
from mainstem_engine.errors import SchemaError

_PLACEHOLDER = re.compile(r"\{(?:topic\[(-?\d+)\]|payload\.([^{}]+))\}")
_ROOT_PREFIX = f"{ROOT}."

Piece = str | int | tuple[str]
"""Literal text, the index of a topic level, or (name,) of a payload's value."""


class Pattern:
    """One pattern. ``payload_names``: the payload's values that it needs."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._pieces = _pieces(text)
        self.payload_names = tuple(
            dict.fromkeys(piece[0] for piece in self._pieces if isinstance(piece, tuple))
        )

    @property
    def needs_payload(self) -> bool:
        return bool(self.payload_names)

    def value(self, levels: Sequence[str], row: Mapping[str, Any]) -> str | None:
        """The text; None when something it needs is absent. For tags."""
        parts = [self._part(piece, levels, row) for piece in self._pieces]
        return None if None in parts else "".join(part for part in parts if part is not None)

    def _part(self, piece: Piece, levels: Sequence[str], row: Mapping[str, Any]) -> str | None:
        if isinstance(piece, str):
            return piece
        if isinstance(piece, int):
            # An empty level is as good as none: no path has an empty element.
            return (levels[piece] or None) if -len(levels) <= piece < len(levels) else None
        return text_of(row.get(piece[0]))


class PathPattern(Pattern):
    """A pattern whose text is a device path."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._is_whole = len(self._pieces) == 1 and isinstance(self._pieces[0], tuple)
        self._elements = self._split()
        self._check()

    def path(self, levels: Sequence[str], row: Mapping[str, Any]) -> str:
        """The device path in the form that the engine keeps. Raises PathFormError."""
        elements = [
            "".join([self._required(piece, levels, row) for piece in pieces])
            for pieces in self._elements
        ]
        if self._is_whole:
            return whole_path(elements[0])
        try:
            for element in elements:
                check_element(element, "path element")
            return join_path(elements)
        except SchemaError as error:
            raise PathFormError(error.message) from None

    def _required(self, piece: Piece, levels: Sequence[str], row: Mapping[str, Any]) -> str:
        part = self._part(piece, levels, row)
        if part is None:
            name = f"topic[{piece}]" if isinstance(piece, int) else f"payload.{piece[0]}"
            raise PathFormError(f"{{{name}}} is missing")
        return part

    def _split(self) -> list[list[Piece]]:
        """The pieces of each path element: dots of the literal text separate, but in backquotes."""
        elements: list[list[Piece]] = [[]]
        quoted = False
        for piece in self._pieces:
            if not isinstance(piece, str):
                elements[-1].append(piece)
                continue
            for part in re.split(r"([.`])", piece):
                if part == "`":
                    quoted = not quoted
                elif part == "." and not quoted:
                    elements.append([])
                elif part:
                    elements[-1].append(part)
        return elements

    def _check(self) -> None:
        if self._is_whole:
            return
        if self._elements[0] != [ROOT]:
            raise PatternError(
                f"device pattern {self.text!r} does not begin with {ROOT}.",
                hint=f"write {_ROOT_PREFIX}PLACE or {{payload.NAME}} alone",
            )
        if not all(self._elements) or len(self._elements) < 2:
            raise PatternError(
                f"device pattern {self.text!r} has an empty path element",
                hint=f"write {_ROOT_PREFIX}PLACE.{{topic[0]}}",
            )


def whole_path(text: str) -> str:
    """A path that a payload names. Raises PathFormError."""
    try:
        return canonical_path(text)
    except SchemaError as error:
        raise PathFormError(error.message) from None


def names_whole_path(value: Any) -> bool:
    """True for a payload's ``device`` that is a whole path."""
    return isinstance(value, str) and value.startswith(_ROOT_PREFIX)


def _pieces(text: str) -> list[Piece]:
    pieces: list[Piece] = []
    position = 0
    for match in _PLACEHOLDER.finditer(text):
        if match.start() > position:
            pieces.append(text[position : match.start()])
        level, name = match.groups()
        pieces.append(int(level) if level is not None else (name,))
        position = match.end()
    if position < len(text):
        pieces.append(text[position:])
    for piece in pieces:
        if isinstance(piece, str) and ("{" in piece or "}" in piece):
            raise PatternError(
                f"pattern {text!r} has an unknown placeholder",
                hint="use {topic[n]} (from 0) or {payload.NAME}",
            )
    return pieces


def text_of(value: Any) -> str | None:
    """A payload's value as text: whole numbers without a fraction, true and false in lower case."""
    if value is None or isinstance(value, dict | list):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
