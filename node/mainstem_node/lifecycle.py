"""How a process lives: event loop, signals, and the deadline of its end.

1. The event loop is uvloop where it is installed, else asyncio's own.
2. SIGTERM and SIGINT ask for an orderly stop, which may take ``DRAIN_S_MAX``; what is not done by
   then is cancelled. A second signal ends the process at once. A terminal that is closed (SIGHUP)
   asks for the same, unless the process was told to outlive it.
3. This is the only file that knows about signals. A service manager hears of the start, the stop,
   and whether work goes on (``service_manager.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol

from mainstem_node.logs import fields
from mainstem_node.service_manager import READY, STOPPING, ServiceManager

log = logging.getLogger("mainstem.lifecycle")

DRAIN_S_MAX = 10.0
"""What service managers grant at least before they kill; nothing acknowledged depends on it."""
SWITCH_INTERVAL_S = 0.0005
"""How soon a thread that computes lets the event loop go on. Python's default of 5 ms, times the
threads that wait, is what an acknowledgement would be late by; a flush takes no longer for it."""
GRACE_S = 2.0
"""After a stop that was cut off: for the log line, and for threads that still end by themselves. A
thread that hangs in a system call would otherwise keep the process alive for ever."""
EXIT_STOPPED = 0
EXIT_UNCLEAN = 1
EXIT_SECOND_SIGNAL = 130
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)  # not on Windows


class Service(Protocol):
    """What can be run: starts, fails or not, and stops."""

    async def start(self) -> None:
        """Returns when the service works; raises when it cannot."""

    async def stop(self) -> None:
        """Returns when everything is put away. Called too after a start that failed."""

    async def wait_failed(self) -> None:
        """Returns when the service cannot go on; may never return."""

    def stuck(self) -> str:
        """What stands still although work waits for it; empty while all is well."""


def end_process(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    """Asks a child process to end; kills it when that takes longer than ``timeout_s``."""
    process.terminate()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's loop where it is installed, else asyncio's."""
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def run_service(
    make: Callable[[], Service],
    *,
    drain_s: float = DRAIN_S_MAX,
    until_stdin_ends: bool = False,
) -> int:
    """Runs a service until a signal arrives or it fails; returns the exit code.

    ``until_stdin_ends``: the end of standard input counts as a signal. It comes when the process
    that holds the other end dies, however it dies. Errors of the start are raised after what had
    started was stopped.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(_serve(make, drain_s, until_stdin_ends))


async def _serve(make: Callable[[], Service], drain_s: float, until_stdin_ends: bool) -> int:
    stop = asyncio.Event()
    manager = ServiceManager()
    if until_stdin_ends:
        _watch_stdin(stop)
    with signals_set(stop):
        service = make()
        try:
            failed = await _start_and_wait(service, stop, manager)
        finally:
            manager.say(STOPPING)
            last_resort = threading.Timer(drain_s + GRACE_S, os._exit, (EXIT_UNCLEAN,))
            last_resort.daemon = True
            last_resort.start()
            clean = await _within(service.stop(), drain_s)
            if clean:
                last_resort.cancel()
    return EXIT_STOPPED if clean and not failed else EXIT_UNCLEAN


async def _start_and_wait(service: Service, stop: asyncio.Event, manager: ServiceManager) -> bool:
    """True when the service failed, False when it was asked to stop."""
    starting = asyncio.ensure_future(service.start())
    stopping = asyncio.ensure_future(stop.wait())
    watching: asyncio.Future[None] | None = None
    watchdog: asyncio.Future[None] | None = None
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            return False
        starting.result()
        manager.say(READY)
        watchdog = asyncio.ensure_future(manager.watch(service.stuck))
        watching = asyncio.ensure_future(service.wait_failed())
        await asyncio.wait({watching, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return watching.done() and not stopping.done()
    finally:
        for task in (starting, stopping, watching, watchdog):
            if task is not None and not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task


def _watch_stdin(stop: asyncio.Event) -> None:
    """Sets ``stop`` when standard input ends. A thread, because every system can read in one."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        # The descriptor itself: a thread that sleeps inside sys.stdin holds its lock, and the
        # interpreter cannot end then.
        with contextlib.suppress(OSError, ValueError):
            while os.read(sys.stdin.fileno(), 4096):
                pass
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=read, name="stdin", daemon=True).start()


async def _within(work: Awaitable[None], seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        log.error("the stop took too long and was cut off", extra=fields(seconds=seconds))
        return False
    return True


def _hangup() -> tuple[signal.Signals, ...]:
    """SIGHUP, unless it is ignored: nohup means that the process goes on."""
    if _HANGUP is None or signal.getsignal(_HANGUP) is signal.SIG_IGN:
        return ()
    return (_HANGUP,)


@contextlib.contextmanager
def signals_set(stop: asyncio.Event) -> Iterator[None]:
    """Inside, SIGTERM, SIGINT and SIGHUP set ``stop``; a second one ends the process."""
    loop = asyncio.get_running_loop()

    def handle(number: signal.Signals) -> None:
        if stop.is_set():
            # Shell and kernel both report a closed terminal: two of these are one request.
            if number is _HANGUP:
                return
            log.warning("second signal: ending at once", extra=fields(signal=number.name))
            os._exit(EXIT_SECOND_SIGNAL)
        log.info("stopping", extra=fields(signal=number.name))
        stop.set()

    handled: list[signal.Signals] = []
    for number in (*_SIGNALS, *_hangup()):
        # Windows has no such handlers, and a loop outside the main thread cannot set them.
        with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
            loop.add_signal_handler(number, handle, number)
            handled.append(number)
    try:
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
