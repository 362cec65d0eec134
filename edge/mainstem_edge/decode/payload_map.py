"""A declared way from a payload of any shape to rows: where they are, and what is taken of each.

1. ``rows`` says where the rows are; without it the payload is one, and of an array each element.
   ``columns`` says where arrays stand side by side instead: their n-th elements are the n-th row,
   a single value stands in every row.
2. A row has what ``fields`` names and what stands below the paths of ``spread``, nothing else. With
   neither it is what was found, as it is.
3. ``$`` in a path of ``fields`` is the whole payload, ``@n`` a key on the way to the row.

Pure. Its rows are at most as many as the payload has elements.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mainstem_edge.decode.shapes import Row
from mainstem_edge.errors import PayloadError
from mainstem_node.payload_path import ABSENT, Found, PayloadPath

NOT_AN_OBJECT = "a row that is not an object"


@dataclass(frozen=True, slots=True)
class PayloadMap:
    """See the module. ``fields``: name to path."""

    rows: PayloadPath | None = None
    columns: PayloadPath | None = None
    fields: Mapping[str, PayloadPath] = field(default_factory=dict)
    spread: tuple[PayloadPath, ...] = ()

    def rows_of(self, payload: Any) -> tuple[list[Row], list[tuple[str, Any]]]:
        """(rows, (problem, element) of what is none). PayloadError: there are no columns."""
        if self.columns is not None:
            return self._side_by_side(payload, self.columns), []
        found, lacking = self._found(payload)
        problems = [(f"nothing at {self._shown}", each) for each in lacking]
        rows: list[Row] = []
        for each in found:
            if not self.fields and not self.spread:
                if _is_row(each.value):
                    rows.append(each.value)
                else:
                    problems.append((NOT_AN_OBJECT, each.value))
                continue
            row, problem = self._row(payload, each)
            if problem:
                problems.append((problem, each.value))
            else:
                rows.append(row)
        return rows, problems

    @property
    def _shown(self) -> str:
        return "." if self.rows is None else self.rows.text

    def _found(self, payload: Any) -> tuple[list[Found], list[Any]]:
        if self.rows is not None:
            return self.rows.all(payload)
        if isinstance(payload, list):
            return [Found(each, (index,)) for index, each in enumerate(payload)], []
        return [Found(payload)], []

    def _row(self, payload: Any, found: Found) -> tuple[Row, str]:
        """(the row, what is wrong with it or nothing)."""
        row: Row = {}
        for path in self.spread:
            inside = path.one(payload if path.from_root else found.value)
            if inside is ABSENT:
                continue
            if not _is_row(inside):
                return row, f"{path.text} is not an object"
            row.update(inside)
        for name, path in self.fields.items():
            if path.key is not None:
                value: Any = found.keys[path.key] if path.key < len(found.keys) else ABSENT
            else:
                value = path.one(payload if path.from_root else found.value)
            if value is not ABSENT:
                row[name] = value
        return row, ""

    def _side_by_side(self, payload: Any, path: PayloadPath) -> list[Row]:
        place = path.one(payload)
        if not _is_row(place):
            raise PayloadError(f"no object of columns at {path.text}")
        named = place
        if self.fields:
            found = {
                name: each.one(payload if each.from_root else place)
                for name, each in self.fields.items()
            }
            named = {name: value for name, value in found.items() if value is not ABSENT}
        lengths = {len(value) for value in named.values() if isinstance(value, list)}
        if len(lengths) != 1:
            seen = ", ".join(map(str, sorted(lengths))) or "no"
            raise PayloadError(f"the columns at {path.text} have {seen} elements: not one number")
        count = lengths.pop()
        columns = [
            value if isinstance(value, list) else [value] * count for value in named.values()
        ]
        return [dict(zip(named, values, strict=True)) for values in zip(*columns, strict=True)]


def _is_row(value: Any) -> bool:
    """An object; MessagePack has some whose keys are no names."""
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)
