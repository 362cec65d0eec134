"""SQL statements of a node: run in worker threads, executed in a sandboxed child process.

1. Parsing and the choice of rows happen here; DuckDB runs in a child process with limits of memory
   and time (mainstem_engine.sql.worker), which is started with the first statement.
2. pyarrow, sqlglot and the child process are not loaded by a node that is never asked.
3. Before a statement runs, completeness is taken, so that what it says holds for what is read.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mainstem_engine.sql.result import Result
    from mainstem_engine.sql.session import Session

    from mainstem_engine.engine import Engine

TIMEOUT_S_DEFAULT = 30.0
TIMEOUT_S_MAX = 600.0
ROWS_MAX = 1_000_000
"""Rows of one answer; more is an export, which is done in pieces."""


class Statements:
    """The SQL of one node. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._executor: Any = None

    def execute(
        self,
        sql: str,
        params: Sequence[Any] | None = None,
        *,
        database: str | None = None,
        time_zone: str = "UTC",
        timeout_s: float = TIMEOUT_S_DEFAULT,
    ) -> Result:
        """Runs one statement; blocks. Raises SqlError and what it stands for."""
        return self._open().execute(
            sql,
            params=params,
            database=database,
            time_zone=time_zone,
            timeout_s=timeout_s,
            row_limit=ROWS_MAX,
        )

    def _open(self) -> Session:
        with self._lock:
            if self._session is None:
                from mainstem_engine.sql.session import Session
                from mainstem_engine.sql.worker import WorkerExecutor

                self._executor = WorkerExecutor()
                self._session = Session(self._engine, self._executor)
            return self._session

    def close(self) -> None:
        """Ends the child processes."""
        with self._lock:
            executor, self._executor, self._session = self._executor, None, None
        if executor is not None:
            executor.close()
