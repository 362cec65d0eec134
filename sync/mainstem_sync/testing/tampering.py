"""Changes behind the engine's back: parts with other rows, and every checksum right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mainstem_engine.catalog.database_options import part_settings
from mainstem_engine.columns import conform_rows
from mainstem_engine.engine import Engine
from mainstem_engine.model import Column, VersionedRows
from mainstem_engine.part.reader import Part
from mainstem_engine.part.writer import write_part


def tamper(engine: Engine, table: str, change: Callable[[VersionedRows], VersionedRows]) -> None:
    """Every part of the table is written anew with the rows that ``change`` makes of its rows."""
    engine.flush()
    store = engine._store  # noqa: SLF001 - behind the engine's back, as the module says
    known = engine.catalog.table(table)
    for part in list(store.inventory.of_table(known.name)):
        assert isinstance(part, Part)
        meta = part.meta
        types = {each.id: each.type for each in known.template.measurements}
        stored = part.read(range(len(part.blocks)), list(part.types))
        rows = change(conform_rows(stored, types))
        measurements, block_rows = part_settings(
            engine.catalog.database_of(meta.device_min), known.template, store.options.block_rows
        )
        new = []
        if len(rows):
            written = write_part(
                store.fs,
                store.inventory.directory_for(meta.vnode, meta.vnodes),
                store.inventory.next_name(),
                table=meta.table,
                partition_start_ns=meta.partition_start_ns,
                rows=rows,
                measurements=measurements,
                block_rows=block_rows,
                vnode=meta.vnode,
                vnodes=meta.vnodes,
                applied=meta.applied,
                erased_through=meta.erased_through,
            )
            new = store.inventory.open_written([written])
            store.inventory.record([written], [meta.name])
        else:
            store.inventory.record([], [meta.name])
        with store.state_lock:
            store.inventory.publish(new, [meta.name])


def without(number: int) -> Callable[[VersionedRows], VersionedRows]:
    """Without one row."""

    def change(rows: VersionedRows) -> VersionedRows:
        keep = np.ones(len(rows), np.bool_)
        keep[number] = False
        return rows.take(keep)

    return change


def with_value(number: int, key: int) -> Callable[[VersionedRows], VersionedRows]:
    """With the lowest bit of one value turned over."""

    def change(rows: VersionedRows) -> VersionedRows:
        column = rows.columns[key]
        values = column.values.copy()
        values.view(np.uint64)[number] ^= np.uint64(1)
        return replace(rows, columns={**rows.columns, key: Column(values, column.valid)})

    return change


def with_row_at(number: int, time_ns: int) -> Callable[[VersionedRows], VersionedRows]:
    """With a copy of one row at another time, as if its owner had written it."""

    def change(rows: VersionedRows) -> VersionedRows:
        order = np.append(np.arange(len(rows)), number)
        time = np.append(rows.time, time_ns)
        more = rows.take(order)
        more = replace(more, time=time)
        return more.take(np.lexsort((more.lsn, more.origin, more.time, more.device)))

    return change
