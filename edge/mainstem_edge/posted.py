"""Rows that programs post to an edge: the ranges of the templates, and the alarm rules, are theirs.

What else a template says is how values of *sources* are read and thinned out: names, units, rates,
deadbands. A program posts what it wants stored.

A table that nothing watches is written to as before. One that has alarm rules, or filters that
remember what collectors brought, is written to by its intake: log, memory and alarms then have one
order. While rules are exchanged no posted row is between log and alarms.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from mainstem_edge.preprocess import in_range
from mainstem_engine.errors import OverloadedError
from mainstem_node.plain import plain_value
from mainstem_node.posted_rules import Misfit

if TYPE_CHECKING:
    from mainstem_edge.assembly.workbench import Workbench
    from mainstem_engine.catalog.templates import Table
    from mainstem_engine.consumers import Ack
    from mainstem_engine.model import Column, Rows

STARTING_S = 1.0


class EdgeRules:
    """The PostedRules of an edge. ``bench()``: what its intakes are made with; None while it
    starts."""

    def __init__(self, bench: Callable[[], Workbench | None]) -> None:
        self._find_bench = bench
        self.exchange = threading.Lock()
        """Held by whoever exchanges the bench."""

    def in_range(
        self, table: Table, columns: Mapping[int, Column]
    ) -> tuple[dict[int, Column], list[Misfit]]:
        found, misfits = dict(columns), list[Misfit]()
        for rule in self._bench().rules(table.name).measurements:
            if rule.id in found and not (rule.low is None and rule.high is None):
                column = found[rule.id]
                found[rule.id], rows = in_range(column, rule)
                misfits += [
                    Misfit(row, rule.name, plain_value(column.values[row].item())) for row in rows
                ]
        return found, misfits

    def append(self, table: Table, rows: Rows, *, intake: Mapping[str, int] | None = None) -> Ack:
        with self.exchange:
            bench = self._bench()
            watching = bench.watching(table)
            if watching is not None:
                return watching.append(table, rows, intake)
        return bench.engine.write_rows(table, rows, intake=intake)

    def _bench(self) -> Workbench:
        bench = self._find_bench()
        if bench is None:
            raise OverloadedError("the collectors are starting", retry_after_s=STARTING_S)
        return bench
