"""A template that was altered at one tier, for the nodes below that use it: the body of an order.

1. It says what became of the template, by names: columns and tags that are new, renamed or of a
   wider type, and tags that were dropped. Columns are not dropped from above: their values are
   their owner's.
2. It changes the template's section of a document, and the stored template, to the same. Both may
   be done twice. What a node does not have under the old name is left alone.
3. A renamed column keeps the name that payloads have for it (``from``).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mainstem_engine.catalog.names import is_unseen
from mainstem_engine.catalog.revisions import TagRevision
from mainstem_engine.model import ColumnType, Measurement, Tag, Template
from mainstem_node.errors import BadRequestError

if TYPE_CHECKING:
    from mainstem_engine.engine import Engine

COLUMNS_MAX = 10_000
"""More than a template may have."""


@dataclass(frozen=True, slots=True)
class Names:
    """Changes of columns, or of tags; by the names before them. ``add``: section by name."""

    add: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    rename: Mapping[str, str] = field(default_factory=dict)
    widen: Mapping[str, str] = field(default_factory=dict)
    drop: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.add or self.rename or self.widen or self.drop)


@dataclass(frozen=True, slots=True)
class Amendment:
    """See the module."""

    template: str
    columns: Names
    tags: Names

    @classmethod
    def between(
        cls, before: Template, after: Template, renamed_tags: Mapping[str, str] | None = None
    ) -> Amendment | None:
        """None if nothing changed that others have to follow. ``renamed_tags``: new names by old
        ones, for tags have no ids that would tell."""
        tags = _tags(before, after, renamed_tags or {})
        found = cls(after.name, _columns(before, after), tags)
        return found if found.columns or found.tags else None

    def to_body(self) -> dict[str, Any]:
        return {
            "template": self.template,
            **{
                part: {
                    "add": dict(names.add), "rename": dict(names.rename),
                    "widen": dict(names.widen), "drop": list(names.drop),
                }
                for part, names in (("columns", self.columns), ("tags", self.tags))
            },
        }  # fmt: skip

    @classmethod
    def from_body(cls, body: object) -> Amendment:
        """Raises BadRequestError: it may come from another machine."""
        if not isinstance(body, Mapping) or not isinstance(body.get("template"), str):
            raise BadRequestError("an amendment without its template", field="amend")
        return cls(body["template"], _names(body.get("columns")), _names(body.get("tags")))

    # A document

    def of_document(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """The document with the template's section changed; as it is if it has none."""
        found = copy.deepcopy(dict(document))
        templates = found.get("templates") or {}
        name = _spelled(templates, self.template)
        if name is None or not isinstance(templates[name], dict):
            return found
        section = templates[name]
        columns = section.get("measurements") or {}
        kept = {
            _renamed(key, self.columns): {**value, **_source(key, value, self.columns)}
            for key, value in columns.items()
        }
        section["measurements"] = _extended(kept, self.columns, lambda each: dict(each))
        tags = section.get("tags") or {}
        dropped = {each.casefold() for each in self.tags.drop}
        left = {_renamed(k, self.tags): v for k, v in tags.items() if k.casefold() not in dropped}
        left = _extended(left, self.tags, lambda each: each["type"])
        if left or "tags" in section:
            section["tags"] = left
        return found

    # The store

    def of_store(self, engine: Engine) -> bool:
        """Alters the stored template; False if there is none. Raises SchemaError."""
        table = engine.catalog.templates.find(self.template)
        if table is None:
            return False
        columns = self.columns
        rename = {
            old: new
            for old, new in columns.rename.items()
            if table.shown_measurement(old) is not None and table.shown_measurement(new) is None
        }
        add, widen = [], {}
        for name, section in columns.add.items():
            present, kind = table.shown_measurement(name), ColumnType[section["type"]]
            if present is None:
                add.append(_measurement(name, kind, section))
            elif present.type is not kind and not kind.widens_to(present.type):
                widen[present.name] = kind  # refused by the store where it is not wider
        for name, text in columns.widen.items():
            present, kind = table.shown_measurement(name), ColumnType[text]
            if present is not None and present.type.widens_to(kind):
                widen[present.name] = kind
        if add or rename or widen:
            engine.alter_template(table.name, add=add, rename=rename, widen=widen)
        tags = self.tags
        revision = TagRevision(
            [Tag(n, ColumnType[s["type"]]) for n, s in tags.add.items() if table.tag(n) is None],
            [name for name in tags.drop if table.tag(name) is not None],
            {o: n for o, n in tags.rename.items() if table.tag(o) and table.tag(n) is None},
            {n: ColumnType[kind] for n, kind in tags.widen.items() if table.tag(n) is not None},
        )
        if revision.add or revision.drop or revision.rename or revision.widen:
            engine.alter_tags(table.name, revision)
        return True


def _measurement(name: str, kind: ColumnType, section: Mapping[str, str]) -> Measurement:
    return Measurement(
        0, name, kind,
        encoding=section.get("encoding", "AUTO"), compression=section.get("compression", "AUTO"),
        unit=section.get("unit"),
    )  # fmt: skip


def _columns(before: Template, after: Template) -> Names:
    old = {m.id: m for m in before.measurements}
    add, rename, widen = {}, {}, {}
    for now in after.measurements:
        then = old.get(now.id)
        if is_unseen(now.name) or (then is not None and is_unseen(then.name)):
            continue
        if then is None:
            add[now.name] = _section(now)
            continue
        if then.name != now.name:
            rename[then.name] = now.name
        if then.type is not now.type:
            widen[then.name] = now.type.name
    return Names(add, rename, widen)


def _section(measurement: Measurement) -> dict[str, str]:
    found = {"type": measurement.type.name}
    if measurement.unit is not None:
        found["unit"] = measurement.unit
    for key in ("encoding", "compression"):
        if getattr(measurement, key) != "AUTO":
            found[key] = getattr(measurement, key)
    return found


def _tags(before: Template, after: Template, renamed: Mapping[str, str]) -> Names:
    new = {tag.name.casefold(): tag for tag in after.tags}
    new_names = {old.casefold(): name for old, name in renamed.items()}
    rename, widen, drop = {}, {}, []
    met = set()
    for tag in before.tags:
        name = new_names.get(tag.name.casefold(), tag.name)
        now = new.get(name.casefold())
        if now is None:
            drop.append(tag.name)
            continue
        met.add(now.name)
        if now.name != tag.name:
            rename[tag.name] = now.name
        if now.type is not tag.type:
            widen[tag.name] = now.type.name
    add = {tag.name: {"type": tag.type.name} for tag in after.tags if tag.name not in met}
    return Names(add, rename, widen, tuple(drop))


def _spelled(names: Mapping[str, Any], wanted: str) -> str | None:
    return next((name for name in names if name.casefold() == wanted.casefold()), None)


def _renamed(name: str, names: Names) -> str:
    found = _spelled(names.rename, name)
    return name if found is None else names.rename[found]


def _source(name: str, section: Mapping[str, Any], names: Names) -> dict[str, str]:
    if _spelled(names.rename, name) is None or "from" in section:
        return {}
    return {"from": name}


def _extended(sections: dict[str, Any], names: Names, made: Any) -> dict[str, Any]:
    """With what is new, and of wider types."""
    for old, kind in names.widen.items():
        name = _spelled(sections, _renamed(old, names))
        if name is not None:
            section = sections[name]
            sections[name] = {**section, "type": kind} if isinstance(section, dict) else kind
    for new, section in names.add.items():
        if _spelled(sections, new) is None:
            sections[new] = made(section)
    return sections


def _names(body: object) -> Names:
    if not isinstance(body, Mapping):
        raise BadRequestError("an amendment without its names", field="amend")
    add, rename, widen, drop = (body.get(key) for key in ("add", "rename", "widen", "drop"))
    if not (
        isinstance(add, Mapping)
        and all(isinstance(k, str) and isinstance(v, Mapping) for k, v in add.items())
        and all(isinstance(text, str) for v in add.values() for text in v.values())
        and isinstance(rename, Mapping)
        and isinstance(widen, Mapping)
        and isinstance(drop, list)
        and all(isinstance(x, str) for x in (*rename, *rename.values(), *widen, *drop))
        and all(kind in ColumnType.__members__ for kind in widen.values())
        and all(v.get("type") in ColumnType.__members__ for v in add.values())
        and len(add) + len(rename) + len(widen) + len(drop) <= COLUMNS_MAX
    ):
        raise BadRequestError("an amendment that cannot be read", field="amend")
    return Names(dict(add), dict(rename), dict(widen), tuple(drop))
