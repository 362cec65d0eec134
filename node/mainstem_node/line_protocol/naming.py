"""What a point of line protocol is called here: its template, its columns, its device.

1. The device is ``<prefix>.<measurement>.<values of the tags in the order of their keys>``.
2. Characters that no path element may hold (``/ \\``, control characters, ``..``) are written
   ``%XX``, and so is ``%``: two names never become the same one.
3. A tag or field called ``time`` or ``device``, which every table has, gets ``_tag`` or ``_value``
   behind its name; so does a field that is called as a tag of its template.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from mainstem_engine.catalog.names import RESERVED_COLUMNS, UNSEEN, join_path, split_path
from mainstem_node.line_protocol.points import Tags

_REFUSED = re.compile(r"[%/\\\x00-\x1f\x7f-\x9f]|(?<=\.)\.|^\.$|^\s+$")


def element(text: str) -> str:
    """A name as a path element, or as a template."""
    return _REFUSED.sub(_percent, text)


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found.group().encode())


def device_path(prefix: str, measurement: str, tags: Tags) -> str:
    """The device of a series. Raises SchemaError when an element or the path is too long."""
    elements = [*split_path(prefix), element(measurement), *(element(value) for _, value in tags)]
    path = join_path(elements)
    split_path(path)  # checks each element
    return path


def database_path(name: str) -> str:
    """The database that a client calls so; of ``db/rp`` the first. Raises SchemaError."""
    path = join_path(["root", element(name.partition("/")[0])])
    split_path(path)
    return path


def tag_column(key: str) -> str:
    """The column of a tag."""
    return f"{key}_tag" if key.casefold() in RESERVED_COLUMNS else _column(key)


def field_column(key: str, is_tag: Callable[[str], bool]) -> str:
    """The column of a field; ``is_tag`` says which columns are tags."""
    name = _column(key)
    return f"{key}_value" if key.casefold() in RESERVED_COLUMNS or is_tag(name) else name


def _column(key: str) -> str:
    name = element(key)
    return f"%{ord(UNSEEN):02X}{name[1:]}" if name.startswith(UNSEEN) else name
