"""CREATE, SET, UNSET and ALTER: from a statement to the engine's method."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mainstem_engine.alterations import UNCHANGED
from mainstem_engine.catalog.databases import DEFAULT_DURATION_NS
from mainstem_engine.catalog.names import ROOT, UNSEEN, check_element, is_below, join_path
from mainstem_engine.catalog.revisions import Revision, TagRevision, revised_template
from mainstem_engine.errors import NotFoundError, SchemaError, SqlUnsupportedError
from mainstem_engine.sql.definitions.device_templates import check_shared_name, is_own_name
from mainstem_engine.sql.definitions.removal import Removal
from mainstem_engine.sql.select.relations import database_name, device_path
from mainstem_engine.sql.statements import (
    AlterDatabase,
    AlterKeep,
    AlterTags,
    AlterTemplate,
    CreateDatabase,
    CreateTemplate,
    Name,
    SetTemplate,
    SetTtl,
    UnsetTemplate,
)

if TYPE_CHECKING:
    from mainstem_engine.catalog.templates import Table
    from mainstem_engine.sql.storage import Storage

Definition = (
    CreateDatabase
    | CreateTemplate
    | SetTemplate
    | UnsetTemplate
    | AlterTemplate
    | AlterTags
    | AlterKeep
    | AlterDatabase
    | SetTtl
)


def define(engine: Storage, statement: Definition, database: str) -> list[str]:
    """Carries out a definition, durable at the return; its warnings. Raises SchemaError,
    NotFoundError, SqlUnsupportedError."""
    if isinstance(statement, CreateDatabase):
        engine.create_database(
            database_name(statement.name),
            keep_ns=statement.keep_ns,
            duration_ns=(
                DEFAULT_DURATION_NS if statement.duration_ns is None else statement.duration_ns
            ),
            precision=statement.precision or "ms",
            if_not_exists=statement.if_not_exists,
            **statement.options,
        )
        return list(statement.warnings)
    if isinstance(statement, CreateTemplate):
        check_shared_name(statement.template.name)
        engine.create_template(statement.template, if_not_exists=statement.if_not_exists)
        return list(statement.warnings)
    if isinstance(statement, SetTemplate):
        path = device_path(statement.path, database)
        _check_no_series(engine, path)
        if engine.catalog.table(statement.template).replaces_rows:
            raise SchemaError(
                f"{statement.template} is a rollup",
                field=statement.template,
                hint="set the template that it is of",
            )
        engine.set_template(statement.template, path)
        return []
    if isinstance(statement, UnsetTemplate):
        path = device_path(statement.path, database)
        _check_not_active(engine, statement.template, path)
        engine.unset_template(statement.template, path)
        return []
    return _alter(engine, statement, database)


def _check_no_series(engine: Storage, path: str) -> None:
    """Refuses to set a template where devices with series of their own are. Raises SchemaError."""
    devices = engine.catalog.devices
    for table in engine.catalog.templates.shown():
        if not is_own_name(table.name):
            continue
        for device in devices.paths(devices.of_family(table.family)):
            if is_below(device, path):
                raise SchemaError(
                    f"{device} has series of its own",
                    field=path,
                    hint="set the template on another path, or DROP TABLE it first",
                )


def _check_not_active(engine: Storage, template: str, path: str) -> None:
    """Refuses to unset a template where devices have it. Raises SchemaError, NotFoundError."""
    catalog = engine.catalog
    family = catalog.table(template).family
    active = np.intersect1d(catalog.devices.below(path), catalog.devices.of_family(family))
    if len(active):
        raise SchemaError(
            f"{catalog.devices.path(int(active[0]))} has template {family}",
            field=path,
            hint=f"DEACTIVATE SCHEMA TEMPLATE {family} FROM it, with its rows, or leave it set",
        )


def _alter(
    engine: Storage,
    statement: AlterTemplate | AlterTags | AlterKeep | AlterDatabase | SetTtl,
    database: str,
) -> list[str]:
    if isinstance(statement, AlterDatabase):
        if statement.precision is not None:
            statement.options["precision"] = statement.precision
        engine.alter_database(
            database_name(statement.name),
            keep_ns=statement.keep_ns if statement.sets_keep else UNCHANGED,
            duration_ns=statement.duration_ns,
            **statement.options,
        )
        return list(statement.warnings)
    if isinstance(statement, SetTtl):
        engine.set_ttl(ttl_path(statement.path), statement.ttl_ns)
        return []
    template = _template_name(engine, statement.name, database)
    if isinstance(statement, AlterTags):
        engine.alter_tags(
            template, TagRevision(statement.add, statement.drop, statement.rename, statement.widen)
        )
        return []
    if isinstance(statement, AlterKeep):
        engine.set_keep(template, statement.keep_ns)
        return []
    _alter_columns(engine, engine.catalog.table(template), statement, database)
    return list(statement.warnings)


def _alter_columns(engine: Storage, table: Table, statement: AlterTemplate, database: str) -> None:
    """All changes are tried on the template before the first is made: a statement that cannot do
    one does none."""
    revision = Revision(statement.add, statement.rename, statement.widen, statement.encode)
    removal = Removal(engine, database)
    left = table.template
    if statement.drop:
        dropped = removal.measurements(table, statement.drop)
        left = revised_template(left, Revision(rename={m.name: f"{UNSEEN}{m.id}" for m in dropped}))
    changed = revised_template(left, revision)
    if not statement.drop:
        left = table.template
    elif changed is not left and len(dropped) == len(table.shown) and is_own_name(table.name):
        raise SchemaError(
            f"{table.name} would lose all of its columns, and itself",
            field=table.name,
            hint="add the new ones first, then DROP COLUMN the others",
        )
    else:
        removal.drop_measurements(table, statement.drop)
    if changed is not left:
        engine.alter_template(
            table.name,
            add=statement.add,
            rename=statement.rename,
            widen=statement.widen,
            encode=statement.encode,
        )


def _template_name(engine: Storage, name: Name, database: str) -> str:
    """The template that ALTER names, in whatever database; a name with dots is a device's, if there
    is one. Raises SchemaError for a device of a template."""
    found = engine.catalog.templates.find(name.elements[-1])
    path = device_path(name, database)
    device = engine.catalog.devices.id_of(path)
    if found is not None and (device is None or len(name.elements) == 1):
        return found.name
    if device is not None:
        family = engine.catalog.devices.family_name(device)
        if is_own_name(family):
            return family
        raise SchemaError(
            f"{path} is a device of {family}",
            field=str(name),
            hint=f"ALTER STABLE {family} changes the template of all its devices",
        )
    raise NotFoundError(f"there is no template {name}", field=str(name), hint="see SHOW TEMPLATES")


def ttl_path(name: Name) -> str:
    """The path whose devices a TTL is about: ``root.a.**`` and ``root.a`` are ``root.a``."""
    elements = list(name.elements)
    wildcards = set(name.wildcards)
    if elements[-1] == "**" and len(elements) - 1 in wildcards:
        wildcards.discard(len(elements) - 1)
        elements.pop()
    if wildcards or not elements:
        raise SqlUnsupportedError(
            f"a TTL on {name} is not supported", hint="name a path, or all below it: root.a.**"
        )
    if elements == [ROOT]:
        return ROOT
    checked = [check_element(element, "path element") for element in elements]
    return join_path(checked if checked[0] == ROOT else [ROOT, *checked])
