"""The node's side of one SQL worker: starts it, feeds it, reads its answer, ends it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import msgpack

from mainstem_engine.errors import (
    ClosedError,
    CorruptionError,
    SqlError,
    SqlLimitError,
    SqlTimeoutError,
)
from mainstem_engine.sql.running.cancellation import Cancellation, cancelled
from mainstem_engine.sql.running.frames import (
    FrameKind,
    FrameReader,
    FrameWriter,
    read_frame,
    write_frame,
)
from mainstem_engine.sql.running.interrupter import INTERRUPT_SIGNAL
from mainstem_engine.sql.running.sandbox import MIB, Program, SqlLimits
from mainstem_engine.sql.running.worker import ERRORS
from mainstem_engine.sql.running.worker_pipe import WorkerPipe

if TYPE_CHECKING:
    import pyarrow as pa

OpenInput = Callable[[str], "pa.RecordBatchReader | pa.Table"]
START_TIMEOUT_S = 60.0
"""A worker imports DuckDB and Arrow; a small machine that is busy takes some seconds for it."""
EXIT_TIMEOUT_S = 2.0
"""A worker ends when its stdin does; one that does not is killed."""
INTERRUPT_S = 0.3
"""What a worker has to end a statement by itself. The database looks several times as often, unless
it is within one long call: then the process goes."""
NICENESS = 15
"""A thirtieth of the processor beside a thread of the node that wants it too, all of it else."""
RESULT_OVERHEAD_BYTES = 4 * MIB
"""What schema and messages may add to the rows of a result."""
SETTINGS = {
    # One pool of numpy's linear algebra would take as many threads as there are processors.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    # Reserved address space counts against the limit: the C library makes an arena per thread, and
    # Arrow's own allocators reserve by the gigabyte.
    "MALLOC_ARENA_MAX": "2",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
"""The environment of a worker, beside where Python finds its packages."""


def timed_out(program: Program) -> SqlTimeoutError:
    """The error of a statement that outlived its time."""
    return SqlTimeoutError(
        f"the statement ran longer than {program.limits.timeout_s:g} s",
        hint="narrow it by time or device, or allow it more time",
    )


class WorkerProcess:
    """One worker. Used by one thread at a time; ``is_usable`` False means that it must go."""

    def __init__(self, directory: Path, limits: SqlLimits) -> None:
        """Starts it in an empty directory. Raises ClosedError when it does not come up."""
        packed = msgpack.packb(asdict(limits)).hex()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "mainstem_engine.sql.running.worker", packed],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=directory,
            env=_environment(),
        )
        if hasattr(os, "setpriority"):
            # From the outside, because loading its libraries is most of its work.
            with contextlib.suppress(OSError):
                own = os.getpriority(os.PRIO_PROCESS, 0)
                os.setpriority(os.PRIO_PROCESS, self._process.pid, min(own + NICENESS, 19))
        self._stdin = cast("BinaryIO", self._process.stdin)
        self._pipe = WorkerPipe(cast("BinaryIO", self._process.stdout))
        self.confinement: dict[str, str] = {}
        """What the kernel takes away from it: see confinement.py."""
        self.is_usable = self._is_ready()
        if not self.is_usable:
            self.stop()
            raise ClosedError(
                f"a SQL worker did not start (exit code {self._process.returncode})",
                hint="check that there is memory, and that duckdb and pyarrow can be imported",
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """False when the process ended by itself, killed by the system for example."""
        return self._process.poll() is None

    def _is_ready(self) -> bool:
        alarm = threading.Timer(START_TIMEOUT_S, self._process.kill)
        alarm.daemon = True
        alarm.start()
        try:
            kind, payload = read_frame(self._pipe)
            if kind != FrameKind.READY:
                return False
            self.confinement = msgpack.unpackb(payload)
            return True
        except (EOFError, OSError, CorruptionError):
            return False
        finally:
            alarm.cancel()

    def run(
        self,
        program: Program,
        open_input: OpenInput,
        deadline: float,
        cancellation: Cancellation,
    ) -> Iterator[pa.Schema | pa.RecordBatch]:
        """Runs one program until ``deadline`` (monotonic seconds): yields the schema of its result,
        then the batches, as they are read. Left early, it ends the worker.

        Raises SqlError and its kinds, and what reading the inputs raises.
        """
        import pyarrow as pa

        try:
            packed = msgpack.packb(program.to_map())
        except OverflowError:
            raise SqlError(
                "a number or time of the statement needs more than 64 bits",
                hint="write a smaller one, or a later start or earlier end",
            ) from None
        self.is_usable = False
        reasons: list[SqlError] = []

        killer = threading.Timer(INTERRUPT_S, self._give_up)
        killer.daemon = True

        def end(reason: SqlError) -> None:
            reasons.append(reason)
            # The time and the caller may both end it.
            if len(reasons) == 1:
                self._interrupt(killer)

        remaining_s = max(deadline - time.monotonic(), 0.0)
        alarm = threading.Timer(remaining_s, end, (timed_out(program),))
        alarm.daemon = True
        feeder = Feeder(self._stdin, packed, program.inputs, open_input)
        answer = AnswerReader(self._pipe, program.limits.result_bytes_max)
        failure: SqlError | None = None
        alarm.start()
        feeder.start()
        try:
            with cancellation.calling(lambda: end(cancelled())):
                reader = pa.ipc.open_stream(answer)
                yield reader.schema
                yield from reader
                answer.finish()
        except SqlError as error:
            failure = error
        except (EOFError, OSError, CorruptionError):
            pass  # the process is gone; why is decided below
        finally:
            alarm.cancel()
            killer.cancel()
            if answer.is_complete:
                feeder.stop()
            else:
                self._give_up()
                feeder.leave()
            # A signal that came too late would end the next statement.
            is_clean = not reasons or isinstance(failure, SqlTimeoutError)
            is_whole = answer.is_complete and not answer.is_retiring
            self.is_usable = is_whole and is_clean and not feeder.is_broken
        if reasons:
            raise reasons[0]
        if feeder.error is not None:
            raise feeder.error
        if failure is not None:
            raise failure
        if not answer.is_complete:
            raise SqlLimitError(
                "the statement ended its worker, most likely for lack of memory",
                hint="narrow it by time or device, or aggregate in steps",
            )

    def _interrupt(self, killer: threading.Timer) -> None:
        """Ends the statement at hand, the process with it if it must be."""
        if INTERRUPT_SIGNAL is None:
            self._give_up()
            return
        self._process.send_signal(INTERRUPT_SIGNAL)
        killer.start()

    def _give_up(self) -> None:
        self._process.kill()
        self._pipe.leave()

    def stop(self) -> None:
        """Ends the process and frees its pipes."""
        self.is_usable = False
        with contextlib.suppress(OSError):
            self._stdin.close()
        try:
            self._process.wait(EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._pipe.close()


class AnswerReader(FrameReader):
    """A file object for an Arrow stream reader: the DATA frames up to DONE or ERROR."""

    def __init__(self, source: WorkerPipe, bytes_max: int) -> None:
        super().__init__(source)
        self._bytes_max = bytes_max
        self._size = 0
        self.is_complete = False
        """True when the worker said that it is done, with an answer or an error."""
        self.is_retiring = False
        """True when it should not be used again."""

    def take(self, kind: FrameKind, payload: bytes) -> bytes | None:
        """Raises the error that the worker reports, and SqlLimitError for too large a result."""
        if kind == FrameKind.RETIRING:
            self.is_retiring = True
            return b""
        if kind == FrameKind.DONE:
            self.is_complete = True
            return None
        if kind == FrameKind.ERROR:
            self.is_complete = True
            name, message, field, hint = msgpack.unpackb(payload)
            raise ERRORS[name](message, field=field, hint=hint)
        self._size += len(payload)
        if self._size > self._bytes_max + RESULT_OVERHEAD_BYTES:
            raise SqlLimitError(
                f"the result is larger than {self._bytes_max // MIB} MiB",
                hint="select fewer columns or rows, or export the table",
            )
        return payload

    def finish(self) -> None:
        """Reads on to DONE or ERROR. Raises as ``read``."""
        self.drain()


class Feeder:
    """Streams a packed program and its inputs to a worker, on a thread of its own."""

    def __init__(
        self, sink: BinaryIO, packed: bytes, inputs: Sequence[str], open_input: OpenInput
    ) -> None:
        self._sink = sink
        self._packed = packed
        self._inputs = inputs
        self._open_input = open_input
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sql-feeder", daemon=True)
        self.error: BaseException | None = None
        """What reading the inputs raised."""
        self.is_broken = False
        """True when the worker went away meanwhile."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends feeding after the batch at hand and waits for it."""
        self._stopped.set()
        self._thread.join()

    def leave(self) -> None:
        """Ends feeding after the batch at hand, some time after this: the worker is going."""
        self._stopped.set()

    def _run(self) -> None:
        try:
            write_frame(self._sink, FrameKind.RUN, self._packed)
            self._feed_all()
            write_frame(self._sink, FrameKind.CLOSE)
        except (OSError, ValueError):
            # A closed pipe is a ValueError in Python. The reading side learns of it too.
            self.is_broken = True

    def _feed_all(self) -> None:
        for name in self._inputs:
            if self._stopped.is_set():
                return
            try:
                reader = self._open_input(name)
            except Exception as error:
                self._abort(error)
                return
            if not self._feed(reader):
                return
            write_frame(self._sink, FrameKind.END)

    def _feed(self, source: pa.RecordBatchReader | pa.Table) -> bool:
        """One input as an Arrow stream; False when it was not fed to its end."""
        import pyarrow as pa

        reader = source.to_reader() if isinstance(source, pa.Table) else source
        frames = FrameWriter(self._sink)
        writer = pa.ipc.new_stream(frames, reader.schema)
        batches = iter(reader)
        while not self._stopped.is_set():
            try:
                batch = next(batches, None)
            except Exception as error:
                self._abort(error)
                return False
            if batch is None:
                writer.close()
                frames.send()
                return True
            writer.write_batch(batch)
            frames.send()
        return False

    def _abort(self, error: Exception) -> None:
        self.error = error
        write_frame(self._sink, FrameKind.ABORT)


def _environment() -> dict[str, str]:
    """Nothing of this process but where Python finds its packages."""
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **SETTINGS}
    # Windows cannot start a process without it.
    if "SYSTEMROOT" in os.environ:
        environment["SYSTEMROOT"] = os.environ["SYSTEMROOT"]
    return environment
