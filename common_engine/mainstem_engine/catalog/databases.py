"""Databases: path prefixes with their own retention, partition length and time precision.

The database of a path is the one with the longest prefix. A device outside every database gets one
of its own: the first two elements of its path (``root.plant_a``), or ``root.main`` for a device
that has no more than two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mainstem_engine.catalog.database_options import check_options
from mainstem_engine.catalog.names import ROOT, database_path, join_path, split_path
from mainstem_engine.errors import SchemaError

DEFAULT_DATABASE = "root.main"
DAY_NS = 86_400 * 1_000_000_000
DEFAULT_DURATION_NS = 10 * DAY_NS
"""Length of a partition: files of ten days stay few, and a day's retention costs one of them."""
PARENTS_MAX = 10_000
"""Paths above devices whose database is remembered: lines and machines, far fewer than devices."""
PRECISION_NS: Mapping[str, int] = {"ms": 1_000_000, "us": 1_000, "ns": 1}


@dataclass(frozen=True, slots=True)
class Database:
    """``keep_ns`` None keeps for ever; ``options`` are further settings as they were written."""

    name: str
    keep_ns: int | None = None
    duration_ns: int = DEFAULT_DURATION_NS
    precision: str = "ms"
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def precision_ns(self) -> int:
        """Nanoseconds in one unit of the API's integer times: 10**6, 10**3 or 1."""
        return PRECISION_NS[self.precision]

    def to_map(self) -> dict[str, Any]:
        """For the log and the checkpoint."""
        return {
            "name": self.name,
            "keep": self.keep_ns,
            "duration": self.duration_ns,
            "precision": self.precision,
            "options": dict(self.options),
        }

    @classmethod
    def from_map(cls, data: Mapping[str, Any]) -> Database:
        return cls(
            data["name"], data["keep"], data["duration"], data["precision"], dict(data["options"])
        )


def checked_database(
    name: str,
    *,
    keep_ns: int | None,
    duration_ns: int,
    precision: str,
    options: Mapping[str, object],
) -> Database:
    """A valid definition. Raises SchemaError, naming the field."""
    if precision not in PRECISION_NS:
        raise SchemaError(
            f"precision {precision!r} is unknown", field="precision", hint="use ms, us or ns"
        )
    if duration_ns < 1_000_000_000:
        raise SchemaError(
            f"a partition of {duration_ns} ns is too short", field="duration", hint="use 1s or more"
        )
    if keep_ns is not None and keep_ns <= 0:
        raise SchemaError("keep must be positive", field="keep", hint="leave it out to keep all")
    kept = {str(key): str(value) for key, value in options.items()}
    check_options(kept)
    return Database(database_path(name), keep_ns, duration_ns, precision, kept)


def default_database_name(path: str) -> str:
    """The database that is made for a device that no database covers."""
    elements = split_path(path)
    return join_path(elements[:2]) if len(elements) > 2 else DEFAULT_DATABASE


class Databases:
    """All databases by name. Index 0, 1, 2... in order of creation, for arrays of devices."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}
        self._order: list[Database] = []
        self._of_parent: dict[str, int | None] = {}
        self._dropped: set[str] = set()

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Database]:
        return iter(list(self._order))

    def get(self, name: str) -> Database | None:
        """The database ``power`` or ``root.power``, or None."""
        index = self._index.get(name, self._index.get(f"{ROOT}.{name}"))
        return None if index is None else self._order[index]

    def shown(self) -> list[Database]:
        """Those that are not dropped, in order of creation."""
        return [database for database in self._order if database.name not in self._dropped]

    def find(self, name: str) -> Database | None:
        """As get(), None for one that is dropped."""
        found = self.get(name)
        return None if found is None or self.is_dropped(found.name) else found

    def is_dropped(self, name: str) -> bool:
        """True for a database that is hidden; its place in the order stays taken."""
        return name in self._dropped

    @property
    def dropped(self) -> list[str]:
        """Names of hidden databases."""
        return sorted(self._dropped)

    def drop(self, name: str, gone: bool) -> None:
        """Hides a database and forgets its settings, or shows it again. Idempotent."""
        if gone:
            self.put(Database(name, precision=self._order[self._index[name]].precision))
            self._dropped = self._dropped | {name}
        else:
            self._dropped = self._dropped - {name}

    def at(self, index: int) -> Database:
        """The database of that index."""
        return self._order[index]

    def put(self, database: Database) -> None:
        """Adds it, or replaces the settings of the one with that name. Idempotent."""
        index = self._index.get(database.name)
        if index is None:
            self._index[database.name] = len(self._order)
            self._order.append(database)
            self._of_parent.clear()
        else:
            self._order[index] = database

    def index_of_path(self, path: str) -> int | None:
        """Index of the database with the longest prefix of ``path``, or None."""
        found = self._index.get(path)
        if found is not None:
            return found
        parent = path.rpartition(".")[0]
        if path[-1] == "`":  # there may be dots within the quotes
            parent = join_path(split_path(path)[:-1])
        if parent not in self._of_parent:
            if len(self._of_parent) >= PARENTS_MAX:
                self._of_parent.clear()
            self._of_parent[parent] = self._search(parent)
        return self._of_parent[parent]

    def indexes_of_paths(self, paths: Sequence[str]) -> list[int | None]:
        """As index_of_path, of each; quick where neighbours have the same parent."""
        exact = self._index
        found: list[int | None] = []
        above, start, index = "\n", 0, None
        for path in paths:
            if not path.startswith(above) or path in exact or "." in path[start:]:
                index = self.index_of_path(path)
                # Within quotes a dot ends nothing, so such a path says nothing of the next.
                same = path not in exact and "`" not in path
                above = path[: path.rfind(".") + 1] if same else "\n"
                start = len(above)
            found.append(index)
        return found

    def _search(self, prefix: str) -> int | None:
        if prefix == ROOT:
            return self._index.get(DEFAULT_DATABASE)
        while prefix:
            found = self._index.get(prefix)
            if found is not None:
                return found
            prefix = prefix.rpartition(".")[0]
        return None
