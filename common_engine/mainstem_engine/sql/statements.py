"""What a statement asks for, as plain values: the seam between the grammar and the session.

1. The grammar makes these and knows no catalog; the session carries them out and knows no tokens.
2. Names are kept as written. What they mean (database, template, device) is decided at execution.
3. Literals are Python values. What depends on the request (the clock, parameters, the time zone)
   stays symbolic: ``Now``, ``Parameter`` and text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mainstem_engine.model import ColumnType, Measurement, Tag, Template

if TYPE_CHECKING:
    from sqlglot import exp


@dataclass(frozen=True, slots=True)
class Name:
    """A dotted name as written: ``d1001``, ``power.d1001``, ``root.plant_a.**``.

    ``wildcards`` holds the positions of elements that were ``*``, ``**`` or text with ``*`` in it,
    not in quotes.
    """

    elements: tuple[str, ...]
    wildcards: frozenset[int] = frozenset()

    @property
    def is_pattern(self) -> bool:
        return bool(self.wildcards)

    def __str__(self) -> str:
        return ".".join(self.elements)


@dataclass(frozen=True, slots=True)
class Now:
    """The time of the request plus ``offset_ns``."""

    offset_ns: int = 0


@dataclass(frozen=True, slots=True)
class Parameter:
    """The ``?`` placeholder number ``index``, from 0 in the order of the text."""

    index: int


Scalar = None | bool | int | float | str | bytes
Literal = Scalar | Now | Parameter
"""A value in VALUES or TAGS."""


@dataclass(frozen=True, slots=True)
class CreateDatabase:
    """``keep_ns`` None keeps for ever; ``duration_ns`` and ``precision`` None take the default."""

    name: Name
    if_not_exists: bool = False
    keep_ns: int | None = None
    duration_ns: int | None = None
    precision: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UseDatabase:
    name: Name


@dataclass(frozen=True, slots=True)
class CreateTemplate:
    """Both CREATE STABLE and CREATE SCHEMA TEMPLATE. Ids in ``template`` are not yet given."""

    template: Template
    if_not_exists: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SetTemplate:
    template: str
    path: Name


@dataclass(frozen=True, slots=True)
class ActivateTemplate:
    """Makes the device ``path`` of the template that is set on it or above it."""

    path: Name


@dataclass(frozen=True, slots=True)
class UnsetTemplate:
    template: str
    path: Name


@dataclass(frozen=True, slots=True)
class AlterTemplate:
    """One or several changes of the measurements of a template, by their names before it.

    ``encode``: (encoding, compression), None for what stays.
    """

    name: Name
    add: tuple[Measurement, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    widen: Mapping[str, ColumnType] = field(default_factory=dict)
    encode: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AlterTags:
    """One or several changes of the tags that a template declares, by their names before it."""

    name: Name
    add: tuple[Tag, ...] = ()
    drop: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    widen: Mapping[str, ColumnType] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SetTags:
    """Other tag values for devices. ``series``: the names are of series, and tags that are not
    declared are added (ALTER TIMESERIES)."""

    names: tuple[Name, ...]
    tags: Mapping[str, Literal]
    series: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Drop:
    """``what`` is TABLE, STABLE, TEMPLATE or DATABASE."""

    what: str
    names: tuple[Name, ...]
    if_exists: bool = False


@dataclass(frozen=True, slots=True)
class Deactivate:
    """Drops devices of a template (None: of whichever) that paths or patterns name."""

    template: str | None
    targets: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class AlterKeep:
    """How long rows of a template or rollup are kept; None: as the database says."""

    name: Name
    keep_ns: int | None


@dataclass(frozen=True, slots=True)
class AlterDatabase:
    """Settings that are named; ``keep_ns`` counts only with ``sets_keep``."""

    name: Name
    sets_keep: bool = False
    keep_ns: int | None = None
    duration_ns: int | None = None
    precision: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SetTtl:
    """How long rows of the devices below a path are kept; None: no longer by this rule."""

    path: Name
    ttl_ns: int | None


@dataclass(frozen=True, slots=True)
class Delete:
    """``where`` None: all rows. A target's last element may be a measurement; with ``series`` it
    must be (DELETE TIMESERIES)."""

    targets: tuple[Name, ...]
    where: exp.Expr | None
    series: bool = False


@dataclass(frozen=True, slots=True)
class DeviceDefinition:
    """``name USING template [(tag, ...)] TAGS (value, ...)``. ``tag_names`` None: as declared."""

    name: Name
    template: str
    tag_names: tuple[str, ...] | None
    tag_values: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class CreateDevices:
    devices: tuple[DeviceDefinition, ...]
    if_not_exists: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CreateTable:
    """A device with columns of its own. Ids in ``columns`` are not yet given."""

    name: Name
    columns: tuple[Measurement, ...]
    time_name: str = "time"
    keep_ns: int | None = None
    if_not_exists: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CreateSeries:
    """CREATE TIMESERIES: further columns of one device's own, which is made when it is missing.
    ``tags``: of the device."""

    device: Name
    columns: tuple[Measurement, ...]
    tags: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    if_not_exists: bool = False


@dataclass(frozen=True, slots=True)
class InsertTarget:
    """The rows of one table in INSERT. ``columns`` None: time and measurements as declared.
    ``query``: in place of rows."""

    name: Name
    using: DeviceDefinition | None
    columns: tuple[str, ...] | None
    rows: tuple[tuple[Literal, ...], ...]
    query: exp.Query | None = None


@dataclass(frozen=True, slots=True)
class Insert:
    targets: tuple[InsertTarget, ...]


@dataclass(frozen=True, slots=True)
class Show:
    """``what`` is DATABASES, TEMPLATES, STABLES, DEVICES, TIMESERIES, TABLES (CHILD of a template,
    NORMAL of none), TAGS, TTL (also of ``others``), STREAMS, NODES, QUARANTINE, JOBS, MEMBERS,
    PATHS SET, PATHS USING, CHILD PATHS, CHILD NODES, PATH NODES, TABLE TAGS and TAG VALUES (SELECT
    TAGS) of ``names``, or CREATE DATABASE, STABLE or TABLE; ``of`` and ``where`` (on devices or
    series) narrow it. ``counts``: only how many there are, by the first ``level`` elements
    (beside root) where that is named. ``latest``: of series, the one with the newest value first.
    """

    what: str
    of: Name | None = None
    like: str | None = None
    limit: int | Parameter | None = None
    offset: int | Parameter = 0
    where: exp.Expr | None = None
    counts: bool = False
    level: int | None = None
    names: tuple[str, ...] = ()
    latest: bool = False
    distinct: bool = False
    others: tuple[Name, ...] = ()


@dataclass(frozen=True, slots=True)
class Upkeep:
    """``what`` is FLUSH, COMPACT or TRIM; ``names``: databases that were named."""

    what: str
    names: tuple[Name, ...] = ()


@dataclass(frozen=True, slots=True)
class Describe:
    name: Name


@dataclass(frozen=True, slots=True)
class Query:
    """A SELECT (or VALUES, set operation, WITH): a syntax tree for the planner."""

    tree: exp.Query


@dataclass(frozen=True, slots=True)
class Explain:
    """``analyze``: it is run too. ``into``: what INSERT ... SELECT would write its rows to."""

    query: Query
    analyze: bool = False
    into: str | None = None


Statement = (
    CreateDatabase
    | UseDatabase
    | CreateTemplate
    | SetTemplate
    | UnsetTemplate
    | AlterTemplate
    | AlterTags
    | SetTags
    | Drop
    | Deactivate
    | AlterKeep
    | AlterDatabase
    | SetTtl
    | Delete
    | CreateDevices
    | CreateTable
    | CreateSeries
    | ActivateTemplate
    | Insert
    | Show
    | Upkeep
    | Describe
    | Query
    | Explain
)
