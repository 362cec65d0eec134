"""Where statements go: a node over HTTP, or a data directory opened in this process."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mainstem_node.client import Answer, Client
from mainstem_node.plain import plain_value

if TYPE_CHECKING:
    import pyarrow as pa


class Source:
    """One session. ``database`` is the current one; None is the default."""

    def __init__(self) -> None:
        self.database: str | None = None
        self.time_zone = "UTC"
        self.timeout_s = 60.0
        self.on_incomplete = "return"
        """What a node does about tables that are not complete; a directory has nobody to ask."""

    @property
    def name(self) -> str:
        """What the prompt of a shell shows."""
        raise NotImplementedError

    def ask(self, statement: str, *, readable_times: bool) -> Answer:
        """Runs a statement. Times are RFC 3339, else integers in the table's precision."""
        raise NotImplementedError

    def arrow(self, statement: str) -> pa.Table:
        """Runs a statement; its rows as an Arrow table."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends the session."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class RemoteSource(Source):
    """A node."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client = client

    @property
    def name(self) -> str:
        return self._client.url

    def ask(self, statement: str, *, readable_times: bool) -> Answer:
        return self._client.sql(
            statement,
            database=self.database,
            time_zone=self.time_zone,
            on_incomplete=self.on_incomplete,
            timeout_s=self.timeout_s,
            time_format="rfc3339" if readable_times else "integer",
        )

    def arrow(self, statement: str) -> pa.Table:
        return self._client.sql_arrow(
            statement,
            database=self.database,
            time_zone=self.time_zone,
            on_incomplete=self.on_incomplete,
            timeout_s=self.timeout_s,
        )

    def close(self) -> None:
        self._client.close()


class EmbeddedSource(Source):
    """A data directory. Raises LockedError while a process owns it."""

    def __init__(self, directory: Path) -> None:
        from mainstem_engine import Engine

        super().__init__()
        self._directory = directory
        self._engine = Engine.open(directory)

    @property
    def name(self) -> str:
        return str(self._directory)

    def ask(self, statement: str, *, readable_times: bool) -> Answer:
        started = time.perf_counter()
        found = self._run(statement)
        rows = found.rows("rfc3339" if readable_times else "integer")
        return Answer(
            found.columns,
            [[plain_value(value) for value in row] for row in rows],
            found.rows_affected,
            (time.perf_counter() - started) * 1000,
            found.warnings,
            found.completeness,
        )

    def arrow(self, statement: str) -> pa.Table:
        found: Any = self._run(statement).arrow()
        return found

    def close(self) -> None:
        self._engine.close()

    def _run(self, statement: str) -> Any:
        return self._engine.sql(
            statement, database=self.database, time_zone=self.time_zone, timeout_s=self.timeout_s
        )
