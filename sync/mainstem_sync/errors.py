"""Errors of the federation protocol.

MainstemError (mainstem_engine)
└── SyncError
    ├── ExportError        (ValueError)       an export rule that cannot be used
    ├── WireError          (ValueError)       bytes that are not a message of this protocol
    │   ├── TooLargeError                     a declared or real size is above its bound
    │   └── HashMismatchError                 a message was changed on its way
    ├── MoveError          (ValueError)       a device cannot be moved so
    ├── RangeLimitError    (OverflowError)    a range set has more holes than its bound
    ├── UnknownSchemaError (LookupError)      rows whose template or device is not known here
    ├── UnknownEpochError  (LookupError)      records of an epoch that is not known here
    └── PeerError          (ConnectionError)  the other side answered with a refusal
        ├── FencedError                       another process of this name has taken the lease
        ├── ForkedError                       the two logs have different content under one LSN
        ├── VersionError                      the two sides speak no common protocol version
        ├── LeaseError                        the lease is unknown: say HELLO again
        └── RejectedError                     a batch that the parent will never take
"""

from __future__ import annotations

from mainstem_engine.errors import MainstemError


class SyncError(MainstemError):
    """The root of the federation's errors."""


class ExportError(SyncError, ValueError):
    """An export rule that cannot be used."""

    code = "EXPORT"


class WireError(SyncError, ValueError):
    """Bytes that are not a message of this protocol."""

    code = "BAD_MESSAGE"


class TooLargeError(WireError):
    """A declared or real size is above its bound; refused before any decoder saw it."""

    code = "TOO_LARGE"

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(f"{what} has {size} bytes, the limit is {limit}")
        self.what = what
        self.size = size
        self.limit = limit


class HashMismatchError(WireError):
    """A message was changed on its way."""

    code = "BAD_HASH"


class MoveError(SyncError, ValueError):
    """A device cannot be moved so."""

    code = "MOVE"


class RangeLimitError(SyncError, OverflowError):
    """A range set has more holes than its bound."""

    code = "TOO_MANY_RANGES"

    def __init__(self, ranges: int, limit: int) -> None:
        super().__init__(f"{ranges} ranges, the limit is {limit}", hint="deliver the holes first")
        self.ranges = ranges
        self.limit = limit


class UnknownSchemaError(SyncError, LookupError):
    """A table, measurement or device that no record of the origin has named here yet."""

    code = "NEED_SCHEMA"


class UnknownEpochError(SyncError, LookupError):
    """A batch of an epoch that no statement about its origin has named here yet."""

    code = "NEED_EPO"


class PeerError(SyncError, ConnectionError):
    """The other side answered with a refusal. ``status`` is the HTTP status that goes with it."""

    code = "PEER"
    status = 400


class FencedError(PeerError):
    """Another process of this name has taken the lease."""

    code = "FENCED"
    status = 409


class ForkedError(PeerError):
    """The two logs have different content under one LSN (restored backup, cloned disk)."""

    code = "FORKED"
    status = 409


class VersionError(PeerError):
    """The two sides speak no common protocol version."""

    code = "VERSION"
    status = 426


class LeaseError(PeerError):
    """The lease is unknown here: the parent was started again. Say HELLO again."""

    code = "NEED_HELLO"
    status = 409


class BusyError(PeerError):
    """The parent is over a bound: stay away for ``retry_after_s``, the lease stays good."""

    code = "BUSY"
    status = 503

    def __init__(
        self, message: str, *, retry_after_s: float = 1.0, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class RejectedError(PeerError):
    """A batch that the parent will never take."""

    code = "REJECTED"
    status = 422
