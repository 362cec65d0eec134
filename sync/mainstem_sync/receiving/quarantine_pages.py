"""Pages of the quarantines below: asked for in replies, answered in the status of each node.

1. Whoever is asked says so to its children in every reply for a while (an ASK frame), and they to
   theirs. Each node puts its page into its status, so that pages come up with the heartbeats.
2. A question has a number; a newer one takes its place. Nothing of it is durable, and a node that
   does not know the frame shows its newest items, as ever.

ASK header: ``n`` the number, ``limit``, ``after`` by node the last item that was shown, ``node``
and ``table`` to choose by, empty for all.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mainstem_sync.errors import WireError
from mainstem_sync.receiving.quarantine import QuarantineStore
from mainstem_sync.wire.fields import integer, text
from mainstem_sync.wire.frames import Frame, FrameType, encode_frame

ASKED_S = 30.0
"""Two tiers answer within two heartbeats each, and each heartbeat takes two seconds."""

PAGE_ITEMS_MAX = 500
PAGE_BYTES_MAX = 128 << 10
"""A page travels in a status, through every tier above."""

AFTER_MAX = 10_000
"""Nodes below that have begun a page."""

DEPTH_MAX = 16


@dataclass(frozen=True, slots=True)
class Question:
    """``number`` is greater than that of every question before it."""

    number: int
    limit: int
    after: Mapping[str, str] = field(default_factory=dict)
    node: str = ""
    table: str = ""

    def encode(self) -> bytes:
        header = {
            "n": self.number, "limit": self.limit, "after": dict(self.after), "node": self.node,
            "table": self.table,
        }  # fmt: skip
        return encode_frame(FrameType.ASK, header)

    @classmethod
    def from_frame(cls, frame: Frame) -> Question:
        """Raises WireError."""
        header, after = frame.header, frame.header.get("after")
        if not isinstance(after, dict) or len(after) > AFTER_MAX:
            raise WireError("after is not a map of nodes")
        return cls(
            integer(header.get("n"), "n"),
            integer(header.get("limit"), "limit", PAGE_ITEMS_MAX),
            {text(node, "node"): text(item, "item") for node, item in after.items()},
            text(header.get("node"), "node", empty=True),
            text(header.get("table"), "table", empty=True),
        )


class QuarantinePages:
    """See the module. Thread-safe. ``statuses``: what the children last said."""

    def __init__(
        self,
        node: str,
        quarantine: QuarantineStore,
        statuses: Callable[[], Mapping[str, Mapping[str, Any]]],
        *,
        clock_ns: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self._node = node
        self._quarantine = quarantine
        self._statuses = statuses
        self._clock_ns = clock_ns
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._question: Question | None = None
        self._until = float("-inf")
        self._page: tuple[int, dict[str, Any]] | None = None

    def ask(
        self,
        limit: int,
        after: Mapping[str, str] | None = None,
        *,
        node: str = "",
        table: str = "",
    ) -> Question:
        """Ask every node below; ``pages`` has the answers as they come."""
        limit = max(1, min(limit, PAGE_ITEMS_MAX))
        with self._lock:
            before = 0 if self._question is None else self._question.number
            number = max(before + 1, self._clock_ns() // 1_000_000)
        question = Question(number, limit, dict(after or {}), node, table)
        self._take(question)
        return question

    def asked(self, frame: Frame) -> bool:
        """The parent asks; True for what it did not ask before. Raises WireError."""
        return self._take(Question.from_frame(frame))

    def frames(self, child: str) -> bytes:
        """What rides in a reply to a child."""
        question = self._open()
        return b"" if question is None else question.encode()

    def page(self) -> dict[str, Any] | None:
        """This node's answer, for its status: ``{"n", "items", "more"}``; None when nobody asks."""
        question = self._open()
        if question is None:
            return None
        with self._lock:
            if self._page is not None and self._page[0] == question.number:
                return self._page[1]
        items = self._quarantine.items(
            limit=question.limit + 1, node=question.node or None, table=question.table or None,
            after=question.after.get(self._node),
        )  # fmt: skip
        kept: list[dict[str, Any]] = []
        size = 0
        for item in items[: question.limit]:
            size += len(json.dumps(item))
            if size > PAGE_BYTES_MAX and kept:
                break
            kept.append(item)
        page = {"n": question.number, "items": kept, "more": len(kept) < len(items)}
        with self._lock:
            self._page = (question.number, page)
        return page

    def pages(self, question: Question) -> dict[str, dict[str, Any]]:
        """The answers that have come, by node."""
        found = {}
        for status in self._statuses().values():
            for name, said in _said(status):
                page = said.get("page")
                if isinstance(page, dict) and page.get("n") == question.number:
                    found[name] = page
        return found

    def _take(self, question: Question) -> bool:
        with self._lock:
            if self._question is not None and question.number <= self._question.number:
                return False
            self._question = question
            self._until = self._monotonic() + ASKED_S
            return True

    def _open(self) -> Question | None:
        with self._lock:
            return self._question if self._monotonic() < self._until else None


def _said(status: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[str, Mapping[str, Any]]]:
    said = status.get("quarantine")
    if isinstance(said, dict):
        yield str(status.get("node")), said
    if depth < DEPTH_MAX:
        for child in status.get("children") or ():
            if isinstance(child, dict):
                yield from _said(child, depth + 1)
