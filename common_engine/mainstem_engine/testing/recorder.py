"""A sink for a log's reports, and records to fill a log with."""

from __future__ import annotations

from collections.abc import Sequence

from mainstem_engine.errors import LogFailedError
from mainstem_engine.log.log import Log
from mainstem_engine.log.records import Record, RecordKind

NODE_UUID = "0123456789abcdef" * 2

# No zeros: recovery tells a blank sector from a written one by them.
_BYTES = bytes(range(1, 256)) * 64


class CommitRecorder:
    """Remembers everything that a log reports, in order."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.tokens: list[object] = []
        self.failures: list[tuple[LogFailedError, list[object]]] = []

    def on_commit(self, entries: Sequence[tuple[Record, object]]) -> None:
        """For Log.start."""
        self.records += [record for record, _ in entries]
        self.tokens += [token for _, token in entries]

    def on_failure(self, error: LogFailedError, tokens: Sequence[object]) -> None:
        """For Log.start."""
        self.failures.append((error, list(tokens)))


def payload_for(lsn: int, size: int = 40) -> bytes:
    """The payload that ``fill`` gives record ``lsn``."""
    start = lsn % 200
    return _BYTES[start : start + size]


def fill(log: Log, count: int, size: int = 40) -> list[bytes]:
    """Append ``count`` records, each in a commit of its own; returns their payloads."""
    payloads = []
    for _ in range(count):
        payload = payload_for(log.appended_lsn + 1, size)
        log.append(RecordKind.PTS, [payload])
        log.barrier()
        payloads.append(payload)
    return payloads
