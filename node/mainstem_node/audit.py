"""Who did what: a file of lines, each with a hash over the one before it.

1. ``DATA/audit.jsonl``: one JSON object a line: ``n`` from 1, ``at`` ms, ``who``, ``what``,
   ``detail``, and ``hash``, blake2b-16 over the hash before it and the line without its own.
2. A line is on the disk before ``note`` returns: what is done after it was announced.
3. A changed, removed or inserted line breaks the chain from there on; ``verify`` names it. The end
   may be cut off unnoticed, unless somebody knows the newest hash: ``head`` is shown in the status.
4. A torn last line, after a power cut, is cut off at the next start. The file grows by 300 bytes a
   line; ``FILE_BYTES_MAX`` begins a new one, and the old one stays as ``audit-N.jsonl``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mainstem_engine.filesystem import AppendFile, Filesystem
from mainstem_node.logs import fields

log = logging.getLogger("mainstem.audit")

FILE_NAME = "audit.jsonl"
FILE_BYTES_MAX = 16 << 20
DETAIL_CHARS_MAX = 8_000
HASH_BYTES = 16
START = "0" * (2 * HASH_BYTES)


@dataclass(frozen=True, slots=True)
class AuditProblem:
    """A line that does not follow from the one before it."""

    file: str
    line: int
    problem: str


class AuditTrail:
    """See the module. Thread-safe."""

    def __init__(
        self, data_dir: Path, *, clock_ns: Callable[[], int], fs: Filesystem | None = None
    ) -> None:
        self._path = data_dir / FILE_NAME
        self._clock_ns = clock_ns
        self._fs = fs or Filesystem()
        self._lock = threading.Lock()
        self._number, self.head = self._resume()
        self._file: AppendFile | None = None

    def note(self, who: str, what: str, detail: Mapping[str, Any]) -> None:
        """Write one line, durably. Raises OSError."""
        with self._lock:
            file = self._opened()
            text = json.dumps(dict(detail), ensure_ascii=False, default=str)
            entry = {
                "n": self._number + 1,
                "at": self._clock_ns() // 1_000_000,
                "who": who,
                "what": what,
                "detail": dict(detail) if len(text) <= DETAIL_CHARS_MAX else {"cut": text[:4000]},
            }
            entry["hash"] = _hash(self.head, entry)
            file.write([_line(entry)])
            file.sync()
            self._number, self.head = self._number + 1, str(entry["hash"])

    def close(self) -> None:
        """Release the file; ``note`` opens it again."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _opened(self) -> AppendFile:
        if self._file is not None and self._file.size() > FILE_BYTES_MAX:
            self._file.close()
            self._file = None
            self._fs.rename(self._path, self._path.with_name(f"audit-{self._number}.jsonl"))
        if self._file is None:
            is_new = not self._path.exists()
            make = self._fs.create if is_new else self._fs.open_append
            self._file = make(self._path)
            if is_new:
                self._fs.sync_directory(self._path.parent)
        return self._file

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """The newest lines, newest first; of the present file."""
        with self._lock:
            lines = self._path.read_bytes().splitlines() if self._path.exists() else []
        return [json.loads(line) for line in reversed(lines[-limit:])]

    def verify(self) -> tuple[int, list[AuditProblem]]:
        """(lines, what is wrong), through all files of this directory."""
        with self._lock:
            return verify(self._path.parent)

    def _resume(self) -> tuple[int, str]:
        if not self._path.exists():
            older = _files(self._path.parent)
            return _end(older[-1]) if older else (0, START)
        data = self._path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            log.warning(
                "the last line of the audit was cut off", extra=fields(file=str(self._path))
            )
            self._fs.replace(self._path, [whole])
        if not whole:
            older = _files(self._path.parent)[:-1]
            return _end(older[-1]) if older else (0, START)
        return _end(self._path)


def verify(data_dir: Path) -> tuple[int, list[AuditProblem]]:
    """(lines, what is wrong) of the audit of a data directory. Of a broken place only the first
    line is named: what follows is compared with that."""
    problems: list[AuditProblem] = []
    number, before = 0, START
    for file in _files(data_dir):
        for at, entry in _entries(file):
            if entry is None:
                problems.append(AuditProblem(file.name, at, "the line is not JSON"))
                continue
            if entry.get("n") != number + 1 or entry.get("hash") != _hash(before, entry):
                why = "it does not follow from the line before"
                problems.append(AuditProblem(file.name, at, why))
            number, before = int(entry.get("n") or 0), str(entry.get("hash"))
    return number, problems


def _files(data_dir: Path) -> list[Path]:
    """All files, oldest first."""
    older = sorted(data_dir.glob("audit-*.jsonl"), key=lambda path: int(path.stem[6:]))
    newest = data_dir / FILE_NAME
    return [*older, *([newest] if newest.exists() else [])]


def _entries(file: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    for at, line in enumerate(file.read_bytes().splitlines(), 1):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        yield at, entry if isinstance(entry, dict) else None


def _end(file: Path) -> tuple[int, str]:
    last = [entry for _, entry in _entries(file) if entry is not None]
    return (int(last[-1]["n"]), str(last[-1]["hash"])) if last else (0, START)


def _hash(before: str, entry: Mapping[str, Any]) -> str:
    content = {key: value for key, value in entry.items() if key != "hash"}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b((before + text).encode(), digest_size=HASH_BYTES).hexdigest()


def _line(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
