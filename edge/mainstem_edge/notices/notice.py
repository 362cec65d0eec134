"""A change of an alarm, as others are told of it: raised, cleared, or acknowledged by a person.

The id is that of the row, its device and its time, with the change. Whoever is told twice, which
happens after a crash or a lost answer, sees the same id twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from mainstem_node.alarms import journal
from mainstem_node.config.notify import TOPIC_NAMES
from mainstem_node.config.rules import RuleConfig
from mainstem_node.plain import plain_value

if TYPE_CHECKING:
    from mainstem_engine.engine import Engine

NS_PER_MS = 1_000_000
MESSAGE_CHARS_MAX = 4000
"""What is told stays below some 16 KB: all else in it has bounds of its own."""
Key = tuple[int, int]
"""(LSN, row in the record): the order in which changes became durable."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A row of the table of alarms; ``values`` by measurement id, those that are not null. ``to``:
    who is told of it; None while nobody knows, which is so in a replay."""

    key: Key
    device: int
    time_ns: int
    values: Mapping[int, Any]
    to: frozenset[str] | None = None

    def concerns(self, name: str) -> bool:
        return self.to is None or name in self.to


@dataclass(frozen=True, slots=True)
class Telling:
    """``fields``: what is told, as JSON carries it."""

    id: str
    fields: Mapping[str, Any]

    @property
    def body(self) -> bytes:
        return msgspec.json.encode(self.fields)

    def topic(self, pattern: str) -> str:
        """``pattern`` with its placeholders; what a topic must not have becomes ``_``."""

        def word(found: re.Match[str]) -> str:
            value = self.fields.get(_FIELDS.get(found[1], found[1]))
            return re.sub(r"[+#/\0]", "_", str(value or ""))

        return re.sub(rf"\{{({'|'.join(TOPIC_NAMES)})\}}", word, pattern)


_FIELDS = {"device": "source"}


def told(engine: Engine, node: str, rule: RuleConfig, notice: Notice) -> Telling | None:
    """What ``rule`` has to tell of it; None for a row that is no change of an alarm."""
    names = {number: name for name, number in journal.column_ids(engine).items()}
    values = {
        names[number]: plain_value(value)
        for number, value in notice.values.items()
        if number in names
    }
    path = engine.catalog.devices.path(notice.device)
    if journal.ACKNOWLEDGED in values:
        change, since_ns = "acknowledged", values[journal.ACKNOWLEDGED]
    elif journal.RAISED in values:
        change = "raised" if values[journal.RAISED] else "cleared"
        since_ns = values.get(journal.SINCE, notice.time_ns)
    else:
        return None
    identity = f"{path}@{notice.time_ns}/{change}"
    message = values.get(journal.MESSAGE)
    return Telling(
        identity,
        {
            "id": identity,
            "node": node,
            "alarm": path,
            "source": journal.source_and_rule(path)[0],
            "rule": rule.name,
            "change": change,
            "severity": values.get(journal.SEVERITY, rule.severity),
            "measurement": values.get(journal.MEASUREMENT, rule.measurement),
            "value": values.get(journal.VALUE),
            "message": None if message is None else message[:MESSAGE_CHARS_MAX],
            "time": notice.time_ns // NS_PER_MS,
            "since": since_ns // NS_PER_MS,
            "by": values.get(journal.ACKNOWLEDGED_BY),
            "comment": values.get(journal.COMMENT),
        },
    )


def plain_values(columns: Mapping[int, Any], row: int) -> dict[int, Any]:
    """By measurement id, the values of one row that are not null, as Python has them."""
    found = {}
    for number, column in columns.items():
        if column.valid is None or column.valid[row]:
            value = column.values[row]
            found[number] = value.item() if isinstance(value, np.generic) else value
    return found
