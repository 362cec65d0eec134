"""How long rows are kept where neither database nor template says it: the rules of this node.

1. A TTL is set on a path; the longest path above (or equal to) a device decides. It holds for the
   device's own rows, not for rollups made of them.
2. A keep is set on a table, a template or a rollup. It comes before the template's own.
3. Rules are each tier's own: their records (SCH, ops ``ttl`` and ``keep``) are for nobody else.
4. A path that had a rule stays known when its TTL is taken away: it then inherits. So what was
   removed below it under an earlier rule stays known apart from what was removed beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mainstem_engine.catalog.names import ROOT, canonical_path
from mainstem_engine.errors import SchemaError

TTL_OP = "ttl"
KEEP_OP = "keep"
PATHS_MAX = 1000
"""Paths with a TTL: lines and areas, not devices. Each may be a class of rows of its own in every
table and database."""
PARENTS_MAX = 10_000
"""Paths above devices whose rule is remembered, as for databases."""


class RetentionRules:
    """TTLs by path and keeps by table; ``revision`` grows with every change."""

    def __init__(self) -> None:
        self._ttls: dict[str, int | None] = {}
        self._order: list[str] = [""]
        self._index: dict[str, int] = {"": 0}
        self._keeps: dict[str, int | None] = {}
        self._of_parent: dict[str, int] = {}
        self.revision = 0

    def __bool__(self) -> bool:
        """True when some path has, or had, a TTL."""
        return bool(self._ttls)

    def ttls(self) -> dict[str, int]:
        """TTL in ns by path."""
        return {path: ttl for path, ttl in self._ttls.items() if ttl is not None}

    def keep_of(self, table: str, declared: int | None) -> int | None:
        """What a table is kept for in ns: the keep set here, else ``declared`` by its template."""
        return self._keeps.get(table.casefold(), declared)

    def ttl_of(self, rule: int) -> int | None:
        """The TTL in ns of a rule: its own, else that of the next rule above it."""
        for path in self.lineage(self._order[rule]):
            ttl = self._ttls.get(path)
            if ttl is not None:
                return ttl
        return None

    def path_of(self, rule: int) -> str:
        """The path of a rule; rule 0 is "no rule" and has the path ''."""
        return self._order[rule]

    def lineage(self, path: str) -> Iterator[str]:
        """``path`` and every path above it that has a rule, longest first; then ''."""
        while path:
            if path in self._ttls:
                yield path
            path = path.rpartition(".")[0]
        yield ""

    def rule_of(self, path: str) -> int:
        """The rule of a device: the one with the longest path above or equal to its own."""
        own = self._index.get(path)
        if own is not None:
            return own
        parent = path.rpartition(".")[0]
        found = self._of_parent.get(parent)
        if found is None:
            if len(self._of_parent) >= PARENTS_MAX:
                self._of_parent.clear()
            found = self._index[next(self.lineage(parent))]
            self._of_parent[parent] = found
        return found

    def checked_path(self, path: str) -> str:
        """The kept form of a path that a TTL may be set on. Raises SchemaError."""
        where = path if path == ROOT else canonical_path(path)
        if where not in self._ttls and len(self._ttls) >= PATHS_MAX:
            raise SchemaError(
                f"more than {PATHS_MAX} paths have a TTL",
                field=path,
                hint="set it on a path above several devices, or on their template",
            )
        return where

    def apply(self, header: Mapping[str, Any]) -> None:
        """Applies a record of op ``ttl`` or ``keep``. Idempotent."""
        if header["op"] == TTL_OP:
            self._set_ttl(header["path"], header["ttl"])
        elif header["op"] == KEEP_OP:
            self._keeps[str(header["table"]).casefold()] = header["keep"]
            self.revision += 1

    def forget_keep(self, table: str) -> None:
        """A table is gone, and what was said of it. Idempotent."""
        self._keeps.pop(table.casefold(), None)
        self.revision += 1

    def _set_ttl(self, path: str, ttl_ns: int | None) -> None:
        if path not in self._index:
            if ttl_ns is None:
                return
            self._index[path] = len(self._order)
            self._order.append(path)
        self._ttls[path] = ttl_ns
        self._of_parent.clear()
        self.revision += 1

    def to_map(self) -> dict[str, Any]:
        """For the checkpoint; paths in the order in which they were first set."""
        return {
            "ttl": [[path, self._ttls[path]] for path in self._order[1:]],
            "keep": dict(self._keeps),
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """The inverse of to_map, on empty rules."""
        for path, ttl_ns in data["ttl"]:
            self._index[path] = len(self._order)
            self._order.append(path)
            self._ttls[path] = ttl_ns
        self._keeps = dict(data["keep"])
        self.revision += 1


def checked_keep(keep_ns: int | None, field: str) -> int | None:
    """A positive duration in ns, or None. Raises SchemaError."""
    if keep_ns is not None and keep_ns <= 0:
        raise SchemaError(
            f"{field} must be positive", field=field, hint="leave it out to keep everything"
        )
    return keep_ns
