"""Groups of rows of a table, and what functions say of each: all of them at once.

1. Rows with equal keys are a group, in the order in which they lie; where every group is a single
   row, nothing is to be put together.
2. Nulls take no part. NaN is the greatest value. Sums of floats are added row after row, as the
   executing database does; those of integers are exact, or left to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mainstem_engine.arrow_arrays import number_array
from mainstem_engine.merge import Index
from mainstem_engine.model import AnyArray, BoolMask
from mainstem_engine.sql.short_query import Expression

if TYPE_CHECKING:
    import pyarrow as pa

_WHOLE_MAX = 1 << 30
"""Sums of the upper halves of integers below this make sums of 64 bits."""
_SUM_MAX = 1 << 62


class LeftError(Exception):
    """What is left to the executing database."""


@dataclass(slots=True)
class Groups:
    """The rows of a table, group after group. ``rows``: where they are in the table, None: as they
    lie; ``starts``: of groups, None: every row is one. ``count`` of groups."""

    table: pa.Table
    rows: Index | None
    starts: Index | None
    count: int

    @classmethod
    def of(cls, table: pa.Table, keys: tuple[str, ...] | None) -> Groups:
        """Raises LeftError for keys that have nulls."""
        count = table.num_rows
        if keys is None or (not keys and count == 1):
            return cls(table, None, None, count)
        if not keys:
            return cls(table, None, np.zeros(1, np.intp), 1)
        ranks = [rank(table.column(key)) for key in keys]
        if not count:
            return cls(table, None, None, 0)
        order = np.lexsort(ranks[::-1]) if len(ranks) > 1 else np.argsort(ranks[0], kind="stable")
        starts = _starts(*(rank[order] for rank in ranks))
        is_sorted = bool((order[1:] > order[:-1]).all())
        if len(starts) == count and is_sorted:
            return cls(table, None, None, count)
        return cls(table, None if is_sorted else order, starts, len(starts))

    def key(self, name: str) -> Any:
        """A key of the groups, or what is the same in each."""
        import pyarrow as pa

        column = self.table.column(name).combine_chunks()
        if self.starts is None:
            return column
        first = self.starts if self.rows is None else self.rows[self.starts]
        return column.take(number_array(first.astype(np.int64), pa.int64()))

    def value(self, expression: Expression) -> Any:
        """An Arrow array, a value for each group. Raises LeftError."""
        operation, *operands = expression
        if operation == "column":
            return self.key(str(operands[0]))
        if operation in ("arg_max", "arg_min", "arg_max_null"):
            return self._end(str(operation), str(operands[0]), str(operands[1]))
        if operation in ("min", "max"):
            return self._extreme(str(operation), str(operands[0]))
        values, valid = self._computed(expression)
        kind = _types().int64() if values.dtype == np.int64 else _types().float64()
        return number_array(values, kind, None if valid is None else ~valid)

    def _computed(self, expression: Expression) -> tuple[AnyArray, BoolMask | None]:
        """(int64 or float64, which are not null)."""
        operation, *operands = expression
        if operation == "sum":
            return self._sum(str(operands[0]))
        if operation == "total":
            values, valid = self._sum(str(operands[0]))
            if values.dtype != np.int64:
                raise LeftError
            return (values if valid is None else np.where(valid, values, 0)), None
        if operation == "whole":
            high, valid = self._sum(str(operands[0]))
            low, _ = self._sum(str(operands[1]))
            if len(high) and max(abs(int(high.min())), abs(int(high.max()))) >= _WHOLE_MAX:
                raise LeftError
            return (high << np.int64(32)) + low, valid
        if operation == "double":
            values, valid = self._computed(operands[0])  # type: ignore[arg-type]
            return values.astype(np.float64, copy=False), valid
        if operation in ("ratio", "quotient"):
            of = self._column if operation == "quotient" else self._computed
            over, valid = of(operands[0])  # type: ignore[arg-type]
            under, known = of(operands[1])  # type: ignore[arg-type]
            there = under != 0
            for mask in (valid, known):
                there = there if mask is None else there & mask
            with np.errstate(all="ignore"):
                quotient = over.astype(np.float64, copy=False) / np.where(there, under, 1)
            return quotient, None if there.all() else there
        raise LeftError

    def _sum(self, name: str) -> tuple[AnyArray, BoolMask | None]:
        values, valid = self._column(name)
        if values.dtype.kind == "f":
            values = values.astype(np.float64, copy=False)
        elif values.dtype.kind in "iu":
            values = values.astype(np.int64, copy=False)
            if len(values) and max(-int(values.min()), int(values.max())) * len(values) > _SUM_MAX:
                raise LeftError
        else:
            raise LeftError
        if self.starts is None:
            return values + values.dtype.type(0), valid  # 0.0 for -0.0, as sums have it
        used = values if valid is None else np.where(valid, values, values.dtype.type(0))
        counts = self._present(valid)
        if not len(values):
            return np.zeros(self.count, values.dtype), counts > 0
        if values.dtype.kind == "f":
            with np.errstate(all="ignore"):
                found = np.bincount(self._numbers(), weights=used, minlength=self.count)
        else:
            found = np.add.reduceat(used, self.starts)
        return found, None if valid is None else counts > 0

    def _extreme(self, operation: str, name: str) -> Any:
        """NaN is the greatest value."""
        column = self.table.column(name)
        kind = column.type
        types = _types()
        is_time = types.types.is_timestamp(kind)
        if not (is_time or types.types.is_integer(kind) or types.types.is_floating(kind)):
            raise LeftError
        if self.starts is None:
            return column.combine_chunks()
        values, valid = self._column(name)
        chosen = np.ones(len(values), np.bool_) if valid is None else valid
        group = self._numbers()[chosen]
        values = values[chosen]
        found = np.zeros(self.count, values.dtype)
        missing = np.ones(self.count, np.bool_)
        if len(values):
            begin = _starts(group)
            reduce = np.fmin if operation == "min" else np.maximum
            found[group[begin]] = reduce.reduceat(values, begin)
            missing[group[begin]] = False
        return number_array(found, kind, missing)

    def _end(self, operation: str, name: str, by: str) -> Any:
        """The value of the row where another column is greatest or least; the first of equals."""
        values = self.table.column(name).combine_chunks()
        _, value_valid = self._validity(name)
        moments, by_valid = self._column(by)
        if moments.dtype.kind not in "iu":
            raise LeftError
        there = np.ones(len(moments), np.bool_)
        for mask in (by_valid, None if operation == "arg_max_null" else value_valid):
            there = there if mask is None else there & mask
        chosen = np.flatnonzero(there)
        row = np.full(self.count, -1, np.int64)
        if len(chosen):
            group, some = self._numbers()[chosen], moments[chosen]
            begin = _starts(group)
            reduce = np.minimum if operation == "arg_min" else np.maximum
            best = np.repeat(reduce.reduceat(some, begin), np.diff(np.append(begin, len(group))))
            at = np.flatnonzero(some == best)
            first = at[_starts(group[at])]
            row[group[first]] = chosen[first] if self.rows is None else self.rows[chosen[first]]
        if self.starts is None and bool((row == np.arange(self.count)).all()):
            return values
        return values.take(number_array(np.maximum(row, 0), _types().int64(), row < 0))

    # Columns in the order of groups

    def _numbers(self) -> Index:
        """The group of each row."""
        if self.starts is None:
            return np.arange(self.count)
        lengths = np.diff(np.append(self.starts, self.table.num_rows))
        return np.repeat(np.arange(self.count), lengths)

    def _present(self, valid: BoolMask | None) -> AnyArray:
        assert self.starts is not None
        if not self.table.num_rows:
            return np.zeros(self.count, np.int64)
        if valid is None:
            return np.diff(np.append(self.starts, self.table.num_rows))
        counts: AnyArray = np.add.reduceat(valid, self.starts, dtype=np.int64)
        return counts

    def _validity(self, name: str) -> tuple[Any, BoolMask | None]:
        column = self.table.column(name).combine_chunks()
        if not column.null_count:
            return column, None
        valid: BoolMask = column.is_valid().to_numpy(zero_copy_only=False)
        return column, valid if self.rows is None else valid[self.rows]

    def _column(self, name: str) -> tuple[AnyArray, BoolMask | None]:
        """Numbers; times as integers."""
        column, valid = self._validity(name)
        types = _types()
        if types.types.is_timestamp(column.type):
            column = column.cast(types.int64())
        if not (types.types.is_integer(column.type) or types.types.is_floating(column.type)):
            raise LeftError
        if valid is not None:
            column = column.fill_null(0)
        values: AnyArray = column.to_numpy(zero_copy_only=False)
        return values if self.rows is None else values[self.rows], valid


def rank(array: Any) -> AnyArray:
    """Numbers in the order of the values."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    kind = array.type
    if array.null_count:
        raise LeftError
    if pa.types.is_dictionary(kind) and pa.types.is_string(kind.value_type):
        places = pc.rank(array.dictionary, tiebreaker="dense").to_numpy()
        found: AnyArray = places[array.indices.to_numpy()].astype(np.int64)
        return found
    if pa.types.is_string(kind):
        return rank(array.dictionary_encode())
    if pa.types.is_timestamp(kind) or pa.types.is_signed_integer(kind):
        return integers(array)
    raise LeftError


def integers(array: Any) -> AnyArray:
    import pyarrow as pa

    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    found: AnyArray = array.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return found


def _starts(*keys: AnyArray) -> Index:
    """Where runs of equal keys begin; at least one row."""
    changes = np.ones(len(keys[0]), np.bool_)
    changes[1:] = False
    for key in keys:
        changes[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(changes)


def _types() -> Any:
    import pyarrow as pa

    return pa
