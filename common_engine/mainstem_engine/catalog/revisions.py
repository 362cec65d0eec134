"""What may become of a template: pure functions from one revision to the next.

1. Rows that are stored stay as they are, whatever their age: a revision is metadata. So permanent
   measurement ids never change, and nothing is ever taken away.
2. A measurement may be added; renamed, which frees its old name for another; widened, where every
   stored value is a value of the new type with the same canonical bits (ColumnType.widens_to), so
   that no digest changes; and stored by another encoding or compression from now on.
3. The rollup tables of a template follow it: their columns are called after its measurements.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mainstem_engine.catalog.names import UNSEEN, check_column_name, is_unseen
from mainstem_engine.catalog.templates import (
    COLUMNS_MAX,
    check_measurement,
    checked_template,
)
from mainstem_engine.errors import NotFoundError, SchemaError
from mainstem_engine.model import ColumnType, Measurement, Tag, Template


@dataclass(frozen=True, slots=True)
class Revision:
    """One change of a template. All names are those before it, but the new ones of ``rename``.

    ``encode``: (encoding, compression) by measurement, None leaves one as it is.
    """

    add: Sequence[Measurement] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    widen: Mapping[str, ColumnType] = field(default_factory=dict)
    encode: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)


def revised_template(old: Template, revision: Revision) -> Template:
    """``old`` after the change; ``old`` itself when nothing changes. Raises SchemaError,
    NotFoundError for a measurement that it does not have."""
    changed = {m.id: m for m in old.measurements}
    for name, kind in revision.widen.items():
        measurement = _known(old, name)
        changed[measurement.id] = dataclasses.replace(
            changed[measurement.id], type=_widened(old, measurement, kind)
        )
    for name, (encoding, compression) in revision.encode.items():
        measurement = changed[_known(old, name).id]
        changed[measurement.id] = dataclasses.replace(
            measurement,
            encoding=encoding or measurement.encoding,
            compression=compression or measurement.compression,
        )
    for name, new_name in revision.rename.items():
        measurement = changed[_known(old, name).id]
        changed[measurement.id] = dataclasses.replace(measurement, name=new_name)
    measurements = tuple(changed.values())
    for measurement in measurements:
        check_measurement(measurement)
    wanted = old
    if measurements != old.measurements:
        wanted = dataclasses.replace(old, measurements=measurements, revision=old.revision + 1)
        _check_names(wanted, revision.rename.values())
    extended = extended_template(wanted, revision.add)
    if extended is old:
        return old
    return dataclasses.replace(extended, revision=old.revision + 1)


@dataclass(frozen=True, slots=True)
class TagRevision:
    """One change of the tags of a template, by their names before it."""

    add: Sequence[Tag] = ()
    drop: Sequence[str] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    widen: Mapping[str, ColumnType] = field(default_factory=dict)


def retagged_template(old: Template, revision: TagRevision) -> Template:
    """``old`` with other tags. Raises SchemaError, NotFoundError for a tag that it has not."""
    tags = {tag.name.casefold(): tag for tag in old.tags}
    for name in (*revision.drop, *revision.rename, *revision.widen):
        if name.casefold() not in tags:
            raise NotFoundError(
                f"template {old.name} has no tag {name!r}",
                field=name,
                hint=f"it has {', '.join(tag.name for tag in old.tags) or 'none'}",
            )
    for name, kind in revision.widen.items():
        tag = tags[name.casefold()]
        if tag.type != kind and not tag.type.widens_to(kind):
            raise SchemaError(
                f"tag {tag.name} is {tag.type.name} and cannot become {kind.name}",
                field=name,
                hint="add a tag of that type, and SET TAG its values",
            )
        tags[name.casefold()] = dataclasses.replace(tag, type=kind)
    for name in revision.drop:
        del tags[name.casefold()]
    kept = []
    for key, tag in tags.items():
        wanted = next((new for o, new in revision.rename.items() if o.casefold() == key), tag.name)
        kept.append(dataclasses.replace(tag, name=wanted))
    changed = dataclasses.replace(old, tags=(*kept, *revision.add), revision=old.revision + 1)
    checked_template(changed)
    return changed


def renewed_template(old: Template, new: Template) -> Template:
    """``new`` in place of a template that was dropped: what it had is kept out of sight."""
    unseen = tuple(
        m if m.name.startswith(UNSEEN) else dataclasses.replace(m, name=f"{UNSEEN}{m.id}")
        for m in old.measurements
    )
    next_id = max((m.id for m in old.measurements), default=-1) + 1
    fresh = tuple(
        dataclasses.replace(m, id=next_id + place) for place, m in enumerate(new.measurements)
    )
    if len(unseen) + len(fresh) + len(new.tags) > COLUMNS_MAX:
        raise SchemaError(
            f"template {old.name} was dropped too often", field=old.name, hint="use another name"
        )
    return dataclasses.replace(
        new, name=old.name, measurements=(*unseen, *fresh), revision=old.revision + 1
    )


def adopted_template(old: Template, theirs: Iterable[Measurement]) -> Template:
    """``old`` so that it can hold rows of ``theirs`` too, which has names of ``old``: wider types
    are taken over, narrower ones fit as they are, what is missing is added. SchemaError on a type
    that is neither."""
    known = {m.name.casefold(): m for m in old.measurements}
    widen: dict[str, ColumnType] = {}
    add: list[Measurement] = []
    for measurement in theirs:
        present = known.get(measurement.name.casefold())
        if present is None:
            add.append(measurement)
        elif not measurement.type.widens_to(present.type):
            widen[present.name] = measurement.type
    return revised_template(old, Revision(add=add, widen=widen))


def extended_template(old: Template, added: Iterable[Measurement]) -> Template:
    """``old`` with those of ``added`` that it lacks. Raises SchemaError on another type."""
    present = {m.name.casefold(): m for m in old.measurements}
    next_id = max((m.id for m in old.measurements), default=-1) + 1
    fresh: list[Measurement] = []
    taken = {t.name.casefold() for t in old.tags} | {old.time_name.casefold()}
    for measurement in added:
        known = present.get(measurement.name.casefold())
        if known is not None:
            if known.type != measurement.type:
                raise SchemaError(
                    f"{old.name}.{known.name} is {known.type.name}, not {measurement.type.name}",
                    field=known.name,
                    hint="use the declared type, or another name",
                )
            continue
        if not is_unseen(measurement.name):
            check_column_name(measurement.name, "measurement")
        check_measurement(measurement)
        if measurement.name.casefold() in taken:
            raise SchemaError(
                f"{old.name}.{measurement.name} is a tag or the time",
                field=measurement.name,
                hint="use another name",
            )
        added_one = dataclasses.replace(measurement, id=next_id + len(fresh))
        present[added_one.name.casefold()] = added_one
        fresh.append(added_one)
    if not fresh:
        return old
    if len(old.measurements) + len(old.tags) + len(fresh) > COLUMNS_MAX:
        raise SchemaError(
            f"template {old.name} would have more than {COLUMNS_MAX} columns",
            field=old.name,
            hint="put them into another template; dropped columns count too",
        )
    return dataclasses.replace(
        old, measurements=(*old.measurements, *fresh), revision=old.revision + 1
    )


def _known(template: Template, name: str) -> Measurement:
    found = template.measurement(name)
    if found is None:
        if any(tag.name.casefold() == name.casefold() for tag in template.tags):
            raise SchemaError(
                f"{template.name}.{name} is a tag",
                field=name,
                hint="use ADD, DROP, RENAME or MODIFY TAG",
            )
        shown = [m.name for m in template.measurements if not m.name.startswith(UNSEEN)]
        known = ", ".join(shown[:20]) or "none"
        raise NotFoundError(
            f"template {template.name} has no measurement {name!r}",
            field=name,
            hint=f"it has {known}",
        )
    return found


def _widened(template: Template, measurement: Measurement, kind: ColumnType) -> ColumnType:
    if measurement.type == kind or measurement.type.widens_to(kind):
        return kind
    wider = [t.name for t in ColumnType if measurement.type.widens_to(t)]
    can = f"it widens to {', '.join(wider)}; " if wider else ""
    raise SchemaError(
        f"{template.name}.{measurement.name} is {measurement.type.name} and cannot become "
        f"{kind.name}",
        field=measurement.name,
        hint=f"{can}otherwise add a new measurement of that type",
    )


def _check_names(template: Template, renamed: Iterable[str]) -> None:
    """Refuses new names that cannot be, or are taken by another column."""
    for name in renamed:
        if not is_unseen(name):
            check_column_name(name, "measurement")
    seen = {tag.name.casefold(): "a tag" for tag in template.tags}
    seen[template.time_name.casefold()] = "the time"
    for measurement in template.measurements:
        folded = measurement.name.casefold()
        if folded in seen:
            raise SchemaError(
                f"{template.name}.{measurement.name} is {seen[folded]} already",
                field=measurement.name,
                hint="use another name",
            )
        seen[folded] = "a measurement"
