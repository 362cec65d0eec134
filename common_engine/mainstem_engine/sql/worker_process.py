"""The node's side of one SQL worker: starts it, feeds it, reads its answer, ends it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
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
from mainstem_engine.sql.frames import FrameKind, FrameWriter, read_frame, write_frame
from mainstem_engine.sql.sandbox import MIB, Program, SqlLimits
from mainstem_engine.sql.worker import ERRORS

if TYPE_CHECKING:
    import pyarrow as pa

OpenInput = Callable[[str], "pa.RecordBatchReader | pa.Table"]
START_TIMEOUT_S = 60.0
"""A worker imports DuckDB and Arrow; a small machine that is busy takes some seconds for it."""
EXIT_TIMEOUT_S = 2.0
"""A worker ends when its stdin does; one that does not is killed."""
RESULT_OVERHEAD_BYTES = 4 * MIB
"""What schema and messages may add to the rows of a result."""


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
            [sys.executable, "-P", "-m", "mainstem_engine.sql.worker", packed],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=directory,
            env=_environment(),
        )
        self._stdin = cast("BinaryIO", self._process.stdin)
        self._stdout = cast("BinaryIO", self._process.stdout)
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
            return read_frame(self._stdout)[0] == FrameKind.READY
        except (EOFError, OSError, CorruptionError):
            return False
        finally:
            alarm.cancel()

    def run(self, program: Program, open_input: OpenInput, deadline: float) -> pa.Table:
        """Runs one program until ``deadline`` (monotonic seconds).

        Raises SqlError and its kinds, and what reading the inputs raises.
        """
        import pyarrow as pa

        self.is_usable = False
        expired = threading.Event()
        alarm = threading.Timer(max(deadline - time.monotonic(), 0.0), self._expire, (expired,))
        alarm.daemon = True
        feeder = Feeder(self._stdin, program, open_input)
        answer: tuple[bytes, SqlError | None] | None = None
        alarm.start()
        feeder.start()
        try:
            answer = self._answer(program)
        except (EOFError, OSError, CorruptionError):
            pass  # the process is gone; why is decided below
        finally:
            alarm.cancel()
            if answer is None:
                self._process.kill()
            feeder.stop()
        if expired.is_set():
            raise timed_out(program)
        if feeder.error is not None:
            self.is_usable = answer is not None and not feeder.is_broken
            raise feeder.error
        if answer is None:
            raise SqlLimitError(
                "the statement ended its worker, most likely for lack of memory",
                hint="narrow it by time or device, or aggregate in steps",
            )
        self.is_usable = not feeder.is_broken
        payload, failure = answer
        if failure is not None:
            raise failure
        return pa.ipc.open_stream(pa.py_buffer(payload)).read_all()

    def _expire(self, expired: threading.Event) -> None:
        expired.set()
        self._process.kill()

    def _answer(self, program: Program) -> tuple[bytes, SqlError | None]:
        """The result as one Arrow stream, or the error that the worker reports."""
        pieces: list[bytes] = []
        size = 0
        bytes_max = program.limits.result_bytes_max + RESULT_OVERHEAD_BYTES
        while True:
            kind, payload = read_frame(self._stdout)
            if kind == FrameKind.DONE:
                return b"".join(pieces), None
            if kind == FrameKind.ERROR:
                name, message, field, hint = msgpack.unpackb(payload)
                return b"", ERRORS[name](message, field=field, hint=hint)
            pieces.append(payload)
            size += len(payload)
            if size > bytes_max:
                raise SqlLimitError(
                    f"the result is larger than {program.limits.result_bytes_max // MIB} MiB",
                    hint="select fewer columns or rows, or export the table",
                )

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
        self._stdout.close()


class Feeder:
    """Streams a program and its inputs to a worker, on a thread of its own."""

    def __init__(self, sink: BinaryIO, program: Program, open_input: OpenInput) -> None:
        self._sink = sink
        self._program = program
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

    def _run(self) -> None:
        try:
            write_frame(self._sink, FrameKind.RUN, msgpack.packb(self._program.to_map()))
            self._feed_all()
            write_frame(self._sink, FrameKind.CLOSE)
        except (OSError, ValueError):
            # A closed pipe is a ValueError in Python. The reading side learns of it too.
            self.is_broken = True

    def _feed_all(self) -> None:
        for name in self._program.inputs:
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
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    # Windows cannot start a process without it.
    if "SYSTEMROOT" in os.environ:
        environment["SYSTEMROOT"] = os.environ["SYSTEMROOT"]
    return environment
