"""A child's template becomes one of this node's, and stays so through its revisions.

1. Templates meet by name. A measurement that was mapped before keeps its local column whatever it
   is called now; a new one takes the local column of its name, unless that is another's already.
2. Columns are added and widened as the child has them. A template that is here only for children's
   data (foreign) has them renamed too; one that this node declares itself keeps its names.
3. Narrower values fit a wider column as they are. A type that fits in neither way is a CONFLICT:
   its values are put aside.

Several children may have a template of one name. The first to rename a column renames it here; the
others go on by their ids.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from mainstem_engine.catalog.names import RESERVED_COLUMNS
from mainstem_engine.catalog.revisions import TagRevision
from mainstem_engine.catalog.templates import Table
from mainstem_engine.engine import Engine
from mainstem_engine.model import ColumnType, Measurement, Template
from mainstem_sync.errors import RejectedError
from mainstem_sync.origins.origin_state import CONFLICT, MeasurementMap, TableMap
from mainstem_sync.slices.manifests import slice_length_ns


def define_table(
    theirs: Template,
    known: TableMap | None,
    engine: Engine,
    aliases: Mapping[str, str] | None = None,
) -> TableMap:
    """Makes or revises the local template; maps each measurement to it, or to CONFLICT.

    ``known``: how the origin's table is mapped so far. ``aliases``: by present name of a tag that
    was renamed, casefolded, its first. Raises RejectedError when nothing of the
    template can be stored here, SchemaError for names that cannot be.
    """
    if known is not None and theirs.revision < known.revision:
        return known
    existing = engine.catalog.templates.get(theirs.name)
    usable = existing is None or (
        existing.template.rollup_of == theirs.rollup_of
        and existing.template.every_ns == theirs.every_ns
    )
    if existing is not None and usable:
        renamed = _renamings(theirs, known, existing)
        if renamed:
            engine.alter_template(existing.name, rename=renamed)
            existing = engine.catalog.table(theirs.name)
    local = None if existing is None else existing.template
    targets = _targets(theirs, known, existing) if usable else {}
    if targets or (usable and not theirs.measurements):
        wanted = Template(
            theirs.name, tuple(targets.values()), theirs.tags, 1, theirs.time_name,
            theirs.rollup_of, theirs.every_ns,
        )  # fmt: skip
        local = engine.create_template(wanted, foreign=True)
    if local is None:
        raise RejectedError(f"template {theirs.name} has no measurement that can be stored here")
    measurements = {}
    for measurement in theirs.measurements:
        target = targets.get(measurement.id)
        here = None if target is None else local.measurement(target.name)
        measurements[measurement.id] = MeasurementMap(
            CONFLICT if here is None else here.id, int(measurement.type), measurement.name
        )
    slice_ns = slice_length_ns(theirs.every_ns)
    tags = {} if theirs.rollup_of else _define_tags(theirs, aliases or {}, known, local, engine)
    return TableMap(theirs.name, local.name, slice_ns, measurements, theirs.revision, tags)


def with_kin(
    theirs: Template,
    known: TableMap | None,
    kin: Iterable[TableMap],
    line: TableMap | None,
) -> TableMap | None:
    """``known``, and what it lacks as the ``line`` has it by the id, or other epochs of the node
    (``kin``) ever had it by id and name. By its name alone it would be another one where its column
    has a new name by now. ``line`` only for definitions that are of the line."""
    found = {} if known is None else dict(known.measurements)
    names = {m.id: m.name.casefold() for m in theirs.measurements}
    base = known
    for theirs_one in theirs.measurements if line is not None else ():
        assert line is not None
        mapped = line.measurements.get(theirs_one.id)
        if mapped is not None and mapped.local != CONFLICT and theirs_one.id not in found:
            is_older = theirs.revision <= line.revision
            name = theirs_one.name if is_older else mapped.name  # an old name comes not back
            found[theirs_one.id] = dataclasses.replace(mapped, name=name)
            base = base or dataclasses.replace(line, revision=0, tags={})
    for other in kin:
        if other.local.casefold() != theirs.name.casefold():
            continue
        for key, measurement in other.measurements.items():
            same = names.get(key) == measurement.name.casefold()
            if same and key not in found and measurement.local != CONFLICT:
                found[key] = measurement
                base = base or dataclasses.replace(other, revision=0, tags={})
    return None if base is None else dataclasses.replace(base, measurements=found)


def _define_tags(
    theirs: Template,
    aliases: Mapping[str, str],
    known: TableMap | None,
    local: Template,
    engine: Engine,
) -> dict[str, tuple[str, str]]:
    """The tags of TableMap; those that are new here are added, wider types and other names taken
    over. One whose type does not fit is left out, one that the child has dropped stays."""
    table = engine.catalog.table(local.name)
    before = {} if known is None else known.tags
    taken = {m.name.casefold() for m in table.template.measurements}
    taken |= {table.template.time_name.casefold(), *RESERVED_COLUMNS}
    found: dict[str, tuple[str, str]] = {}
    add, rename, widen = [], {}, {}
    for tag in theirs.tags:
        first = aliases.get(tag.name.casefold(), tag.name).casefold()
        said, here = before.get(first, (tag.name, tag.name))
        present = table.tag(here)
        if present is None:
            if tag.name.casefold() in taken:
                continue
            add.append(dataclasses.replace(tag))
            here = tag.name
        elif present.type != tag.type and not tag.type.widens_to(present.type):
            if not present.type.widens_to(tag.type):
                continue
            widen[present.name] = tag.type
        is_renamed = said.casefold() != tag.name.casefold() and here.casefold() == said.casefold()
        free = table.tag(tag.name) is None and tag.name.casefold() not in taken
        if present is not None and is_renamed and free and table.foreign:
            rename[present.name] = here = tag.name
        taken.add(here.casefold())
        found[first] = (tag.name, here)
    if add or rename or widen:
        engine.alter_tags(table.name, TagRevision(add=add, rename=rename, widen=widen))
    return found


def _targets(
    theirs: Template, known: TableMap | None, existing: Table | None
) -> dict[int, Measurement]:
    """By the origin's id what it is here, under its local name; without those that conflict."""
    mapped = _mapped(known, existing)
    used = {here.id for here in mapped.values()}
    targets: dict[int, Measurement] = {}
    for measurement in theirs.measurements:
        here = mapped.get(measurement.id)
        if here is None and existing is not None:
            if existing.tag(measurement.name) is not None:
                continue
            here = existing.measurement(measurement.name)
            if here is not None and here.id in used:
                continue
        if here is None:
            targets[measurement.id] = measurement
        elif fits(measurement.type, here.type):
            targets[measurement.id] = dataclasses.replace(measurement, name=here.name)
    return targets


def _mapped(known: TableMap | None, existing: Table | None) -> dict[int, Measurement]:
    """The local measurement of each of the origin's that has one already."""
    found = {}
    for key, measurement in {} if known is None else known.measurements.items():
        here = None if existing is None else existing.measurement_by_id(measurement.local)
        if here is not None:
            found[key] = here
    return found


def fits(theirs: ColumnType, here: ColumnType) -> bool:
    """True if values of the one type can be stored as the other, or the other way round."""
    return theirs == here or theirs.widens_to(here) or here.widens_to(theirs)


def _renamings(theirs: Template, known: TableMap | None, existing: Table) -> dict[str, str]:
    """New name by present name of what the origin renamed and this node can rename too."""
    if known is None or not existing.foreign or existing.replaces_rows:
        # The columns of a rollup follow the measurements of its source by themselves.
        return {}
    wanted: dict[str, str] = {}
    mapped = _mapped(known, existing)
    for measurement in theirs.measurements:
        here = mapped.get(measurement.id)
        if here is None:
            continue
        before = known.measurements[measurement.id].name
        # Another child may have given it another name meanwhile: that stays.
        if measurement.name != before and here.name.casefold() == before.casefold():
            wanted[here.name] = measurement.name
    return _free(wanted, existing)


def _free(wanted: Mapping[str, str], existing: Table) -> dict[str, str]:
    """Those of ``wanted`` whose new name is nobody else's, afterwards."""
    chosen = dict(wanted)
    template = existing.template
    fixed = {tag.name.casefold() for tag in template.tags}
    fixed |= {template.time_name.casefold(), *RESERVED_COLUMNS}
    while True:
        staying = fixed | {m.name.casefold() for m in template.measurements if m.name not in chosen}
        taken = {old for old, new in chosen.items() if new.casefold() in staying}
        if not taken:
            return chosen
        for old in taken:
            del chosen[old]
