"""SHOW TAGS, SHOW TABLE TAGS and SELECT TAGS: tags of templates, and their values of devices.

The catalog answers them: a device is listed whether it has rows or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mainstem_engine.catalog.names import split_path
from mainstem_engine.errors import NotFoundError
from mainstem_engine.sql.definitions.device_templates import is_own_name
from mainstem_engine.sql.listings.device_filter import DeviceFilter
from mainstem_engine.sql.select.relations import DEVICE, TBNAME, device_path
from mainstem_engine.sql.statements import Name, Show

if TYPE_CHECKING:
    from mainstem_engine.catalog.catalog import Catalog
    from mainstem_engine.catalog.templates import Table
    from mainstem_engine.sql.listings.row_conditions import RowConditions

Columns = Sequence[tuple[str, str]]
Listing = tuple[Columns, Iterable[Sequence[Any]]]

_DECLARED: Columns = (("template", "TEXT"), ("tag", "TEXT"), ("type", "TEXT"))


class TagListings:
    """The rows of these statements, by subject. ``find_table``: the template of a name."""

    def __init__(
        self, catalog: Catalog, conditions: RowConditions, find_table: Callable[[Name], Table]
    ) -> None:
        self._catalog = catalog
        self._conditions = conditions
        self._find_table = find_table
        self.subjects: dict[str, Callable[[Show], Listing]] = {
            "TAGS": self._tags,
            "TABLE TAGS": self._table_tags,
            "TAG VALUES": self._values,
        }

    def _tags(self, show: Show) -> Listing:
        if show.of is None:
            declared = (
                t.template for t in self._catalog.templates.shown() if not is_own_name(t.name)
            )
            return _DECLARED, (
                (t.name, tag.name, tag.type.name) for t in declared for tag in t.tags
            )
        tags = self._find_table(show.of).template.tags
        columns: Columns = ((DEVICE, "TEXT"), *((tag.name, tag.type.name) for tag in tags))
        names = [name for name, _ in columns]
        return columns, (self._row(device, names) for device in self._devices(show.of))

    def _table_tags(self, show: Show) -> Listing:
        """As _tags, by the short name of each table, as TDengine lists them; or of named tags."""
        if show.of is None:
            return self._tags(show)
        tags = [tag.name for tag in self._find_table(show.of).template.tags]
        return self._values(replace(show, names=(TBNAME, *(show.names or tags))))

    def _values(self, show: Show) -> Listing:
        """The named ones of device, tbname and tags; all tags without names."""
        assert show.of is not None  # the grammar asks for it
        table = self._find_table(show.of)
        types = {tag.name.casefold(): (tag.name, tag.type.name) for tag in table.template.tags}
        named = types | {name: (name, "TEXT") for name in (DEVICE, TBNAME)}
        columns = []
        for name in show.names or types:
            found = named.get(name.casefold())
            if found is None:
                raise NotFoundError(
                    f"{table.name} has no tag {name!r}",
                    field=name,
                    hint=f"it has {', '.join(column for column, _ in named.values())}",
                )
            columns.append(found)
        ids = self._devices(show.of)
        if show.where is not None:
            ids = DeviceFilter(self._catalog, show.where, self._conditions).devices(ids)
        names = [name for name, _ in columns]
        rows = (self._row(device, names) for device in ids)
        return columns, _different(rows) if show.distinct else rows

    def _devices(self, of: Name) -> list[int]:
        """A device, or all of a template."""
        table = self._find_table(of)
        device = self._catalog.devices.id_of(device_path(of, self._conditions.request.database))
        is_template = table.name.casefold() == of.elements[-1].casefold()
        if device is None or (is_template and len(of.elements) == 1):
            return list(self._catalog.devices.of_family(table.family).tolist())
        return [device]

    def _row(self, device: int, names: Sequence[str]) -> list[Any]:
        path = self._catalog.devices.path(device)
        values = self._catalog.devices.tags(device)
        found = {name.casefold(): value for name, value in values.items()}
        found |= {DEVICE: path, TBNAME: split_path(path)[-1]}
        return [found.get(name.casefold()) for name in names]


def _different(rows: Iterable[list[Any]]) -> Iterable[list[Any]]:
    """Each row once; holds those that were."""
    seen: set[tuple[Any, ...]] = set()
    for row in rows:
        key = tuple(row)
        if key not in seen:
            seen.add(key)
            yield row
