"""SHOW and COUNT of paths: what lies below one, and where templates are set and in use.

Paths are those of devices and, below a device, of its measurements: a series is one path. Level 0
is ``root``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from mainstem_engine.catalog.names import ROOT, join_path, split_path
from mainstem_engine.errors import NotFoundError
from mainstem_engine.sql.definitions.device_templates import is_own_name
from mainstem_engine.sql.select.relations import matching_series, name_matcher
from mainstem_engine.sql.statements import Name, Show

if TYPE_CHECKING:
    from mainstem_engine.catalog.catalog import Catalog
    from mainstem_engine.catalog.templates import Table

Rows = Iterable[tuple[Any, ...]]
Listing = tuple[tuple[tuple[str, str], ...], Rows]

_MEMBERS = (
    ("child_nodes", "TEXT"),
    ("type", "TEXT"),
    ("encoding", "TEXT"),
    ("compression", "TEXT"),
)
_PATHS = (("path", "TEXT"),)


class PathListings:
    """The rows of these statements, by subject."""

    def __init__(self, catalog: Catalog, database: str) -> None:
        self._catalog = catalog
        self._database = database
        self.subjects: dict[str, Callable[[Show], Listing]] = {
            "MEMBERS": self._members,
            "PATHS SET": self._set_paths,
            "PATHS USING": self._using_paths,
            "CHILD PATHS": self._child_paths,
            "CHILD NODES": self._child_nodes,
            "PATH NODES": self._nodes,
        }

    def series(self, of: Name | None) -> Iterator[list[str]]:
        """The elements of the paths of series that a name or pattern means."""
        devices = self._catalog.devices
        ids, accepts = matching_series(self._catalog, of, self._database)
        columns = {
            table.name: [m.name for m in table.shown if accepts(m.name)]
            for table in self._catalog.templates.shown()
        }
        for device in ids:
            elements = split_path(devices.path(device))
            for name in columns.get(devices.family_name(device), ()):
                yield [*elements, name]

    def by_level(self, of: Name | None, level: int, *, of_series: bool) -> Rows:
        """(path of ``level`` elements beside root, how many series or devices lie below)."""
        counts: Counter[tuple[str, ...]] = Counter()
        if of_series:
            counts.update(tuple(e[: level + 1]) for e in self.series(of) if len(e) > level)
        else:
            found = {tuple(elements[:-1]) for elements in self.series(of)}
            counts.update(path[: level + 1] for path in found if len(path) > level)
        return [(join_path(list(path)), count) for path, count in counts.items()]

    def _tables(self, show: Show) -> list[Table]:
        """The template that is named, or all that several devices share."""
        if show.of is None or not show.of.is_pattern:
            return [self._table(show)]
        matches = name_matcher(show.of.elements[-1], is_pattern=True)
        found = self._catalog.templates.shown()
        return [t for t in found if matches(t.name) and not is_own_name(t.name)]

    def _table(self, show: Show) -> Table:
        name = "" if show.of is None else show.of.elements[-1]
        found = self._catalog.templates.find(name)
        if found is None:
            raise NotFoundError(f"there is no template {name}", field=name, hint="SHOW TEMPLATES")
        return found

    def _members(self, show: Show) -> Listing:
        members = self._table(show).shown
        return _MEMBERS, [(m.name, m.type.name, m.encoding, m.compression) for m in members]

    def _set_paths(self, show: Show) -> Listing:
        return _PATHS, [(path,) for table in self._tables(show) for path in table.set_paths]

    def _using_paths(self, show: Show) -> Listing:
        devices = self._catalog.devices
        families = dict.fromkeys(table.family for table in self._tables(show))
        return _PATHS, (
            (path,) for family in families for path in devices.paths(devices.of_family(family))
        )

    def _child_paths(self, show: Show) -> Listing:
        above = self._above(show)
        return (("child_paths", "TEXT"),), [
            (join_path([*above, child]),) for child in self._children(above)
        ]

    def _child_nodes(self, show: Show) -> Listing:
        return (("child_nodes", "TEXT"),), [(c,) for c in self._children(self._above(show))]

    def _above(self, show: Show) -> list[str]:
        elements = [ROOT] if show.of is None else list(show.of.elements)
        return elements if elements[0] == ROOT else [ROOT, *elements]

    def _children(self, above: list[str]) -> list[str]:
        depth = len(above)
        below = Name((*above, "**"), frozenset({depth}))
        every = (e for e in self.series(below) if e[:depth] == above and len(e) > depth)
        found = dict.fromkeys(elements[depth] for elements in every)
        device = None if depth < 2 else self._catalog.table_of_device(join_path(above))
        if device is not None:
            found.update(dict.fromkeys(m.name for m in device[0].shown))
        return list(found)

    def _nodes(self, show: Show) -> Listing:
        level = show.level or 0
        of = show.of
        if of is not None and of.elements == (ROOT,):
            of = None
        found = {tuple(e[: level + 1]) for e in self.series(of) if len(e) > level}
        return (("node", "TEXT"),), [(join_path(list(path)),) for path in sorted(found)]
