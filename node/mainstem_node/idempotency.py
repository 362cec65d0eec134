"""Remembered answers to requests with an ``Idempotency-Key``: a repeated one is not done twice.

Kept in memory for an hour, at most 10,000 of them. After a restart a repeated write is done again,
which changes no stored value: the same (device, time) merges with itself; only the counts of the
accounting show it twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mainstem_node.errors import ApiError, BadRequestError, ConflictError

LIFE_S = 3600.0
"""Longer than any client retries one request."""
ANSWERS_MAX = 10_000
KEY_CHARACTERS_MAX = 200
LARGE_BYTES = 1 << 20


@dataclass(slots=True)
class _Entry:
    digest: bytes
    made_at: float
    answer: Any = None
    done: bool = False


class IdempotentAnswers:
    """The remembered answers of one node. Use it from the event loop only."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()

    async def once(
        self, caller: str, key: str | None, body: bytes, work: Callable[[], Awaitable[Any]]
    ) -> Any:
        """The answer of ``work``, or the remembered one of the same caller, key and body.

        422 when the key was used for another body, ConflictError while the first one still runs.
        A failed request is forgotten: it may be tried again under its key.
        """
        if key is None:
            return await work()
        if not key or len(key) > KEY_CHARACTERS_MAX:
            raise BadRequestError(
                f"Idempotency-Key must have 1 to {KEY_CHARACTERS_MAX} characters",
                field="Idempotency-Key",
            )
        digest = await _digest(body)
        self._forget_old()
        place = (caller, key)
        known = self._entries.get(place)
        if known is not None:
            if known.digest != digest:
                raise ApiError(
                    "this key was used for another body",
                    code="IDEMPOTENCY_KEY_REUSED",
                    status=422,
                    field="Idempotency-Key",
                    hint="make a new key for every request",
                )
            if not known.done:
                raise ConflictError(
                    "the first request of this key still runs",
                    code="IN_PROGRESS",
                    field="Idempotency-Key",
                    headers={"Retry-After": "1"},
                )
            return known.answer
        entry = self._entries[place] = _Entry(digest, self._monotonic())
        try:
            entry.answer = await work()
            entry.done = True
        finally:
            if not entry.done:
                del self._entries[place]
        return entry.answer

    def _forget_old(self) -> None:
        now = self._monotonic()
        while self._entries:
            place, entry = next(iter(self._entries.items()))
            old = now - entry.made_at > LIFE_S or len(self._entries) >= ANSWERS_MAX
            # One that still runs stays: what waits for threads is bounded elsewhere.
            if not old or not entry.done:
                break
            del self._entries[place]


async def _digest(body: bytes) -> bytes:
    """A hash of the body; of a large one in a thread, since it takes tens of milliseconds."""

    def digest() -> bytes:
        return hashlib.blake2b(body, digest_size=16).digest()

    return digest() if len(body) < LARGE_BYTES else await asyncio.to_thread(digest)
