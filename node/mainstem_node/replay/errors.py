"""Errors of a replay.

MainstemError                                   (mainstem_engine.errors)
└── ReplayError
    ├── CsvError               (ValueError)     a file that cannot be read as it stands
    └── BrokerError            (OSError)        no connection, or messages without an answer
"""

from __future__ import annotations

from pathlib import Path

from mainstem_engine.errors import MainstemError


class ReplayError(MainstemError):
    """The root of the errors of a replay."""

    code = "REPLAY"


class CsvError(ReplayError, ValueError):
    """A file, row or column that cannot be used. ``line`` counts from 1; 0 means the whole file."""

    code = "CSV"

    def __init__(self, path: Path, line: int, field: str | None, problem: str, remedy: str) -> None:
        where = f"{path}:{line}" if line else str(path)
        column = f" {field}:" if field else ""
        super().__init__(f"{where}:{column} {problem}", field=field, hint=remedy)
        self.path = path
        self.line = line


class BrokerError(ReplayError, OSError):
    """The broker cannot be reached, refused a message, or stopped answering."""

    code = "BROKER"
