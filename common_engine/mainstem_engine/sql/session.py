"""A session: statements in, results out. The way of a statement from text to answer.

1. ``parse`` makes statements of the text (dialect). A query that was asked before has its plan
   (plan_cache).
2. Definitions, INSERT, DELETE and SHOW go to the engine and its catalog (definition, insertion,
   deletion, listings).
3. A query is planned (planner) and its plan runs in the executor, which reads the engine's scans
   (inputs) and nothing else.

A session may be used by several threads. Only its current database is shared between them: callers
that serve several users pass ``database`` with every call, and USE then holds for that call only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mainstem_engine.catalog.databases import DEFAULT_DATABASE
from mainstem_engine.errors import MainstemError, NotFoundError
from mainstem_engine.sql.changes.deletion import RowDeletion
from mainstem_engine.sql.changes.insertion import Insertion
from mainstem_engine.sql.changes.selected_rows import query_of
from mainstem_engine.sql.changes.tag_setting import set_tags
from mainstem_engine.sql.definitions.definition import define
from mainstem_engine.sql.definitions.plain_tables import PlainTables
from mainstem_engine.sql.definitions.removal import Removal
from mainstem_engine.sql.definitions.upkeep import keep_up
from mainstem_engine.sql.listings.listings import Listings, NodeListing
from mainstem_engine.sql.listings.row_conditions import RowConditions
from mainstem_engine.sql.plan import Plan, Request
from mainstem_engine.sql.planning.plan_cache import PlanCache, revisions_of
from mainstem_engine.sql.planning.planner import Planner
from mainstem_engine.sql.result import Result
from mainstem_engine.sql.running.cancellation import Cancellation
from mainstem_engine.sql.running.executors import Executor, InProcessExecutor
from mainstem_engine.sql.running.explanation import Explanation
from mainstem_engine.sql.running.inputs import open_input
from mainstem_engine.sql.running.sandbox import Program, SqlLimits
from mainstem_engine.sql.running.short_answers import short_answer
from mainstem_engine.sql.select.function_list import ROW_FUNCTIONS
from mainstem_engine.sql.select.relations import database_name
from mainstem_engine.sql.statements import (
    ActivateTemplate,
    CreateDevices,
    CreateSeries,
    CreateTable,
    Deactivate,
    Delete,
    Describe,
    Drop,
    Explain,
    Insert,
    Query,
    SetTags,
    Show,
    Statement,
    Upkeep,
    UseDatabase,
)
from mainstem_engine.sql.times import parse_zone

if TYPE_CHECKING:
    import pyarrow as pa

    from mainstem_engine.sql.storage import Storage

PLANS_MAX = 5
"""Plans of one query while definitions change under it. A change takes a sync of the log, a plan a
few ms: one that is overtaken so often has other troubles."""


@dataclass(slots=True)
class _Call:
    """One call of execute: its request, its limits, how it ends early, and whether its answer may
    come in pieces."""

    request: Request
    limits: SqlLimits
    cancellation: Cancellation = field(default_factory=Cancellation)
    is_streamed: bool = False


class Session:
    """Runs SQL on an engine. ``executor`` None: in this process.

    ``before_query`` is asked, before a query reads anything, what is known of the completeness of
    the plan's tables; its answer becomes the result's ``completeness``. ``admit`` may refuse
    statements before any of them runs: it sees all of a script, but for a query whose plan is
    known. ``listings``: what a node adds to SHOW, by subject (listings.py). ``plans``: shared by
    sessions of one engine. ``explain_more``: what EXPLAIN says at its end of a storage that reads
    elsewhere too.
    """

    def __init__(
        self,
        engine: Storage,
        executor: Executor | None = None,
        *,
        before_query: Callable[[Plan], list[dict[str, Any]]] | None = None,
        admit: Callable[[Sequence[Statement]], None] | None = None,
        listings: Mapping[str, NodeListing] | None = None,
        plans: PlanCache | None = None,
        explain_more: Callable[[], list[str]] | None = None,
    ) -> None:
        self._engine = engine
        self._explain_more = explain_more
        self._before_query = before_query
        self._admit = admit
        self._listings = listings
        self._plans = plans or PlanCache()
        self._executor: Executor = executor or InProcessExecutor()
        self.database = DEFAULT_DATABASE
        """The database of calls that name none; USE changes it."""

    def execute(
        self,
        sql: str,
        params: Sequence[Any] | None = None,
        *,
        database: str | None = None,
        time_zone: str = "UTC",
        timeout_s: float | None = None,
        row_limit: int | None = None,
        limits: SqlLimits | None = None,
        cancellation: Cancellation | None = None,
        is_streamed: bool = False,
        now_ns: int | None = None,
    ) -> Result:
        """Runs a script and returns the result of its last statement. Nothing of a script runs
        before all of it is read; where one fails, those before it stand, and its error says so.

        ``params``: one value for each ``?``. ``time_zone``: for literals without a zone, and for
        functions of days and hours. ``timeout_s``, ``row_limit`` and ``limits`` may lower the
        executor's limits, not raise them. ``cancellation`` ends it from another thread.
        ``is_streamed``: the answer of a single query may come as ``Result.pieces``, which are then
        to be read to the end or closed. ``now_ns``: what now() is; default the engine's clock.
        Raises SqlError and its kinds, SchemaError,
        NotFoundError, OutOfRangeError, OverloadedError.
        """
        current = self.database if database is None else database_name(database)
        request = Request(
            database=current,
            time_zone=time_zone,
            zone=parse_zone(time_zone),
            now_ns=self._engine.options.clock() if now_ns is None else now_ns,
            params=tuple(params or ()),
        )
        lowered = _lowered(self._executor.limits, timeout_s, row_limit, limits)
        call = _Call(request, lowered, cancellation or Cancellation(), is_streamed)
        try:
            result = self._run_text(sql, call)
        finally:
            # Only USE changes it: a long query must not undo the USE of another thread.
            if database is None and call.request.database != current:
                self.database = call.request.database
        result.time_zone = time_zone
        return result

    def close(self) -> None:
        """Closes the executor."""
        self._executor.close()

    def _run_text(self, sql: str, call: _Call) -> Result:
        """The result of the last statement, with the warnings of all.

        A plan names columns and templates. One of a single query that ALTER or DROP overtook before
        its scans were opened is made again: SELECT * must not fail over a name it never had.
        """
        catalog = self._engine.catalog
        for attempts_left in reversed(range(PLANS_MAX)):
            revision = catalog.revision
            try:
                plan = self._plans.plan(sql, call.request, catalog)
                if plan is not None:
                    return self._query(plan, call)
                statements = self._plans.statements(sql)
                if self._admit is not None:
                    self._admit(statements)
                if len(statements) > 1:
                    break
                call.cancellation.check()
                return self._run(statements[0], call, sql)
            except NotFoundError:
                is_query = isinstance(self._plans.statements(sql)[0], Query)
                if catalog.revision == revision or not attempts_left or not is_query:
                    raise
        call.is_streamed = False
        return self._run_script(statements, call)

    def _run_script(self, statements: Sequence[Statement], call: _Call) -> Result:
        """An error says which statement it was: those before it are carried out, and stand."""
        warnings: list[str] = []
        for number, statement in enumerate(statements, 1):
            try:
                call.cancellation.check()
                result = self._run(statement, call, None)
            except MainstemError as error:
                error.locate(number, len(statements))
                raise
            warnings += result.warnings
        result.warnings = warnings
        return result

    def _run(self, statement: Statement, call: _Call, sql: str | None) -> Result:
        """``sql``: the text of this one statement, None when it is one of a script."""
        request = call.request
        if isinstance(statement, Query):
            return self._query(self._plan(statement, request, sql), call)
        if isinstance(statement, Explain):
            return self._explain(statement, call)
        if isinstance(statement, Insert):
            return self._insert(statement, call)
        if isinstance(statement, Show | Describe):
            conditions = RowConditions(self._executor, call.limits, request, call.cancellation)
            listings = Listings(self._engine, conditions, self._listings)
            if isinstance(statement, Describe):
                return listings.describe(statement)
            return listings.show(statement, call.limits.row_limit)
        if isinstance(statement, Upkeep):
            return Result.of_rows((), (), warnings=keep_up(self._engine, statement))
        if isinstance(statement, UseDatabase):
            call.request = replace(request, database=self._known_database(statement))
            return Result.of_rows((), ())
        if isinstance(statement, Delete):
            return self._delete(statement, call)
        if isinstance(statement, Drop | Deactivate):
            removal = Removal(self._engine, request.database)
            if isinstance(statement, Drop):
                removal.drop(statement)
            else:
                removal.deactivate(statement)
            return Result.of_rows((), ())
        if isinstance(statement, SetTags):
            set_tags(self._engine, request, statement)
            return Result.of_rows((), (), warnings=list(statement.warnings))
        if isinstance(statement, CreateTable | CreateSeries):
            tables = PlainTables(self._engine, request.database)
            if isinstance(statement, CreateTable):
                return Result.of_rows((), (), warnings=tables.create_table(statement))
            return Result.of_rows((), (), warnings=tables.create_series(statement))
        if isinstance(statement, CreateDevices | ActivateTemplate):
            insertion = Insertion(self._engine, request)
            if isinstance(statement, CreateDevices):
                insertion.create_devices(statement)
            else:
                insertion.activate(statement)
            return Result.of_rows((), (), warnings=insertion.warnings)
        warnings = define(self._engine, statement, request.database)
        return Result.of_rows((), (), warnings=warnings)

    def _insert(self, statement: Insert, call: _Call) -> Result:
        insertion = Insertion(self._engine, call.request)
        with ExitStack() as stack:
            answers: dict[int, Result] = {}
            for number, target in enumerate(statement.targets):
                if target.query is not None:
                    plan = self._plan(Query(query_of(target)), call.request)
                    found = self._query(plan, replace(call, is_streamed=True))
                    stack.callback(found.close)
                    answers[number] = found
            count = insertion.insert(statement, answers)
        return Result.of_rows((), (), rows_affected=count, warnings=insertion.warnings)

    def _delete(self, statement: Delete, call: _Call) -> Result:
        # Conditions run in this process: the engine asks them batch by batch, while it holds the
        # next delete back, and must not wait for a worker.
        own = not isinstance(self._executor, InProcessExecutor)
        limits = self._executor.limits
        executor = InProcessExecutor(limits, ROW_FUNCTIONS) if own else self._executor
        deletion = RowDeletion(self._engine, call.request, executor, call.limits, call.cancellation)
        try:
            affected = deletion.delete(statement)
        finally:
            if own:
                executor.close()
        warnings: list[str] = []
        if statement.series:
            removal = Removal(self._engine, call.request.database)
            warnings = removal.drop_series(deletion.deleted)
        return Result.of_rows((), (), rows_affected=affected, warnings=warnings)

    def _plan(self, query: Query, request: Request, sql: str | None = None) -> Plan:
        catalog = self._engine.catalog
        revisions = revisions_of(catalog)
        plan = Planner(catalog).plan(query.tree, request, sql)
        if sql is not None:
            self._plans.keep(sql, request, catalog, revisions, plan)
        return plan

    def _explain(self, statement: Explain, call: _Call) -> Result:
        started = time.perf_counter()
        plan = self._plan(statement.query, call.request)
        planned_s = time.perf_counter() - started
        explanation = Explanation(self._engine, plan)
        lines = [] if statement.into is None else [f"insert into {statement.into}"]
        lines += explanation.plan_lines()
        if statement.analyze:
            started = time.perf_counter()
            result = self._query(plan, call, explanation)
            answered_s = time.perf_counter() - started
            lines += explanation.measured_lines(
                result.row_count, planned_s, answered_s, result.walked_s
            )
        lines += [] if self._explain_more is None else self._explain_more()
        return Result.of_rows([("plan", "TEXT")], [[line] for line in lines])

    def _query(self, plan: Plan, call: _Call, watcher: Explanation | None = None) -> Result:
        """``watcher`` sees what is read of each input."""
        program = Program(
            sql=plan.sql,
            params=plan.params,
            time_zone=plan.time_zone,
            inputs=tuple(source.name for source in plan.inputs),
            is_single_pass=plan.is_single_pass,
            limits=call.limits,
            steps=plan.steps,
        )
        by_name = {source.name: source for source in plan.inputs}
        completeness = [] if self._before_query is None else self._before_query(plan)

        def opened(name: str) -> pa.RecordBatchReader | pa.Table:
            reading = partial(open_input, self._engine, by_name[name], plan.precision_ns)
            return reading() if watcher is None else watcher.watch(name, reading)

        if plan.short is None:
            steps = self._executor.stream(program, opened, call.cancellation)
        else:
            steps = short_answer(plan.short, program, opened, self._executor, call.cancellation)
        return Result.of_steps(
            steps,
            is_streamed=call.is_streamed and watcher is None,
            tables=plan.tables,
            range_ns=plan.range_ns,
            precision_ns=plan.precision_ns,
            units=dict(plan.units),
            warnings=list(plan.warnings),
            completeness=completeness,
        )

    def _known_database(self, statement: UseDatabase) -> str:
        name = database_name(statement.name)
        if name != DEFAULT_DATABASE and self._engine.catalog.databases.find(name) is None:
            raise NotFoundError(
                f"there is no database {name}",
                field=name,
                hint="CREATE DATABASE makes it, SHOW DATABASES lists them",
            )
        return name


def _lowered(
    own: SqlLimits, timeout_s: float | None, row_limit: int | None, more: SqlLimits | None
) -> SqlLimits:
    """The least of each: the executor's, the call's and ``more``."""
    if timeout_s is None and row_limit is None and more is None:
        return own
    timeout_s = own.timeout_s if timeout_s is None else timeout_s
    row_limit = own.row_limit if row_limit is None else row_limit
    asked = [own, replace(own, timeout_s=timeout_s, row_limit=row_limit), more or own]
    least = {name: min(getattr(limits, name) for limits in asked) for name in asdict(own)}
    return SqlLimits(**least)
