"""The alarm rules of a template, from the topology's words."""

from __future__ import annotations

from collections.abc import Iterable

from mainstem_edge.alarms.book import AlarmBook
from mainstem_edge.alarms.rule import AlarmRule
from mainstem_engine.catalog.templates import Table
from mainstem_engine.engine import Engine
from mainstem_node.config.rules import RuleConfig


def alarm_book(engine: Engine, table: Table, configs: Iterable[RuleConfig]) -> AlarmBook | None:
    """None when no rule watches the table."""
    ids = {m.name.casefold(): m.id for m in table.shown}
    rules = [
        AlarmRule(
            each.name, ids[each.measurement.casefold()], each.measurement,
            above=each.above, below=each.below, hysteresis=each.hysteresis, rate=each.rate,
            stuck_ns=each.stuck, delay_ns=each.delay, clear_delay_ns=each.clear_delay,
            under=each.under, severity=each.severity, message=each.message,
        )
        for each in configs
        if each.template.casefold() == table.name.casefold() and each.measurement.casefold() in ids
    ]  # fmt: skip
    return AlarmBook(engine, table.name, rules) if rules else None
