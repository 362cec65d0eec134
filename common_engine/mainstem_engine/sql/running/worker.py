"""A SQL worker: a child process that runs programs in the sandbox and nothing else.

``python -m mainstem_engine.sql.running.worker`` reads frames from stdin and writes frames to
stdout (frames).

1. It starts with an empty environment in an empty directory, and confines itself before it loads
   a library that starts threads (confinement.py). It holds no file of the data directory and gets
   every row over its pipe.
2. Each statement has limits of its own for memory and computing, whatever runs it. A worker that
   keeps much of what a statement took says so and is replaced.
3. A signal (interrupter.py) ends the statement at hand and leaves the worker: starting another one
   takes more of the processor than most statements.
4. It ends when stdin ends, and by itself when a statement outlives its time: a node that died
   cannot stop it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

import msgpack

from mainstem_engine.errors import SqlError, SqlLimitError, SqlTimeoutError, SqlUnsupportedError
from mainstem_engine.sql.running.confinement import StatementLimits, confine
from mainstem_engine.sql.running.frames import (
    AbortedError,
    FrameKind,
    FrameReader,
    FrameWriter,
    read_frame,
    write_frame,
)
from mainstem_engine.sql.running.interrupter import Interrupter
from mainstem_engine.sql.running.sandbox import MIB, Program, Sandbox, SqlLimits

OVERTIME_S = 5.0
"""The node stops a statement at its timeout. Later than this there is no node any more."""
KEPT_BYTES_MAX = 256 * MIB
"""Allocators keep address space for later. A worker that keeps more is replaced, so that what the
next statement may take stays near its limit. One more time zone takes about 75 MiB."""

ERRORS: dict[str, type[SqlError]] = {
    "timeout": SqlTimeoutError,
    "limit": SqlLimitError,
    "unsupported": SqlUnsupportedError,
    "sql": SqlError,
}
"""Kinds of errors as they cross the pipe."""


def main() -> int:
    """Serves programs until stdin ends."""
    source = sys.stdin.buffer
    # What some library prints must not end up between the frames.
    sink = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    limits = SqlLimits(**msgpack.unpackb(bytes.fromhex(sys.argv[1])))
    interrupter = Interrupter()
    confinement = confine()
    sandbox = Sandbox(limits)
    warm_up(sandbox, limits)
    bounds = StatementLimits()
    interrupter.start()
    write_frame(sink, FrameKind.READY, msgpack.packb(confinement.to_map()))
    while True:
        try:
            kind, payload = read_frame(source)
        except EOFError:
            return 0
        if kind == FrameKind.RUN:
            serve(
                Program.from_map(msgpack.unpackb(payload)),
                sandbox,
                source,
                sink,
                bounds,
                interrupter,
            )


def warm_up(sandbox: Sandbox, limits: SqlLimits) -> None:
    """Runs a statement, so that the first one does not wait, and what the libraries take once for
    their threads and caches is not counted as a statement's."""
    for _ in sandbox.run(Program("SELECT 1", (), "UTC", (), False, limits), _no_input):
        pass


def _no_input(name: str) -> Any:
    raise AbortedError(f"there is no input {name}")


def process_bytes(limits: SqlLimits) -> int:
    """What a statement may allocate in all: in DuckDB, to hold tables and to walk them."""
    return limits.memory_limit_bytes + limits.input_bytes_max


def serve(
    program: Program,
    sandbox: Sandbox,
    source: BinaryIO,
    sink: BinaryIO,
    bounds: StatementLimits | None = None,
    interrupter: Interrupter | None = None,
) -> None:
    """Runs one program: answers with DATA and DONE or with ERROR, then reads up to CLOSE.

    RETIRING comes before DONE or ERROR when this worker should not run another.
    """
    limits = program.limits
    if bounds is not None:
        bounds.set(process_bytes(limits), (limits.timeout_s + OVERTIME_S) * limits.threads)
    overtime = threading.Timer(program.limits.timeout_s + OVERTIME_S, os._exit, (3,))
    overtime.daemon = True
    overtime.start()
    readers: list[FrameReader] = []
    try:
        _run(program, sandbox, source, sink, readers, interrupter)
        end, payload = FrameKind.DONE, b""
    except SqlError as error:
        end, payload = FrameKind.ERROR, _packed(error)
    except MemoryError:
        end, payload = FrameKind.ERROR, _packed(out_of_memory())
    except AbortedError as error:
        refusal = SqlLimitError(
            f"the statement could not be run: {error!r}", hint="narrow it by time or device"
        )
        end, payload = FrameKind.ERROR, _packed(refusal)
    finally:
        overtime.cancel()
        if interrupter is not None:
            interrupter.interrupt = None
    readers.clear()
    if bounds is not None and bounds.kept_bytes() > KEPT_BYTES_MAX:
        write_frame(sink, FrameKind.RETIRING)
    write_frame(sink, end, payload)
    while read_frame(source)[0] != FrameKind.CLOSE:
        pass


def _run(
    program: Program,
    sandbox: Sandbox,
    source: BinaryIO,
    sink: BinaryIO,
    readers: list[FrameReader],
    interrupter: Interrupter | None,
) -> None:
    import pyarrow as pa

    def open_input(_name: str) -> Any:
        # Inputs come one after the other, in the order in which the program names them.
        for earlier in readers:
            earlier.drain()
        readers.append(FrameReader(source))
        return pa.ipc.open_stream(readers[-1])

    frames = FrameWriter(sink)
    writer: Any = None

    def on_start(interrupt: Callable[[], None]) -> None:
        if interrupter is not None:
            interrupter.interrupt = interrupt

    for step in sandbox.run(program, open_input, on_start):
        if writer is None:
            writer = pa.ipc.new_stream(frames, step)
        else:
            writer.write_batch(step)
        frames.send()
    if writer is not None:
        writer.close()
        frames.send()


def out_of_memory() -> SqlLimitError:
    """The error of a statement that got no more memory."""
    return SqlLimitError(
        "the statement needs too much memory",
        hint="narrow it by time or device, or aggregate in steps",
    )


def _packed(error: SqlError) -> bytes:
    kind = next(name for name, cls in ERRORS.items() if isinstance(error, cls))
    packed: bytes = msgpack.packb([kind, error.message, error.field, error.hint])
    return packed


if __name__ == "__main__":
    sys.exit(main())
