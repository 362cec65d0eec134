"""Runs a node, and runs it anew when its configuration changes; what fails is taken back.

1. The newest applied revision holds. Where the node's own file has been changed since that came,
   the file holds, as the next revision.
2. A revision that was being tried when the process ended has failed.
3. A revision that takes no start is adopted by the running node (reconfiguring.py). Else a switch
   stops the node and starts it with the revision, in this process. What is not ready within
   ``READY_S`` is stopped again, and the revision before is started: if that fails as well, the
   process ends, as at any start that fails.
4. Each start is judged by the node itself (desired/agent.py): only then a revision is applied.
5. A log that failed on a full disk takes nothing more, and reads go on. Once there is room again
   the node is started anew, in this process, as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from mainstem_engine.errors import MainstemError
from mainstem_node.config.schema import NodeConfig, Topology
from mainstem_node.desired.documents import document_of, hash_of, load_text, text_of
from mainstem_node.desired.revisions import APPLIED, FAILED, Revision, Revisions
from mainstem_node.footprint import give_back
from mainstem_node.lifecycle import run_service
from mainstem_node.logs import configure_logs, fields
from mainstem_node.node import Node, tier_class
from mainstem_node.reconfiguring import takes_no_start

log = logging.getLogger("mainstem.config")

READY_S = 60.0
STOP_S = 15.0
ROOM_LOOK_S = 5.0
ROOM_BYTES = 64 << 20
"""What a start and the minutes after it need: segments of the log, a checkpoint, a flush. Of a
small disk a twentieth."""
BY_FILE = "file"
TRIED = "the process ended while it was being tried"

MakeNode = Callable[[Topology, NodeConfig, "NodeHost"], Node]


class NodeHost:
    """A Service: one node, whatever its configuration. See the module. ``topology``: the file."""

    def __init__(
        self,
        topology: Topology,
        node_id: str,
        make: MakeNode,
        *,
        clock_ns: Callable[[], int],
        ready_s: float = READY_S,
        room_look_s: float = ROOM_LOOK_S,
    ) -> None:
        self._file = topology
        self._node_id = node_id
        self._make = make
        self._clock_ns = clock_ns
        self._ready_s = ready_s
        self._room_look_s = room_look_s
        self._revision: Revision | None = None
        self._looking: asyncio.Task[None] | None = None
        self._own: dict[str, Any] = document_of(topology, node_id)
        self.file_hash = hash_of(self._own)
        self.revisions = Revisions(topology.node(node_id).data_dir)
        self.topology = topology
        self.document: Mapping[str, Any] = self._own
        self.node: Node | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._switching: asyncio.Task[None] | None = None
        self._failed = asyncio.Event()

    # Service

    async def start(self) -> None:
        """Starts the node with what holds. Raises with a remedy when it cannot."""
        self._loop = asyncio.get_running_loop()
        revision = await asyncio.to_thread(self._holding)
        await self._start(revision)
        self._looking = self._loop.create_task(self._look_for_room(), name="room")

    async def stop(self) -> None:
        for task in (self._looking, self._switching):
            if task is not None and not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        if self.node is not None:
            await self.node.stop()

    async def wait_failed(self) -> None:
        await self._failed.wait()

    def stuck(self) -> str:
        return "" if self.node is None else self.node.stuck()

    # Host

    def adopt(self, rev: int) -> bool:
        """Changes the running node to a revision; False, and nothing done, if that takes a start.
        Blocks; from any thread but the loop's. Raises what may leave a part of it done."""
        revision, node, loop = self.revisions.find(rev), self.node, self._loop
        if revision is None or node is None or loop is None:
            return False
        topology = self._load(revision)
        if not takes_no_start(self.topology, topology, self._node_id):
            return False
        document = self._document(revision, topology)
        changing = asyncio.run_coroutine_threadsafe(node.reconfigure(topology), loop)
        changing.result(self._ready_s)
        self.topology, self.document, self._revision = topology, document, revision
        return True

    def switch(self, rev: int) -> None:
        """Runs the node with a revision; from any thread, returns at once."""
        self._soon(lambda: self._switch(rev))

    def switch_back(self, rev: int, why: str) -> None:
        """Judges a revision as failed and runs the one before; from any thread."""
        self._soon(lambda: self._back(rev, why))

    def _soon(self, work: Callable[[], Any]) -> None:
        loop = self._loop
        if loop is None:
            return

        def begin() -> None:
            self._switching = loop.create_task(work(), name="switch")

        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
            loop.call_soon_threadsafe(begin)

    # Inside

    def _holding(self) -> Revision:
        """The revision to start with; that of the file is made when there is none, or it is new."""
        tried = self.revisions.pending
        if tried is not None:
            self.revisions.judge(tried.rev, FAILED, TRIED)
            log.warning("%s", TRIED, extra=fields(rev=tried.rev))
        current = self.revisions.current
        if current is not None and current.file_hash == self.file_hash:
            if current.hash != self.file_hash:
                log.warning(
                    "the configuration is revision %d of %s, not the file",
                    current.rev, current.by, extra=fields(file=str(self._file.file)),
                )  # fmt: skip
            return current
        config = self._file.node(self._node_id)
        return self.revisions.add(
            text_of(self._own, self._node_id, config.data_dir, config.backup_dir),
            digest=self.file_hash,
            file_hash=self.file_hash,
            by=BY_FILE,
            order="",
            at_ms=self._clock_ns() // 1_000_000,
            state=APPLIED,
        )

    async def _start(self, revision: Revision) -> None:
        topology = await asyncio.to_thread(self._load, revision)
        self.topology, self._revision = topology, revision
        self.document = await asyncio.to_thread(self._document, revision, topology)
        self.node = self._make(topology, topology.node(self._node_id), self)
        await self.node.start()
        await asyncio.to_thread(give_back)

    def _document(self, revision: Revision, topology: Topology) -> Mapping[str, Any]:
        if revision.hash == self.file_hash:
            return self._own
        return document_of(topology, self._node_id)

    def _load(self, revision: Revision) -> Topology:
        """What a revision says. The file itself, where it is the file's: its lines are known."""
        if revision.hash == self.file_hash:
            return self._file
        path = self.revisions.path(revision.rev)
        found = load_text(path, self._file.base_dir, self._node_id)
        logs = self._file.node(self._node_id).logs  # how this process writes them is set already
        nodes = (replace(n, logs=logs) if n.id == self._node_id else n for n in found.nodes)
        return replace(found, nodes=tuple(nodes))

    async def _switch(self, rev: int) -> None:
        revision = self.revisions.find(rev)
        if revision is None:
            return
        await self._stop_node()
        try:
            async with asyncio.timeout(self._ready_s):
                await self._start(revision)
        except (MainstemError, OSError, ValueError, TimeoutError) as error:
            why = f"the node did not start: {error or type(error).__name__}"
            log.error("%s", why, extra=fields(rev=rev))
            await self._back(rev, why)

    async def _back(self, rev: int, why: str) -> None:
        await asyncio.to_thread(self.revisions.judge, rev, FAILED, why)
        before = self.revisions.before(rev)
        await self._stop_node()
        try:
            if before is None:
                raise MainstemError("there is no configuration to go back to")
            log.warning("back to revision %d: %s", before.rev, why, extra=fields(rev=rev))
            await self._start(before)
        except (MainstemError, OSError, ValueError, TimeoutError):
            log.exception("the configuration before does not start either")
            self._failed.set()

    async def _look_for_room(self) -> None:
        """See 5 of the module."""
        while True:
            await asyncio.sleep(self._room_look_s)
            node, revision = self.node, self._revision
            switching = self._switching is not None and not self._switching.done()
            if node is None or revision is None or switching or not node.lacked_room():
                continue
            try:
                disk = await asyncio.to_thread(shutil.disk_usage, node.config.data_dir)
            except OSError as error:
                log.warning("the disk cannot be asked for its room: %s", error)
                continue
            if disk.free >= min(ROOM_BYTES, disk.total // 20):
                log.warning("there is room on the disk again: the node is started anew")
                self._switching = asyncio.ensure_future(self._again(revision))
                await self._switching

    async def _again(self, revision: Revision) -> None:
        """The node as it was, on the same directory."""
        await self._stop_node()
        try:
            async with asyncio.timeout(self._ready_s):
                await self._start(revision)
        except (MainstemError, OSError, ValueError, TimeoutError):
            log.exception("the node does not start again")
            self._failed.set()

    async def _stop_node(self) -> None:
        """A start that failed is stopped, too. What hangs is left behind, and said."""
        node, self.node = self.node, None
        if node is not None:
            try:
                async with asyncio.timeout(STOP_S):
                    await node.stop()
            except TimeoutError:
                log.error("the node took too long to stop", extra=fields(node=self._node_id))


def run_node(topology: Topology, node_id: str, *, until_stdin_ends: bool = False) -> int:
    """Runs one node in this process until SIGTERM or SIGINT; returns the exit code.

    ``until_stdin_ends``: stop too when standard input ends (a supervisor holds its other end).
    Raises MainstemError when the node cannot start.
    """
    import time

    config = topology.node(node_id)
    configure_logs(config.logs.level, config.logs.format)

    def make(found: Topology, section: NodeConfig, host: NodeHost) -> Node:
        return tier_class(section.tier)(found, section, host=host)

    return run_service(
        lambda: NodeHost(topology, node_id, make, clock_ns=time.time_ns),
        until_stdin_ends=until_stdin_ends,
    )
