"""Statements that come again and again: their trees and plans are kept.

1. A plan is kept by all that it depends on: the text, the database, the zone, the values and types
   of the parameters, and the revision of the catalog: that of its definitions, unless new devices
   could change the plan. One that depends on the clock is not kept. Plans are immutable, and
   nothing that runs one changes it.
2. A statement that differs in literals, parameters or the clock from one that was planned is bound
   to that one's plan (binding), if what differs was left open (literals). A plan with such a
   binding is kept by the text without its literals; those that were not left open are compared.
3. A tree is kept by its text alone. Planning changes trees, so that every caller gets a copy.
4. The revisions are read before a plan is made: whatever changes meanwhile, the plan is then of
   older ones and is never found.

What is kept is bounded by number and size; the longest unused goes first. Any thread may call.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mainstem_engine.sql.grammar.dialect import parse
from mainstem_engine.sql.plan import Plan, Request
from mainstem_engine.sql.planning.binding import Binding, bind
from mainstem_engine.sql.program import SqlStep
from mainstem_engine.sql.select.literals import SplitText, literal_value, split_text
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

SHAPES_MAX = 128
SHAPE_PLANS_MAX = 4
"""Plans of one text without its literals: some literals are not left open, such as LIMIT's."""

_PLAIN = (type(None), bool, int, str, bytes)
_Key = tuple[Any, ...]
Revisions = tuple[int, int]
"""Of a catalog, and of its definitions."""


def revisions_of(catalog: Catalog) -> Revisions:
    """To be read before a plan is made."""
    return catalog.revision, catalog.definitions_revision


def _holds(plan: Plan, revisions: Revisions, catalog: Catalog) -> bool:
    """True while nothing has changed that the plan was made of."""
    if plan.is_of_all_devices:
        return revisions[0] == catalog.revision
    return revisions[1] == catalog.definitions_revision


@dataclass(frozen=True, slots=True)
class _Open:
    """A plan with its binding. ``literals``: of the text that it was made for. ``asked``: numbers
    and values of the parameters that it holds for only."""

    catalog: Catalog
    revisions: Revisions
    plan: Plan
    binding: Binding
    literals: tuple[str, ...]
    asked: tuple[tuple[int, list[Any]], ...]

    def values(self, text: SplitText, request: Request) -> list[Any] | None:
        """Values of the lifted literals; None when the plan was made for others than these."""
        lifted: dict[int, str] = {}
        numbers = self.binding.lifted
        for place, (mine, other) in enumerate(zip(self.literals, text.literals, strict=True)):
            number = numbers.get(place)
            if number is None or number in self.binding.asked:
                if mine != other:
                    return None
            elif (mine[0] == "'") != (other[0] == "'"):
                return None
            if number is not None and lifted.setdefault(number, other) != other:
                return None
        for number, value in self.asked:
            if _params_key(request.params[number - 1 : number]) != value:
                return None
        return [literal_value(lifted[number]) for number in sorted(lifted)]


class PlanCache:
    """Of one engine; see the module."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._trees: OrderedDict[str, Query] = OrderedDict()
        self._plans: OrderedDict[_Key, tuple[Catalog, Revisions, Plan]] = OrderedDict()
        self._open: OrderedDict[_Key, tuple[_Open, ...]] = OrderedDict()

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
        if key is not None:
            with self._lock:
                found = self._plans.get(key)
                if (
                    found is not None
                    and found[0] is catalog
                    and _holds(found[2], found[1], catalog)
                ):
                    self._plans.move_to_end(key)
                    return found[2]
                if found is not None:
                    del self._plans[key]
        return self._bound(sql, request, catalog)

    def _bound(self, sql: str, request: Request, catalog: Catalog) -> Plan | None:
        """A plan that was made for other values."""
        text = split_text(sql)
        if text is None:
            return None
        key = _open_key(text, request)
        with self._lock:
            known = self._open.get(key, ())
            if known:
                self._open.move_to_end(key)
        for each in known:
            if each.catalog is not catalog or not _holds(each.plan, each.revisions, catalog):
                continue
            values = each.values(text, request)
            if values is None:
                continue
            asked = replace(request, params=(*request.params, *values))
            plan = bind(each.plan, each.binding, asked, catalog)
            if plan is not None:
                return plan
        return None

    def keep(
        self, sql: str, request: Request, catalog: Catalog, revisions: Revisions, plan: Plan
    ) -> None:
        """Keeps a plan that was made after the catalog's ``revisions`` were read."""
        if _size(sql, plan) > PLAN_BYTES_MAX:
            return
        self._keep_open(sql, request, catalog, revisions, plan)
        key = _key(sql, request)
        if key is None or plan.depends_on_clock:
            return
        with self._lock:
            self._plans[key] = catalog, revisions, plan
            self._plans.move_to_end(key)
            if len(self._plans) > PLANS_MAX:
                self._plans.popitem(last=False)

    def _keep_open(
        self, sql: str, request: Request, catalog: Catalog, revisions: Revisions, plan: Plan
    ) -> None:
        text = split_text(sql)
        if plan.binding is None or text is None:
            return
        asked: list[tuple[int, list[Any]]] = []
        for number in plan.binding.asked:
            if number <= len(request.params):
                value = _params_key(request.params[number - 1 : number])
                if value is None:
                    return
                asked.append((number, value))
        made = _Open(catalog, revisions, plan, plan.binding, text.literals, tuple(asked))
        key = _open_key(text, request)
        with self._lock:
            known = self._open.get(key, ())
            newest = [each for each in known if _holds(each.plan, each.revisions, catalog)]
            self._open[key] = (made, *newest[: SHAPE_PLANS_MAX - 1])
            self._open.move_to_end(key)
            if len(self._open) > SHAPES_MAX:
                self._open.popitem(last=False)


def _open_key(text: SplitText, request: Request) -> _Key:
    """Equal for texts that differ in literals, and parameters of the same types."""
    kinds = tuple(map(type, request.params))
    return (text.pieces, request.database, request.time_zone, kinds)


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
