"""A family: the devices of one template and of its rollups, in order of creation, and their tags.

The position of a device in its family never changes. Tags are columns by position.
"""

from __future__ import annotations

import numpy as np

from mainstem_engine.catalog.base import BaseFamily
from mainstem_engine.catalog.base_merge import FamilySnapshot, TagSnapshot
from mainstem_engine.catalog.tags import NO_TAG, TagColumn, TagValue
from mainstem_engine.catalog.vector import LayeredColumn, Vector
from mainstem_engine.model import DeviceIds

UNSEEN = "#"
"""Begins the alias of a column that no tag leads to any more."""


class Family:
    """``databases``: indexes of those that hold its devices; ``aliases``: the column of a tag by
    its casefolded name, where that is another; both are replaced, never changed."""

    __slots__ = ("_counted", "_joined", "aliases", "databases", "ids", "index", "name", "tags")

    def __init__(self, name: str, index: int) -> None:
        self.name = name
        self.index = index
        self.databases: frozenset[int] = frozenset()
        self.aliases: dict[str, str] = {}
        self.ids = LayeredColumn.empty(np.uint32)
        self.tags: dict[str, TagColumn] = {}
        self._joined: DeviceIds = np.empty(0, np.uint32)
        self._counted = 0

    @classmethod
    def of_base(cls, base: BaseFamily, index: int) -> Family:
        """With the devices of a base."""
        self = cls(base.name, index)
        self.databases = base.databases
        self.ids = LayeredColumn(base.ids, Vector(np.uint32))
        for tag in base.tags:
            self.tags[tag.name.casefold()] = TagColumn(tag.name, tag.codes, tag.values)
        return self

    @property
    def nbytes(self) -> int:
        """What it takes in memory besides the base."""
        tags = sum(tag.codes.added.nbytes + tag.added.nbytes for tag in self.tags.values())
        return self.ids.added.nbytes + self._joined.nbytes + tags

    def grown_bytes(self) -> int:
        """By how much ``nbytes`` has grown since this was last asked for."""
        held = self.nbytes
        grown, self._counted = held - self._counted, held
        return grown

    def all_ids(self) -> DeviceIds:
        """uint32, ascending. Only for reading."""
        if not len(self.ids.added):
            return self.ids.base
        if not len(self.ids.base):
            return self.ids.added.view()
        count = len(self.ids)
        joined = self._joined
        if len(joined) != count:
            joined = self._joined = self.ids.slice(0, count)
        return joined

    def tag_column(self, name: str) -> TagColumn:
        """The column of that tag, made when it is new."""
        return self.column(self.aliases.get(name.casefold(), name))

    def column(self, name: str) -> TagColumn:
        """The column of that name, made when it is new."""
        column = self.tags.get(name.casefold())
        if column is None:
            column = TagColumn(name)
            self.tags = {**self.tags, name.casefold(): column}
        return column

    def find_tag(self, name: str) -> TagColumn | None:
        """The column of that tag, None when no device has a value of it."""
        folded = name.casefold()
        return self.tags.get(self.aliases.get(folded, folded).casefold())

    def _named_columns(self) -> dict[str, TagColumn]:
        """Columns by the present name of their tag; those of dropped tags are left out."""
        aliases = self.aliases
        if not aliases:
            return {column.name: column for column in self.tags.values()}
        names = {column.casefold(): name for name, column in aliases.items()}
        found = {}
        for key, column in self.tags.items():
            if key in names:
                if not names[key].startswith(UNSEEN):
                    found[names[key]] = column
            elif key not in aliases:
                found[column.name] = column
        return found

    def adopt(self, old: Family) -> None:
        """Takes over what ``old`` has and the base below this one has not."""
        known = len(self.ids)
        self.databases = old.databases
        for column in old.tags.values():
            mine, count = self.column(column.name), len(column.codes)
            if count > known:
                mine.extend_from(column, known, count)
        self.ids.extend(old.ids.slice(known, len(old.ids)))

    def tag_values(self, position: int) -> dict[str, TagValue]:
        """The values of one device by tag name; absent ones are left out."""
        found: dict[str, TagValue] = {}
        for name, column in self._named_columns().items():
            code = column.codes[position] if position < len(column.codes) else NO_TAG
            if code != NO_TAG:
                found[name] = column.values[code]
        return found

    def snapshot(self) -> FamilySnapshot:
        """As of now, without a copy of a column."""
        tags = [
            TagSnapshot(tag.name, tag.codes.frozen(), tag.base_values, tag.added, len(tag.added))
            for tag in self.tags.values()
        ]
        return FamilySnapshot(self.name, self.ids.frozen(), self.databases, tags)
