"""The tables of a SELECT with ALIGN(EVERY ...): their rows, their keys, and whose a column is.

1. Rows that stand side by side have two keys: the number of their table, and their device where it
   is one of several. With PARTITION BY, and from a template, keys are those of the partition.
2. A condition of WHERE belongs to the table of its columns; one of times only, to all of them.
3. Rows of several tables come as one: each table has its own columns, null for the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlglot import exp

from mainstem_engine.errors import SqlError
from mainstem_engine.sql.grammar.clauses import PARTITION
from mainstem_engine.sql.lowering.lowered import Lowered
from mainstem_engine.sql.lowering.shape import device_members
from mainstem_engine.sql.select.relations import DEVICE, Member
from mainstem_engine.sql.select.rows_query import RowsQuery, column, is_one_device
from mainstem_engine.sql.select.scopes import TableSource, first_select
from mainstem_engine.sql.select.stars import measurements
from mainstem_engine.sql.walks.timelines import TIME as ROW_TIME
from mainstem_engine.sql.walks.timelines import key_name

NUMBER_KEY, DEVICE_KEY = key_name(0), key_name(1)
"""Keys of rows that stand side by side."""


@dataclass(slots=True)
class AlignedTable:
    """One table of FROM. ``rows``: the query of its rows; ``label``: its name in
    headings; ``devices``: those that stand side by side, empty for one device."""

    table: TableSource
    rows: RowsQuery
    label: str
    devices: list[tuple[str, Member]] = field(default_factory=list)

    def has(self, node: exp.Column, lowered: Lowered) -> bool:
        """True when a column is, or may be, one of this table."""
        if node.table and node.table.casefold() != self.table.alias.casefold():
            return False
        if self.table.relation is not None:
            return node.name.casefold() in self.table.relation.columns
        return lowered.scopes.output(self.table, node.name.casefold()) is not None

    def names(self) -> list[str]:
        """The columns of ``*``, without the time."""
        relation = self.table.relation
        if relation is not None:
            return measurements(relation)
        select = first_select(self.table.query)
        found = select.expressions if select is not None else []
        if any(isinstance(p, exp.Star) or isinstance(p.unalias(), exp.Star) for p in found):
            raise SqlError("ALIGN does not know the columns of *", hint="name them")
        time = self.rows.time().name.casefold()
        return [p.alias_or_name for p in found if p.alias_or_name.casefold() != time]


@dataclass(frozen=True, slots=True)
class AlignedSignal:
    """A column that is put on the grid. ``node``: of its table; ``column``: of the rows;
    ``output``: of the walk; ``method``: None for ``default``, which is None where its type
    decides."""

    node: exp.Column
    column: str
    output: str
    method: str | None
    default: str | None
    limit_ns: int | None

    def to_map(self) -> dict[str, object]:
        """As the walk takes it."""
        return {
            "name": self.node.name,
            "column": self.column,
            "output": self.output,
            "method": self.method,
            "default": self.default,
            "limit_ns": self.limit_ns,
        }


class AlignedTables:
    """All tables of one SELECT. ``is_long``: the answer has a row per partition and moment, and
    there is one table. Raises SqlError for what cannot be put side by side."""

    def __init__(self, select: exp.Select, lowered: Lowered) -> None:
        self._select = select
        self._lowered = lowered
        self.all = self._find_sources()
        self.is_long = self._set_keys()
        for condition in _conjuncts(select.args.get("where")):
            self._place_condition(condition)

    @property
    def stands_beside(self) -> bool:
        """True when several tables or devices stand side by side."""
        return len(self.all) > 1 or bool(self.all[0].devices)

    def owners(self, node: exp.Column) -> list[int]:
        """The numbers of the tables that have a column. Raises SqlError where none has it."""
        found = [n for n, source in enumerate(self.all) if source.has(node, self._lowered)]
        if not found:
            raise SqlError(
                f"there is no column {node.sql()}",
                field=node.name,
                hint="DESCRIBE lists the columns of a table",
            )
        return found

    def owner(self, node: exp.Column) -> int:
        """The number of the table that a column is of. Raises SqlError where several have it."""
        owner, *others = self.owners(node)
        if others:
            named = [self.all[number].table.alias or "a sub-query" for number in (owner, *others)]
            raise SqlError(
                f"{node.name} is a column of {' and '.join(named[:2])}",
                field=node.name,
                hint=f"write {named[0]}.{node.name}",
            )
        return owner

    def is_time(self, node: exp.Column) -> bool:
        """True for the time of a table."""
        return self.all[self.owners(node)[0]].rows.is_time(node)

    def rows(self, signals: dict[tuple[int, str], AlignedSignal]) -> exp.Select:
        """The rows of all tables, with the columns of each."""
        queries = []
        for number, source in enumerate(self.all):
            names = {}
            for (owner, _), signal in signals.items():
                if owner == number:
                    names[source.rows.add(signal.node).name] = signal.column
            query = source.rows.build()
            for projection in query.expressions:
                if projection.alias in names:
                    name = exp.to_identifier(names[projection.alias], quoted=True)
                    projection.set("alias", name)
            queries.append(query)
        if len(queries) == 1:
            return queries[0]
        joined: exp.Query = queries[0]
        for query in queries:
            query.set("order", None)
        for query in queries[1:]:
            joined = exp.Union(this=joined, expression=query, distinct=False, by_name=True)
        alias = exp.TableAlias(this=exp.to_identifier("#u", quoted=True))
        names_all = [NUMBER_KEY, DEVICE_KEY, ROW_TIME, *(s.column for s in signals.values())]
        return exp.Select(
            expressions=[column(name) for name in names_all],
            from_=exp.From(this=exp.Subquery(this=joined, alias=alias)),
            order=ordered_by([NUMBER_KEY, DEVICE_KEY, ROW_TIME]),
        )

    def _find_sources(self) -> list[AlignedTable]:
        select = self._select
        from_ = select.args.get("from_")
        nodes = [] if from_ is None else [from_.this]
        for join in select.args.get("joins") or ():
            is_plain = not any(join.args.get(key) for key in ("on", "using", "side", "method"))
            if not is_plain or join.args.get("kind") not in (None, "", "CROSS"):
                raise SqlError(
                    "ALIGN brings tables together by time", hint="write FROM a, b without JOIN"
                )
            nodes.append(join.this)
        found = []
        for node in nodes:
            inner = exp.Select(expressions=[exp.Star()], from_=exp.From(this=node.copy()))
            # Names of common table expressions are looked up from where the table stands.
            inner.parent = select
            rows = RowsQuery(inner, self._lowered.scopes, self._lowered.times)
            if len(rows.sources) != 1:
                raise SqlError("ALIGN takes tables and sub-queries", hint="write FROM a, b")
            found.append(self._source(rows))
        if not found:
            raise SqlError("ALIGN needs FROM", hint="SELECT ... FROM a, b ALIGN(EVERY 1m)")
        return found

    def _source(self, rows: RowsQuery) -> AlignedTable:
        table = rows.sources[0]
        relation = table.relation
        if relation is None:
            return AlignedTable(table, rows, table.alias)
        devices = device_members(relation, self._lowered.catalog) if relation.is_path else []
        if devices and is_one_device(relation) and not relation.name.is_pattern:
            return AlignedTable(table, rows, devices[0][0])
        return AlignedTable(table, rows, table.alias, devices)

    def _set_keys(self) -> bool:
        """Gives every table its keys; True for a row per partition and moment."""
        partition = self._select.args.get(PARTITION)
        relations = [source.table.relation for source in self.all]
        is_template = any(r is not None and not r.is_path for r in relations)
        if partition is None and not is_template:
            for number, source in enumerate(self.all):
                source.rows.add_key(exp.Literal.number(number))
                is_several = bool(source.devices)
                source.rows.add_key(column(DEVICE) if is_several else exp.Literal.string(""))
            return False
        if len(self.all) > 1:
            raise SqlError(
                "ALIGN of several tables takes paths, patterns and sub-queries",
                hint="align the template by itself, with PARTITION BY, in a sub-query",
            )
        rows = self.all[0].rows
        keys = partition.expressions if partition is not None else [column(DEVICE)]
        for key in keys:
            rows.add_key(key.unalias())
        return True

    def _place_condition(self, condition: exp.Expr) -> None:
        columns = list(condition.find_all(exp.Column))
        if len(self.all) == 1 or not columns:
            for source in self.all:
                source.rows.add_condition(condition.copy())
            return
        known = [node for node in columns if not self._is_now(node)]
        owners = {self.owner(node) for node in known if not self.is_time(node)}
        if len(owners) > 1:
            raise SqlError(
                f"{condition.sql()} compares tables before they are aligned",
                field="WHERE",
                hint="SELECT from a sub-query with ALIGN, and compare there",
            )
        for source in [self.all[n] for n in owners] or self.all:
            holder = exp.Paren(this=condition.copy())
            for node in list(holder.find_all(exp.Column)):
                if not self._is_now(node) and self.is_time(node):
                    node.replace(source.rows.time())
            source.rows.add_condition(holder.this)

    def _is_now(self, node: exp.Column) -> bool:
        is_known = any(source.has(node, self._lowered) for source in self.all)
        return not is_known and node.name.casefold() == "now"


def _conjuncts(where: exp.Expr | None) -> list[exp.Expr]:
    if where is None:
        return []
    condition = where.this
    return list(condition.flatten()) if isinstance(condition, exp.And) else [condition]


def ordered_by(names: list[str]) -> exp.Order:
    """ORDER BY columns of a walk."""
    return exp.Order(
        expressions=[exp.Ordered(this=column(name), nulls_first=True) for name in names]
    )
