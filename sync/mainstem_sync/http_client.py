"""The uplink over HTTP: drives a Sender with aiohttp."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any


class Uplink:
    """Keeps one node connected to its parent, for ever.

    ``urls``: base addresses of the parent, first reachable wins. ``token``: bearer token, or a
    callable that reads it anew at every connect.
    """

    def __init__(
        self,
        sender: Any,
        urls: Sequence[str],
        token: str | Callable[[], str],
        *,
        rng: random.Random | None = None,
        ssl: Any = None,
    ) -> None:
        raise NotImplementedError

    async def run(self) -> None:
        """Until cancelled: HELLO, then batches; reconnects with jittered backoff."""
        raise NotImplementedError

    async def drain(self, timeout_s: float) -> bool:
        """Wait until nothing is owed; False at the deadline."""
        raise NotImplementedError
