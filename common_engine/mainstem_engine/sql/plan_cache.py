"""Statements that come again and again: their trees and plans are kept.

1. A plan is kept by all that it depends on: the text, the database, the zone, the values and types
   of the parameters, and the revision of the catalog. One that depends on the clock is not kept.
   Plans are immutable, and nothing that runs one changes it.
2. A tree is kept by its text alone. Planning changes trees, so that every caller gets a copy.
3. The revision is read before a plan is made: whatever changes meanwhile, the plan is then of an
   older revision and is never found.

What is kept is bounded by number and size; the longest unused goes first. Any thread may call.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mainstem_engine.sql.dialect import parse
from mainstem_engine.sql.plan import Plan, Request
from mainstem_engine.sql.program import SqlStep
from mainstem_engine.sql.statements import Query, Statement

if TYPE_CHECKING:
    from mainstem_engine.catalog.catalog import Catalog

PLANS_MAX = 128
"""As many as the charts of some dashboards."""
PLAN_BYTES_MAX = 16 << 10
"""Text, SQL and device ids of a plan: 2 MiB of all. A larger one runs for longer anyway."""
TREES_MAX = 64
TREE_CHARS_MAX = 1_024
"""A tree takes about fifty times its text: 3 MiB of all."""

_PLAIN = (type(None), bool, int, str, bytes)
_Key = tuple[Any, ...]


class PlanCache:
    """Of one engine; see the module."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._trees: OrderedDict[str, Query] = OrderedDict()
        self._plans: OrderedDict[_Key, tuple[Catalog, int, Plan]] = OrderedDict()

    def statements(self, sql: str) -> list[Statement]:
        """As dialect.parse(); what is handed out is the caller's own."""
        with self._lock:
            known = self._trees.get(sql)
            if known is not None:
                self._trees.move_to_end(sql)
        if known is not None:
            return [Query(known.tree.copy())]
        statements = parse(sql)
        if len(statements) == 1 and len(sql) <= TREE_CHARS_MAX:
            (statement,) = statements
            if isinstance(statement, Query):
                kept = Query(statement.tree.copy())
                with self._lock:
                    self._trees[sql] = kept
                    if len(self._trees) > TREES_MAX:
                        self._trees.popitem(last=False)
        return statements

    def plan(self, sql: str, request: Request, catalog: Catalog) -> Plan | None:
        """The plan of a script of this one query; None: make it."""
        key = _key(sql, request)
        if key is None:
            return None
        with self._lock:
            found = self._plans.get(key)
            if found is None:
                return None
            if found[0] is not catalog or found[1] != catalog.revision:
                del self._plans[key]
                return None
            self._plans.move_to_end(key)
            return found[2]

    def keep(self, sql: str, request: Request, catalog: Catalog, revision: int, plan: Plan) -> None:
        """Keeps a plan that was made after the catalog's ``revision`` was read."""
        key = _key(sql, request)
        if key is None or plan.depends_on_clock or _size(sql, plan) > PLAN_BYTES_MAX:
            return
        with self._lock:
            self._plans[key] = catalog, revision, plan
            self._plans.move_to_end(key)
            if len(self._plans) > PLANS_MAX:
                self._plans.popitem(last=False)


def _key(sql: str, request: Request) -> _Key | None:
    """None for parameters that cannot be told apart by their values."""
    if len(sql) > PLAN_BYTES_MAX:
        return None
    params = _params_key(request.params)
    return None if params is None else (sql, request.database, request.time_zone, *params)


def _params_key(params: Sequence[Any]) -> list[Any] | None:
    key: list[Any] = []
    for value in params:
        kind = type(value)
        if kind is float:
            # Zeros of both signs are equal, and no NaN equals itself.
            value = repr(value)
        elif kind not in _PLAIN or (kind in (str, bytes) and len(value) > TREE_CHARS_MAX):
            return None
        key += [kind, value]
    return key


def _size(sql: str, plan: Plan) -> int:
    devices = sum(0 if s.devices is None else s.devices.nbytes for s in plan.inputs)
    named = sum(map(len, plan.units)) + sum(len(c) for s in plan.inputs for c in s.columns)
    params = sum(len(value) for value in plan.params if isinstance(value, str | bytes))
    steps = sum(len(step.sql) for step in plan.steps if isinstance(step, SqlStep))
    texts = len(sql) + len(plan.sql) + steps + sum(map(len, plan.warnings))
    return texts + devices + named + params
