"""Errors of the edge.

MainstemError                              (mainstem_engine.errors)
└── EdgeError
    ├── PatternError      (ValueError)     a device or tag pattern that cannot be used
    ├── PathFormError     (ValueError)     a device path that cannot be formed from a message
    ├── PayloadError      (ValueError)     a payload that its codec cannot read
    ├── PayloadTimeError  (ValueError)     a time that cannot be read; carries the reason
    ├── CollectorError    (OSError)        a source that cannot be reached or refuses us
    └── UnreadableFileError (OSError)      a file that is not what it should be
"""

from __future__ import annotations

from mainstem_engine.errors import MainstemError


class EdgeError(MainstemError):
    """The root of the edge's errors."""


class PatternError(EdgeError, ValueError):
    """A device or tag pattern of the configuration that cannot be used."""

    code = "PATTERN"


class PathFormError(EdgeError, ValueError):
    """A device path that cannot be formed from a topic and payload."""

    code = "BAD_PATH"


class PayloadError(EdgeError, ValueError):
    """A payload that its codec cannot read."""

    code = "MALFORMED"


class PayloadTimeError(EdgeError, ValueError):
    """A time that cannot be read. ``reason`` is the quarantine's name for it."""

    code = "BAD_TIME"

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class CollectorError(EdgeError, OSError):
    """A source that cannot be reached or refuses this node."""

    code = "COLLECTOR"


class UnreadableFileError(EdgeError, OSError):
    """A file that can be opened, and is not what it should be."""

    code = "UNREADABLE_FILE"


class TooMuchHistoryError(EdgeError, ValueError):
    """More stored rows than rules are tried on."""

    code = "TOO_MUCH_HISTORY"
