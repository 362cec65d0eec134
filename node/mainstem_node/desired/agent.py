"""Takes configurations from above, tries them, and says what became of them.

1. An order brings a document, or the number of an earlier revision, and the revision that whoever
   gave it had seen (``base``). Where that is not the one that holds, nothing is done:
   ``config_moved_on``. So two people who change one node do not undo each other.
2. The document is checked as a file is. What is wrong is said, with the key, and nothing is done.
3. It becomes the next revision, pending. Where that takes no start, the running node goes on with
   it; else the host of the node starts it in the same process. If that fails the one before comes
   back.
4. A revision that changes what the link to the parent goes by has to reach the parent within
   ``link.reach_within`` of the revision before, else that one comes back, too. Then it is applied,
   and the order is DONE.
5. A template that was altered above (amendment.py) is altered here, and in the document: a revision
   like any other, of whatever this node has by then.
6. What a node has is stated to the tiers above whenever it is another one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from mainstem_engine.errors import EngineError, MainstemError
from mainstem_node.config.schema import SECOND_NS, NodeConfig, Topology
from mainstem_node.desired.amendment import Amendment
from mainstem_node.desired.documents import (
    NEW_LINK_KEYS,
    Document,
    document_of,
    hash_of,
    load_text,
    packed,
    text_of,
    unpacked,
)
from mainstem_node.desired.revisions import APPLIED, FAILED, PENDING, Revision, Revisions
from mainstem_node.errors import BadRequestError, ConfigError
from mainstem_node.logs import fields
from mainstem_sync.down.downward import Downward
from mainstem_sync.down.orders import Standing
from mainstem_sync.wire.order import ERROR_CHARS_MAX, RESULT_BYTES_MAX, Order, State

log = logging.getLogger("mainstem.config")

KIND = "config"
SLOT = "config"
STATEMENT = "@config"
REACH_S = 120.0
"""Where there is no revision before that says it."""
LOOK_S = 0.5
ACK_S_MAX = 30.0
MOVED_ON = "config_moved_on"
AMEND = "amend"


class Host(Protocol):
    """Whoever runs the node, and can run it with another configuration."""

    @property
    def revisions(self) -> Revisions: ...
    @property
    def file_hash(self) -> str:
        """Of the document that the node's own file makes."""

    @property
    def topology(self) -> Topology:
        """What the running node was started with."""

    @property
    def document(self) -> Document:
        """The same as a document."""

    def adopt(self, rev: int) -> bool:
        """Changes the running node to a revision; False, and nothing done, if that takes a start.
        Blocks. Raises what may leave a part of it done."""

    def switch(self, rev: int) -> None:
        """Stops the node and starts it with a revision; returns at once. If that fails the revision
        is judged, and the one before is started."""

    def switch_back(self, rev: int, why: str) -> None:
        """Judges a revision as failed and starts the one before; returns at once."""


class ConfigAgent:
    """See the module: an OrderTaker. ``is_linked``: the parent has answered what was sent within
    so many seconds, or there is none. ``amend`` alters the stored template. ``monotonic`` s;
    ``pause`` waits for so many, and returns True if the agent stops meanwhile."""

    def __init__(
        self,
        down: Downward,
        host: Host,
        *,
        is_linked: Callable[[float], bool],
        amend: Callable[[Amendment], object],
        clock_ns: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
        pause: Callable[[float], bool] | None = None,
    ) -> None:
        self._down = down
        self._host = host
        self._is_linked = is_linked
        self._amend = amend
        self._clock_ns = clock_ns
        self._monotonic = monotonic
        self._stopping = threading.Event()
        self._pause = pause or self._stopping.wait
        self._thread: threading.Thread | None = None
        self._began_at = monotonic()

    @property
    def _node(self) -> NodeConfig:
        """What the node runs with now."""
        return self._host.topology.node(self._down.node)

    def state(self) -> None:
        """States what this node has, if the tiers above have not heard of it."""
        current = self._host.revisions.current
        if current is None:
            return
        known = self._down.orders.statement(self._down.node, STATEMENT)
        what = (current.rev, current.hash)
        if known is not None and (known.result.get("rev"), known.result.get("hash")) == what:
            return
        said: dict[str, Any] = {
            "rev": current.rev, "hash": current.hash, "by": current.by, "at": current.at_ms,
        }  # fmt: skip
        document = packed(self._host.document)
        if len(document) < RESULT_BYTES_MAX - 1024:
            said["document"] = document
        self._down.say(STATEMENT, State.DONE, said)

    def take(self, order: Order) -> None:
        """A new configuration; tried on a thread of its own."""
        self._begin(lambda: self._try(order))

    def resume(self, standing: Standing) -> None:
        """What had begun before this start: most often the start that it made itself."""
        order = standing.order
        revision = self._host.revisions.of_order(order.id)
        if revision is None:
            self.take(order)
        elif revision.state == PENDING:
            self._begin(lambda: self._prove(order.id, revision, self._began_at))
        else:
            self._tell(order.id, revision)

    def stop(self) -> None:
        self._stopping.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(ACK_S_MAX)

    def _begin(self, work: Callable[[], None]) -> None:
        """One at a time: a newer one waits for the older one's end."""
        before = self._thread

        def run() -> None:
            if before is not None:
                before.join()
            if self._stopping.is_set():
                return
            try:
                work()
            except (MainstemError, OSError, TimeoutError) as error:
                # As if the process had ended here: the order is taken up at the next start.
                log.error("a configuration is left as it is: %s", error)

        self._thread = threading.Thread(target=run, name="mainstem-config", daemon=True)
        self._thread.start()

    def _try(self, order: Order) -> None:
        try:
            document, text = self._wanted(order.body)
            self._require_base(order.body.get("base"))
            digest = hash_of(document)
            current = self._host.revisions.current
            self._check(text)
            if AMEND in order.body:
                self._amend(Amendment.from_body(order.body[AMEND]))
            if current is not None and current.hash == digest:
                self._tell(order.id, current)
                return
        except (BadRequestError, ConfigError, EngineError) as error:
            self._fail(order.id, error.message)
            return
        self._down.say(order.id, State.STARTED).wait(ACK_S_MAX)
        revision = self._host.revisions.add(
            text,
            digest=digest,
            file_hash=self._host.file_hash,
            by=order.by or order.issuer,
            order=order.id,
            at_ms=self._clock_ns() // 1_000_000,
            state=PENDING,
        )
        log.info("trying a configuration", extra=fields(rev=revision.rev, by=revision.by))
        try:
            is_adopted = self._host.adopt(revision.rev)
        except (MainstemError, OSError, ValueError, TimeoutError) as error:
            why = f"it could not be applied: {error or type(error).__name__}"
            self._host.switch_back(revision.rev, why)
            return
        if is_adopted:
            self._prove(order.id, revision, self._monotonic())
        else:
            self._host.switch(revision.rev)

    def _wanted(self, body: Mapping[str, Any]) -> tuple[Document, bytes]:
        """The document of an order, and as a file. Raises BadRequestError."""
        back = body.get("rollback")
        if back is None:
            node = self._node
            if AMEND in body:
                amendment = Amendment.from_body(body[AMEND])
                document: Document = amendment.of_document(self._host.document)
            else:
                document = unpacked(body.get("document"))
            return document, text_of(document, node.id, node.data_dir, node.backup_dir)
        revisions = self._host.revisions
        current = revisions.current
        found = (
            revisions.before(current.rev if current is not None else 1)
            if back == "before"
            else revisions.find(int(back))
        )
        if found is None or not revisions.path(found.rev).exists():
            raise BadRequestError(f"there is no revision {back!r} to go back to", field="to")
        text = revisions.path(found.rev).read_bytes()
        topology = load_text(revisions.path(found.rev), self._host.topology.base_dir, self._node.id)
        return document_of(topology, self._node.id), text

    def _require_base(self, base: object) -> None:
        current = self._host.revisions.current
        holding = 0 if current is None else current.rev
        if base is not None and base != holding:
            raise BadRequestError(
                f"{MOVED_ON}: {self._node.id} has revision {holding}, not {base!r}: plan again"
            )

    def _check(self, text: bytes) -> None:
        """Raises ConfigError with everything that is wrong."""
        with self._host.revisions.candidate(text) as path:
            load_text(path, self._host.topology.base_dir, self._node.id)

    def _prove(self, order_id: str, revision: Revision, began_at: float) -> None:
        """The node runs with the revision since ``began_at``, and is ready. Now it must reach its
        parent."""
        limit_s = self._reach_s(revision)
        while limit_s is not None and not self._is_linked(self._monotonic() - began_at):
            if self._pause(LOOK_S):
                return
            if self._monotonic() - began_at > limit_s:
                why = f"the parent was not reached within {limit_s:g} s"
                self._host.switch_back(revision.rev, why)
                return
        self._host.revisions.judge(revision.rev, APPLIED)
        self.state()
        log.info("the configuration holds", extra=fields(rev=revision.rev, by=revision.by))
        self._tell(order_id, self._host.revisions.find(revision.rev) or revision)

    def _reach_s(self, revision: Revision) -> float | None:
        """How long the parent may take to answer, by the revision before; None if nothing has
        changed that leads to it."""
        before = self._host.revisions.before(revision.rev)
        if before is None:
            return REACH_S
        path = self._host.revisions.path(before.rev)
        try:
            old = load_text(path, self._host.topology.base_dir, self._node.id).node(self._node.id)
        except (ConfigError, OSError, KeyError):
            return REACH_S
        if all(getattr(old, key) == getattr(self._node, key) for key in NEW_LINK_KEYS):
            return None
        return old.link.reach_within / SECOND_NS

    def _tell(self, order_id: str, revision: Revision) -> None:
        if revision.state == FAILED:
            said = {"rev": revision.rev, "rolled_back": True}
            self._down.say(order_id, State.FAILED, said, revision.error).wait(ACK_S_MAX)
        else:
            self._down.say(order_id, State.DONE, {"rev": revision.rev}).wait(ACK_S_MAX)

    def _fail(self, order_id: str, why: str) -> None:
        log.warning("a configuration is refused: %s", why)
        said = {"rolled_back": False}
        self._down.say(order_id, State.FAILED, said, why[:ERROR_CHARS_MAX]).wait(ACK_S_MAX)
