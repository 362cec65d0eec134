"""The executing database: DuckDB in memory, closed off from everything but the rows it is given.

1. No files, no network, no extensions, no Python variables; nothing is spilled to disk; memory and
   threads are bounded; then the configuration is locked.
2. The time zone and the memory are part of that configuration, so there is one database for each
   pair of them, a few are kept. What is to run is read first (admission.py).
3. An input that is read once is streamed through, unless it is all there; others are held as Arrow
   tables, and so is what steps make, within a bound.
4. Errors of DuckDB become errors of ours (translation.py).

Imports duckdb and pyarrow when it is first used: the rest of the engine runs without them.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from mainstem_engine.errors import EngineError, SqlLimitError
from mainstem_engine.sql.program import MIB, WALKED, Program, SqlLimits, SqlStep
from mainstem_engine.sql.running.admission import Admission
from mainstem_engine.sql.running.translation import translate_error
from mainstem_engine.sql.select.function_list import ALLOWED
from mainstem_engine.sql.walks.walks import walk

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MIB", "Program", "Sandbox", "SqlLimits", "check_result"]

DATABASES_MAX = 4
"""Databases that are kept open. One costs about 20 ms to make and a few MB to keep."""
BATCH_ROWS = 16_384
"""Rows of a batch of the result: large enough to be cheap, small enough to check bounds often."""

_SETTINGS = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    "temp_directory": "",
}


class Sandbox:
    """Runs programs. Thread-safe: each program has a cursor of its own."""

    def __init__(self, limits: SqlLimits, functions: frozenset[str] = ALLOWED) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._databases: OrderedDict[tuple[str, int], Any] = OrderedDict()
        # The binding of DuckDB reports a leak for what is still open when the interpreter ends,
        # which users of an engine that they did not close cannot make sense of.
        weakref.finalize(self, _close_all, self._databases)
        self._admission = Admission(functions)

    def warm_up(self) -> None:
        """Makes the database of UTC, so that the first statement does not wait for it."""
        self._cursor("UTC", self._limits).close()

    def run(
        self,
        program: Program,
        open_input: Callable[[str], pa.RecordBatchReader | pa.Table],
        on_start: Callable[[Callable[[], None]], None] | None = None,
    ) -> Iterator[pa.Schema | pa.RecordBatch]:
        """Yields the result's schema, then its batches.

        ``on_start`` is given a function that interrupts the statement from another thread. Raises
        SqlError and its kinds, and whatever ``open_input`` and its readers raise.
        """
        import duckdb
        import pyarrow as pa

        cursor = self._cursor(program.time_zone, program.limits)
        failure = _Failure()
        try:
            if on_start is not None:
                on_start(cursor.interrupt)
            for step in program.steps:
                if isinstance(step, SqlStep):
                    self._admission.check(cursor, step.sql)
            self._admission.check(cursor, program.sql)
            held = _Held(program.limits.input_bytes_max)
            for name in program.inputs:
                source = open_input(name)
                if isinstance(source, pa.Table):
                    if not program.is_single_pass:
                        held.count(source)
                    cursor.register(name, source)
                    continue
                reader = failure.watch(source)
                if program.is_single_pass:
                    cursor.register(name, reader)
                else:
                    cursor.register(name, held.table(reader.schema, reader))
            walked_s = _run_steps(cursor, program, held)
            yield from self._result(cursor, program, walked_s)
        except (duckdb.Error, _StreamError) as error:
            if failure.error is not None:
                raise failure.error from None
            raise translate_error(error) from None
        finally:
            cursor.close()

    def _result(
        self, cursor: Any, program: Program, walked_s: float
    ) -> Iterator[pa.Schema | pa.RecordBatch]:
        relation = cursor.sql(program.sql, params=list(program.params) or None)
        reader = relation.to_arrow_reader(BATCH_ROWS)
        yield reader.schema.with_metadata({WALKED: repr(walked_s)})
        rows = size = 0
        for batch in _stream(reader):
            rows += batch.num_rows
            size += batch.nbytes
            check_result(rows, size, program.limits)
            yield batch

    def _cursor(self, time_zone: str, limits: SqlLimits) -> Any:
        memory_bytes = min(limits.memory_limit_bytes, self._limits.memory_limit_bytes)
        key = (time_zone, memory_bytes)
        with self._lock:
            database = self._databases.get(key)
            if database is None:
                database = self._databases[key] = self._open(time_zone, memory_bytes)
                if len(self._databases) > DATABASES_MAX:
                    self._databases.popitem(last=False)[1].close()
            self._databases.move_to_end(key)
            return database.cursor()

    def _open(self, time_zone: str, memory_bytes: int) -> Any:
        import duckdb

        config: dict[str, str | bool | int | float | list[str]] = {
            **_SETTINGS,
            "memory_limit": f"{memory_bytes}B",
            "threads": str(self._limits.threads),
        }
        database = duckdb.connect(":memory:", config=config)
        database.execute("SET GLOBAL TimeZone = $1", [time_zone]).fetchall()
        database.execute("SET lock_configuration = true").fetchall()
        return database

    def close(self) -> None:
        """Closes every database; statements that run are interrupted."""
        with self._lock:
            _close_all(self._databases)


def _close_all(databases: dict[tuple[str, int], Any]) -> None:
    while databases:
        databases.popitem()[1].close()


def check_result(rows: int, size: int, limits: SqlLimits) -> None:
    """Raises SqlLimitError when a result has become too large."""
    if rows > limits.row_limit:
        raise SqlLimitError(
            f"the result has more than {limits.row_limit} rows",
            hint="add a LIMIT or aggregate, or raise the row limit of the request",
        )
    if size > limits.result_bytes_max:
        raise SqlLimitError(
            f"the result is larger than {limits.result_bytes_max // MIB} MiB",
            hint="select fewer columns or rows, or export the table",
        )


class _StreamError(Exception):
    """What the executing database says while rows of an answer are taken from it: an OSError of
    Arrow, told apart here from those of disks."""


def _stream(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    batches = iter(reader)
    while True:
        try:
            batch = next(batches, None)
        except OSError as error:
            raise _StreamError(str(error)) from error
        if batch is None:
            return
        yield batch


class _Failure:
    """Keeps the error of a reader, which DuckDB would only pass on as text."""

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def watch(self, reader: pa.RecordBatchReader) -> pa.RecordBatchReader:
        import pyarrow as pa

        return pa.RecordBatchReader.from_batches(reader.schema, self._batches(reader))

    def _batches(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        try:
            yield from reader
        except (EngineError, OSError, EOFError, RuntimeError) as error:
            self.error = error
            raise


class _Held:
    """Tables that a statement holds, together at most ``bytes_max``."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._size = 0

    def table(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> pa.Table:
        """Everything that a reader has."""
        import pyarrow as pa

        kept: list[pa.RecordBatch] = []
        for batch in batches:
            self.count(batch)
            kept.append(batch)
        return pa.Table.from_batches(kept, schema)

    def count(self, table: pa.RecordBatch | pa.Table) -> None:
        """Raises SqlLimitError when all tables together have become too large."""
        self._size += table.nbytes
        if self._size > self._bytes_max:
            raise SqlLimitError(
                f"the tables of this statement need more than {self._bytes_max // MIB} MiB",
                hint="narrow it by time, device or tag inside the sub-query that reads it",
            )

    @property
    def bytes_left(self) -> int:
        """What may be held beside the tables that are."""
        return self._bytes_max - self._size

    def release(self, table: pa.Table) -> None:
        """A table that no later step reads."""
        self._size -= table.nbytes


def _run_steps(cursor: Any, program: Program, held: _Held) -> float:
    """Makes the tables of all steps but the last query; returns the seconds of its walks."""
    walked_s = 0.0
    sources: dict[str, pa.Table] = {}
    for step in program.steps:
        if isinstance(step, SqlStep):
            relation = cursor.sql(step.sql, params=list(step.params) or None)
            reader = relation.to_arrow_reader(BATCH_ROWS)
            sources[step.name] = held.table(reader.schema, _stream(reader))
            continue
        # Only the walk reads the rows that it was made of.
        source = sources.pop(step.source)
        started = time.perf_counter()
        made = walk(step, source, held.bytes_left)
        walked_s += time.perf_counter() - started
        for name, table in made.items():
            held.count(table)
            cursor.register(f"{step.name}:{name}", table)
        held.release(source)
    return walked_s
