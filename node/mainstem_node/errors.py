"""Errors of the node.

MainstemError                                   (mainstem_engine.errors)
└── NodeError
    ├── ConfigError            (ValueError)     problems of a topology file, each with file, line
    ├── UnitError              (ValueError)     an unknown unit, or one of another dimension
    ├── ExpressionError        (ValueError)     an expression that cannot be computed
    ├── CredentialError        (OSError)        a token file is missing, empty or unreadable
    ├── MissingExtraError      (ImportError)    a library that the configuration needs is not here
    ├── TierError              (LookupError)    no entry point registers this tier
    └── ApiError                                an answer other than 2xx; carries the HTTP status
        ├── BadRequestError    (ValueError)     400
        ├── UnauthorizedError  (PermissionError) 401 no credential, or one that is not valid
        ├── ForbiddenError     (PermissionError) 403 the credential does not allow this
        ├── MissingError       (LookupError)    404
        ├── ConflictError                       409
        ├── TooLargeError      (ValueError)     413
        └── UnavailableError   (ConnectionError) 503, or no connection at all
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mainstem_engine.errors import MainstemError


class NodeError(MainstemError):
    """The root of the node's errors."""


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One thing wrong in a topology file. ``line`` counts from 1; 0 when there is no line."""

    file: str
    line: int
    field: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        field = f" {self.field}:" if self.field else ""
        return f"{self.file}:{self.line}:{field} {self.problem}; {self.remedy}"


class ConfigError(NodeError, ValueError):
    """A topology that cannot be used; ``problems`` lists everything that was found."""

    code = "CONFIG"

    def __init__(self, problems: Sequence[ConfigProblem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class UnitError(NodeError, ValueError):
    """A unit that is not in the table, or two units of different dimensions."""

    code = "UNIT"


class ExpressionError(NodeError, ValueError):
    """An expression that cannot be read, or that asks for what cannot be computed."""

    code = "EXPRESSION"

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)


class CredentialError(NodeError, OSError):
    """A token file is missing, empty or unreadable."""

    code = "CREDENTIAL"


class MissingExtraError(NodeError, ImportError):
    """A library that a part of the configuration needs is not installed."""

    code = "CONFIG"


class TierError(NodeError, LookupError):
    """No installed package registers this tier."""

    code = "TIER"


class ApiError(NodeError):
    """What a route answers instead of a result, and what the client raises when it receives it."""

    status = 500

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        field: str | None = None,
        hint: str | None = None,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, field=field, hint=hint)
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status
        self.headers = dict(headers or {})
        self.detail = dict(detail or {})


class BadRequestError(ApiError, ValueError):
    """The request cannot be understood or used."""

    status = 400
    code = "BAD_REQUEST"


class UnauthorizedError(ApiError, PermissionError):
    """No credential, or one that is not valid here."""

    status = 401
    code = "UNAUTHORIZED"


class ForbiddenError(ApiError, PermissionError):
    """The credential is valid but does not allow this."""

    status = 403
    code = "FORBIDDEN"


class MissingError(ApiError, LookupError):
    """There is no such thing."""

    status = 404
    code = "NOT_FOUND"


class ConflictError(ApiError):
    """The request contradicts the present state."""

    status = 409
    code = "CONFLICT"


class TooLargeError(ApiError, ValueError):
    """The body is over its limit."""

    status = 413
    code = "TOO_LARGE"


class UnavailableError(ApiError, ConnectionError):
    """The node cannot take this now, or cannot be reached."""

    status = 503
    code = "UNAVAILABLE"
