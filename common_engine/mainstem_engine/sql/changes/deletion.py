"""DELETE: which rows of which tables it means.

1. A target is what FROM of a SELECT takes (template, device, pattern), or such a name and one of
   its measurements: then only that measurement's values go. The first reading that exists counts.
   DELETE TIMESERIES is the same for measurements: their values go, the template keeps them.
2. What WHERE says of time, device, tbname and tags narrows the delete as it narrows a scan. When
   that is all it says, the engine is asked for exactly that range and these devices.
3. Else the whole condition is put to the executing database, batch by batch, over the rows of that
   range. It is user text: checked as a SELECT is, without sub-queries, and run in the sandbox.
4. Where a template of a pattern lacks a column of the condition, the column is null there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlglot import exp

from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_engine.errors import NotFoundError, SqlUnsupportedError
from mainstem_engine.model import BoolMask, DeviceIds
from mainstem_engine.sql.grammar.dialect import NAME, RELATION
from mainstem_engine.sql.plan import Request
from mainstem_engine.sql.planning.planner import finest_precision_ns
from mainstem_engine.sql.planning.pushdown import PushDown
from mainstem_engine.sql.running.cancellation import Cancellation
from mainstem_engine.sql.running.inputs import batch_reader
from mainstem_engine.sql.running.sandbox import Program, SqlLimits
from mainstem_engine.sql.select.guard import check_query
from mainstem_engine.sql.select.parameters import number_parameters
from mainstem_engine.sql.select.relations import Member, Relation, find_relation, name_matcher
from mainstem_engine.sql.select.scopes import Scopes
from mainstem_engine.sql.select.time_expressions import Clock, TimeExpressions
from mainstem_engine.sql.statements import Delete, Name
from mainstem_engine.sql.times import engine_zone

if TYPE_CHECKING:
    import pyarrow as pa

    from mainstem_engine.sql.running.executors import Executor
    from mainstem_engine.sql.storage import Storage

INPUT = "mainstem_0"
ROW = "mainstem_row"
"""Number of the row in its batch: the answer names the rows, whatever order it comes in."""


@dataclass(slots=True)
class _Condition:
    """A WHERE over the rows of one template. ``columns``: those of the table that it reads."""

    sql: str
    params: tuple[Any, ...]
    columns: tuple[str, ...]
    precision_ns: int
    time_zone: str


@dataclass(slots=True)
class _TableDelete:
    """What is deleted of one table; times in ns, end exclusive."""

    table: str
    devices: DeviceIds | None
    start_ns: int
    end_ns: int
    measurements: tuple[str, ...] | None
    condition: _Condition | None


class RowDeletion:
    """Carries out DELETE for one request. ``executor``: of this process."""

    def __init__(
        self,
        engine: Storage,
        request: Request,
        executor: Executor,
        limits: SqlLimits,
        cancellation: Cancellation | None = None,
    ) -> None:
        self._engine = engine
        self._request = request
        self._executor = executor
        self._limits = limits
        self._cancellation = cancellation or Cancellation()
        self._deadline = time.monotonic() + limits.timeout_s
        self.deleted: dict[str, tuple[str, ...] | None] = {}
        """Measurements by table of what delete() was about, None for all of them."""

    def delete(self, statement: Delete) -> int:
        """The number of rows that were deleted or lost values, durably.

        Every target is resolved and checked before any row is looked at. Raises SqlError and its
        kinds, NotFoundError, and what Engine.delete raises.
        """
        targets = self._targets(statement.targets)
        if statement.series:
            self._require_series(statement.targets, targets)
        planned = [
            part
            for name, measurements in targets.items()
            for part in self._plan(name, measurements, statement.where)
        ]
        self.deleted = {part.table: part.measurements for part in planned}
        deletions = [self._run(part) for part in planned]
        for deletion in deletions:
            deletion.ack.wait()
        return sum(deletion.rows for deletion in deletions)

    # What is meant

    def _targets(self, names: Sequence[Name]) -> dict[Name, tuple[str, ...] | None]:
        """Measurements by name of a table, None for whole rows."""
        found: dict[Name, tuple[str, ...] | None] = {}
        before: Name | None = None
        for name in names:
            table, measurement = self._split(name, before)
            before = table if measurement is not None else None
            if measurement is None:
                found[table] = None
            else:
                known = found.get(table, ())
                if known is not None:
                    found[table] = (*known, measurement)
        return found

    def _require_series(
        self, written: Sequence[Name], targets: Mapping[Name, tuple[str, ...] | None]
    ) -> None:
        """Refuses a device by itself where measurements are to be named; a pattern means them."""
        for name, measurements in targets.items():
            if measurements is None and not name.is_pattern and name in written:
                raise SqlUnsupportedError(
                    f"{name} is no series",
                    field=str(name),
                    hint=f"name its measurements, or DELETE FROM {name}",
                )

    def _split(self, name: Name, before: Name | None) -> tuple[Name, str | None]:
        """A target as a table and a measurement of it, None for all of them.

        ``before``: the table of the measurement before it: ``root.a.d.s1, s2`` are both of it.
        """
        if before is not None and len(name.elements) == 1:
            columns = self._relation(before).columns
            if name.elements[0].casefold() in columns:
                return before, name.elements[0]
        try:
            self._relation(name)
        except NotFoundError:
            last = len(name.elements) - 1
            if not last:
                raise
            prefix = Name(name.elements[:-1], name.wildcards - {last})
            try:
                self._relation(prefix)
            except NotFoundError:
                prefix = name
            if prefix is name:
                raise
            return prefix, None if name.elements[-1] in ("*", "**") else name.elements[-1]
        return name, None

    def _relation(self, name: Name) -> Relation:
        alias = "t" if name.is_pattern else name.elements[-1]
        return find_relation(
            self._engine.catalog, name, self._request.database, alias, by_itself=False
        )

    # Planning

    def _plan(
        self, name: Name, measurements: tuple[str, ...] | None, where: exp.Expr | None
    ) -> list[_TableDelete]:
        relation = self._relation(name)
        kept = [m for m in relation.members if measurements is None or _named(m, measurements)]
        if not kept:
            raise NotFoundError(
                f"{name} has no measurement {', '.join(measurements or ())}",
                field=str(name),
                hint="DESCRIBE lists its columns",
            )
        relation.members[:] = kept
        asked = None if where is None else self._narrow(relation, where)
        start_ns, end_ns = _range(relation)
        if start_ns >= end_ns:
            return []
        parts = []
        for member in relation.members:
            if member.devices is not None and not len(member.devices):
                continue
            named = None if measurements is None else _named(member, measurements)
            parts.append(
                _TableDelete(
                    member.table.name,
                    member.devices,
                    start_ns,
                    end_ns,
                    named,
                    None if asked is None else self._condition(*asked, relation, member),
                )
            )
        return parts

    def _narrow(
        self, relation: Relation, where: exp.Expr
    ) -> tuple[exp.Select, TimeExpressions] | None:
        """Narrows the relation; a query of what has to be asked of each row, None if nothing."""
        table = exp.Table(this=exp.to_identifier(relation.alias, quoted=True))
        table.meta[NAME] = relation.name
        table.meta[RELATION] = 0
        select = exp.Select(
            expressions=[exp.column(ROW, quoted=True)],
            from_=exp.From(this=table),
            where=exp.Where(this=where.copy()),
        )
        check_query(select)
        _check_condition(select, relation)
        scopes = Scopes([relation])
        precision_ns = finest_precision_ns(self._engine.catalog, [relation])
        request = self._request
        clock = Clock(request.now_ns, request.zone, precision_ns, request.params)
        times = TimeExpressions(scopes, clock)
        narrowing = PushDown(self._engine.catalog, scopes, times)
        narrowing.narrow(select)
        if narrowing.is_exact:
            return None
        times.rewrite(select)
        return select, times

    def _condition(
        self, select: exp.Select, times: TimeExpressions, relation: Relation, member: Member
    ) -> _Condition:
        """What is asked of the rows of one template."""
        tree = select.copy()
        named = {column.name.casefold() for column in tree.find_all(exp.Column)}
        columns: dict[str, None] = {}
        projections: list[exp.Expr] = [exp.column(ROW, quoted=True)]
        for key, offered in relation.columns.items():
            if key not in named:
                continue
            heading = exp.to_identifier(offered.name, quoted=True)
            own = member.columns.get(key)
            if own is None:
                projections.append(exp.alias_(exp.Null(), heading))
            else:
                columns |= dict.fromkeys(own.inputs())
                projections.append(exp.alias_(own.expression(), heading))
        source = exp.Table(this=exp.to_identifier(INPUT, quoted=True))
        inner = exp.Select(expressions=projections, from_=exp.From(this=source))
        alias = exp.TableAlias(this=exp.to_identifier(relation.alias, quoted=True))
        tree.args["from_"].this.replace(exp.Subquery(this=inner, alias=alias))
        params = number_parameters(tree, self._request, times).values
        precision_ns = finest_precision_ns(self._engine.catalog, [relation])
        zone = engine_zone(self._request.time_zone)
        return _Condition(tree.sql(dialect="duckdb"), params, tuple(columns), precision_ns, zone)

    # Running

    def _run(self, part: _TableDelete) -> Any:
        unit_ns = self._engine.precision_ns(part.table)
        condition = part.condition

        def where(batch: pa.RecordBatch) -> BoolMask:
            assert condition is not None
            return self._matching(part, condition, batch)

        return self._engine.delete(
            part.table,
            devices=part.devices,
            # Rounded up: the first time in units that is not before it.
            start=None if part.start_ns <= TIME_MIN_NS else -(-part.start_ns // unit_ns),
            end=None if part.end_ns > TIME_MAX_NS else -(-part.end_ns // unit_ns),
            where=None if condition is None else where,
            columns=None if condition is None else condition.columns,
            measurements=part.measurements,
        )

    def _matching(
        self, part: _TableDelete, condition: _Condition, batch: pa.RecordBatch
    ) -> BoolMask:
        """bool[n]: the rows of a batch for which the condition is true."""
        self._cancellation.check()
        left_s = max(0.001, self._deadline - time.monotonic())
        program = Program(
            sql=condition.sql,
            params=condition.params,
            time_zone=condition.time_zone,
            inputs=(INPUT,),
            is_single_pass=True,
            limits=replace(self._limits, timeout_s=left_s, row_limit=batch.num_rows),
        )
        found = self._executor.execute(
            program,
            lambda _: batch_reader(
                self._engine, part.table, batch, condition.columns, condition.precision_ns, ROW
            ),
            self._cancellation,
        )
        self._cancellation.check()
        mask = np.zeros(batch.num_rows, np.bool_)
        for chunk in filter(len, found.column(0).chunks):
            # Not to_numpy(): that imports pandas where it is installed.
            mask[np.frombuffer(chunk.buffers()[1], np.int64)[chunk.offset :][: len(chunk)]] = True
        return mask


def _range(relation: Relation) -> tuple[int, int]:
    """[start, end) in ns, within what a time can be."""
    start_ns, end_ns = relation.start_ns, relation.end_ns
    return (
        TIME_MIN_NS if start_ns is None else max(start_ns, TIME_MIN_NS),
        TIME_MAX_NS + 1 if end_ns is None else min(end_ns, TIME_MAX_NS + 1),
    )


def _named(member: Member, wanted: Sequence[str]) -> tuple[str, ...]:
    """The measurements of a template that ``wanted`` names, ``*`` in them for any text."""
    matchers = [name_matcher(name, "*" in name) for name in wanted]
    names = (m.name for m in member.table.shown)
    return tuple(name for name in names if any(matches(name) for matches in matchers))


def _check_condition(select: exp.Select, relation: Relation) -> None:
    """Refuses what is not about one row, and names that no table of the relation has."""
    where = select.args["where"]
    if where.find(exp.Query) is not None:
        raise SqlUnsupportedError(
            "a sub-query in DELETE is not supported", hint="write the values it would give"
        )
    if where.find(exp.AggFunc, exp.Window) is not None:
        raise SqlUnsupportedError(
            "an aggregate in DELETE is not supported", hint="a condition is about one row"
        )
    for column in where.find_all(exp.Column):
        name = column.name.casefold()
        if name not in relation.columns and (column.table or name != "now"):
            known = ", ".join(relation.columns[key].name for key in list(relation.columns)[:20])
            raise NotFoundError(
                f"{relation.name} has no column {column.name!r}",
                field=column.name,
                hint=f"it has {known}",
            )
