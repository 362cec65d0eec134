"""ALTER TABLE ... SET TAG, ALTER TIMESERIES ... UPSERT TAGS: other tags for devices that exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mainstem_engine.catalog.revisions import TagRevision
from mainstem_engine.errors import NotFoundError
from mainstem_engine.model import Tag
from mainstem_engine.sql.changes.literal_values import LiteralValues
from mainstem_engine.sql.definitions.device_templates import is_own_name
from mainstem_engine.sql.plan import Request
from mainstem_engine.sql.select.relations import device_path
from mainstem_engine.sql.statements import Name, SetTags

if TYPE_CHECKING:
    from mainstem_engine.sql.storage import Storage


def set_tags(engine: Storage, request: Request, statement: SetTags) -> None:
    """Raises NotFoundError for a device or tag that is not there, SchemaError."""
    catalog = engine.catalog
    values = LiteralValues(request)
    tags = {name: values.plain(value) for name, value in statement.tags.items()}
    for name in statement.names:
        device_name = Name(name.elements[:-1]) if statement.series else name
        path = device_path(device_name, request.database)
        found = catalog.table_of_device(path)
        if found is None:
            raise NotFoundError(f"there is no table {path}", field=path, hint="SHOW DEVICES")
        table, device = found
        if statement.series and table.measurement(name.elements[-1]) not in table.shown:
            raise NotFoundError(
                f"there is no series {name}", field=str(name), hint="SHOW TIMESERIES lists them"
            )
        engine.require_own([path])
        if not tags:
            continue
        missing = [Tag(tag) for tag in tags if table.tag(tag) is None]
        if statement.series and missing and is_own_name(table.name):
            engine.alter_tags(table.name, TagRevision(add=missing))
        engine.set_tags(table.name, np.array([device], np.uint32), tags)
