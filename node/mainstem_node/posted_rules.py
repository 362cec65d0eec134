"""What a node holds the rows to that programs send: by HTTP and by SQL.

The seam at which an edge adds the ranges of its templates and its alarm rules. Other tiers have
neither: what comes to them from below was checked there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mainstem_engine.model import BoolMask, Column

if TYPE_CHECKING:
    from mainstem_engine.catalog.templates import Table
    from mainstem_engine.consumers import Ack
    from mainstem_engine.engine import Engine
    from mainstem_engine.model import Rows


@dataclass(frozen=True, slots=True)
class Misfit:
    """A value that its template does not allow. ``row`` in its batch, ``value`` as it came."""

    row: int
    measurement: str
    value: Any


class PostedRules(Protocol):
    """Thread-safe; its methods block."""

    def in_range(
        self, table: Table, columns: Mapping[int, Column]
    ) -> tuple[dict[int, Column], list[Misfit]]:
        """The columns of n rows by measurement id, null where a value is outside its range, and
        those values."""

    def append(self, table: Table, rows: Rows, *, intake: Mapping[str, int] | None = None) -> Ack:
        """Writes rows to the log, and shows them to whoever watches them.

        Raises as ``Engine.write_rows``; then nobody has seen them. OverloadedError also where a
        collector of the same template is held up by the engine.
        """


class NoRules:
    """Every value is allowed, and nobody watches."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def in_range(
        self, table: Table, columns: Mapping[int, Column]
    ) -> tuple[dict[int, Column], list[Misfit]]:
        return dict(columns), []

    def append(self, table: Table, rows: Rows, *, intake: Mapping[str, int] | None = None) -> Ack:
        return self._engine.write_rows(table, rows, intake=intake)


def rows_with_values(columns: Mapping[int, Column], count: int) -> BoolMask:
    """bool[count]: rows in which any column has a value."""
    some = np.zeros(count, np.bool_)
    for column in columns.values():
        if column.valid is None:
            return np.ones(count, np.bool_)
        some |= column.valid
    return some
