"""The collector that asks for a page every so often; an answer is a message.

1. It asks at the start, then at multiples of ``every`` and ``offset`` later. What was missed is not
   asked for afterwards, but ``{since}`` in the request says since when there was no answer.
2. What may answer in a moment is asked again after growing pauses of at most ``every``, and not
   before the time that the server asks for (Retry-After). A mistake waits for the next turn.
3. Where answers have times of their own (``dated``), one that says nothing new is not read again:
   the server may say so (ETag, Last-Modified), or it is the answer before, byte for byte. Others
   are samples: the same value at another time is news.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import aiohttp
from yarl import URL

from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.page import Page, PageError, ask, new_session
from mainstem_edge.collectors.supervised import AsyncCollector
from mainstem_edge.reader import Reader
from mainstem_edge.turns import next_turn_ns

log = logging.getLogger("mainstem.collector.http_poll")

TOPIC = "http_poll"
NS_PER_S = 1_000_000_000
RETRY_S_MIN = 5.0
"""The first pause after a failure: a server that restarts is back by then."""
EARLY_NS = NS_PER_S // 2
"""A pause may end a little before its turn; that turn is over then all the same."""


class HttpPollCollector(AsyncCollector):
    """``dated``: the answers have times of their own."""

    kind: ClassVar[str] = "http_poll"
    source_holds: ClassVar[bool] = False

    def __init__(
        self,
        name: str,
        readers: Sequence[Reader],
        queue: MessageQueue,
        *,
        page: Page,
        every_ns: int,
        offset_ns: int = 0,
        dated: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(name, readers, queue, **options)
        self._page = page
        self._every_ns = every_ns
        self._offset_ns = offset_ns
        self._dated = dated
        self._since_ns: int | None = None
        self._marks: Mapping[str, str] = {}
        self._marked: URL | None = None
        self._digest = b""
        self._failures = 0
        self._unchanged = 0
        self._due_ns: int | None = None

    def details(self) -> dict[str, Any]:
        due_ns = self._due_ns
        return {
            "url": self._page.shown,
            "unchanged": self._unchanged,
            "next_ms": None if due_ns is None else due_ns // 1_000_000,
        }

    async def converse(self) -> None:
        async with new_session(self._page) as session:
            while True:
                self._due_ns = await self.turn(session)
                # By the clock of now: one that is set back meanwhile makes no pause longer.
                await asyncio.sleep(max(0, self._due_ns - self.clock_ns()) / NS_PER_S)

    async def turn(self, session: aiohttp.ClientSession) -> int:
        """Asks once; when to ask again, in ns."""
        try:
            await self._ask(session)
        except PageError as error:
            return self._failed(error)
        self._failures = 0
        return self._next_turn_ns()

    def _next_turn_ns(self) -> int:
        now_ns, due_ns = self.clock_ns(), self._due_ns
        early = due_ns is not None and 0 < due_ns - now_ns < EARLY_NS
        return next_turn_ns(now_ns + EARLY_NS * early, self._every_ns, self._offset_ns)

    async def _ask(self, session: aiohttp.ClientSession) -> None:
        now_ns = self.clock_ns()
        since_ns = now_ns - self._every_ns if self._since_ns is None else self._since_ns
        address = self._page.address(now_ns, since_ns)
        marks = self._marks if self._dated and address == self._marked else {}
        answer = await ask(session, self._page, now_ns, since_ns, marks)
        if self.health.connected_ns is None:
            self.health.connected()
        if answer.body is None or self._is_known(answer.body):
            self._unchanged += 1
        elif not await self.hand_on([self.message(TOPIC, answer.body)] if answer.body else []):
            return
        self._since_ns, self._marks, self._marked = now_ns, answer.marks, address

    def _is_known(self, body: bytes) -> bool:
        """True for the answer before, where it would become the rows before."""
        digest = hashlib.blake2b(body, digest_size=16).digest()
        known = self._dated and digest == self._digest
        self._digest = digest
        return known

    def _failed(self, error: PageError) -> int:
        if str(error) != self.health.error:
            log.warning("collector %s: %s", self.name, error)
        self.health.ended()
        self.health.failed(str(error))
        now_ns = self.clock_ns()
        due_ns = self._next_turn_ns()
        if error.soon:
            pause_s = RETRY_S_MIN * 2.0 ** min(self._failures, 30) * self._rng.uniform(0.75, 1.25)
            self._failures += 1
            due_ns = min(due_ns, now_ns + round(pause_s * NS_PER_S))
        if error.retry_after_s is not None:
            due_ns = max(due_ns, now_ns + round(error.retry_after_s * NS_PER_S))
        return due_ns
