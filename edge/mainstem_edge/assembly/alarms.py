"""The alarm rules of a template, from the topology's words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from mainstem_edge.alarms.book import AlarmBook
from mainstem_edge.alarms.rule import EXPRESSED, MESSAGE, SILENT, UNUSUAL, AlarmRule
from mainstem_engine.catalog.templates import Table
from mainstem_engine.engine import Engine
from mainstem_node.config.notify import LOG
from mainstem_node.config.rules import RuleConfig
from mainstem_node.config.schema import TemplateConfig
from mainstem_node.config.templates import rule_terms
from mainstem_node.expressions import parse
from mainstem_node.extras import STATISTICS, require


def alarm_book(
    engine: Engine,
    table: Table,
    template: TemplateConfig | None,
    configs: Iterable[RuleConfig],
    *,
    owner: Callable[[str], str | None] | None,
    clock_ns: Callable[[], int],
) -> AlarmBook | None:
    """None when no rule watches the table."""
    names = {m.id: m.name for m in table.shown}
    rules = alarm_rules(table.name, names, template, configs)
    if not rules:
        return None
    return AlarmBook(
        engine, table.name, rules, owner=owner or (lambda path: None), clock_ns=clock_ns
    )


def alarm_rules(
    table: str,
    names: Mapping[int, str],
    template: TemplateConfig | None,
    configs: Iterable[RuleConfig],
) -> list[AlarmRule]:
    """The rules of a table, whose measurements have these names by id. A rule of one that was
    dropped is left out."""
    ids = {name.casefold(): number for number, name in names.items()}
    found = []
    for each in configs:
        if each.template.casefold() != table.casefold():
            continue
        measurement = None
        if each.measurement is not None:
            measurement = ids.get(each.measurement.casefold())
            if measurement is None:
                continue
        found.append(_rule(each, measurement, template))
    return found


def _rule(config: RuleConfig, number: int | None, template: TemplateConfig | None) -> AlarmRule:
    expression, clear = (
        None if text is None or template is None else parse(text, rule_terms(template))
        for text in (config.expression, config.clear)
    )
    message = SILENT if config.missing is not None else EXPRESSED if expression else MESSAGE
    if config.deviation is not None:
        require(STATISTICS, "a rule `deviation`")
        message = UNUSUAL
    return AlarmRule(
        config.name, number, config.measurement or "",
        above=config.above, below=config.below, hysteresis=config.hysteresis, rate=config.rate,
        stuck_ns=config.stuck, missing_ns=config.missing, expression=expression, clear=clear,
        deviation=config.deviation, memory_ns=config.memory, every_ns=config.every,
        noise=config.noise,
        delay_ns=config.delay, clear_delay_ns=config.clear_delay, under=config.under,
        severity=config.severity, message=config.message or message,
        logs=LOG in config.actions,
    )  # fmt: skip
