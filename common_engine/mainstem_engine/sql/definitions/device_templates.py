"""Which template a device has, or gets with its first row.

1. A device that exists has its template for ever.
2. Else the template that is set nearest above its path is meant.
3. Else the device may have a template of its own: a plain table of TDengine, or the series that
   IoTDB's users create or insert one by one. Such a template is called as the path of its one
   device, and no template that several devices share can be called so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mainstem_engine.catalog.names import ROOT, is_below
from mainstem_engine.catalog.templates import Table, checked_template
from mainstem_engine.errors import SchemaError
from mainstem_engine.model import Measurement, Tag, Template

if TYPE_CHECKING:
    from mainstem_engine.catalog.catalog import Catalog

_OWN_PREFIX = f"{ROOT}."


def is_own_name(template: str) -> bool:
    """True for the name of a template that belongs to one device."""
    return template.casefold().startswith(_OWN_PREFIX)


def shown_template(template: str) -> str | None:
    """What a listing says: nothing for a device whose template is its own."""
    return None if is_own_name(template) else template


def check_shared_name(template: str) -> None:
    """Refuses a name for a shared template that only a device's own can have. SchemaError."""
    if is_own_name(template):
        raise SchemaError(
            f"template {template}: a name that starts with root. is that of a device",
            field=template,
            hint="use a name without dots",
        )


def own_template(
    catalog: Catalog,
    path: str,
    measurements: Iterable[Measurement],
    *,
    tags: Sequence[Tag] = (),
    time_name: str = "time",
    keep_ns: int | None = None,
) -> Template:
    """The template that the new device ``path`` gets for itself, ids given. Raises SchemaError."""
    name, number = path, 1
    # Names of templates are not case-sensitive, and paths are; one may be left of a device that
    # was not made after all.
    while catalog.templates.get(name) is not None and len(catalog.devices.of_family(name)):
        number += 1
        name = f"{path}#{number}"
    return checked_template(
        Template(name, tuple(measurements), tuple(tags), time_name=time_name, keep_ns=keep_ns)
    )


def template_above(catalog: Catalog, path: str) -> Table | None:
    """The template that is set nearest above a path, None without one. Raises SchemaError when
    there are several."""
    candidates: list[tuple[int, Table]] = []
    for table in catalog.templates.shown():
        depths = [p.count(".") for p in table.set_paths if is_below(path, p)]
        if depths and not table.replaces_rows:
            candidates.append((max(depths), table))
    if not candidates:
        return None
    nearest = max(depth for depth, _ in candidates)
    found = [table for depth, table in candidates if depth == nearest]
    if len(found) > 1:
        names = ", ".join(table.name for table in found)
        raise SchemaError(
            f"{path}: several templates are set above it ({names})",
            field=path,
            hint="INSERT INTO ... USING template TAGS (...)",
        )
    return found[0]
