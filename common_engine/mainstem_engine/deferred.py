"""Columns that are made when somebody looks at them, on the thread that does.

1. A flush sorts keys; what a column then costs is the copy of its values into that order. As a
   deferred column it is copied once, straight from where it lies, by the thread that encodes it.
2. A deferred column is a Column in every respect. It is made once; two threads that look at the
   same time may both make it, which gives the same.
3. What it is made of must not change until then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from mainstem_engine.merge import concat_column, concat_rows
from mainstem_engine.model import AnyArray, Column, VersionedRows


class DeferredColumn(Column):
    """``make(None)`` gives the column; it is called when ``values`` or ``valid`` are first read.

    ``make(before)`` gives it behind the values of another column, with no copy of its own for that.
    """

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[Column | None], Column]) -> None:
        self._make: Callable[[Column | None], Column] | None = make

    def __getattr__(self, name: str) -> Any:
        # Python comes here only while the slot of that name is empty.
        if name not in ("values", "valid"):
            raise AttributeError(name)
        make = self._make
        if make is not None:
            made = make(None)
            # In this order: who finds values finds valid. What it was made of may go.
            self.valid = made.valid
            self.values = made.values
            self._make = None
        return getattr(self, name)

    def take(self, index: AnyArray | slice) -> Column:
        return DeferredColumn(
            lambda before: _behind(before, Column(self.values, self.valid).take(index))
        )

    def behind(self, before: Column) -> Column:
        """The values of ``before``, then these."""
        make = self._make
        return _behind(before, self) if make is None else make(before)


def _behind(before: Column | None, column: Column) -> Column:
    if before is None:
        return column
    return concat_column([before, column], [len(before.values), len(column.values)])


def join_deferred(batches: Sequence[VersionedRows]) -> VersionedRows:
    """All rows of all batches, in order, as concat_rows; the columns are joined when read."""
    return concat_rows(batches, lambda parts, sizes: DeferredColumn(partial(_join, parts, sizes)))


def _join(parts: Sequence[Column | None], sizes: Sequence[int], before: Column | None) -> Column:
    first, last = parts[0], parts[-1]
    if len(parts) == 2 and first is not None and isinstance(last, DeferredColumn):
        # What a writer held back, and a piece that nobody has looked at.
        joined = last.behind(first)
    else:
        joined = concat_column(parts, sizes)
    return _behind(before, joined)
