"""Short queries (short_query.py), answered from Arrow without the executing database.

1. Rows go through as they are read: columns chosen and renamed, a part of them by LIMIT. Names of
   devices and tags become plain text, as the executing database gives them.
2. Groups and what walks make are whole tables, and small. Their rows are put together by key, and
   every function is computed for all groups at once. Sums of floats are added in the order of the
   rows, as the executing database does.
3. What cannot be told to be the same, or would be large, is left to the executing database: nothing
   has been answered by then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mainstem_engine.arrow_arrays import number_array
from mainstem_engine.errors import SqlLimitError
from mainstem_engine.model import AnyArray, Column
from mainstem_engine.sql.program import WALKED, Program, SqlStep, WalkStep
from mainstem_engine.sql.running.cancellation import Cancellation
from mainstem_engine.sql.running.executors import Executor
from mainstem_engine.sql.running.last_series import last_series
from mainstem_engine.sql.running.sandbox import check_result
from mainstem_engine.sql.running.short_groups import Groups, LeftError, integers, rank
from mainstem_engine.sql.running.worker_process import OpenInput, timed_out
from mainstem_engine.sql.short_query import (
    Expression,
    LastValues,
    Number,
    Parameter,
    Short,
    ShortQuery,
)
from mainstem_engine.sql.walks.walks import walk
from mainstem_engine.value_filter import passing

if TYPE_CHECKING:
    import pyarrow as pa

TABLE_BYTES_MAX = 32 << 20
"""Of the groups of a statement. Larger tables take longer to compute than a database to ask, and
a worker has the memory for them, not this process."""
WINDOWS_MAX = 500_000
"""Windows that are filled where nothing is: a table of them has some hundred bytes for each."""

Steps = Generator["pa.Schema | pa.RecordBatch"]


def short_answer(
    queries: Sequence[Short],
    program: Program,
    open_input: OpenInput,
    executor: Executor,
    cancellation: Cancellation,
) -> Steps:
    """The schema of the result, then its batches, as an executor gives them, which answers in the
    cases of 3. Raises what it raises."""
    deadline = time.monotonic() + program.limits.timeout_s

    def check() -> None:
        cancellation.check()
        if time.monotonic() > deadline:
            raise timed_out(program)

    last = queries[-1]
    try:
        if isinstance(last, LastValues):
            batches = _of_table(last_series(last, _read(open_input(last.source))))
        elif len(queries) == 1 and last.is_plain:
            batches = _batches(last, _bounds(last, program.params), open_input, check)
        else:
            batches = _of_table(_answer(queries, program, open_input, check))
    except LeftError:
        yield from executor.stream(program, open_input, cancellation)
        return
    # Reading groups takes as long as it takes.
    check()
    yield next(batches)
    rows = size = 0
    for batch in batches:
        rows += batch.num_rows
        size += batch.nbytes
        check_result(rows, size, program.limits)
        yield batch


def _of_table(table: pa.Table) -> Iterator[Any]:
    yield table.schema
    yield from table.to_batches()


# Rows


def _batches(
    query: ShortQuery,
    bounds: tuple[int, int | None],
    open_input: OpenInput,
    check: Callable[[], None],
) -> Iterator[Any]:
    """The schema, then batches."""
    import pyarrow as pa

    reader = open_input(query.source)
    if isinstance(reader, pa.Table):
        reader = reader.to_reader()
    schema = pa.schema([(name, _type_of(e, reader.schema)) for name, e in query.items])

    def chosen(batch: pa.RecordBatch) -> pa.RecordBatch:
        arrays = [
            _plain(batch.column(str(expression[1])), field.type)
            if expression[0] == "column"
            else Groups.of(pa.table(batch), None).value(expression)
            for (_, expression), field in zip(query.items, schema, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    skipped, wanted = bounds
    yield schema
    source: Iterator[Any] = iter(reader)
    if query.is_reversed:
        source = reversed(list(source))
    for batch in source:
        check()
        if wanted == 0:
            return
        if query.filters:
            batch = _kept(batch, query)
        if query.is_reversed:
            kept = min(batch.num_rows, skipped + (batch.num_rows if wanted is None else wanted))
            batch = batch.slice(batch.num_rows - kept)
            batch = batch.take(number_array(np.arange(kept)[::-1], pa.int64()))
        before = batch.num_rows
        batch = batch.slice(skipped, wanted)
        skipped = max(0, skipped - before)
        wanted = None if wanted is None else wanted - batch.num_rows
        if batch.num_rows:
            yield chosen(batch)


def _kept(batch: pa.RecordBatch, query: ShortQuery) -> pa.RecordBatch:
    """The rows that pass the filters."""
    import pyarrow as pa

    masks = [
        passing(_numbers(batch.column(name)), operator, number)
        for name, operator, number in query.filters
    ]
    keep = np.logical_and.reduce(masks)
    return batch if keep.all() else batch.filter(number_array(keep, pa.bool_()))


def _numbers(array: Any) -> Column:
    valid = None
    if array.null_count:
        valid = array.is_valid().to_numpy(zero_copy_only=False)
        array = array.fill_null(False if array.type == "bool" else 0)
    return Column(array.to_numpy(zero_copy_only=False), valid)


def _bounds(query: ShortQuery, params: Sequence[Any]) -> tuple[int, int | None]:
    """(rows to skip, rows wanted or None). Raises LeftError."""
    skipped, wanted = (_number(each, params) for each in (query.offset, query.limit))
    return skipped or 0, wanted


def _number(number: Number, params: Sequence[Any]) -> int | None:
    """Raises LeftError."""
    value = params[number.number - 1] if isinstance(number, Parameter) else number
    if number is not None and (type(value) is not int or value < 0):
        raise LeftError
    return value


def _type_of(expression: Expression, schema: pa.Schema) -> pa.DataType:
    import pyarrow as pa

    if expression[0] != "column":
        return pa.float64()
    return _plain_type(schema.field(str(expression[1])).type)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _plain(array: Any, kind: pa.DataType) -> Any:
    return array if array.type == kind else array.cast(kind)


# Groups


def _answer(
    queries: Sequence[Short],
    program: Program,
    open_input: OpenInput,
    check: Callable[[], None],
) -> pa.Table:
    """Raises LeftError."""
    tables = {name: _read(open_input(name)) for name in program.inputs}
    walked_s = 0.0
    waiting = (query for query in queries if isinstance(query, ShortQuery))
    for step in program.steps:
        check()
        if isinstance(step, SqlStep):
            tables[step.name] = _within(_run(next(waiting), tables, step.params))
        else:
            started = time.perf_counter()
            for name, table in _walked(step, tables.pop(step.source)).items():
                tables[f"{step.name}:{name}"] = table
            walked_s += time.perf_counter() - started
    answer = _run(next(waiting), tables, program.params)
    return answer.replace_schema_metadata({WALKED: repr(walked_s)})


def _walked(step: WalkStep, source: pa.Table) -> dict[str, pa.Table]:
    """Raises LeftError for windows that are too many here."""
    _check_windows(step, source)
    try:
        return walk(step, source, TABLE_BYTES_MAX)
    except SqlLimitError:
        raise LeftError from None


def _read(source: pa.RecordBatchReader | pa.Table) -> pa.Table:
    """An input as a whole. Raises LeftError for a large one."""
    import pyarrow as pa

    if isinstance(source, pa.Table):
        return _within(source)
    kept: list[pa.RecordBatch] = []
    size = 0
    for batch in source:
        kept.append(batch)
        size += batch.nbytes
        if size > TABLE_BYTES_MAX:
            raise LeftError
    return pa.Table.from_batches(kept, source.schema)


def _within(table: pa.Table) -> pa.Table:
    if table.nbytes > TABLE_BYTES_MAX:
        raise LeftError
    return table


def _check_windows(step: WalkStep, source: pa.Table) -> None:
    """Raises LeftError for a walk that makes many more windows than it has rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    window = step.arguments.get("window")
    if window is None:
        return
    if window["kind"] not in ("interval", "range") or window.get("sliding") or window.get("step"):
        raise LeftError
    if window.get("is_dense") or window["kind"] == "range":
        months, length_ns, *_ = window["interval"]
        times = source.column("#t")
        moments = [None, None]
        if len(times):
            found = pc.min_max(times.cast(pa.timestamp("ns")).cast(pa.int64()))
            moments = [found["min"].as_py(), found["max"].as_py()]
        first, last = (
            a if b is None else b for a, b in zip(moments, step.arguments["span"], strict=True)
        )
        first = window.get("start_ns", first)
        last = window.get("end_ns", last)
        if first is None or last is None or months:
            raise LeftError
        partitions = source.num_rows if step.arguments["keys"] else 1
        if (last - first) // max(length_ns, 1) * partitions > WINDOWS_MAX:
            raise LeftError


def _run(query: ShortQuery, tables: dict[str, pa.Table], params: Sequence[Any]) -> pa.Table:
    """The answer of one query. Raises LeftError."""
    import pyarrow as pa

    table = tables[query.source]
    if query.is_plain:
        groups = Groups.of(table, None)
        columns = {name: groups.value(e) for name, e in query.items}
        order = [(table.column(each.column), each.is_descending) for each in query.order]
    else:
        groups = Groups.of(table, query.keys)
        columns = {name: groups.value(e) for name, e in query.items}
        if query.windows is not None:
            columns, order = _beside(query, columns, groups, tables[query.windows])
        else:
            order = [(groups.key(each.column), each.is_descending) for each in query.order]
    positions = _order(order)
    names = list(columns)
    arrays = [columns[name] for name in names]
    if positions is not None:
        arrays = [array.take(positions) for array in arrays]
    arrays = [_plain(array, _plain_type(array.type)) for array in arrays]
    made = pa.Table.from_arrays(arrays, names=names)
    skipped, wanted = _bounds(query, params)
    return made if not skipped and wanted is None else made.slice(skipped, wanted)


def _beside(
    query: ShortQuery, values: dict[str, Any], groups: Groups, windows: pa.Table
) -> tuple[dict[str, Any], list[tuple[Any, bool]]]:
    """Columns of windows and of the groups that belong to them, and what they are ordered by."""
    import pyarrow as pa

    numbers = integers(groups.key("#g"))
    group = np.full(windows.num_rows, -1, np.int64)
    group[numbers] = np.arange(len(numbers))
    there = np.flatnonzero(group >= 0)
    kept = None if query.has_all or len(there) == len(group) else number_array(there, pa.int64())
    if kept is not None:
        group = group[there]
    is_each = len(group) == len(numbers) and bool((group == np.arange(len(group))).all())
    taken = None if is_each else number_array(np.maximum(group, 0), pa.int64(), group < 0)

    def column(name: str) -> Any:
        if name in values:
            return values[name] if taken is None else values[name].take(taken)
        found = windows.column(name).combine_chunks()
        return found if kept is None else found.take(kept)

    shown = {name: column(source) for name, source in query.shown}
    return shown, [(column(each.column), each.is_descending) for each in query.order]


def _order(keys: Sequence[tuple[Any, bool]]) -> Any:
    """Where each row is; None: as they are. Raises LeftError for keys with nulls or NaN."""
    import pyarrow as pa

    if not keys or len(keys[0][0]) < 2:
        return None
    ranks: list[AnyArray] = []
    for array, is_descending in keys:
        found = rank(array)
        ranks.append(-found if is_descending else found)
    order = np.lexsort(ranks[::-1]) if len(ranks) > 1 else np.argsort(ranks[0], kind="stable")
    if bool((order[1:] > order[:-1]).all()):
        return None
    return number_array(order.astype(np.int64, copy=False), pa.int64())
