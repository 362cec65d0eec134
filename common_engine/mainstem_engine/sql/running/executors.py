"""Where a plan runs: in this process, or in a pool of worker processes.

InProcessExecutor is for one's own program: a statement that exhausts memory takes it along.
WorkerExecutor is for a node, whose statements come from others:

1. At most ``pool_size`` workers, started at the first statement, each running one at a time.
2. A statement waits for a worker, but at most ``queue_size`` do; more are refused at once.
3. One thread streams the scans to the worker while the caller reads the result, so that neither
   side can block the other and nothing is held whole here.
4. A statement that outlives its time, or whose caller lost interest, is ended; where it does not
   end by itself, with its worker, and another one is started at once.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mainstem_engine.errors import ClosedError, OverloadedError, SqlTimeoutError
from mainstem_engine.sql.running.cancellation import Cancellation
from mainstem_engine.sql.running.sandbox import Program, Sandbox, SqlLimits
from mainstem_engine.sql.running.worker_process import OpenInput, WorkerProcess, timed_out
from mainstem_engine.sql.select.function_list import ALLOWED

if TYPE_CHECKING:
    import pyarrow as pa


class Executor(Protocol):
    """Runs programs; any thread may call it."""

    @property
    def limits(self) -> SqlLimits: ...

    def execute(
        self, program: Program, open_input: OpenInput, cancellation: Cancellation | None = None
    ) -> pa.Table:
        """The whole result. Raises SqlError and its kinds, OverloadedError, ClosedError, and what
        reading the inputs raises."""
        ...

    def stream(
        self, program: Program, open_input: OpenInput, cancellation: Cancellation | None = None
    ) -> Generator[pa.Schema | pa.RecordBatch]:
        """The schema of the result, then its batches, as they come. Raises as ``execute``, at any
        of them. It is a generator: read it to its end, or close it."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class WorkerPoolStatistics:
    """Workers that run a statement, wait for one, or start; statements that wait for a worker;
    workers that were started in all; and what confines them (None before the first)."""

    busy: int
    idle: int
    starting: int
    waiting: int
    started: int
    confinement: dict[str, str] | None


class InProcessExecutor:
    """Runs programs in this process, which may call ``functions``."""

    def __init__(
        self, limits: SqlLimits | None = None, functions: frozenset[str] = ALLOWED
    ) -> None:
        self.limits = limits or SqlLimits()
        self._sandbox = Sandbox(self.limits, functions)

    def execute(
        self, program: Program, open_input: OpenInput, cancellation: Cancellation | None = None
    ) -> pa.Table:
        return _table(self.stream(program, open_input, cancellation))

    def stream(
        self, program: Program, open_input: OpenInput, cancellation: Cancellation | None = None
    ) -> Generator[pa.Schema | pa.RecordBatch]:
        cancellation = cancellation or Cancellation()
        with ExitStack() as stack:

            def on_start(interrupt: Callable[[], None]) -> None:
                timer = threading.Timer(program.limits.timeout_s, interrupt)
                timer.daemon = True
                stack.callback(timer.cancel)
                timer.start()
                stack.enter_context(cancellation.calling(interrupt))
                # DuckDB forgets an interrupt that comes before its statement.
                cancellation.check()

            try:
                yield from self._sandbox.run(program, open_input, on_start)
            except SqlTimeoutError:
                cancellation.check()
                raise timed_out(program) from None

    def close(self) -> None:
        self._sandbox.close()


class WorkerExecutor:
    """Runs programs in worker processes."""

    def __init__(
        self, limits: SqlLimits | None = None, *, pool_size: int = 2, queue_size: int = 32
    ) -> None:
        self.limits = limits or SqlLimits()
        self._pool_size = pool_size
        self._queue_size = queue_size
        self._changed = threading.Condition()
        self._idle: list[WorkerProcess] = []
        self._busy: set[WorkerProcess] = set()
        self._starting = 0
        self._started = 0
        self._failures = 0
        self._failure: Exception | None = None
        self._waiting = 0
        self._closed = False
        self._directory: Path | None = None
        self._confinement: dict[str, str] | None = None

    def execute(
        self, program: Program, open_input: OpenInput, cancellation: Cancellation | None = None
    ) -> pa.Table:
        return _table(self.stream(program, open_input, cancellation))

    def stream(
        self, program: Program, open_input: OpenInput, cancellation: Cancellation | None = None
    ) -> Generator[pa.Schema | pa.RecordBatch]:
        cancellation = cancellation or Cancellation()
        deadline = time.monotonic() + program.limits.timeout_s
        worker = self._acquire(program, deadline, cancellation)
        try:
            yield from worker.run(program, open_input, deadline, cancellation)
        finally:
            self._release(worker)

    def statistics(self) -> WorkerPoolStatistics:
        with self._changed:
            return WorkerPoolStatistics(
                busy=len(self._busy),
                idle=len(self._idle),
                starting=self._starting,
                waiting=self._waiting,
                started=self._started,
                confinement=self._confinement,
            )

    def _acquire(
        self, program: Program, deadline: float, cancellation: Cancellation
    ) -> WorkerProcess:
        with cancellation.calling(self._wake), self._changed:
            # Those for whom a worker is idle or starting do not count as waiting.
            if len(self._busy) + self._waiting >= self._pool_size + self._queue_size:
                raise OverloadedError(f"{self._waiting} statements are waiting for a worker")
            self._waiting += 1
            try:
                return self._await_worker(program, deadline, cancellation)
            finally:
                self._waiting -= 1

    def _await_worker(
        self, program: Program, deadline: float, cancellation: Cancellation
    ) -> WorkerProcess:
        failures = self._failures
        while True:
            if self._closed:
                raise ClosedError("the executor is closed")
            cancellation.check()
            while self._idle:
                worker = self._idle.pop()
                if worker.is_alive:
                    self._busy.add(worker)
                    return worker
                worker.stop()
            if self._failures > failures and self._failure is not None:
                raise self._failure
            is_starting = self._starting > 0
            if self._starting < self._waiting:
                self._start_one()
            if not self._changed.wait(deadline - time.monotonic()):
                if is_starting or self._starting:
                    raise timed_out(program)
                raise OverloadedError("no worker became free in the statement's time")

    def _start_one(self) -> None:
        """Starts a worker on a thread of its own, if there may be one more: nobody waits longer
        for it than its statement may take. The lock is held."""
        if self._closed or len(self._busy) + len(self._idle) + self._starting >= self._pool_size:
            return
        self._starting += 1
        threading.Thread(target=self._start, name="sql-starter", daemon=True).start()

    def _start(self) -> None:
        worker: WorkerProcess | None = None
        failure: Exception | None = None
        try:
            worker = WorkerProcess(self._working_directory(), self.limits)
        except (ClosedError, OSError) as error:
            failure = error
        with self._changed:
            self._starting -= 1
            is_kept = worker is not None and not self._closed
            if worker is None:
                self._failure = failure
                self._failures += 1
            elif is_kept:
                self._idle.append(worker)
                self._started += 1
                self._confinement = worker.confinement
            self._changed.notify_all()
        if worker is not None and not is_kept:
            worker.stop()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _working_directory(self) -> Path:
        with self._changed:
            if self._directory is None:
                self._directory = Path(tempfile.mkdtemp(prefix="mainstem-sql-"))
            return self._directory

    def _release(self, worker: WorkerProcess) -> None:
        with self._changed:
            self._busy.discard(worker)
            is_kept = worker.is_usable and not self._closed
            if is_kept:
                self._idle.append(worker)
            else:
                # The next statement should not have to wait for it.
                self._start_one()
            self._changed.notify_all()
        if not is_kept:
            # A process that was killed may take its time to go.
            threading.Thread(target=worker.stop, name="sql-reaper", daemon=True).start()

    def close(self) -> None:
        """Ends every worker; statements that run fail."""
        with self._changed:
            self._closed = True
            workers = [*self._idle, *self._busy]
            self._idle.clear()
            self._changed.notify_all()
        for worker in workers:
            worker.stop()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)


def _table(steps: Iterator[Any]) -> pa.Table:
    import pyarrow as pa

    schema = next(steps)
    return pa.Table.from_batches(list(steps), schema)
