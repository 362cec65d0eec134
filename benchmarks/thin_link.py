"""A relay in front of one link that carries few bytes a second over a long way.

1. Both directions have a rate and a way of their own. Bytes wait their turn, all connections in one
   row, and arrive after the way.
2. As a router, it holds a quarter of a second of bytes; then nothing more is read, and TCP waits.
3. A cut link resets its connections and refuses new ones. Everything runs on a loop in a thread of
   its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading

CHUNK_BYTES = 4096
BUFFER_S = 0.25
CUT_POLL_S = 0.05


class _Lane:
    """One direction. ``bytes``: what went through."""

    def __init__(self, bytes_per_s: float) -> None:
        self.rate = bytes_per_s
        self.bytes = 0
        self._free_at = 0.0

    async def take(self, size: int) -> float:
        """When so many bytes have left, once there is room for them."""
        loop = asyncio.get_running_loop()
        full_s = self._free_at - loop.time() - BUFFER_S
        if full_s > 0:
            await asyncio.sleep(full_s)
        self._free_at = max(self._free_at, loop.time()) + size / self.rate
        self.bytes += size
        return self._free_at


class ThinLink:
    """Relays 127.0.0.1:``port`` to a port of this machine. ``way_s``: one way."""

    def __init__(self, target_port: int, bytes_per_s: float, way_s: float) -> None:
        self._target = target_port
        self._way_s = way_s
        self._up, self._down = _Lane(bytes_per_s), _Lane(bytes_per_s)
        self._is_cut = False
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        started = asyncio.run_coroutine_threadsafe(self._listen(), self._loop)
        self.port = started.result(5.0)

    @property
    def bytes_up(self) -> int:
        """What went to the target."""
        return self._up.bytes

    def cut(self) -> None:
        self._is_cut = True
        self._loop.call_soon_threadsafe(self._reset)

    def restore(self) -> None:
        self._is_cut = False

    def close(self) -> None:
        self.cut()
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(5.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _reset(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        self._open.add(writer)
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._open.add(far_writer)
            await asyncio.gather(
                self._carry(reader, far_writer, self._up),
                self._carry(far_reader, writer, self._down),
            )
            self._open.discard(far_writer)
            far_writer.close()
        self._open.discard(writer)
        writer.close()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lane: _Lane
    ) -> None:
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        arriving = asyncio.create_task(self._arrive(on_the_way, writer))
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                on_the_way.put_nowait((await lane.take(len(data)) + self._way_s, data))
        on_the_way.put_nowait((0.0, b""))
        with contextlib.suppress(OSError):
            await arriving

    async def _arrive(
        self, on_the_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            at, data = await on_the_way.get()
            if not data:
                writer.close()
                return
            if at > loop.time():
                await asyncio.sleep(at - loop.time())
            writer.write(data)
            await writer.drain()
