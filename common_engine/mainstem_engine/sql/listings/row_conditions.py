"""WHERE of a listing: for which of its rows a condition is true.

The rows are put to the executing database as a table, a piece at a time. The condition is text of
users: it is checked as a SELECT is, has no sub-queries, and runs where queries do. So what is known
of a row may be compared in any way that SELECT has.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlglot import exp

from mainstem_engine.arrow import arrow_type
from mainstem_engine.errors import SqlUnsupportedError
from mainstem_engine.model import BoolMask, ColumnType
from mainstem_engine.sql.plan import Request
from mainstem_engine.sql.running.cancellation import Cancellation
from mainstem_engine.sql.running.sandbox import Program, SqlLimits
from mainstem_engine.sql.select.guard import check_query
from mainstem_engine.sql.select.parameters import number_parameters
from mainstem_engine.sql.select.scopes import Scopes
from mainstem_engine.sql.select.time_expressions import Clock, TimeExpressions
from mainstem_engine.sql.times import NS_PER_MS, engine_zone

if TYPE_CHECKING:
    from mainstem_engine.sql.running.executors import Executor

_INPUT = "listed"
_ROW = "#row"
PIECE_ROWS = 50_000
"""Rows that are asked at a time: some MB of paths."""


class RowConditions:
    """Asks conditions for one request, all within the time of one statement."""

    def __init__(
        self, executor: Executor, limits: SqlLimits, request: Request, cancellation: Cancellation
    ) -> None:
        self._executor = executor
        self._limits = limits
        self._cancellation = cancellation
        self._deadline = time.monotonic() + limits.timeout_s
        self.request = request

    def holds(
        self, where: exp.Expr, columns: Mapping[str, tuple[ColumnType, Sequence[Any]]]
    ) -> BoolMask:
        """bool[n]: the rows for which ``where`` is true. ``columns``: type and n values by name.
        Raises SqlError and its kinds."""
        import pyarrow as pa

        count = max((len(values) for _, values in columns.values()), default=0)
        mask = np.zeros(count, np.bool_)
        if not count:
            return mask
        select = exp.Select(
            expressions=[exp.column(_ROW, quoted=True)],
            from_=exp.From(this=exp.Table(this=exp.to_identifier(_INPUT, quoted=True))),
            where=exp.Where(this=where.copy()),
        )
        request = self.request
        clock = Clock(request.now_ns, request.zone, NS_PER_MS, request.params)
        params = number_parameters(select, request, TimeExpressions(Scopes([]), clock)).values
        arrays = [pa.array(values, arrow_type(kind)) for kind, values in columns.values()]
        table = pa.table([*arrays, pa.array(range(count), pa.int64())], [*columns, _ROW])
        left_s = max(0.001, self._deadline - time.monotonic())
        program = Program(
            sql=select.sql(dialect="duckdb"),
            params=params,
            time_zone=engine_zone(request.time_zone),
            inputs=(_INPUT,),
            is_single_pass=True,
            limits=replace(self._limits, timeout_s=left_s, row_limit=count),
        )
        found = self._executor.execute(program, lambda _: table, self._cancellation)
        mask[found.column(0).to_pylist()] = True
        return mask


def check_condition(where: exp.Expr, known: Collection[str]) -> None:
    """Refuses what is not about one row, and names that are not ``known`` (casefolded). Raises
    SqlUnsupportedError."""
    check_query(exp.Select(expressions=[where.copy()]))
    if where.find(exp.Query, exp.AggFunc, exp.Window) is not None:
        raise SqlUnsupportedError(
            "a sub-query or an aggregate in the condition of SHOW is not supported",
            hint="a condition is about one row of the listing",
        )
    for column in where.find_all(exp.Column):
        if column.name.casefold() not in known:
            raise SqlUnsupportedError(
                f"{column.name} is nothing that this listing knows",
                field=column.name,
                hint=f"use {', '.join(known)}",
            )
