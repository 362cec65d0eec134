"""Several nodes as child processes: started parents first, stopped children first.

1. Nodes of one rank (distance from the top) start together; the next rank follows when they are
   ready, or after READY_TIMEOUT_S: a child that cannot reach its parent only waits.
2. A process that ends by itself is reported and started again after a pause that doubles from
   RESTART_S_MIN to RESTART_S_MAX, and is short again once a process lived for SETTLED_S. One that
   ends with 2 has a wrong configuration: starting it again would change nothing.
3. Children run in sessions of their own, so that Ctrl-C reaches only the supervisor, which stops
   them rank by rank. Their standard input is a pipe that nobody writes to: it ends when the
   supervisor dies, however it dies, and ``mainstem run --until-stdin-ends`` ends with it.
4. Every line that they write is handed to ``sink`` with the name of its process.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from mainstem_node.config.schema import NodeConfig, Topology

READY_TIMEOUT_S = 60.0
"""A node replays its log before it is ready."""

READY_POLL_S = 0.1
RESTART_S_MIN, RESTART_S_MAX = 0.5, 30.0
SETTLED_S = 60.0
STARTS_WAITED_FOR = 3
"""A process that died so often before it was ready is not waited for any longer."""

STOP_TIMEOUT_S = 15.0
"""A node drains for at most 10 s; after this it is killed, and its log recovers it."""

LINE_BYTES_MAX = 1 << 18
"""A longer line of a child's log is cut; the longest that a node writes is a traceback."""

USAGE_EXIT = 2

Sink = Callable[[str, str], None]
"""Takes (name of the process, line). The supervisor's own reports have the name ``mainstem``."""

OWN_NAME = "mainstem"


@dataclass(frozen=True, slots=True)
class ChildProgram:
    """What to run: ``rank`` 0 starts first; ``url`` answers ``/ready``, None when it has none."""

    name: str
    command: tuple[str, ...]
    rank: int = 0
    url: str | None = None


@dataclass(slots=True)
class _Child:
    program: ChildProgram
    process: asyncio.subprocess.Process | None = None
    watcher: asyncio.Task[None] | None = None
    stopping: bool = False
    starts: int = 0
    is_ready: bool = False
    judged: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it is ready, or has died STARTS_WAITED_FOR times before it was."""


def node_programs(topology: Topology, extra: Sequence[str] = ()) -> list[ChildProgram]:
    """``mainstem run`` for every node of a topology; ``extra`` are more options of it."""
    return [
        ChildProgram(
            node.id,
            (sys.executable, "-m", "mainstem_node", "run", "-c", str(topology.file),
             "--node", node.id, "--dir", str(topology.base_dir), "--until-stdin-ends", *extra),
            rank_of(topology, node),
            node.url,
        )
        for node in topology.nodes
    ]  # fmt: skip


def rank_of(topology: Topology, node: NodeConfig) -> int:
    """How many parents stand above a node in this file."""
    names = {each.id: each for each in topology.nodes}
    rank, at = 0, node
    # A loop of parents is refused by the loader; the bound is for topologies made otherwise.
    while at.parent is not None and at.parent.node in names and rank < len(names):
        at = names[at.parent.node]
        rank += 1
    return rank


class Supervisor:
    """Runs programs until ``stop``. Used inside one event loop."""

    def __init__(self, programs: Sequence[ChildProgram], sink: Sink) -> None:
        self._sink = sink
        self._children = {each.name: _Child(each) for each in programs}
        self.misconfigured: set[str] = set()
        """Programs that ended with 2 and are not started again."""

    @property
    def names(self) -> list[str]:
        return list(self._children)

    def starts(self, name: str) -> int:
        """How often a program was started."""
        return self._children[name].starts

    @property
    def unready(self) -> list[str]:
        """Programs that have never been ready."""
        return [name for name, child in self._children.items() if not child.is_ready]

    async def start(self) -> None:
        """Starts everything, rank by rank; returns when the last rank is ready or given up on."""
        ranked = sorted(self._children.values(), key=lambda child: child.program.rank)
        for _, same in itertools.groupby(ranked, key=lambda child: child.program.rank):
            await asyncio.gather(*(self._start_one(child) for child in same))

    async def stop(self) -> None:
        """Stops everything, the last rank first; kills what takes longer than STOP_TIMEOUT_S."""
        for child in self._children.values():
            child.stopping = True
        ranked = sorted(self._children.values(), key=lambda child: -child.program.rank)
        for _, same in itertools.groupby(ranked, key=lambda child: child.program.rank):
            await asyncio.gather(*(self._stop_one(child) for child in same))

    async def _start_one(self, child: _Child) -> None:
        child.watcher = asyncio.create_task(self._keep_running(child))
        waiting = asyncio.create_task(child.judged.wait())
        await asyncio.wait(
            {waiting, child.watcher}, timeout=READY_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED
        )
        waiting.cancel()
        if not child.is_ready:
            self._sink(OWN_NAME, f"{child.program.name} is not ready; going on without it")

    async def _stop_one(self, child: _Child) -> None:
        process = child.process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await process.wait()
            except TimeoutError:
                self._sink(OWN_NAME, f"{child.program.name} does not stop; killing it")
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
        if child.watcher is not None:
            # Without a process the watcher sits in a pause before the next start.
            if process is None or process.returncode is not None:
                child.watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await child.watcher

    async def _keep_running(self, child: _Child) -> None:
        pause_s = RESTART_S_MIN
        while not child.stopping:
            started = time.monotonic()
            code = await self._run_once(child)
            if child.stopping:
                return
            if code == USAGE_EXIT:
                self.misconfigured.add(child.program.name)
                self._sink(OWN_NAME, f"{child.program.name} cannot run as it is configured")
                return
            if child.starts >= STARTS_WAITED_FOR:
                child.judged.set()
            if time.monotonic() - started > SETTLED_S:
                pause_s = RESTART_S_MIN
            how = f"with code {code}" if code >= 0 else f"by signal {-code}"
            self._sink(
                OWN_NAME, f"{child.program.name} ended {how}; starting it again in {pause_s:g} s"
            )
            await asyncio.sleep(pause_s)
            pause_s = min(RESTART_S_MAX, pause_s * 2)

    async def _run_once(self, child: _Child) -> int:
        child.starts += 1
        child.process = process = await asyncio.create_subprocess_exec(
            *child.program.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=LINE_BYTES_MAX,
            start_new_session=True,
        )
        asking = asyncio.create_task(self._wait_ready(child))
        try:
            await self._forward(child.program.name, process)
            return await process.wait()
        finally:
            asking.cancel()
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    async def _forward(self, name: str, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:
                continue  # the rest of a line beyond LINE_BYTES_MAX; what was read is dropped
            if not line:
                return
            self._sink(name, line.decode("utf-8", "replace").rstrip())

    async def _wait_ready(self, child: _Child) -> None:
        url = child.program.url
        # Another process: there is no event to wait for.
        while url is not None and not await answers(url, "/ready"):  # noqa: ASYNC110
            await asyncio.sleep(READY_POLL_S)
        child.is_ready = True
        child.judged.set()


async def answers(url: str, path: str) -> bool:
    """Whether ``url`` answers ``path`` with 200; behind TLS, whether it accepts a connection."""
    parts = urlsplit(url)
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(2.0):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            if parts.scheme == "https":
                return True
            writer.write(
                f"GET {path} HTTP/1.1\r\nHost: {parts.hostname}\r\nConnection: close\r\n\r\n"
                .encode()
            )  # fmt: skip
            status = await reader.readline()
    except (OSError, TimeoutError):
        return False
    finally:
        if writer is not None:
            writer.close()
    return b" 200 " in status
