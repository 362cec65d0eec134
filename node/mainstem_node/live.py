"""What is pushed to browsers and clients once a second: the status tree, or the newest values.

1. One ticker serves everybody and runs only while somebody listens: the status is computed and
   encoded once, however many pages are open.
2. A listener that does not keep up misses events, never delays others: it holds one event at most.
3. Of a signal the newest value is sent when it has changed; values between two ticks are not.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import msgspec

from mainstem_node.errors import UnavailableError
from mainstem_node.plain import plain_value
from mainstem_node.signals import Signal
from mainstem_node.workers import Workers

log = logging.getLogger("mainstem.live")

TICK_S = 1.0
LISTENERS_MAX = 200
"""Each holds a connection and an event; a dashboard for more people polls."""

LastRows = Callable[[str, Sequence[str]], list[dict[str, Any]]]
"""(template, device paths) -> the newest values, as Engine.last_rows."""


class _Listener:
    """One open stream. ``signals`` None: the status tree."""

    def __init__(self, signals: Sequence[Signal] | None) -> None:
        self.signals = signals
        self.sent: dict[str, tuple[int, Any]] = {}
        self._event: bytes | None = None
        self._ready = asyncio.Event()
        self.closed = False

    def offer(self, event: bytes) -> None:
        self._event = event
        self._ready.set()

    def close(self) -> None:
        self.closed = True
        self._ready.set()

    async def take(self) -> bytes | None:
        """The next event, or None at the end."""
        while not self.closed:
            await self._ready.wait()
            self._ready.clear()
            if self._event is not None:
                event, self._event = self._event, None
                return event
        return None


class LiveHub:
    """All open streams of a node. Use it from the event loop only."""

    def __init__(
        self,
        status: Callable[[], dict[str, Any]],
        last_rows: LastRows,
        workers: Workers,
        *,
        tick_s: float = TICK_S,
    ) -> None:
        self._status = status
        self._last_rows = last_rows
        self._workers = workers
        self._tick_s = tick_s
        self._listeners: set[_Listener] = set()
        self._ticker: asyncio.Task[None] | None = None

    @property
    def listeners(self) -> int:
        """Open streams now."""
        return len(self._listeners)

    async def events(self, signals: Sequence[Signal] | None) -> AsyncGenerator[bytes, None]:
        """Server-sent events, ready to write. UnavailableError when too many listen."""
        if len(self._listeners) >= LISTENERS_MAX:
            raise UnavailableError(f"{LISTENERS_MAX} streams are open", hint="close one")
        listener = _Listener(signals)
        self._listeners.add(listener)
        if self._ticker is None or self._ticker.done():
            self._ticker = asyncio.get_running_loop().create_task(self._tick(), name="live")
        try:
            while (event := await listener.take()) is not None:
                yield event
        finally:
            self._listeners.discard(listener)

    async def close(self) -> None:
        """End all streams."""
        for listener in list(self._listeners):
            listener.close()
        if self._ticker is not None:
            self._ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticker

    async def _tick(self) -> None:
        while self._listeners:
            listeners = list(self._listeners)
            try:
                await self._send_status([x for x in listeners if x.signals is None])
                await self._send_values([x for x in listeners if x.signals is not None])
            except Exception:
                log.exception("a live event could not be made")
            await asyncio.sleep(self._tick_s)

    async def _send_status(self, listeners: Sequence[_Listener]) -> None:
        if not listeners:
            return
        event = await self._workers.run(lambda: _event("status", self._status()))
        for listener in listeners:
            listener.offer(event)

    async def _send_values(self, listeners: Sequence[_Listener]) -> None:
        wanted: dict[str, dict[str, None]] = {}
        for listener in listeners:
            for signal in listener.signals or ():
                wanted.setdefault(signal.template, {})[signal.path] = None
        newest: dict[tuple[str, str], tuple[int, Any]] = {}
        for template, paths in wanted.items():
            for row in await self._workers.run(self._last_rows, template, list(paths)):
                for name, value in row.items():
                    newest[row["device"], name] = (row["time"], value)
        for listener in listeners:
            changed = []
            for signal in listener.signals or ():
                found = newest.get((signal.path, signal.measurement.name))
                if found is not None and listener.sent.get(signal.text) != found:
                    listener.sent[signal.text] = found
                    changed.append(
                        {"signal": signal.text, "time": found[0], "value": plain_value(found[1])}
                    )
            # An empty event tells the client that the stream is alive.
            listener.offer(_event("values", changed))


def _event(name: str, data: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))
