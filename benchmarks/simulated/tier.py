"""A platform or a group as a process of its own, told what time it is and what arrives.

1. The process holds a real engine with its log and its files, and a real Federation: receiver,
   prover, relay. Nothing of it is a twin. What HTTP would do is done by the caller.
2. Every call says what time it is. The answer says how many processor seconds of the process it
   took, on all its threads; what its own threads do between two calls (flushes, compactions) comes
   with the next answer. Reading and writing the messages of this file is not counted.
3. Messages are msgpack over a pipe: a bytes body stays what it is.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack

from mainstem_sync.sending.session import Request

READY_TIMEOUT_S = 120.0
"""A process starts in a second; opening a large log takes longer."""


@dataclass(frozen=True, slots=True)
class Post:
    """What a child sends. ``extra`` of a question for orders: see tier_process.py."""

    child: str
    path: str
    body: bytes
    extra: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Answered:
    """What it gets back."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Due:
    """What a node has to post now; if nothing: for how long at most, and how long for sure."""

    requests: list[Request]
    wait_s: float
    deaf_s: float = 0.0


@dataclass
class Tier:
    """The end of the pipe that gives orders. ``has_parent``: it relays. ``background_s`` is what
    its threads spent between calls and nobody was told of yet."""

    name: str
    directory: Path
    has_parent: bool
    paths: tuple[str, ...] = ()
    background_s: float = 0.0
    has_work: bool = False
    """There may be something to hand on, since this was last set to False."""
    _process: Any = field(default=None, init=False, repr=False)
    _pipe: Any = field(default=None, init=False, repr=False)

    def start(self, now_s: float) -> float:
        """Opens the engine; returns the processor seconds of that."""
        from simulated.tier_process import serve

        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, self.name, str(self.directory), self.has_parent, list(self.paths))
        self._process = context.Process(target=serve, args=(*arguments, now_s), daemon=True)
        self._process.start()
        theirs.close()
        if not self._pipe.poll(READY_TIMEOUT_S):
            raise SystemExit(f"benchmark: {self.name} does not start")
        return float(self._receive()[1])

    def serve(self, now_s: float, posts: list[Post]) -> tuple[list[Answered], float]:
        """The answers, when everything is durable and applied; and processor seconds."""
        items = [[post.child, post.path, post.body, list(post.extra)] for post in posts]
        found, seconds = self._call("serve", now_s, items)
        return [Answered(status, body) for status, body in found], seconds

    def due(self, now_s: float) -> tuple[Due, float]:
        """What it has to post to its own parent; and processor seconds."""
        (requests, wait_s, deaf_s), seconds = self._call("due", now_s)
        return Due([Request(*request) for request in requests], wait_s, deaf_s), seconds

    def replied(self, now_s: float, number: int, answer: Answered | None) -> float:
        """Its parent has answered, or did not; processor seconds."""
        reply = None if answer is None else [answer.status, answer.body]
        return self._call("replied", now_s, number, reply)[1]

    def maintain(self, now_s: float) -> float:
        """What a node does once a second: manifests, proofs; processor seconds."""
        return self._call("maintain", now_s)[1]

    def figures(self, now_s: float) -> dict[str, Any]:
        """Memory, disk, what is stored and proven; see tier_process.py."""
        found: dict[str, Any] = self._call("figures", now_s)[0]
        return found

    def stored(self, now_s: float, table: str) -> dict[str, int]:
        """Rows by device, read and counted, once nothing else is to be measured."""
        found: dict[str, int] = self._call("stored", now_s, table)[0]
        return found

    def kill(self) -> None:
        """As kill -9."""
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def stop(self) -> None:
        if self._process is not None and self._process.is_alive():
            self.kill()

    def _call(self, name: str, now_s: float, *arguments: object) -> tuple[Any, float]:
        self._pipe.send_bytes(msgpack.packb([name, now_s, *arguments]))
        result, seconds, background_s, has_work = self._receive()
        self.background_s += background_s
        self.has_work = self.has_work or has_work
        return result, seconds

    def _receive(self) -> Any:
        try:
            return msgpack.unpackb(self._pipe.recv_bytes(), strict_map_key=False)
        except EOFError:
            raise SystemExit(f"benchmark: the process of {self.name} has ended") from None
