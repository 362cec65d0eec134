"""Tags that were changed after their devices were made.

1. Tags come with a device, in its DEV record and later in the base. A change is laid over them:
   the new value by (tag, position), kept here for the checkpoint, and written into the column in
   memory.
2. To say a change again changes nothing. So all of them are said again over whatever a restart or a
   new base brings; it does not matter which of them the base has taken in already.
3. A tag is kept in the column of its first name. Renaming is an alias; the name of a dropped tag
   leads to a new column, and what the old one held stays behind unseen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mainstem_engine.catalog.families import UNSEEN, Family
from mainstem_engine.catalog.tags import TagValue
from mainstem_engine.errors import SchemaError
from mainstem_engine.model import DeviceIds

CHANGES_MAX = 200_000
"""Changed cells of a catalog. Each takes about 100 bytes in memory and is in every checkpoint."""


class TagChanges:
    """By family and column: values by position; and the aliases of every family."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], dict[int, TagValue]] = {}
        self._aliases: dict[str, dict[str, str]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._values.values()))

    def check_room(self, count: int) -> None:
        """Raises SchemaError when so many more cells are too many."""
        if len(self) + count > CHANGES_MAX:
            raise SchemaError(
                f"more than {CHANGES_MAX} tag values would have been changed",
                hint="rename the tag and add a new one, or make the devices anew",
            )

    def set(self, family: Family, tag: str, positions: DeviceIds, value: TagValue) -> None:
        """Gives these devices of a family a value; None takes it away."""
        column = family.tag_column(tag)
        cells = self._values.setdefault((family.name.casefold(), column.name), {})
        cells.update(dict.fromkeys(positions.tolist(), value))
        column.replace(positions, value)

    def alias(self, family: Family, aliases: Mapping[str, str]) -> None:
        """The names of a family's tags from now on: column by name, casefolded."""
        self._aliases[family.name.casefold()] = dict(aliases)
        family.aliases = dict(aliases)

    def apply(self, families: Mapping[str, Family]) -> None:
        """Says all changes again; ``families`` by casefolded name."""
        for (name, tag), cells in self._values.items():
            family = families.get(name)
            if family is None:
                continue
            by_value: dict[tuple[type, TagValue], list[int]] = {}
            for position, value in cells.items():
                by_value.setdefault((type(value), value), []).append(position)
            column = family.column(tag)
            for (_, value), positions in by_value.items():
                column.replace(np.array(positions, np.uint32), value)
        for name, aliases in self._aliases.items():
            if name in families:
                families[name].aliases = dict(aliases)

    def to_map(self) -> dict[str, Any]:
        """For the checkpoint; empty without changes."""
        if not self._values and not self._aliases:
            return {}
        return {"values": list(self._rows()), "aliases": self._aliases}

    def _rows(self) -> Iterator[Sequence[Any]]:
        for (family, tag), cells in self._values.items():
            positions = np.fromiter(cells, np.uint32, count=len(cells))
            yield [family, tag, positions.astype("<u4").tobytes(), list(cells.values())]

    def restore(self, data: Mapping[str, Any]) -> None:
        """The inverse of to_map; apply() is for the caller."""
        for family, tag, packed, values in data.get("values", ()):
            positions = np.frombuffer(packed, "<u4").tolist()
            self._values[family, tag] = dict(zip(positions, values, strict=True))
        self._aliases = {name: dict(found) for name, found in data.get("aliases", {}).items()}


def renamed(aliases: Mapping[str, str], old: str, new: str) -> dict[str, str]:
    """Aliases after a tag is called otherwise."""
    changed = dict(aliases)
    changed[new.casefold()] = aliases.get(old.casefold(), old)
    changed[old.casefold()] = _fresh(changed, old)
    return changed


def dropped(aliases: Mapping[str, str], name: str) -> dict[str, str]:
    """Aliases after a tag is gone: its name is free for another column."""
    column = aliases.get(name.casefold(), name)
    changed = {**aliases, f"{UNSEEN}{column.casefold()}": column}
    changed[name.casefold()] = _fresh(changed, name)
    return changed


def _fresh(aliases: Mapping[str, str], name: str) -> str:
    """The name of a column that no tag has had."""
    taken = {column.casefold() for column in aliases.values()}
    number = 1
    while f"{name}#{number}".casefold() in taken:
        number += 1
    return f"{name}#{number}"
