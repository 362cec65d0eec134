"""The table of the alarms of rules: one device ``SOURCE.alarms.RULE`` for each alarm.

1. A row is a change: ``raised`` true or false, what did it, and ``since``, when the alarm was
   raised that begins or ends with it.
2. Or it says that a person saw the alarm: ``acknowledged`` is when the alarm was raised that was
   seen, with ``acknowledged_by`` and ``comment``; its time is when. ``raised`` is null in it. What
   one person saw says nothing of an alarm that is raised later, whatever the order of the rows.

Every tier reads it by the names of columns: what an earlier version made has fewer of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainstem_engine.model import ColumnType, Measurement, Tag, Template
from mainstem_node.config.rules import ALARMS

if TYPE_CHECKING:
    from mainstem_engine.engine import Engine

RAISED = "raised"
SEVERITY = "severity"
MEASUREMENT = "measurement"
VALUE = "value"
MESSAGE = "message"
SINCE = "since"
ACKNOWLEDGED = "acknowledged"
ACKNOWLEDGED_BY = "acknowledged_by"
COMMENT = "comment"

_TYPES = {
    RAISED: ColumnType.BOOLEAN,
    SEVERITY: ColumnType.TEXT,
    MEASUREMENT: ColumnType.TEXT,
    VALUE: ColumnType.DOUBLE,
    MESSAGE: ColumnType.TEXT,
    SINCE: ColumnType.TIMESTAMP,
    ACKNOWLEDGED: ColumnType.TIMESTAMP,
    ACKNOWLEDGED_BY: ColumnType.TEXT,
    COMMENT: ColumnType.TEXT,
}
TEMPLATE = Template(
    ALARMS,
    tuple(Measurement(n, name, kind) for n, (name, kind) in enumerate(_TYPES.items())),
    (Tag("source"), Tag("rule")),
)


def make_table(engine: Engine) -> None:
    """At the node that has rules; one that is there gets the columns that it lacks."""
    known = engine.catalog.templates.get(ALARMS)
    if known is None:
        engine.create_template(TEMPLATE, if_not_exists=True)
        return
    lacking = [m for m in TEMPLATE.measurements if known.measurement(m.name) is None]
    if lacking:
        engine.extend_template(ALARMS, lacking)


def column_ids(engine: Engine) -> dict[str, int]:
    """By name, of those that the table has."""
    return {m.name: m.id for m in engine.catalog.table(ALARMS).shown}


def source_and_rule(path: str) -> tuple[str, str]:
    """Of an alarm's device path; empty source for one that is no alarm's."""
    source, _, rule = path.rpartition(f".{ALARMS}.")
    return source, rule
