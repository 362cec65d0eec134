"""A DELETE that is carried out where the rows belong: the body of an order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mainstem_node.errors import BadRequestError

KIND = "delete"


@dataclass(frozen=True, slots=True)
class FarDelete:
    """One statement with all that it needs to mean the same elsewhere and later. ``now_ns``: what
    now() was when it was asked for; None before."""

    sql: str
    params: list[Any]
    database: str
    time_zone: str
    role: str
    by: str
    now_ns: int | None = None

    def to_body(self) -> dict[str, Any]:
        return {
            "sql": self.sql, "params": self.params, "database": self.database,
            "time_zone": self.time_zone, "role": self.role, "now_ns": self.now_ns,
        }  # fmt: skip

    @classmethod
    def from_body(cls, body: Mapping[str, Any], by: str) -> FarDelete:
        """Raises BadRequestError: it may come from another machine."""
        texts = [body.get(name) for name in ("sql", "database", "time_zone", "role")]
        params, now_ns = body.get("params"), body.get("now_ns")
        if not all(isinstance(text, str) and text for text in texts):
            raise BadRequestError("a delete without its statement", field="sql")
        if not isinstance(params, list) or not isinstance(now_ns, int):
            raise BadRequestError("a delete without its parameters", field="params")
        sql, database, time_zone, role = map(str, texts)
        return cls(sql, params, database, time_zone, role, by, now_ns)
