"""The inbox: what the quarantine keeps of devices that are not there, and what becomes of them.

1. It is a view: the rows lie in the quarantine, whose bounds are its own, and which a restart does
   not touch. Only who is ignored, or goes to another path, is remembered here (book.py).
2. Adopting makes the template, if it is new, and the device, durably; then later rows go there,
   and then the rows that were kept are stored, the oldest first. What is stored leaves the
   quarantine afterwards: a crash in between shows them again, and adopting again stores nothing
   twice (the same time of the same device).
3. Rows are stored by whoever put them aside: at an edge through the rules of the template
   (``readmit`` of the tier), else as a client's write. What does not fit then is put aside anew,
   for that reason.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mainstem_engine.catalog.names import canonical_path
from mainstem_engine.catalog.templates import Table
from mainstem_engine.model import Measurement, Tag, Template
from mainstem_node.errors import BadRequestError, ConflictError, MissingError
from mainstem_node.inbox.book import InboxBook
from mainstem_node.inbox.suggestion import Suggestion, suggest
from mainstem_node.inbox.unknown import Unknown, gathered, read_item
from mainstem_node.rows import RowGroup

if TYPE_CHECKING:
    from mainstem_node.writing import Writer

DEVICES_MAX = 1_000
"""Unknown devices of one listing, the newest first: nobody adopts more by hand."""
LOOKED_AT_MAX = 200_000
"""Items of the quarantine that one listing looks through, the newest first."""
TAKEN_MAX = 10_000
"""Rows that are read and stored at a time while a device is adopted: some 10 MB."""
NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Adoption:
    """An unknown device and what it becomes. ``table`` is empty if its rows had no template."""

    table: str
    name: str
    template: str
    device: str
    is_topic: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """A row that was kept: the item's id, its arrival or own time, and what it says."""

    id: str
    time_ms: int
    values: Mapping[str, Any]
    text: Any


Readmit = Callable[[Adoption, Sequence[Kept]], bool]
"""Stores rows as its tier would have, and returns when they are durable or put aside again; False
if they are not of its collectors."""


class Inbox:
    """See the module. Its methods block; use them from a worker thread."""

    def __init__(self, writer: Writer, book: InboxBook, prefix: str, readmit: Readmit) -> None:
        self._writer = writer
        self._engine = writer.engine
        self._store = writer.federation.quarantine
        self._prefix = prefix
        self._readmit = readmit
        self._adopting = threading.Lock()
        self.book = book

    # Looking

    def listed(self) -> dict[str, Any]:
        """As ``GET /api/v1/devices/inbox`` answers."""
        found, more = self._gathered()
        ignored = self.book.ignored()
        return {
            "devices": [self._shown(each) for each in found if each.id not in ignored],
            "more": more,
            "ignored": [
                {"id": key, "name": each.name, "template": each.table or None,
                 "since": each.since_ms, "rows": each.rows}
                for key, each in ignored.items()
            ],
        }  # fmt: skip

    def _gathered(self) -> tuple[list[Unknown], bool]:
        looked = 0
        cut = False

        def own() -> Iterator[dict[str, Any]]:
            nonlocal looked, cut
            for item in self._store.walk(self._writer.node):
                looked += 1
                if looked > LOOKED_AT_MAX:
                    cut = True
                    return
                yield item

        found, more = gathered(own(), DEVICES_MAX)
        return found, more or cut

    def _shown(self, unknown: Unknown) -> dict[str, Any]:
        found = self.suggestion(unknown)
        seen = self.book.sighting(unknown.id)
        topic = unknown.name if unknown.is_topic else ""
        return {
            "id": unknown.id,
            "name": unknown.name,
            "template": unknown.table or None,
            "collector": None if seen is None else seen.collector,
            "topic": topic or (None if seen is None else seen.topic) or None,
            "reasons": unknown.reasons,
            "rows": unknown.rows,
            "first_seen": unknown.first_ms,
            "last_seen": unknown.last_ms,
            "sample": unknown.sample,
            "fields": {name: kind.name for name, kind in unknown.fields.items()},
            "tags": self._tags(unknown),
            "suggestion": {
                "template": found.template,
                "exists": found.exists,
                "score": found.score,
                "extra": found.extra,
                "missing": found.missing,
                "device": found.device,
                "yaml": found.yaml,
            },
        }

    def suggestion(self, unknown: Unknown) -> Suggestion:
        """What would fit."""
        return suggest(unknown, self._tables(), self._prefix)

    def _tables(self) -> Iterator[Table]:
        for table in self._engine.catalog.templates.shown():
            if table.template.rollup_of is None and not table.replaces_rows:
                yield table

    def _tags(self, unknown: Unknown) -> dict[str, Any]:
        seen = self.book.sighting(unknown.id)
        return dict(unknown.tags or ({} if seen is None else seen.tags))

    def _find(self, key: str) -> Unknown:
        found, _ = self._gathered()
        unknown = next((each for each in found if each.id == key), None)
        if unknown is None:
            raise MissingError(
                f"there is no unknown device {key!r}", field="id", hint="see mainstem device inbox"
            )
        return unknown

    # Deciding

    def adopt(
        self,
        key: str,
        template: str | None = None,
        device: str | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Makes it a device, and stores what was kept of it. Raises MissingError, BadRequestError,
        ConflictError, ForbiddenError (NOT_OWNER), SchemaError."""
        with self._adopting:
            unknown = self._find(key)
            suggested = self.suggestion(unknown)
            name = _template_name(unknown, template, suggested)
            path = canonical_path(device or suggested.device)
            self._writer.ownership.require_writer([path])
            table = self._engine.catalog.templates.find(name)
            made = table is None
            if table is None:
                table = self._make(name, unknown)
            given = {**self._tags(unknown), **(tags or {})}
            columns = _tags_of(table, given, strict=tags or {})
            self._engine.device_ids(table.name, [path], columns, create=True)
            adoption = Adoption(unknown.table, unknown.name, table.name, path, unknown.is_topic)
            if unknown.is_topic or path != unknown.name:
                source = unknown.table or ("" if unknown.is_topic else table.name)
                self.book.adopt(source, unknown.name, table.name, path)
            self.book.heed(key)
            stored, left = self._store_kept(unknown, adoption)
        return {
            "id": key,
            "device": path,
            "template": table.name,
            "template_made": made,
            "rows": stored,
            "left": left,
        }

    def _make(self, name: str, unknown: Unknown) -> Table:
        """A template of the fields that were seen."""
        if not unknown.fields:
            raise BadRequestError(
                f"nothing is known of the values of {unknown.name}, so no template can be made",
                field="template",
                hint="name a template that is there",
            )
        self._engine.create_template(
            Template(
                name,
                tuple(Measurement(0, field, kind) for field, kind in unknown.fields.items()),
                tuple(Tag(tag) for tag in self._tags(unknown)),
            ),
            if_not_exists=True,
        )
        return self._engine.catalog.table(name)

    def _store_kept(self, unknown: Unknown, adoption: Adoption) -> tuple[int, int]:
        """(rows that left the inbox, rows that cannot be read any more)."""
        done, left = 0, 0
        while True:
            rows, unreadable = self._kept(unknown)
            left = unreadable
            if not rows:
                return done, left
            if not self._readmit(adoption, rows):
                self._write(adoption, rows)
            self._store.drop(*(row.id for row in rows))
            done += len(rows)

    def _kept(self, unknown: Unknown) -> tuple[list[Kept], int]:
        """The next rows, the oldest of them first, and how many cannot be read."""
        rows: list[Kept] = []
        unreadable = 0
        for item in self._store.walk(self._writer.node):
            if item["table"] != unknown.table:
                continue
            row = read_item(item)
            if row is None or row.name != unknown.name:
                continue
            readable = row.values is not None or (unknown.is_topic and not _is_cut(item["value"]))
            if item["time"] is None or not readable:
                unreadable += 1
                continue
            rows.append(Kept(item["id"], item["time"], row.values or {}, item["value"]))
            if len(rows) >= TAKEN_MAX:
                break
        rows.reverse()
        return rows, unreadable

    def _write(self, adoption: Adoption, rows: Sequence[Kept]) -> None:
        """As a client's write. Rows that were counted for a template move in its accounting."""
        precision = self._writer.precision_ns([adoption.device])
        group = RowGroup(
            adoption.template,
            adoption.device,
            {},
            [{**row.values, "time": row.time_ms * NS_PER_MS // precision} for row in rows],
        )
        self._writer.write_again(group, counted=bool(adoption.table))

    def ignore(self, key: str) -> dict[str, Any]:
        """Its rows are counted from now on and not kept, and what was kept is forgotten."""
        with self._adopting:
            unknown = self._find(key)
            self.book.ignore(unknown.table, unknown.name)
            forgotten = 0
            while True:
                rows = list(itertools.islice(self._ids(unknown), TAKEN_MAX))
                if not rows:
                    break
                forgotten += self._store.drop(*rows)
        return {"id": key, "name": unknown.name, "state": "ignored", "forgotten": forgotten}

    def _ids(self, unknown: Unknown) -> Iterator[str]:
        for item in self._store.walk(self._writer.node):
            if item["table"] == unknown.table:
                row = read_item(item)
                if row is not None and row.name == unknown.name:
                    yield item["id"]

    def heed(self, key: str) -> dict[str, Any]:
        """No longer ignored."""
        if not self.book.heed(key):
            raise MissingError(f"{key!r} is not ignored", field="id", hint="see `ignored`")
        return {"id": key, "state": "heeded"}


def _is_cut(text: Any) -> bool:
    """True for a message of which only the beginning was kept."""
    return isinstance(text, str) and text.startswith("[") and " bytes, blake2b " in text[:60]


def _template_name(unknown: Unknown, wanted: str | None, suggested: Suggestion) -> str:
    """The template that it gets. What its source says cannot be changed here."""
    fixed = unknown.table or unknown.template
    if wanted is None or not fixed or wanted.casefold() == fixed.casefold():
        return fixed or wanted or suggested.template
    if unknown.table:
        hint = f"change `template` of its subscription, or leave it: {fixed}"
    else:
        hint = f"its lines ask for the template {fixed}: leave it out"
    raise ConflictError(
        f"what {unknown.name} sends is read as rows of {fixed}", field="template", hint=hint
    )


def _tags_of(
    table: Table, given: Mapping[str, Any], strict: Mapping[str, Any]
) -> dict[str, list[Any]]:
    """Tags by column, one device. Those that a person names must be there."""
    for name in strict:
        if table.tag(name) is None:
            known = ", ".join(tag.name for tag in table.template.tags) or "none"
            raise BadRequestError(
                f"{table.name} has no tag {name!r}", field="tags", hint=f"known are {known}"
            )
    found = {}
    for name, value in given.items():
        tag = table.tag(name)
        if tag is not None and value is not None:
            found[tag.name] = [value]
    return found
