"""What a name in FROM stands for: templates, devices, and the columns they offer.

1. A template (or rollup) is a table of all its devices. A device path is a table of one device; a
   pattern (``root.plant_a.**``) is a table of the devices that it matches, of every template.
2. One element is a template, else a device of the current database. ``d.t`` is ``root.d.t``. A
   database followed by a template is the template's devices in that database.
3. Every table has ``time`` (also under its declared name), ``device`` and ``tbname``, the device's
   last element. ``*`` is time, device, tags and measurements of a template, and time and
   measurements of a path that is queried by itself; the other columns answer to their names only.
4. A rollup table also has ``m_mean``, computed from ``m_sum`` and ``m_count``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from sqlglot import exp

from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.names import (
    ROOT,
    check_element,
    database_path,
    join_path,
)
from mainstem_engine.catalog.templates import Table
from mainstem_engine.errors import NotFoundError, SchemaError
from mainstem_engine.model import ColumnType, DeviceIds
from mainstem_engine.sql.plan import Partials
from mainstem_engine.sql.statements import Name

TIME = "time"
DEVICE = "device"
TBNAME = "tbname"

_ELEMENT = r"(?:[^.`]+|`(?:[^`]|``)+`)"
_WILDCARDS = {"*": _ELEMENT, "**": rf"{_ELEMENT}(?:\.{_ELEMENT})*"}
_PARTIAL = r"[^.`]*"
"""What a ``*`` stands for beside other text: ``sg*``."""


@dataclass(frozen=True, slots=True)
class RelationColumn:
    """``source``: the scan's column that it is made of, or None when ``expression`` makes it."""

    name: str
    type: ColumnType
    unit: str | None = None
    kind: str = "MEASUREMENT"
    source: str | None = None

    def expression(self) -> exp.Expr:
        """How it is made from the columns of the scan."""
        if self.kind == "TBNAME":
            return _tbname()
        if self.kind == "MEAN":
            stem = self.name.removesuffix("mean")
            count = exp.func("NULLIF", _column(f"{stem}count"), exp.Literal.number(0))
            return exp.Div(this=_column(f"{stem}sum"), expression=count)
        return _column(self.source or self.name)

    def inputs(self) -> tuple[str, ...]:
        """The columns of the scan that the expression reads."""
        if self.kind == "TBNAME":
            return (DEVICE,)
        if self.kind == "MEAN":
            stem = self.name.removesuffix("mean")
            return (f"{stem}sum", f"{stem}count")
        return (self.source or self.name,)


@dataclass(frozen=True, slots=True)
class Moment:
    """A bound of the time, as ``is_start`` or as end: ``shift_ns`` after the constant ``node``,
    whose value is another one in every run, or after the epoch."""

    node: exp.Expr | None
    shift_ns: int
    is_start: bool


@dataclass(slots=True)
class Member:
    """One template of a relation. ``devices`` ascending uint32, None for all of the template."""

    table: Table
    devices: DeviceIds | None
    columns: dict[str, RelationColumn]
    """Columns by casefolded name."""
    partials: Partials | None = None
    """Groups are delivered in place of rows, of its own measurements."""
    fixed: DeviceIds | None = None
    """As ``devices``, without what the open choices of the relation leave out."""


@dataclass(slots=True)
class Relation:
    """One reference to tables in FROM.

    The planner fills ``wanted``, and push-down the bounds and the members' devices.
    """

    name: Name
    alias: str
    members: list[Member]
    is_path: bool
    columns: dict[str, RelationColumn]
    """All columns that answer to a name, by casefolded name, over all members."""
    star: list[str]
    """Names of the columns of ``*``, in order."""
    is_sampled: bool = False
    wanted: list[str] = field(default_factory=list)
    """Names of the columns that the statement needs, in the order of ``columns``."""
    start_ns: int | None = None
    end_ns: int | None = None
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By measurement: rows without a value in [low, high] fail the WHERE."""
    filters: list[tuple[str, str, int | float]] = field(default_factory=list)
    """Comparisons of a measurement that rows of the WHERE pass; see value_filters.py."""
    partials: Partials | None = None
    """Groups are delivered in place of rows."""
    edge: tuple[int, bool] | None = None
    """So many rows of one end of time are enough: the newest ones (True) or the oldest."""

    moments: list[Moment] = field(default_factory=list)
    """What ``start_ns`` and ``end_ns`` were made of."""
    choices: list[tuple[exp.Expr, ...]] = field(default_factory=list)
    """Devices that the values of parameters chose: one of each."""

    def is_time(self, name: str) -> bool:
        """True for time and for measurements of type TIMESTAMP."""
        column = self.columns.get(name.casefold())
        return column is not None and column.type == ColumnType.TIMESTAMP


def find_relation(
    catalog: Catalog, name: Name, database: str, alias: str, *, by_itself: bool
) -> Relation:
    """The relation that ``name`` stands for. Raises NotFoundError, SchemaError.

    ``by_itself``: the statement reads this one table, so a path's ``*`` leaves device and tags out.
    """
    members, is_path = _members(catalog, name, database)
    return make_relation(name, alias, members, is_path=is_path, by_itself=by_itself)


def make_relation(
    name: Name, alias: str, members: list[Member], *, is_path: bool, by_itself: bool
) -> Relation:
    """A relation of these members."""
    columns: dict[str, RelationColumn] = {}
    for member in members:
        for key, column in member.columns.items():
            columns.setdefault(key, column)
    hidden = {"DEVICE", "TAG"} if is_path and by_itself else set()
    star = [c.name for c in columns.values() if c.kind not in hidden | {"ALIAS", "TBNAME"}]
    return Relation(name, alias, members, is_path, columns, star)


def device_path(name: Name, database: str) -> str:
    """The full path of a device as written: ``d1001``, ``power.d1001`` or ``root.power.d1001``."""
    elements = _below_root(name)
    if elements[0] == ROOT:
        return join_path(elements)
    if len(elements) == 1:
        return f"{database}.{join_path(elements)}"
    return join_path([ROOT, *elements])


def database_name(name: Name | str) -> str:
    """``power`` and ``root.power`` are ``root.power``."""
    if isinstance(name, str):
        return database_path(name)
    elements = _below_root(name)
    return join_path(elements if elements[0] == ROOT else [ROOT, *elements])


def _below_root(name: Name) -> list[str]:
    if name.elements == (ROOT,):
        raise SchemaError(
            f"{ROOT} is above all databases", field=ROOT, hint=f"name a path below it: {ROOT}.a"
        )
    return [check_element(element, "path element") for element in name.elements]


def _members(catalog: Catalog, name: Name, database: str) -> tuple[list[Member], bool]:
    if name.is_pattern:
        return _pattern_members(catalog, name), True
    if len(name.elements) == 1:
        table = catalog.templates.find(name.elements[0])
        if table is not None:
            return [_member(table, None)], False
    path = device_path(name, database)
    device = catalog.devices.id_of(path)
    if device is not None:
        return [_device_member(catalog, path, device)], True
    found = _template_in_database(catalog, name)
    if found is not None:
        return [found], False
    raise NotFoundError(
        f"there is no table {name}: no template of that name, no device {path}",
        field=str(name),
        hint="SHOW TEMPLATES and SHOW DEVICES list them; SQL cannot read files",
    )


def _device_member(catalog: Catalog, path: str, device: int) -> Member:
    found = catalog.table_of_device(path)
    if found is None:
        family = catalog.devices.family_name(device)
        rollups = [
            t.name for t in catalog.templates.all() if t.family.casefold() == family.casefold()
        ]
        raise NotFoundError(
            f"the rows of {path} are not held here, only its rollups",
            field=path,
            hint=f"select from {', '.join(rollups)} WHERE device = '{path}'",
        )
    return _member(found[0], np.array([device], np.uint32))


def _template_in_database(catalog: Catalog, name: Name) -> Member | None:
    """``power.meters``: the devices of template ``meters`` in database ``root.power``."""
    if len(name.elements) < 2 or name.elements[:-1] == (ROOT,):
        return None
    table = catalog.templates.find(name.elements[-1])
    database = catalog.databases.find(database_name(Name(name.elements[:-1])))
    if table is None or database is None:
        return None
    inside = catalog.devices.below(database.name)
    return _member(table, np.intersect1d(inside, catalog.devices.of_family(table.family)))


def _pattern_members(catalog: Catalog, name: Name) -> list[Member]:
    members = members_of(catalog, match_devices(catalog, name))
    if not members:
        raise NotFoundError(
            f"no device matches {name}", field=str(name), hint="SHOW DEVICES lists them"
        )
    return members


def members_of(catalog: Catalog, devices: Iterable[int]) -> list[Member]:
    """Devices (ascending ids) by template; those of which only rollups are held are left out."""
    tables: dict[str, tuple[Table, list[int]]] = {}
    for device in devices:
        table = catalog.templates.get(catalog.devices.family_name(device))
        if table is not None:
            tables.setdefault(table.name, (table, []))[1].append(device)
    return [_member(table, np.array(found, np.uint32)) for table, found in tables.values()]


def match_devices(catalog: Catalog, name: Name) -> list[int]:
    """Ids, ascending, of the devices whose path a pattern matches; ``**`` is any depth."""
    elements, wildcards = _rooted(name)
    # What comes before the first wildcard leads to the candidates; the catalog has them sorted.
    fixed = min(wildcards, default=len(elements) - 1)
    prefix = join_path(elements[:fixed])
    ids = catalog.devices.below(prefix)
    if elements[fixed:] == ["**"] and fixed in wildcards:
        itself = catalog.devices.id_of(prefix)
        return [device for device in ids.tolist() if device != itself]
    pattern = path_pattern(name)
    paths = catalog.devices.paths(ids)
    found = zip(ids.tolist(), paths, strict=True)
    return [device for device, path in found if pattern.fullmatch(path)]


def path_pattern(name: Name) -> re.Pattern[str]:
    """What the paths match that a name with or without wildcards means."""
    elements, wildcards = _rooted(name)
    parts = []
    for position, element in enumerate(elements):
        if position in wildcards:
            partial = _PARTIAL.join(map(re.escape, element.split("*")))
            parts.append(_WILDCARDS.get(element, partial))
        else:
            quoted = join_path([check_element(element, "path element")])
            parts.append(re.escape(quoted))
    return re.compile(r"\.".join(parts))


def _rooted(name: Name) -> tuple[list[str], set[int]]:
    """The elements with ``root`` first, and which of them are wildcards."""
    if name.elements[0] == ROOT:
        return list(name.elements), set(name.wildcards)
    return [ROOT, *name.elements], {position + 1 for position in name.wildcards}


def matching_series(
    catalog: Catalog, of: Name | None, database: str
) -> tuple[Iterable[int], Callable[[str], bool]]:
    """(ids of devices, which of their measurements) that a path, a pattern of devices followed by
    one of measurements, or nothing (all) stands for. A device's path means all of its series."""
    if of is None:
        return catalog.devices.all_ids().tolist(), _any_name
    if not of.is_pattern:
        device = catalog.devices.id_of(device_path(of, database))
        if device is not None:
            return [device], _any_name
    last = len(of.elements) - 1
    above = Name(of.elements[:-1], of.wildcards - {last})
    ids = match_devices(catalog, above) if above.elements else []
    if of.elements[last] == "**" and last in of.wildcards:
        # Its last element is the measurement; those before it are more of the path.
        return sorted({*ids, *match_devices(catalog, of)}), _any_name
    return ids, name_matcher(of.elements[last], last in of.wildcards)


def name_matcher(text: str, is_pattern: bool) -> Callable[[str], bool]:
    """Whether the name of a column is ``text``, in which ``*`` may stand for any text."""
    parts = text.split("*") if is_pattern else [text]
    pattern = re.compile(".*".join(map(re.escape, parts)), re.IGNORECASE | re.DOTALL)
    return lambda name: pattern.fullmatch(name) is not None


def _any_name(name: str) -> bool:
    del name
    return True


def _member(table: Table, devices: DeviceIds | None) -> Member:
    return Member(table, devices, {c.name.casefold(): c for c in table_columns(table)})


def table_columns(table: Table) -> list[RelationColumn]:
    """Every column that a table offers; those of kind ALIAS and TBNAME are not in ``*``."""
    template = table.template
    columns = [
        RelationColumn(TIME, ColumnType.TIMESTAMP, kind="TIME"),
        RelationColumn(DEVICE, ColumnType.TEXT, kind="DEVICE"),
        *(RelationColumn(tag.name, tag.type, kind="TAG") for tag in template.tags),
    ]
    names = {m.name.casefold() for m in template.measurements}
    for measurement in table.shown:
        columns.append(RelationColumn(measurement.name, measurement.type, measurement.unit))
        if table.replaces_rows and measurement.name.endswith("_last_time"):
            # last_time is the last column of a measurement in a rollup; its mean comes behind.
            stem = measurement.name.removesuffix("last_time")
            if f"{stem}sum".casefold() in names and f"{stem}mean".casefold() not in names:
                columns.append(RelationColumn(f"{stem}mean", ColumnType.DOUBLE, kind="MEAN"))
    known = {c.name.casefold() for c in columns}
    if template.time_name.casefold() not in known:
        columns.append(
            RelationColumn(template.time_name, ColumnType.TIMESTAMP, kind="ALIAS", source=TIME)
        )
    if TBNAME not in known:
        columns.append(RelationColumn(TBNAME, ColumnType.TEXT, kind="TBNAME"))
    return columns


def _column(name: str) -> exp.Column:
    return exp.column(exp.to_identifier(name, quoted=True))


def _tbname() -> exp.Expr:
    """The last element of ``device``, without its backquotes."""
    device = _column(DEVICE)
    quoted = exp.func(
        "REPLACE",
        exp.Anonymous(
            this="regexp_extract",
            expressions=[
                device.copy(),
                exp.Literal.string(r"`((?:[^`]|``)*)`$"),
                exp.Literal.number(1),
            ],
        ),
        exp.Literal.string("``"),
        exp.Literal.string("`"),
    )
    plain = exp.Anonymous(
        this="regexp_extract", expressions=[device.copy(), exp.Literal.string("[^.]*$")]
    )
    is_quoted = exp.Like(this=device, expression=exp.Literal.string("%`"))
    return exp.Case(ifs=[exp.If(this=is_quoted, true=quoted)], default=plain)
