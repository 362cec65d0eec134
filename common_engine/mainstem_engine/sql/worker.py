"""A SQL worker: a child process that runs programs in the sandbox and nothing else.

``python -m mainstem_engine.sql.worker`` reads frames from stdin and writes frames to stdout (see
frames.py). It starts with an empty environment in an empty directory, holds no file of the data
directory, and gets every row over its pipe. It ends when stdin ends, and by itself when a statement
outlives its time: a node that died cannot stop it.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any, BinaryIO

import msgpack

from mainstem_engine.errors import SqlError, SqlLimitError, SqlTimeoutError, SqlUnsupportedError
from mainstem_engine.sql.frames import (
    AbortedError,
    FrameKind,
    FrameReader,
    FrameWriter,
    read_frame,
    write_frame,
)
from mainstem_engine.sql.sandbox import Program, Sandbox, SqlLimits

OVERTIME_S = 5.0
"""The node stops a statement at its timeout. Later than this there is no node any more."""

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
    sandbox = Sandbox(limits)
    sandbox.warm_up()
    write_frame(sink, FrameKind.READY)
    while True:
        try:
            kind, payload = read_frame(source)
        except EOFError:
            return 0
        if kind == FrameKind.RUN:
            serve(Program.from_map(msgpack.unpackb(payload)), sandbox, source, sink)


def serve(program: Program, sandbox: Sandbox, source: BinaryIO, sink: BinaryIO) -> None:
    """Runs one program: answers with DATA and DONE or with ERROR, then reads up to CLOSE."""
    overtime = threading.Timer(program.limits.timeout_s + OVERTIME_S, os._exit, (3,))
    overtime.daemon = True
    overtime.start()
    readers: list[FrameReader] = []
    try:
        _run(program, sandbox, source, sink, readers)
        write_frame(sink, FrameKind.DONE)
    except SqlError as error:
        write_frame(sink, FrameKind.ERROR, _packed(error))
    except (AbortedError, MemoryError) as error:
        refusal = SqlLimitError(f"the statement could not be run: {error!r}")
        write_frame(sink, FrameKind.ERROR, _packed(refusal))
    finally:
        overtime.cancel()
    while read_frame(source)[0] != FrameKind.CLOSE:
        pass


def _run(
    program: Program,
    sandbox: Sandbox,
    source: BinaryIO,
    sink: BinaryIO,
    readers: list[FrameReader],
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
    for step in sandbox.run(program, open_input):
        if writer is None:
            writer = pa.ipc.new_stream(frames, step)
        else:
            writer.write_batch(step)
        frames.send()
    if writer is not None:
        writer.close()
        frames.send()


def _packed(error: SqlError) -> bytes:
    kind = next(name for name, cls in ERRORS.items() if isinstance(error, cls))
    packed: bytes = msgpack.packb([kind, error.message, error.field, error.hint])
    return packed


if __name__ == "__main__":
    sys.exit(main())
