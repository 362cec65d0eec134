"""What may be changed of what is defined: templates and databases.

1. A change is metadata: one log record, whatever the history. Rows in the log, in the head and in
   parts stay as they were written; ``columns.conform_rows`` brings them to the present types where
   they are read.
2. The record holds the template as it is now and, with it, every rollup table of it: the columns of
   a rollup are called after the measurements of its source, and a crash must not part them.
3. It is checked, logged and applied under the append lock, as every definition (definitions.py),
   and durable when the call returns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mainstem_engine.aggregate import rollup_columns, rollup_template
from mainstem_engine.catalog.budget import templates_bytes
from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.databases import Database, checked_database
from mainstem_engine.catalog.names import UNSEEN, canonical_path
from mainstem_engine.catalog.revisions import Revision, extended_template, revised_template
from mainstem_engine.catalog.templates import Table, refuse_unseen, template_to_map
from mainstem_engine.consumers import Ack
from mainstem_engine.errors import NotFoundError, SchemaError
from mainstem_engine.log.records import RecordKind
from mainstem_engine.model import ColumnType, Measurement, Template
from mainstem_engine.store import Store


class Unchanged:
    """The type of UNCHANGED."""


UNCHANGED: Final = Unchanged()
"""Leaves a setting as it is, where None means something of its own."""


class Alterations:
    """The altering half of an Engine."""

    _store: Store

    def alter_template(
        self,
        name: str,
        *,
        add: Sequence[Measurement] = (),
        rename: Mapping[str, str] | None = None,
        widen: Mapping[str, ColumnType] | None = None,
        encode: Mapping[str, tuple[str | None, str | None]] | None = None,
    ) -> Template:
        """The next revision of a template, at once and over all of its history.

        ``add``: measurements; one that exists with the same type is left out. ``rename``: new name
        by present name. ``widen``: type by present name, see ColumnType.widens_to. ``encode``:
        (encoding, compression) of what is written from now on, by present name; None keeps one.
        Ids of measurements never change. The template is returned as it is when nothing changes.
        Raises NotFoundError, SchemaError with the remedy.
        """
        revision = Revision(add, rename or {}, widen or {}, encode or {})
        refuse_unseen(m.name for m in add)
        with self._store.append_lock:
            table = self._store.catalog.table(name)
            if not table.foreign:
                refuse_unseen(revision.rename.values())
            if table.replaces_rows:
                raise SchemaError(
                    f"{table.name} is a rollup table",
                    field=table.name,
                    hint=f"alter {table.family}: its rollups follow it",
                )
            ack = revise(self._store, table, revised_template(table.template, revision))
        if ack is not None:
            ack.wait()
        return self._store.catalog.template(name)

    def hide_measurements(self, name: str, measurements: Sequence[str]) -> None:
        """Drops measurements whose values were deleted: their names are free, their ids stay taken.
        Raises NotFoundError."""
        with self._store.append_lock:
            table = self._store.catalog.table(name)
            unseen: dict[str, str] = {}
            for gone in measurements:
                found = table.measurement(gone)
                # One that is not there is told by whoever looks for it to rename it.
                unseen[gone] = UNSEEN if found is None else f"{UNSEEN}{found.id}"
            wanted = revised_template(table.template, Revision(rename=unseen))
            ack = revise(self._store, table, wanted)
        if ack is not None:
            ack.wait()

    def extend_template(self, name: str, measurements: Sequence[Measurement]) -> Template:
        """Adds measurements, to a rollup table too. SchemaError when one exists with another
        type."""
        refuse_unseen(m.name for m in measurements)
        with self._store.append_lock:
            table = self._store.catalog.table(name)
            wanted = extended_template(table.template, measurements)
            ack = revise(self._store, table, wanted)
        if ack is not None:
            ack.wait()
        return wanted

    def unset_template(self, template: str, path: str) -> None:
        """Data below ``path`` creates no more devices of the template; those that exist stay.
        Raises NotFoundError when it is not set there."""
        where = canonical_path(path)
        with self._store.append_lock:
            table = self._store.catalog.table(template)
            if where not in table.set_paths:
                raise NotFoundError(
                    f"template {table.name} is not set on {where}",
                    field=where,
                    hint=f"it is set on {', '.join(table.set_paths) or 'no path'}",
                )
            ack = log_schema(self._store, "unset", {"name": table.name, "path": where})
        ack.wait()

    def alter_database(
        self,
        name: str,
        *,
        keep_ns: int | Unchanged | None = UNCHANGED,
        duration_ns: int | None = None,
        **options: object,
    ) -> Database:
        """Changes settings of a database; what is not named stays. ``keep_ns`` None keeps for ever.

        ``duration_ns`` is that of the partitions begun from now on. The precision cannot change:
        integer times that were handed out would mean another time. Raises NotFoundError,
        SchemaError.
        """
        if "precision" in options:
            raise SchemaError(
                "the precision of a database cannot change",
                field="precision",
                hint="create another database and write there",
            )
        store = self._store
        with store.append_lock:
            old = store.catalog.databases.get(name)
            if old is None:
                raise NotFoundError(
                    f"there is no database {name!r}", field=name, hint="see SHOW DATABASES"
                )
            wanted = checked_database(
                old.name,
                keep_ns=old.keep_ns if isinstance(keep_ns, Unchanged) else keep_ns,
                duration_ns=old.duration_ns if duration_ns is None else duration_ns,
                precision=old.precision,
                options={**old.options, **options},
            )
            if wanted == old:
                return old
            ack = log_schema(store, "database", wanted.to_map())
        ack.wait()
        return wanted


def revise(
    store: Store,
    table: Table,
    wanted: Template,
    *,
    foreign: bool | None = None,
    tag_aliases: Mapping[str, str] | None = None,
) -> Ack | None:
    """Logs and applies a revision and what follows it, under the append lock. None: no change.

    ``foreign``: whose change it is; None: as the table is. ``tag_aliases``: see TagChanges.
    """
    old = table.template
    if wanted is old or wanted == old:
        return None
    added = templates_bytes([wanted]) - templates_bytes([old])
    if added > 0:
        store.metadata.require(added, f"new measurements of {old.name}")
    rollups = [template_to_map(rollup) for rollup in _followers(store.catalog, old, wanted)]
    fields = template_to_map(wanted)
    if rollups:
        fields["rollups"] = rollups
    if tag_aliases is not None:
        fields["tag_aliases"] = tag_aliases
    return log_schema(
        store, "template", {"foreign": table.foreign if foreign is None else foreign, **fields}
    )


def log_schema(store: Store, op: str, fields: Mapping[str, Any]) -> Ack:
    """Logs and applies an SCH record, under the append lock."""
    header = store.catalog.schema_record(op, **fields)
    ack = store.append(RecordKind.SCH, header, (), None)
    store.catalog.apply_schema(header)
    return ack


def _followers(catalog: Catalog, old: Template, new: Template) -> list[Template]:
    """The rollup tables of ``old`` that change with it, as they become."""
    if old.rollup_of is not None:
        return []
    wanted = old.name.casefold()
    rollups = [
        table.template
        for table in catalog.templates.all()
        if (table.template.rollup_of or "").casefold() == wanted
    ]
    followed = [(rollup, followed_rollup(rollup, old, new)) for rollup in rollups]
    if old.tags != new.tags:
        followed = [
            (before, dataclasses.replace(after, tags=new.tags, revision=before.revision + 1))
            for before, after in followed
        ]
    return [after for before, after in followed if after is not before]


def followed_rollup(rollup: Template, old: Template, new: Template) -> Template:
    """``rollup`` of ``old`` when its source has become ``new``: columns renamed and widened in
    place; those of added measurements added where it has columns of all that were there."""
    changed = {m.id: m for m in rollup.measurements}
    covers_all = True
    for before, after in zip(old.measurements, new.measurements, strict=False):
        if before.name.startswith(UNSEEN):
            continue
        for suffix, kind in rollup_columns(after.type):
            column = rollup.measurement(f"{before.name}_{suffix}")
            covers_all = covers_all and column is not None
            if column is not None and (column.type == kind or column.type.widens_to(kind)):
                changed[column.id] = dataclasses.replace(
                    column, name=f"{after.name}_{suffix}", type=kind
                )
    measurements = tuple(changed.values())
    if covers_all:
        next_id = max(changed, default=-1) + 1
        only_new = dataclasses.replace(new, measurements=new.measurements[len(old.measurements) :])
        measurements += tuple(
            dataclasses.replace(column, id=next_id + place)
            for place, column in enumerate(rollup_template(only_new, "", 1).measurements)
        )
    if measurements == rollup.measurements:
        return rollup
    return dataclasses.replace(rollup, measurements=measurements, revision=rollup.revision + 1)
