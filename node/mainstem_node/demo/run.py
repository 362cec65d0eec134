"""One run of the demo, from the broker's start to the verdict.

1. Broker, relays, nodes (parents first), then the devices once every edge is subscribed: a broker
   keeps nothing for a subscriber that it has never seen.
2. Without a time limit the factory runs until Ctrl-C.
3. With one, the devices publish for that long and wait for every PUBACK; the collectors stop once
   their queues are empty; everything drains for at most DRAIN_S; the verdict is printed.
4. The end, in order: devices, edges, platforms, group, control, broker, relays. Everything stays in
   the directory, and the next run goes on from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
import webbrowser
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import aiohttp

from mainstem_node.auth import ensure_link_tokens
from mainstem_node.broker import EmbeddedBroker
from mainstem_node.client import connect
from mainstem_node.config import load_topology
from mainstem_node.demo.control import LinkControl
from mainstem_node.demo.factory import DemoError, DemoFactory, example_directory, prepare
from mainstem_node.demo.verdict import (
    ACCOUNTING_TITLES,
    DeviceLedger,
    accounting_rows,
    expectations,
    judge,
    undelivered,
    unproven,
)
from mainstem_node.demo.watch import Watch
from mainstem_node.supervisor import OWN_NAME, STOP_TIMEOUT_S, Supervisor, node_programs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from rich.live import Live

DRAIN_S = 120.0
"""How long a drain may take: the last minute has to end, and then to be closed and verified."""

SUBSCRIBE_S = 60.0
TAKE_OVER_S = 60.0
"""How long the edges may take for what the broker still holds for them."""

ASK_EVERY_S = 1.0
SAY_EVERY_S = 10.0
"""How often a demo without a terminal says how it is."""

DEVICES_PAUSE_S = 2.0
PASSED, FAILED, INTERRUPTED = 0, 1, 130


class Demo:
    """A demo in one directory. ``note`` takes remarks, ``table`` the accounting at the end."""

    def __init__(
        self,
        directory: Path,
        port_base: int,
        *,
        seconds: float | None,
        note: Callable[[str], None],
        table: Callable[[Sequence[str], Sequence[Sequence[Any]]], None],
    ) -> None:
        self._seconds = seconds
        self._note = note
        self._table = table
        self._factory: DemoFactory = prepare(directory, port_base)
        self._topology = load_topology(self._factory.topology)
        ensure_link_tokens(self._topology)
        self._logs = LogFiles(directory / "logs", note)
        self._broker = EmbeddedBroker(directory / "broker", port=self._factory.broker_port)
        self._supervisor = Supervisor(
            node_programs(self._topology, ("--logs", "text")), self._logs.write
        )
        self._control = LinkControl(self._factory)
        self._watch = Watch(self._topology, self._factory)
        self._ledger = directory / "devices.json"
        self._phase = "starting"

    @property
    def url(self) -> str:
        """The group's address."""
        return next(node.url for node in self._topology.nodes if node.parent is None)

    async def run(self, stop: asyncio.Event, *, browser: bool) -> int:
        """Until ``stop`` is set, or until the verdict; the exit code."""
        waiting = asyncio.create_task(stop.wait())
        try:
            working = asyncio.create_task(self._work(browser))
            showing = asyncio.create_task(self._show())
            await asyncio.wait({working, showing, waiting}, return_when=asyncio.FIRST_COMPLETED)
            for task in (showing, working):
                if not task.done():
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task
            if showing.done() and not showing.cancelled() and showing.exception() is not None:
                showing.result()
            if not working.cancelled():
                return working.result()
            return INTERRUPTED if self._seconds is not None else PASSED
        finally:
            waiting.cancel()
            await self._end()

    async def _work(self, browser: bool) -> int:
        await asyncio.to_thread(self._broker.start)
        await self._control.start()
        await self._supervisor.start()
        if self._supervisor.unready:
            names = ", ".join(self._supervisor.unready)
            raise DemoError(f"not ready: {names}", hint=f"see {self._logs.directory}")
        await self._until(self._is_subscribed, SUBSCRIBE_S, "the edges are subscribed")
        self._phase = f"{self.url} shows the factory"
        self._note(f"the factory runs: {self.url}")
        if browser:
            await asyncio.to_thread(webbrowser.open, self.url)
        self._ledger.unlink(missing_ok=True)
        if self._seconds is None:
            while True:
                await self._run_devices()
                self._note("the devices stopped; starting them again")
                await asyncio.sleep(DEVICES_PAUSE_S)
        if await self._run_devices() != 0:
            raise DemoError("the devices failed", hint=f"see {self._logs.directory}/devices.log")
        return await self._drain(DeviceLedger.read(self._ledger))

    async def _run_devices(self) -> int:
        """The simulator as a process; returns its exit code."""
        command = [
            sys.executable, str(example_directory() / "simulator.py"),
            "--broker", self._factory.broker_url, "--ledger", str(self._ledger),
            "--until-stdin-ends",
        ]  # fmt: skip
        if self._seconds is not None:
            command += ["--seconds", str(self._seconds)]
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                self._logs.write("devices", line.decode("utf-8", "replace").rstrip())
            return await process.wait()
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(STOP_TIMEOUT_S):
                        await process.wait()
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    async def _drain(self, ledger: DeviceLedger) -> int:
        """Stops the collectors, waits for the proof, prints the verdict."""
        self._note(f"{ledger.total:,} rows acknowledged by the broker; stopping the collectors")
        self._phase = "draining"
        await asyncio.gather(
            *(self._stop_intake(node.url) for node in self._topology.nodes if node.collectors)
        )
        wanted = expectations(self._topology)
        deadline = time.monotonic() + DRAIN_S
        open_for: list[str] = ["nothing was asked yet"]
        while open_for and time.monotonic() < deadline:
            await asyncio.sleep(ASK_EVERY_S)
            statuses = dict(self._watch.statuses)
            missing = [node.id for node in self._topology.nodes if node.id not in statuses]
            open_for = [f"{name} does not answer" for name in missing] or [
                *unproven(wanted, ledger, statuses), *undelivered(statuses.values()),
            ]  # fmt: skip
            self._phase = f"draining: {open_for[0]}" if open_for else "comparing with the ledger"
        statuses = await self._watch.ask()
        reasons = [f"{node.id} does not answer" for node in self._topology.nodes
                   if node.id not in statuses]  # fmt: skip
        reasons = reasons or await asyncio.to_thread(judge, wanted, ledger, statuses, self._sql)
        self._phase = ""
        self._table(ACCOUNTING_TITLES, accounting_rows(statuses))
        for reason in reasons:
            self._note(f"FAILED: {reason}")
        if reasons:
            return FAILED
        devices = sum(len(each) for each in ledger.rows.values())
        self._note(
            f"passed: {ledger.total:,} rows of {devices} devices are at every tier that receives"
            " them, every sum holds, every closed minute is verified"
        )
        return PASSED

    def _sql(self, node: str, statement: str) -> Sequence[Sequence[Any]]:
        with connect(self._topology.node(node).url) as client:
            rows: Sequence[Sequence[Any]] = client.sql(statement).rows
            return rows

    async def _stop_intake(self, url: str) -> None:
        timeout = aiohttp.ClientTimeout(total=TAKE_OVER_S)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(f"{url}/api/v1/intake", json={"action": "stop"}) as answer,
        ):
            if answer.status != 200:
                raise DemoError(f"{url} does not stop its collectors: {await answer.text()}")

    def _is_subscribed(self) -> bool:
        edges = [node.id for node in self._topology.nodes if node.collectors]
        return all(
            name in self._watch.statuses
            and all(c["state"] == "connected" for c in self._watch.statuses[name]["collectors"])
            for name in edges
        )

    async def _until(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        deadline = time.monotonic() + timeout_s
        # The watch asks other processes; only looking again tells.
        while not condition():
            if time.monotonic() > deadline:
                raise DemoError(
                    f"not within {timeout_s:g} s: {what}", hint=f"see {self._logs.directory}"
                )
            await asyncio.sleep(ASK_EVERY_S / 4)

    async def _show(self) -> None:
        """Asks every node once a second, and shows it on a terminal or says it now and then."""
        said = time.monotonic()
        with contextlib.ExitStack() as stack:
            live = stack.enter_context(live_view()) if sys.stdout.isatty() else None
            while True:
                await self._watch.ask()
                if live is not None:
                    live.update(self._watch.picture(self._phase), refresh=True)
                elif time.monotonic() - said >= SAY_EVERY_S:
                    said = time.monotonic()
                    self._note(f"{self._phase}: {self._watch.summary()}")
                await asyncio.sleep(ASK_EVERY_S)

    async def _end(self) -> None:
        self._note("stopping")
        steps: list[Callable[[], Awaitable[object]]] = [
            self._supervisor.stop,
            self._control.stop,
            lambda: asyncio.to_thread(self._broker.stop),
            self._watch.close,
            lambda: asyncio.to_thread(self._factory.close),
        ]
        try:
            for step in steps:
                await step()
        finally:
            self._logs.close()


def live_view() -> Live:
    """A view that is drawn anew in place."""
    from rich.live import Live

    return Live(auto_refresh=False, transient=True)


class LogFiles:
    """One file per process under ``directory``, begun anew by each run."""

    def __init__(self, directory: Path, note: Callable[[str], None]) -> None:
        self.directory = directory
        self._note = note
        self._files: dict[str, TextIO] = {}

    def write(self, name: str, line: str) -> None:
        """A line of process ``name``; the supervisor's own reports are shown at once."""
        if name == OWN_NAME:
            self._note(line)
        if name not in self._files:
            self.directory.mkdir(parents=True, exist_ok=True)
            path = self.directory / f"{name}.log"
            self._files[name] = path.open("w", encoding="utf-8", buffering=1)
        self._files[name].write(line + "\n")

    def close(self) -> None:
        for file in self._files.values():
            file.close()
