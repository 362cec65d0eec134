"""Errors of the engine.

MainstemError
├── EngineError
│   ├── LockedError          (OSError)     another process owns the data directory
│   ├── LogFailedError       (OSError)     a write or fsync of the log failed: final
│   ├── LogRangeError        (LookupError) an LSN that the log does not hold
│   ├── EncodingError        (ValueError)  bytes of a column that no encoder wrote
│   ├── CorruptionError      (ValueError)  a file's checksum, magic or structure is wrong
│   ├── ClosedError          (RuntimeError)
│   ├── OverloadedError      (RuntimeError) a bound was reached: slow down and try again
│   ├── SchemaError          (ValueError)  a definition, name, path or type that cannot be used
│   │   └── NotFoundError    (LookupError) an unknown database, template, device or measurement
│   ├── MetadataLimitError   (RuntimeError) templates and devices take all the memory they may
│   ├── NotOwnerError        (PermissionError) rows that only another node may delete
│   ├── StaleImageError      (RuntimeError) a slice image older than what was received
│   ├── OutOfRangeError      (ValueError)  a time or value that the type cannot hold
│   ├── OutOfRetentionError  (ValueError)  a row or delete older than what is kept here
│   └── SqlError             (ValueError)  a statement that cannot be run
│       ├── SqlSyntaxError
│       ├── SqlUnsupportedError
│       ├── SqlTimeoutError  (TimeoutError)
│       ├── SqlCancelledError              whoever asked went away
│       └── SqlLimitError                  the statement ran into a memory, row or size bound
"""

from __future__ import annotations

import errno
from pathlib import Path

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
"""What the operating system says of a full disk."""


class MainstemError(Exception):
    """The root of every error of this distribution. ``code`` is the stable name on the wire."""

    code = "INTERNAL"
    statement = 1
    """Of a script, the number of the statement that failed. Those before it were carried out."""

    def __init__(self, message: str, *, field: str | None = None, hint: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message}; {hint}")
        self.message = message
        self.field = field
        self.hint = hint

    def locate(self, statement: int, count: int) -> None:
        """It is of this statement of a script of so many: the message begins with that."""
        self.statement = statement
        before = "" if statement == 1 else ", those before it stand"
        where = f"statement {statement} of {count}{before}"
        self.message = f"{where}: {self.message}"
        self.args = (f"{where}: {self.args[0]}", *self.args[1:])


class EngineError(MainstemError):
    """The root of the engine's errors."""


class LockedError(EngineError, OSError):
    """Another process owns the data directory; ``pid`` and ``url`` say which."""

    code = "LOCKED"

    def __init__(self, path: Path, pid: int | None, url: str | None) -> None:
        owner = f"process {pid}" if pid is not None else "another process"
        where = f" at {url}" if url else ""
        super().__init__(
            f"{path} is in use by {owner}{where}",
            hint="ask that process, or stop it first",
        )
        self.path = path
        self.pid = pid
        self.url = url


class LogFailedError(EngineError, OSError):
    """A write or fsync of the log failed. Nothing after it is acknowledged; re-open to recover."""

    code = "LOG_FAILED"


class LogRangeError(EngineError, LookupError):
    """An LSN that the log does not hold: released, damaged, or not on disk yet."""

    code = "LOG_RANGE"

    def __init__(self, lsn: int, first_lsn: int, fsynced_lsn: int) -> None:
        super().__init__(
            f"the log holds no record {lsn}",
            hint=f"it has what is undamaged of {first_lsn} to {fsynced_lsn}",
        )
        self.lsn = lsn
        self.first_lsn = first_lsn
        self.fsynced_lsn = fsynced_lsn


class EncodingError(EngineError, ValueError):
    """Bytes that are not what an encoder of columns writes. Readers of files add the place."""

    code = "ENCODING"


class CorruptionError(EngineError, ValueError):
    """Bytes on disk are not what was written. ``path`` and ``offset`` name the place."""

    code = "CORRUPT"

    def __init__(self, path: Path | str, offset: int, problem: str) -> None:
        super().__init__(
            f"{path} at byte {offset}: {problem}",
            hint="run `mainstem db check` on the directory, then `mainstem db repair`",
        )
        self.path = path
        self.offset = offset
        self.problem = problem


class ClosedError(EngineError, RuntimeError):
    """The engine or log is closed."""

    code = "CLOSED"


class OverloadedError(EngineError, RuntimeError):
    """A bound was reached; the caller may retry after ``retry_after_s`` seconds."""

    code = "OVERLOADED"

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message, hint=f"retry after {retry_after_s:g} s")
        self.retry_after_s = retry_after_s


class SchemaError(EngineError, ValueError):
    """A definition, name, path or type that cannot be used."""

    code = "SCHEMA"


class NotFoundError(SchemaError, LookupError):
    """An unknown database, template, device or measurement."""

    code = "NOT_FOUND"


class MetadataLimitError(EngineError, RuntimeError):
    """New devices or templates would take more memory than they may. ``field``: the option."""

    code = "METADATA_LIMIT"

    def __init__(self, what: str, used_bytes: int, needed_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"{what} need {needed_bytes} bytes of memory; templates and devices take {used_bytes} "
            f"of {limit_bytes}",
            field="metadata_bytes_max",
            hint="raise the option, or use one template for equal devices",
        )
        self.used_bytes = used_bytes
        self.needed_bytes = needed_bytes
        self.limit_bytes = limit_bytes


class NotOwnerError(EngineError, PermissionError):
    """The rows belong to another node, which alone may delete them. ``node`` names it."""

    code = "NOT_OWNER"

    def __init__(self, table: str, device: str, node: str) -> None:
        super().__init__(
            f"rows of {device} in {table} came from node {node}: nothing was deleted",
            field="devices",
            hint=f"delete them at {node}, or name only devices of this node",
        )
        self.device = device
        self.node = node


class StaleImageError(EngineError, RuntimeError):
    """A slice image that is older than what is known of the slice. ``needed_lsn``: what it must be
    as of."""

    code = "STALE_IMAGE"

    def __init__(self, table: str, start_ns: int, as_of: int, needed_lsn: int) -> None:
        super().__init__(
            f"the image of the slice of {table} at {start_ns} ns is as of LSN {as_of}, and LSN "
            f"{needed_lsn} has touched it",
            hint="ask for a later one",
        )
        self.as_of = as_of
        self.needed_lsn = needed_lsn


class OutOfRangeError(EngineError, ValueError):
    """A time or value that the type or precision cannot hold."""

    code = "OUT_OF_RANGE"


class OutOfRetentionError(EngineError, ValueError):
    """A row or delete older than what is kept here. Nothing of the call was stored.

    ``device`` path, ``time_ns`` of the row, ``cutoff_ns`` where kept time begins; ``reason`` is
    ``expired`` (older than KEEP or TTL) or ``too_late`` (its neighbours have been removed).
    """

    code = "OUT_OF_RETENTION"

    def __init__(
        self,
        message: str,
        *,
        device: str,
        time_ns: int,
        cutoff_ns: int,
        reason: str = "expired",
        hint: str | None = None,
    ) -> None:
        super().__init__(message, field="time", hint=hint)
        self.device = device
        self.time_ns = time_ns
        self.cutoff_ns = cutoff_ns
        self.reason = reason


class SqlError(EngineError, ValueError):
    """A statement that cannot be run."""

    code = "SQL"


class SqlSyntaxError(SqlError):
    """The statement does not parse; the message names line and column."""

    code = "SQL_SYNTAX"


class SqlUnsupportedError(SqlError):
    """The statement parses but is not supported; the hint names what is."""

    code = "SQL_UNSUPPORTED"


class SqlTimeoutError(SqlError, TimeoutError):
    """The statement ran longer than its limit."""

    code = "SQL_TIMEOUT"


class SqlCancelledError(SqlError):
    """Whoever asked went away, or said that the answer is not wanted any more."""

    code = "SQL_CANCELLED"


class SqlLimitError(SqlError):
    """The statement ran into a memory, row or size bound."""

    code = "SQL_LIMIT"
