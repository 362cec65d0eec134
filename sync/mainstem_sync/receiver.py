"""The flow in: limits, hash, lease, scope, schema, one log record, apply, acknowledge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Child:
    """An authenticated child. ``paths``: what it may write; None: everything."""

    name: str
    paths: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP status with its body."""

    status: int
    body: bytes


class Receiver:
    """One per node. Thread-safe; blocks until durable."""

    def hello(self, child: Child, body: bytes) -> Reply:
        """Answer a HELLO: lease, R per origin, or the refusal."""
        raise NotImplementedError

    def batches(self, child: Child, body: bytes) -> Reply:
        """Take a request of batches; returns when all of them are durable and applied."""
        raise NotImplementedError
