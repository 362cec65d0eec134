"""SQL statements of a node: planned here, executed in a sandboxed child process.

1. Parsing and the choice of rows happen in a worker thread of this process; DuckDB runs in a child
   process with limits of memory and time, which is started with the first query.
2. Completeness is taken before a query reads, so that what it says holds for what is read.
3. INSERT and CREATE TABLE for a device of another node are refused, as every other write is; the
   engine refuses to delete rows of another node. FLUSH, COMPACT and TRIM are an admin's.
4. Each role has limits of its own, and places (statement_gate.py).
5. pyarrow, sqlglot and the child process are not loaded by a node that is never asked.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from mainstem_engine.errors import MainstemError, OutOfRangeError
from mainstem_node.auth import ADMIN, ALLOWS, ROLES, WRITE
from mainstem_node.config.schema import SECOND_NS, SqlConfig, SqlRoleConfig
from mainstem_node.errors import ConflictError, ForbiddenError
from mainstem_node.far_alters import Before
from mainstem_node.far_delete import FarDelete
from mainstem_node.ownership import Ownership
from mainstem_node.posted_rules import NoRules
from mainstem_node.statement_gate import StatementGate
from mainstem_sync.proof.completeness import UNKNOWN, completeness_object

if TYPE_CHECKING:
    from mainstem_engine.catalog.templates import Table
    from mainstem_engine.consumers import Ack
    from mainstem_engine.engine import Engine
    from mainstem_engine.model import DeviceIds, Rows
    from mainstem_engine.sql.listings.listings import NodeListing
    from mainstem_engine.sql.plan import Plan
    from mainstem_engine.sql.planning.plan_cache import PlanCache
    from mainstem_engine.sql.result import Result
    from mainstem_engine.sql.running.cancellation import Cancellation
    from mainstem_engine.sql.running.executors import WorkerExecutor
    from mainstem_engine.sql.running.sandbox import SqlLimits
    from mainstem_engine.sql.statements import Statement
    from mainstem_node.far_alters import FarAlters
    from mainstem_node.far_deletes import FarDeletes
    from mainstem_node.federated.kept_answers import KeptAnswers
    from mainstem_node.federated.reading import Reading
    from mainstem_node.posted_rules import PostedRules
    from mainstem_sync import Federation

TIMEOUT_S_DEFAULT = 30.0
DEFAULT_DATABASE = "root.main"
ALTERING = re.compile(r"\b(alter|create)\b", re.IGNORECASE)
"""Most statements need not be parsed to know that they change no template."""

COMPLETE_ENOUGH = frozenset({"complete", "retired"})
"""States in which nothing more is expected for the range that was asked for."""


class IncompleteError(ConflictError):
    """The data of a query is not complete, and the request asked to fail then."""

    code = "INCOMPLETE"

    def __init__(self, completeness: Sequence[dict[str, Any]], tables: Iterable[str]) -> None:
        listed = [f"{c['node']}: {c['table']} is {c['state']}" for c in completeness][:3]
        below = any(c["state"] == "not_held" for c in completeness)
        way = "ask the nodes below with on_incomplete: fetch" if below else "wait"
        super().__init__(
            "; ".join(listed) or f"nothing is known of {', '.join(sorted(tables))}",
            field="on_incomplete",
            hint=f"{way}, or take what is here with on_incomplete: return",
            detail={"completeness": list(completeness)},
        )


def incomplete(
    completeness: Sequence[dict[str, Any]], tables: Iterable[str]
) -> list[dict[str, Any]] | None:
    """The objects that keep an answer over ``tables`` from being complete; None when none does.

    A table that nobody has stated anything about is not complete: an empty list says so.
    """
    open_ = [item for item in completeness if item["state"] not in COMPLETE_ENOUGH]
    stated = {str(item["table"]).casefold() for item in completeness}
    unknown = [table for table in tables if table.casefold() not in stated]
    return open_ if open_ or unknown else None


class Statements:
    """The SQL of one node. Thread-safe; its methods block."""

    def __init__(
        self,
        engine: Engine,
        federation: Federation,
        ownership: Ownership,
        listings: Mapping[str, NodeListing] | None = None,
        config: SqlConfig | None = None,
        kept: KeptAnswers | None = None,
        unheard: Callable[[], Sequence[str]] = lambda: (),
        rules: PostedRules | None = None,
    ) -> None:
        """``unheard``: children that are enrolled and have never said anything."""
        self._kept = kept
        self._unheard = unheard
        self._config = config or SqlConfig()
        places = {role: self._role(role).concurrency for role in ROLES}
        self.gate = StatementGate(places, self._config.processes)
        self._engine = engine
        self._listings = listings
        self._federation = federation
        rules = rules or NoRules(engine)
        self._guarded = cast("Engine", _OwnedEngine(engine, ownership, rules))
        self._for_admins = cast("Engine", _OwnedEngine(engine, ownership, rules, keeps_up=True))
        self._lock = threading.Lock()
        self.far_deletes: FarDeletes | None = None
        """May be set later; None: a DELETE is about rows that are held here."""
        self.far_alters: FarAlters | None = None
        """May be set later; None: an ALTER is about this node alone."""
        self._executor: WorkerExecutor | None = None
        self._plans: PlanCache | None = None

    def execute(
        self,
        sql: str,
        params: Sequence[Any] | None = None,
        *,
        database: str | None = None,
        time_zone: str = "UTC",
        timeout_s: float = TIMEOUT_S_DEFAULT,
        must_be_complete: bool = False,
        role: str = ADMIN,
        cancellation: Cancellation | None = None,
        is_streamed: bool = False,
        is_fetched: bool = False,
        by: str = "",
        spares_others: bool = False,
        now_ns: int | None = None,
    ) -> Result:
        """Runs one statement of a caller with ``role``; the rest as ``Session.execute``.

        An ALTER of a template that nodes below use goes on to them (far_alters).

        A DELETE by itself goes on to the nodes below that own rows which it means (far_deletes).
        ``spares_others``: it does not, and leaves their rows here as they are.

        ``is_fetched``: what is not held here is asked of the nodes below (federated/), in the name
        of ``by``.

        Raises SqlError and its kinds, and IncompleteError when ``must_be_complete`` and a table is
        not, over the range that is read; ForbiddenError when the role only reads and the statement
        does not.
        """
        from mainstem_engine.sql.running.cancellation import Cancellation
        from mainstem_engine.sql.session import Session

        # Most statements need not be parsed for this.
        may_go_on = sql.lstrip()[:6].upper() == "DELETE" and WRITE in ALLOWS[role]
        if self.far_deletes is not None and may_go_on and not spares_others:
            statements = self._kept_plans().statements(sql)
            if self.far_deletes.concerns(statements):
                request = FarDelete(
                    sql, list(params or ()), database or DEFAULT_DATABASE, time_zone, role, by
                )
                return self.far_deletes.delete(statements[0], request, timeout_s)
        altered = self._may_alter(sql, role)
        engine = self._for_admins if ADMIN in ALLOWS[role] else self._guarded
        if spares_others:
            engine = cast("Engine", _SparingEngine(engine))
        cancellation = cancellation or Cancellation()
        reading = self._reading(role, by, timeout_s, cancellation) if is_fetched else None

        def before_query(plan: Plan) -> list[dict[str, Any]]:
            if not plan.tables:
                return []
            found = self._completeness(plan)
            if reading is not None:
                # What is read changes it: the list of the result is this one.
                reading.completeness = found
            open_ = incomplete(found, plan.tables) if must_be_complete else None
            if open_ is not None:
                raise IncompleteError(open_, plan.tables)
            return found

        session = Session(
            engine if reading is None else _fetching(engine, reading),
            self._worker(),
            before_query=before_query,
            admit=None if WRITE in ALLOWS[role] else _require_reading,
            listings=self._listings,
            plans=self._kept_plans(),
            explain_more=None if reading is None else reading.lines,
        )
        with (
            self._followed(altered, by) as follow,
            nullcontext() if reading is None else cancellation.calling(reading.cancel),
        ):
            result = session.execute(
                sql,
                params,
                database=database or DEFAULT_DATABASE,
                time_zone=time_zone,
                timeout_s=timeout_s,
                limits=self._limits(role),
                cancellation=cancellation,
                is_streamed=is_streamed and reading is None,
                now_ns=now_ns,
            )
        if reading is not None:
            result.warnings += reading.warnings
        result.warnings += follow(timeout_s)
        return result

    def _completeness(self, plan: Plan) -> list[dict[str, Any]]:
        """Of the tables of a plan. Of a child that was never heard rows are unknown, not none."""
        found = self._federation.completeness(sorted(plan.tables), *plan.range_ns)
        now_ns = self._engine.options.clock()
        return found + [
            completeness_object(node, table, UNKNOWN, now_ns)
            for node in self._unheard()
            for table in sorted(plan.tables)
        ]

    def _may_alter(self, sql: str, role: str) -> Before:
        """The templates that a statement may alter and that nodes below use, as they are now."""
        if self.far_alters is None or WRITE not in ALLOWS[role] or not ALTERING.search(sql):
            return Before()
        return self.far_alters.before(self._kept_plans().statements(sql))

    @contextmanager
    def _followed(self, altered: Before, by: str) -> Iterator[Callable[[float], list[str]]]:
        """What is altered inside goes on to the nodes below, with the call of what this gives, or
        without waiting where a script fails: what came before its error stands."""
        far = self.far_alters
        if far is None or not altered:
            yield lambda timeout_s: []
            return
        try:
            yield lambda timeout_s: far.follow(altered, by, timeout_s)
        except MainstemError:
            far.follow(altered, by, 0.0)
            raise

    def _reading(self, role: str, by: str, timeout_s: float, cancellation: Cancellation) -> Reading:
        from mainstem_node.federated.kept_answers import KeptAnswers
        from mainstem_node.federated.reading import Reading
        from mainstem_sync.wire.question import ANSWER_BYTES_MAX

        limits = self._role(role)
        until = time.monotonic() + min(timeout_s, limits.timeout / SECOND_NS)
        bytes_max = min(ANSWER_BYTES_MAX, limits.memory_limit)
        return Reading(
            self._federation, role, by, until, cancellation.check, bytes_max,
            kept=KeptAnswers() if self._kept is None else self._kept,
        )  # fmt: skip

    def timeout_s_max(self, role: str) -> float:
        """The longest time that a statement of ``role`` may ask for."""
        return self._role(role).timeout / SECOND_NS

    def status(self) -> dict[str, Any]:
        """What runs and waits, what confines the child processes (null before the first), and the
        answers of nodes below that are kept."""
        with self._lock:
            executor = self._executor
        pool = None if executor is None else executor.statistics()
        return {
            "processes": 0 if pool is None else pool.busy + pool.idle + pool.starting,
            "running": 0 if pool is None else pool.busy,
            "waiting": self.gate.waiting(),
            "refused": self.gate.refused,
            "confinement": None if pool is None else pool.confinement,
            "kept_answers": None if self._kept is None else asdict(self._kept.statistics()),
        }

    def _role(self, role: str) -> SqlRoleConfig:
        found: SqlRoleConfig = getattr(self._config, role)
        return found

    def _limits(self, role: str) -> SqlLimits:
        from mainstem_engine.sql.running.sandbox import SqlLimits

        found = self._role(role)
        return SqlLimits(
            timeout_s=found.timeout / SECOND_NS,
            row_limit=found.row_limit,
            result_bytes_max=found.result_limit,
            input_bytes_max=found.memory_limit,
            memory_limit_bytes=found.memory_limit,
        )

    def _kept_plans(self) -> PlanCache:
        from mainstem_engine.sql.planning.plan_cache import PlanCache

        with self._lock:
            if self._plans is None:
                self._plans = PlanCache()
            return self._plans

    def _worker(self) -> WorkerExecutor:
        from mainstem_engine.sql.running.executors import WorkerExecutor
        from mainstem_engine.sql.running.sandbox import SqlLimits

        with self._lock:
            if self._executor is None:
                roles = [asdict(self._limits(role)) for role in ROLES]
                most = SqlLimits(**{name: max(r[name] for r in roles) for name in roles[0]})
                self._executor = WorkerExecutor(most, pool_size=self._config.processes)
            return self._executor

    def close(self) -> None:
        """Ends the child processes."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.close()


def _fetching(engine: Engine, reading: Reading) -> Engine:
    from mainstem_node.federated.storage import FederatedStorage

    return cast("Engine", FederatedStorage(engine, reading))


def _require_reading(statements: Sequence[Statement]) -> None:
    from mainstem_engine.sql.statements import Describe, Explain, Query, Show, UseDatabase

    for statement in statements:
        if not isinstance(statement, Query | Show | Describe | Explain | UseDatabase):
            raise ForbiddenError(
                "a read credential runs SELECT, SHOW, DESCRIBE, EXPLAIN and USE only",
                field="sql",
                hint="use a credential with the role write",
            )


class _OwnedEngine:
    """The engine as a session sees it: everything, but no device of another node is written.
    ``keeps_up``: it may be asked to flush, compact and remove what is expired."""

    def __init__(
        self,
        engine: Engine,
        ownership: Ownership,
        rules: PostedRules,
        *,
        keeps_up: bool = False,
    ) -> None:
        self._rules = rules
        self._engine = engine
        self._ownership = ownership
        self._keeps_up = keeps_up

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def flush(self) -> None:
        """Every FLUSH, COMPACT and TRIM begins so. Raises ForbiddenError."""
        if not self._keeps_up:
            raise ForbiddenError(
                "only an admin credential runs FLUSH, COMPACT and TRIM",
                field="sql",
                hint="leave it to the node, which does it by itself",
            )
        self._engine.flush()

    def require_own(self, paths: Sequence[str]) -> None:
        self._ownership.require_own(dict.fromkeys(paths))

    def device_ids(
        self, template: str, paths: Sequence[str], *more: Any, create: bool = False, **options: Any
    ) -> DeviceIds:
        if create:
            self._ownership.require_writer(dict.fromkeys(paths))
        return self._engine.device_ids(template, paths, *more, create=create, **options)

    def write_rows(self, table: Table, rows: Rows) -> Ack:
        """Raises ForbiddenError for rows of another node, OutOfRangeError for values that the
        template does not allow; then none of these rows is stored."""
        import numpy as np

        devices = self._engine.catalog.devices
        self._ownership.require_writer(devices.paths(np.unique(rows.device).tolist()))
        self._ownership.require_inside(devices, rows.device, rows.time)
        _, misfits = self._rules.in_range(table, rows.columns)
        if misfits:
            first = misfits[0]
            path = devices.path(int(rows.device[first.row]))
            raise OutOfRangeError(
                f"{len(misfits)} values are outside their range, the first is {first.value!r}"
                f" of {first.measurement} of {path}; none of the rows was stored",
                field=first.measurement,
                hint=f"correct them, or the range in the template {table.name}",
            )
        return self._rules.append(table, rows)


class _SparingEngine:
    """An engine whose deletes leave the rows of other nodes as they are."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def delete(self, template: str, **more: Any) -> Any:
        return self._engine.delete(template, **more, spare_others=True)
