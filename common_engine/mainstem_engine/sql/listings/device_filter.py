"""WHERE of SHOW DEVICES, SHOW TIMESERIES and SELECT TAGS: for which of them it is true.

1. What push-down understands whole (=, IN and LIKE of device, tbname and tags, joined by AND) is
   answered by the catalog's indexes.
2. Anything else is asked of what these leave (row_conditions.py), with everything that is known of
   a device or series. No row is read.
3. A device whose template lacks a tag has null there. A tag that templates declare differently is
   compared as a number where all of them are numbers, else as text.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlglot import exp

from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.names import split_path
from mainstem_engine.model import ColumnType, DeviceIds, Measurement
from mainstem_engine.sql.definitions.device_templates import shown_template
from mainstem_engine.sql.grammar.dialect import RELATION
from mainstem_engine.sql.listings.row_conditions import PIECE_ROWS, RowConditions, check_condition
from mainstem_engine.sql.planning.pushdown import PushDown
from mainstem_engine.sql.select.relations import DEVICE, TBNAME, Member, Relation, members_of
from mainstem_engine.sql.select.scopes import Scopes
from mainstem_engine.sql.select.time_expressions import Clock, TimeExpressions
from mainstem_engine.sql.statements import Name
from mainstem_engine.sql.times import NS_PER_MS

if TYPE_CHECKING:
    from collections.abc import Callable

    from mainstem_engine.catalog.templates import Table

_INDEXED = frozenset({"DEVICE", "TAG", "TBNAME"})
_TEMPLATE, _DATABASE = "template", "database"
_OF_DEVICES = (DEVICE, TBNAME, _TEMPLATE, _DATABASE)
"""What is known of every device beside its tags."""
_OF_SERIES: dict[str, Callable[[Measurement], str | None]] = {
    "type": lambda m: m.type.name,
    "datatype": lambda m: m.type.name,
    "encoding": lambda m: m.encoding,
    "compression": lambda m: m.compression,
    "compressor": lambda m: m.compression,
    "unit": lambda m: m.unit,
}
"""What is known of every series beside its path, unless a tag is called so."""
_TIMESERIES = "timeseries"
Columns = dict[str, tuple[ColumnType, Sequence[Any]]]


@dataclass(frozen=True, slots=True)
class _Part:
    """Devices of one template, and what of them is listed: measurements, None for themselves."""

    table: Table
    ids: DeviceIds
    measurements: tuple[Measurement, ...] | None = None

    @property
    def rows(self) -> int:
        return len(self.ids) * (1 if self.measurements is None else len(self.measurements))


class DeviceFilter:
    """A condition on devices or series. Raises SqlUnsupportedError for one that is not about a
    single one of them, or has names that none of them knows."""

    def __init__(self, catalog: Catalog, where: exp.Expr, conditions: RowConditions) -> None:
        self._catalog = catalog
        self._where = where
        self._conditions = conditions
        self._named = {column.name.casefold() for column in where.find_all(exp.Column)}
        self._types: dict[str, ColumnType] = {}

    def devices(self, ids: Iterable[int]) -> list[int]:
        """Those of ``ids`` (ascending) for which it is true, ascending."""
        members = members_of(self._catalog, ids)
        check_condition(self._where, self._known(members))
        found: list[int] = []
        rest: list[_Part] = []
        for member in members:
            is_exact = self._narrow(member)
            if is_exact:
                found += _ids(member).tolist()
            else:
                rest.append(_Part(member.table, _ids(member)))
        for parts, mask in self._asked(rest):
            every = np.concatenate([part.ids for part in parts])
            found += every[mask].tolist()
        return sorted(found)

    def is_of_series(self, ids: Sequence[int]) -> bool:
        """True when it names what series have, and these devices have no tag of that name."""
        known = self._known(members_of(self._catalog, ids))
        return bool((self._named & {_TIMESERIES, *_OF_SERIES}).difference(known))

    def series(
        self, ids: Iterable[int], shown: Mapping[str, Sequence[Measurement]]
    ) -> list[tuple[int, Measurement]]:
        """Series of these devices for which it is true, by device. ``shown``: of a template."""
        members = members_of(self._catalog, ids)
        check_condition(self._where, [*self._known(members), _TIMESERIES, *_OF_SERIES])
        found: list[tuple[int, Measurement]] = []
        for member in members:
            self._narrow(member)
        parts = [_Part(m.table, _ids(m), tuple(shown.get(m.table.name, ()))) for m in members]
        for asked, mask in self._asked(parts):
            every = (
                (device, measurement)
                for part in asked
                for device in part.ids.tolist()
                for measurement in part.measurements or ()
            )
            found += [one for one, holds in zip(every, mask.tolist(), strict=True) if holds]
        return sorted(found, key=lambda one: one[0])

    def _known(self, members: Iterable[Member]) -> list[str]:
        """What is known of devices of these templates; finds the types of their tags."""
        names = dict.fromkeys(_OF_DEVICES)
        tables = [member.table for member in members] or self._catalog.templates.shown()
        for table in tables:
            names.update(dict.fromkeys(tag.name.casefold() for tag in table.template.tags))
        for name in self._named.difference(_OF_DEVICES):
            tags = [tag for table in tables if (tag := table.tag(name)) is not None]
            self._types[name] = _common_type({tag.type for tag in tags})
        return list(names)

    def _narrow(self, member: Member) -> bool:
        """Leaves out devices that the catalog's indexes know better; True when the rest is the
        answer."""
        own = {key: c for key, c in member.columns.items() if c.kind in _INDEXED}
        relation = Relation(Name(("devices",)), "devices", [member], True, own, [])
        table = exp.Table(this=exp.to_identifier("devices"))
        table.meta[RELATION] = 0
        select = exp.Select(
            expressions=[exp.Star()],
            from_=exp.From(this=table),
            where=exp.Where(this=self._where.copy()),
        )
        scopes = Scopes([relation])
        request = self._conditions.request
        clock = Clock(request.now_ns, request.zone, NS_PER_MS, request.params)
        narrowing = PushDown(self._catalog, scopes, TimeExpressions(scopes, clock))
        narrowing.narrow(select)
        return narrowing.is_exact

    # What is asked of the executing database

    def _asked(self, parts: Iterable[_Part]) -> Iterator[tuple[list[_Part], Any]]:
        """Pieces of these, and the mask of the rows of each for which the condition is true."""
        for piece in _pieces(parts):
            yield piece, self._conditions.holds(self._where, self._columns(piece))

    def _columns(self, parts: Sequence[_Part]) -> Columns:
        """Everything about the rows of these that the condition names; their paths in any case."""
        columns: Columns = {}
        for part in parts:
            for name, (kind, values) in self._of_part(part).items():
                known = columns.setdefault(name, (kind, []))
                known[1].extend(values)  # type: ignore[attr-defined]
        return columns

    def _of_part(self, part: _Part) -> Columns:
        paths = self._catalog.devices.paths(part.ids.tolist())
        columns: Columns = {DEVICE: (ColumnType.TEXT, paths)}
        if TBNAME in self._named:
            columns[TBNAME] = (ColumnType.TEXT, [split_path(path)[-1] for path in paths])
        if _TEMPLATE in self._named:
            columns[_TEMPLATE] = (ColumnType.TEXT, [shown_template(part.table.family)] * len(paths))
        if _DATABASE in self._named:
            names = [self._catalog.database_of(device).name for device in part.ids.tolist()]
            columns[_DATABASE] = (ColumnType.TEXT, names)
        own = {tag.name.casefold(): tag for tag in part.table.template.tags}
        for name in self._named - columns.keys():
            tag = own.get(name)
            if tag is not None:
                codes, values = self._catalog.devices.tag_codes(
                    part.table.family, tag.name, part.ids
                )
                kind = self._types[name]
                said = values if kind == tag.type else _as_type(values, kind)
                columns[name] = (kind, [said[code] for code in codes.tolist()])
            elif part.measurements is None or name not in (_TIMESERIES, *_OF_SERIES):
                columns[name] = (self._types[name], [None] * len(paths))
        if part.measurements is None:
            return columns
        return self._of_series(part, part.measurements, columns)

    def _of_series(
        self, part: _Part, measurements: Sequence[Measurement], of_devices: Columns
    ) -> Columns:
        """One row for each measurement of each device."""
        columns: Columns = {
            name: (kind, [value for value in values for _ in measurements])
            for name, (kind, values) in of_devices.items()
        }
        paths = of_devices[DEVICE][1]
        for name in self._named - of_devices.keys():
            if name == _TIMESERIES:
                series = [f"{path}.{m.name}" for path in paths for m in measurements]
                columns[name] = (ColumnType.TEXT, series)
            else:
                said = [_OF_SERIES[name](m) for m in measurements]
                columns[name] = (ColumnType.TEXT, said * len(part.ids))
        return columns


def _pieces(parts: Iterable[_Part]) -> Iterator[list[_Part]]:
    """The same devices in lists of about PIECE_ROWS rows at most."""
    piece: list[_Part] = []
    rows = 0
    for part in parts:
        width = max(1, part.rows // max(1, len(part.ids)))
        step = max(1, PIECE_ROWS // width)
        for start in range(0, len(part.ids), step):
            some = _Part(part.table, part.ids[start : start + step], part.measurements)
            if piece and rows + some.rows > PIECE_ROWS:
                yield piece
                piece, rows = [], 0
            piece.append(some)
            rows += some.rows
    if piece:
        yield piece


def _common_type(types: Collection[ColumnType]) -> ColumnType:
    if len(types) == 1:
        return next(iter(types))
    if types and all(kind.is_integer or kind.is_float for kind in types):
        return ColumnType.DOUBLE
    return ColumnType.TEXT


def _as_type(values: Sequence[Any], kind: ColumnType) -> list[Any]:
    """``values`` of a tag as the type that all templates' tags of its name are compared in."""
    make = float if kind == ColumnType.DOUBLE else str
    return [None if value is None else make(value) for value in values]


def _ids(member: Member) -> DeviceIds:
    return np.empty(0, np.uint32) if member.devices is None else member.devices
