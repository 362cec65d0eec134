"""Rows that were kept of an unknown device go the way they would have gone, now that it is there.

They pass the rules of the template (names, scale, range, filters), the device memory and the
accounts: what was counted as quarantined becomes accepted, filtered, or quarantined for another
reason. Times are those of the quarantine, to the millisecond.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mainstem_edge.assembly.workbench import Workbench
from mainstem_edge.collectors.interface import Message
from mainstem_edge.decode.interface import Decoded, KnownNames
from mainstem_edge.device_book import Entry
from mainstem_edge.payload_time import TimeReader
from mainstem_edge.preprocess import prepare
from mainstem_edge.reading import Reading
from mainstem_edge.row_checks import check_rows
from mainstem_edge.table_intake import NS_PER_MS, IntakeCounts
from mainstem_engine.consumers import Ack
from mainstem_node.inbox import Adopted, Adoption, Kept
from mainstem_node.writing import DURABLE_TIMEOUT_S


class _Nowhere:
    """The origin of messages that were acknowledged long ago."""

    def acknowledge(self, ids: Sequence[int]) -> None:
        """Nobody waits for it."""


def readmit_rows(bench: Workbench, adoption: Adoption, rows: Sequence[Kept]) -> None:
    """Rows that were counted for the template. Returns when all are durable."""
    table = bench.engine.catalog.table(adoption.template)
    rules = bench.collected(table)
    decoded = _decoded(rows, KnownNames(rules.source_names))
    count = len(rows)
    reading = Reading(
        table.name,
        False,
        decoded,
        [Entry(adoption.device)],
        np.zeros(count, np.intp),
        np.array([row.time_ms for row in rows], np.int64) * NS_PER_MS,
        prepare(decoded, rules, TimeReader()),
        np.ones(count, np.bool_),
    )
    check_rows(reading)
    counts = IntakeCounts(received=-count, quarantined=-count)
    _wait(bench.tables[table.name.casefold()].store(reading, counts))


def readmit_messages(bench: Workbench, adoption: Adoption, rows: Sequence[Kept]) -> None:
    """Messages of a topic that is a device now; no table has counted them yet."""
    adopted = Adopted("", adoption.name, adoption.template, adoption.device)
    origin = _Nowhere()
    messages = [
        Message(adoption.name, str(row.text).encode(), row.time_ms * NS_PER_MS, False, False, 0,
                origin)
        for row in rows
    ]  # fmt: skip
    for reading in bench.adopted(adopted).read(messages, bench.clock_ns()):
        _wait(bench.tables[reading.template.casefold()].store(reading, IntakeCounts()))


def _wait(ack: Ack | None) -> None:
    if ack is not None:
        ack.wait(DURABLE_TIMEOUT_S)


def _decoded(rows: Sequence[Kept], known: KnownNames) -> Decoded:
    """As a codec would have read them."""
    decoded = Decoded(list(range(len(rows))), {})
    values = [value for row in rows for value in row.values.values()]
    decoded.textual = bool(values) and all(isinstance(value, str) for value in values)
    for number, row in enumerate(rows):
        for name, value in row.values.items():
            column = known.get(name)
            if column is None:
                decoded.extras.append((number, name, value))
            else:
                decoded.columns.setdefault(column, [None] * len(rows))[number] = value
    return decoded
