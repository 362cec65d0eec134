"""The query that delivers rows to a walk: keys, time, and the columns that are needed of them.

1. It takes over FROM, JOIN and WHERE of its SELECT. Keys are ``#p0`` ..., the time is ``#t``, any
   other column or expression ``#a0`` ...; equal ones are asked for once.
2. Rows come by key, then by time; rows of several devices at one time by device. The rows of one
   device come from the scan in that order already.
3. The time is that of the first table, or of a sub-query the first of its columns that is one.
   Rows without a time are left out.
"""

from __future__ import annotations

from sqlglot import exp

from mainstem_engine.errors import SqlError
from mainstem_engine.sql.select.relations import DEVICE, TIME, Relation, RelationColumn
from mainstem_engine.sql.select.scopes import Scopes, TableSource, first_select
from mainstem_engine.sql.select.time_expressions import TimeExpressions
from mainstem_engine.sql.walks.timelines import TIME as ROW_TIME
from mainstem_engine.sql.walks.timelines import key_name

_TIME_NAMES = (TIME, "_wstart", "ts", "_irowts")
"""Columns of a sub-query that are its time if they are times at all; else the first that is one."""
_OF_WALK = "mainstem_of_walk"
"""Meta entry of columns of walks."""
_TAKEN = ("from_", "joins", "laterals", "where", "sample")


class RowsQuery:
    """Collects what is needed of the rows of one SELECT, which is not changed."""

    def __init__(self, select: exp.Select, scopes: Scopes, times: TimeExpressions) -> None:
        self._select = select
        self._scopes = scopes
        self._times = times
        self.sources = list(scopes.sources(select))
        self._keys: dict[str, tuple[str, exp.Expr]] = {}
        self._columns: dict[str, tuple[str, exp.Expr]] = {}
        self._conditions: list[exp.Expr] = []

    @property
    def relation(self) -> Relation | None:
        """The relation of the first table, None for other sources."""
        return self.sources[0].relation if self.sources else None

    @property
    def keys(self) -> int:
        return len(self._keys)

    def add_key(self, node: exp.Expr) -> exp.Column:
        """The column of a partition key."""
        name, _ = self._keys.setdefault(identity(node), (key_name(len(self._keys)), node.copy()))
        return column(name)

    def key_of(self, node: exp.Expr) -> exp.Column | None:
        """The column of an expression that is a key."""
        found = self._keys.get(identity(node))
        return None if found is None else column(found[0])

    def add(self, node: exp.Expr) -> exp.Column:
        """The column of an expression over the rows."""
        number = len(self._columns)
        name, _ = self._columns.setdefault(identity(node), (f"#a{number}", node.copy()))
        return column(name)

    def columns(self) -> list[str]:
        """Names of the columns that were asked for."""
        return [name for name, _ in self._columns.values()]

    def add_condition(self, node: exp.Expr) -> None:
        """One more condition that rows fulfil."""
        self._conditions.append(node)

    def origin(self, node: exp.Column) -> RelationColumn | tuple[exp.Expr, exp.Select] | None:
        """As Scopes.origin of a column of the SELECT; None where its tables have no such one."""
        if not any(self._offers(source, node) for source in self.sources):
            return None
        return self._scopes.origin(node, self._select)

    def _offers(self, source: TableSource, node: exp.Column) -> bool:
        name = node.name.casefold()
        if node.table and node.table.casefold() != source.alias.casefold():
            return False
        if source.relation is not None:
            return name in source.relation.columns
        return self._scopes.output(source, name) is not None

    def is_time(self, node: exp.Column) -> bool:
        """True for the time of the rows, by whatever name."""
        found = self.origin(node)
        if isinstance(found, RelationColumn) and TIME in (found.name.casefold(), found.source):
            return True
        if not self.sources or self.relation is not None or found is None:
            return False
        source = self.sources[0]
        is_source = node.table.casefold() in ("", source.alias.casefold())
        return is_source and node.name.casefold() == self._time_name_or_none(source)

    def time(self) -> exp.Column:
        """The time of the rows, as a column of the SELECT."""
        if not self.sources:
            raise SqlError("there are no rows", hint="windows and functions of time need FROM")
        source = self.sources[0]
        name = TIME if source.relation is not None else self._time_name(source)
        table = exp.to_identifier(source.alias, quoted=True) if source.alias else None
        return exp.Column(this=exp.to_identifier(name, quoted=True), table=table)

    def _time_name(self, source: TableSource) -> str:
        name = self._time_name_or_none(source)
        if name is None:
            raise SqlError(
                f"{source.alias or 'the sub-query'} has no time",
                hint="windows and functions of time need rows with a time: select it there",
            )
        return name

    def _time_name_or_none(self, source: TableSource) -> str | None:
        for name in _TIME_NAMES:
            found = self._scopes.output(source, name)
            if found is not None and self._times.is_time_of(found[0].unalias(), found[1]):
                return name
        inner = first_select(source.query)
        for projection in inner.expressions if inner is not None else ():
            if self._times.is_time_of(projection.unalias(), inner):
                return str(projection.alias_or_name).casefold()
        # What is called so is taken for it, and looked at when the rows are there.
        written = [projection.alias_or_name for projection in inner.expressions] if inner else []
        names = {name.casefold() for name in (*written, *source.column_names)}
        return next((name for name in _TIME_NAMES if name in names), None)

    def build(self) -> exp.Select:
        """The query."""
        time = self.time()
        items = [*self._keys.values(), (ROW_TIME, time), *self._columns.values()]
        projections = [
            exp.alias_(node.copy(), exp.to_identifier(name, quoted=True)) for name, node in items
        ]
        query = exp.Select(expressions=projections)
        for key in _TAKEN:
            value = self._select.args.get(key)
            if value is not None:
                is_list = isinstance(value, list)
                query.set(key, [each.copy() for each in value] if is_list else value.copy())
        conditions = list(self._conditions)
        if self.relation is None or self._select.args.get("joins"):
            conditions.append(exp.Not(this=exp.Is(this=time.copy(), expression=exp.Null())))
        for condition in conditions:
            query.where(condition, copy=False)
        self._order(query, time)
        return query

    def _order(self, query: exp.Select, time: exp.Column) -> None:
        order = [*(column(name) for name, _ in self._keys.values()), time.copy()]
        relation = self.relation
        if relation is not None:
            if not self._keys and len(self.sources) == 1 and is_one_device(relation):
                return
            device = time.copy()
            device.set("this", exp.to_identifier(DEVICE, quoted=True))
            order.append(device)
        ordered = [exp.Ordered(this=node, nulls_first=True) for node in order]
        query.set("order", exp.Order(expressions=ordered))


def is_one_device(relation: Relation) -> bool:
    """True for a table of one device, whose rows come in order of time."""
    if len(relation.members) != 1 or relation.is_sampled:
        return False
    devices = relation.members[0].devices
    return devices is not None and len(devices) == 1


def identity(node: exp.Expr) -> str:
    """Equal for equal expressions; names are matched without regard to case."""
    if isinstance(node, exp.Column):
        return f"{node.table}.{node.name}".casefold()
    return node.sql(dialect="duckdb")


def column(name: str) -> exp.Column:
    """A column of a walk, which no name of a statement reaches."""
    node = exp.column(exp.to_identifier(name, quoted=True))
    node.meta[_OF_WALK] = True
    return node


def is_of_walk(node: exp.Column) -> bool:
    """True for what column() made, and its copies."""
    return _OF_WALK in node.meta
