"""Names and paths: what may be called what.

1. A path is ``root`` and at least one more element, joined by dots: ``root.plant_a.press.m1``.
2. An element of other characters than ``[A-Za-z0-9_]`` may stand in backquotes. The kept form has
   backquotes only where an element holds a dot or a backquote (which is then doubled), so that
   equal paths are equal strings.
3. ``/``, ``\\``, control characters, ``..`` and empty elements are refused: a path must never be
   able to become a file name that leaves its directory.
4. Paths are case-sensitive. Names of templates, tags and measurements are not, and are kept as
   written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mainstem_engine.errors import SchemaError

ROOT = "root"
ELEMENT_BYTES_MAX = 255
"""The longest file name of common file systems, so that an element can always name a file."""
PATH_BYTES_MAX = 1024
"""Bounds what one device costs in the catalog and in every message that names it."""
TIME = "time"
RESERVED_COLUMNS = frozenset({TIME, "device"})
"""Columns that every table has."""
UNSEEN = "#"
"""Begins the name of a measurement that was dropped; its id stays taken."""

_PLAIN_PATH = re.compile(r"root(?:\.[A-Za-z0-9_]{1,255})+", re.ASCII)
_PLAIN_TEXT = re.compile(r"[A-Za-z0-9_.\n]+", re.ASCII)
_ELEMENT = re.compile(r"`((?:[^`]|``)+)`|([^.`]+)")
_UNSEEN_NAME = re.compile(r"#[0-9]+(?:_[a-z_]+)?", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def canonical_path(text: str) -> str:
    """The kept form of a device path, database name or prefix. Raises SchemaError."""
    if _PLAIN_PATH.fullmatch(text) and len(text) <= PATH_BYTES_MAX:
        return text
    return join_path(split_path(text))


def canonical_paths(texts: Sequence[str]) -> list[str]:
    """The kept forms of many paths, most of which are plain. Raises SchemaError.

    Plain paths are checked together, in a few passes over one text.
    """
    try:
        joined = "\n".join(texts)
    except TypeError:
        wrong = next(text for text in texts if not isinstance(text, str))
        raise SchemaError(f"{wrong!r:.60} is no path", hint="write root.a.b") from None
    plain = (
        len(texts) > 0
        and _PLAIN_TEXT.fullmatch(joined) is not None
        and joined.count("\n") == len(texts) - 1
        and joined.startswith("root.")
        and joined.count("\nroot.") == len(texts) - 1
        and not joined.endswith(".")
        and ".." not in joined
        and ".\n" not in joined
        and max(map(len, texts)) <= ELEMENT_BYTES_MAX
    )
    return list(texts) if plain else [canonical_path(text) for text in texts]


def split_path(text: str) -> list[str]:
    """The elements of a path, without backquotes, ``root`` first. Raises SchemaError."""
    elements: list[str] = []
    position = 0
    while True:
        match = _ELEMENT.match(text, position)
        if match is None:
            raise SchemaError(
                f"path {text!r} has an empty or badly quoted element",
                field=text,
                hint="write root.a.b",
            )
        quoted, bare = match.groups()
        elements.append(quoted.replace("``", "`") if quoted is not None else bare)
        position = match.end()
        if position == len(text):
            break
        if text[position] != ".":
            raise SchemaError(
                f"path {text!r}: expected a dot at character {position + 1}",
                hint="separate elements by dots; put other characters in backquotes",
            )
        position += 1
    if elements[0] != ROOT or len(elements) < 2:
        raise SchemaError(f"path {text!r} does not start with root.", hint=f"write root.{text}")
    for element in elements:
        check_element(element, "path element")
    return elements


def join_path(elements: list[str]) -> str:
    """The kept form of a path of these elements. Raises SchemaError when it is too long."""
    path = ".".join(f"`{e.replace('`', '``')}`" if "." in e or "`" in e else e for e in elements)
    if len(path.encode()) > PATH_BYTES_MAX:
        raise SchemaError(
            f"a path of more than {PATH_BYTES_MAX} bytes: {path[:60]}...",
            field=path[:60],
            hint="use fewer or shorter elements",
        )
    return path


def check_element(text: str, kind: str) -> str:
    """``text`` when it may be a name of that kind. Raises SchemaError."""
    if not text or text.isspace():
        raise SchemaError(f"an empty {kind}", hint="give it a name")
    if "/" in text or "\\" in text or ".." in text or text == "." or _CONTROL.search(text):
        raise SchemaError(
            f"{kind} {text!r} holds a character that is refused",
            field=text,
            hint="leave out / \\ control characters and ..",
        )
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise SchemaError(
            f"{kind} {text!r} is not valid Unicode", hint="send it as UTF-8"
        ) from None
    if size > ELEMENT_BYTES_MAX:
        raise SchemaError(
            f"{kind} {text[:40]!r}... is longer than {ELEMENT_BYTES_MAX} bytes",
            field=text[:40],
            hint="use a shorter name",
        )
    return text


def check_column_name(text: str, kind: str) -> str:
    """``text`` when a measurement or tag may have that name. Raises SchemaError."""
    if text.casefold() in RESERVED_COLUMNS:
        raise SchemaError(
            f"{kind} {text!r}: the name is taken by a column that every table has",
            field=text,
            hint=f"call it {text}_value, for example",
        )
    if text.startswith(UNSEEN):
        raise SchemaError(
            f"{kind} {text!r} begins with {UNSEEN}, as only dropped columns do",
            field=text,
            hint="begin it with a letter",
        )
    return check_element(text, kind)


def is_unseen(name: str) -> bool:
    """True for what a measurement is called after it was dropped, ``#3``, and for its columns in a
    rollup, ``#3_count``. A child's template comes with those that it has."""
    return _UNSEEN_NAME.fullmatch(name) is not None


def database_path(name: str) -> str:
    """``power`` and ``root.power`` are the same database: the latter. Raises SchemaError."""
    return canonical_path(name if name.startswith(f"{ROOT}.") else f"{ROOT}.{name}")


def is_below(path: str, prefix: str) -> bool:
    """True when ``path`` is ``prefix`` or lies below it, whole elements compared."""
    return path == prefix or path.startswith(f"{prefix}.")
