"""What the inbox remembers beside the rows, which the quarantine keeps.

1. Who was *seen*: the collector and topic that brought a name, and the tags that it would have. For
   people and for adoption; the newest names only, and written within a second or so.
2. Who is *ignored*: rows are counted and no longer kept.
3. Who was *adopted* under another path than its name, so that later rows go there too; and topics
   that became devices.

``DATA/inbox.json``, by atomic replacement: at once for 2 and 3. Without it, or where it is damaged,
nothing is remembered, and rows are put aside as before. A name is unknown within a template; the
template is empty where none is known. Thread-safe.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mainstem_engine.filesystem import Filesystem
from mainstem_node.errors import ConflictError
from mainstem_node.logs import fields

FILE_NAME = "inbox.json"
SEEN_MAX = 2_000
"""Twice what one listing shows; about 400 KB of memory."""
DECIDED_MAX = 10_000
"""Names that are ignored, and names that go elsewhere: more are a rule for the configuration."""

log = logging.getLogger("mainstem.inbox")


def identity(table: str, name: str) -> str:
    """The id of an unknown device: the same as long as its name is."""
    text = f"{table.casefold()}\0{name}".encode()
    return hashlib.blake2b(text, digest_size=6).hexdigest()


@dataclass(frozen=True, slots=True)
class Sighting:
    """How a name came: ``collector`` and ``topic``, and the tags that its device would have."""

    table: str
    name: str
    collector: str
    topic: str = ""
    tags: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Ignored:
    """A name whose rows are not kept. ``rows``: those that came since."""

    table: str
    name: str
    since_ms: int
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Adopted:
    """Where the rows of a name go."""

    table: str
    name: str
    template: str
    device: str


class InboxBook:
    """See the module. ``revision`` is another number after every adoption."""

    def __init__(
        self, data_dir: Path | None = None, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        """``data_dir`` None: nothing is remembered beyond this process."""
        self._path = None if data_dir is None else data_dir / FILE_NAME
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self._seen: dict[str, Sighting] = {}
        self._ignored: dict[str, Ignored] = {}
        self._adopted: dict[str, Adopted] = {}
        self._is_written = True
        self.revision = 0
        self._read()

    # Of the intake

    def see(self, sightings: Iterable[Sighting]) -> None:
        """Names that were put aside just now."""
        with self._lock:
            for sighting in sightings:
                key = identity(sighting.table, sighting.name)
                if key in self._seen:
                    continue
                if len(self._seen) >= SEEN_MAX:
                    del self._seen[next(iter(self._seen))]
                self._seen[key] = sighting
                self._is_written = False

    @property
    def ignores_any(self) -> bool:
        """False if no name is ignored. Cheap."""
        return bool(self._ignored)

    def pass_over(self, table: str, name: str) -> bool:
        """True if a row of that name shall not be kept; it is counted then."""
        found = self._ignored.get(identity(table, name))
        if found is None:
            return False
        with self._lock:
            found.rows += 1
            self._is_written = False
        return True

    def path_of(self, table: str, name: str) -> str | None:
        """The device that a name was adopted as; None while it is its own path, or unknown."""
        found = self._adopted.get(identity(table, name)) if self._adopted else None
        return None if found is None else found.device

    def topic(self, topic: str) -> Adopted | None:
        """The device that a topic is."""
        return self._adopted.get(identity("", topic)) if self._adopted else None

    def topics(self) -> list[Adopted]:
        """All topics that are devices."""
        return [each for each in list(self._adopted.values()) if not each.table]

    # Of people

    def sighting(self, key: str) -> Sighting | None:
        return self._seen.get(key)

    def has_seen(self, table: str, name: str) -> bool:
        """True for a name that a collector brought."""
        return identity(table, name) in self._seen

    def ignored(self) -> dict[str, Ignored]:
        """By id."""
        with self._lock:
            return dict(self._ignored)

    def ignore(self, table: str, name: str) -> None:
        """Rows of that name are counted and not kept from now on. Raises ConflictError, OSError."""
        with self._lock:
            _require_room(self._ignored)
            now_ms = self._clock_ns() // 1_000_000
            self._ignored.setdefault(identity(table, name), Ignored(table, name, now_ms))
            self._write()

    def heed(self, key: str) -> bool:
        """Rows of that id are kept again; False if it was not ignored."""
        with self._lock:
            found = self._ignored.pop(key, None)
            if found is not None:
                self._write()
            return found is not None

    def adopt(self, table: str, name: str, template: str, device: str) -> None:
        """Rows of that name go to this device from now on. Raises ConflictError, OSError."""
        with self._lock:
            _require_room(self._adopted)
            key = identity(table, name)
            self._adopted[key] = Adopted(table, name, template, device)
            self.revision += 1
            self._write()

    def keep(self) -> None:
        """Writes what is not written yet: sightings, and the counts of ignored rows."""
        with self._lock:
            if not self._is_written:
                self._write()

    def _write(self) -> None:
        self._is_written = True
        if self._path is None:
            return
        data = {
            "seen": [asdict(each) for each in self._seen.values()],
            "ignored": [asdict(each) for each in self._ignored.values()],
            "adopted": [asdict(each) for each in self._adopted.values()],
        }
        text = json.dumps(data, ensure_ascii=False, default=str)
        try:
            Filesystem().replace(self._path, [text.encode()])
        except OSError:
            self._is_written = False
            raise

    def _read(self) -> None:
        if self._path is None:
            return
        try:
            data = json.loads(self._path.read_bytes())
            for each in data["seen"]:
                self._seen[identity(each["table"], each["name"])] = Sighting(**each)
            for each in data["ignored"]:
                self._ignored[identity(each["table"], each["name"])] = Ignored(**each)
            for each in data["adopted"]:
                self._adopted[identity(each["table"], each["name"])] = Adopted(**each)
        except FileNotFoundError:
            return
        except (ValueError, TypeError, KeyError, OSError) as error:
            log.warning(
                "not readable: nobody is ignored or adopted under another name",
                extra=fields(file=str(self._path), error=str(error)),
            )


def _require_room(decided: Mapping[str, Any]) -> None:
    if len(decided) >= DECIDED_MAX:
        raise ConflictError(
            f"{DECIDED_MAX} names are decided on already",
            hint="change the collector's subscription instead: one rule for all of them",
        )
