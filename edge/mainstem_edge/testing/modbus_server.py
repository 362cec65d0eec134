"""A Modbus server of the library on loopback, in a thread and a loop of its own: units with
registers, which can be made silent, slow or contrary."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

from pymodbus import FramerType
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusSerialServer, ModbusTcpServer, ModbusTlsServer
from pymodbus.simulator import DataType, SimData, SimDevice

TABLES = {"coil": "c", "discrete": "d", "holding": "h", "input": "i"}
WAIT_S = 10.0

Areas = Mapping[str, Mapping[int, Sequence[int]]]
"""By table, by first address, what stands there; of coils and discrete inputs 0 and 1."""


class ModbusServer:
    """``units``: by number. ``scheme``: tcp, rtu+tcp, tls or serial (then ``place`` is the port).

    ``silent``: units that do not answer. ``refuse``: exception codes by unit. ``late``: units whose
    answer waits for ``release``. ``asked``: (unit, function, address, count) of every request that
    was answered.
    """

    def __init__(
        self,
        units: Mapping[int, Areas],
        scheme: str = "tcp",
        *,
        place: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.silent: set[int] = set()
        self.late: set[int] = set()
        self.refuse: dict[int, int] = {}
        self.asked: list[tuple[int, int, int, int]] = []
        self.port = 0
        self._units = units
        self._scheme = scheme
        self._place = place
        self._tls = tls
        self._server: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._released: asyncio.Event | None = None
        self._answering: list[asyncio.Task[Any]] = []

    @property
    def url(self) -> str:
        if self._scheme == "serial":
            return f"serial:{self._place}"
        return f"{self._scheme}://localhost:{self.port}"

    def start(self) -> None:
        """Returns when it listens; at the port that it had before, after ``stop``."""
        loop = self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=loop.run_forever, daemon=True)
        self._thread.start()
        self._call(self._start())

    def stop(self) -> None:
        """Ends, with all its connections."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        self._call(self._end())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(WAIT_S)
        loop.close()
        self._loop = self._thread = None

    def release(self) -> None:
        """What is late is answered; returns when that has left."""
        self._call(self._release())

    def set(self, unit: int, table: str, address: int, words: Sequence[int]) -> None:
        start, _, registers, _ = self._area(unit, table)
        registers[address - start : address - start + len(words)] = list(words)

    def get(self, unit: int, table: str, address: int, count: int = 1) -> list[int]:
        start, _, registers, _ = self._area(unit, table)
        if table in ("coil", "discrete"):
            return [
                (registers[n // 16 - start] >> (n % 16)) & 1
                for n in range(address, address + count)
            ]
        return list(registers[address - start : address - start + count])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # In the loop

    def _call(self, wanted: Coroutine[Any, Any, None]) -> None:
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(wanted, self._loop).result(WAIT_S)

    async def _start(self) -> None:
        self._released = asyncio.Event()
        devices = [self._device(number, areas) for number, areas in self._units.items()]
        address = ("127.0.0.1", self.port)
        if self._scheme == "serial":
            self._server = ModbusSerialServer(devices, port=self._place, reconnect_delay=0)
        elif self._scheme == "tls":
            self._server = ModbusTlsServer(
                devices, framer=FramerType.SOCKET, address=address, sslctx=self._tls
            )
        else:
            framer = FramerType.RTU if self._scheme == "rtu+tcp" else FramerType.SOCKET
            self._server = ModbusTcpServer(devices, framer=framer, address=address)
        await self._server.serve_forever(background=True)
        if self._scheme != "serial":
            self.port = self._server.transport.sockets[0].getsockname()[1]

    async def _release(self) -> None:
        assert self._released is not None
        self._released.set()
        await asyncio.gather(*self._answering)

    async def _end(self) -> None:
        await _turns(10)  # a connection that was just made is taken first, and then ended
        await self._server.shutdown()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await _turns(2)

    def _device(self, number: int, areas: Areas) -> SimDevice:
        blocks = [_block(table, areas.get(table, {})) for table in TABLES]
        return SimDevice(
            number,
            simdata=(blocks[0], blocks[1], blocks[2], blocks[3]),
            action=partial(self._on_request, number),
        )

    async def _on_request(
        self,
        unit: int,
        function: int,
        start: int,
        address: int,
        count: int,
        registers: list[int],
        wanted: object,
    ) -> ExcCodes | None:
        assert self._released is not None
        if unit in self.silent:
            await asyncio.Event().wait()
        if unit in self.late:
            task = asyncio.current_task()
            assert task is not None
            self._answering.append(task)
            await self._released.wait()
        if unit in self.refuse:
            return ExcCodes(self.refuse[unit])
        self.asked.append((unit, function, address, count))
        return None

    def _area(self, unit: int, table: str) -> Any:
        return self._server.context.devices[unit].block[TABLES[table]]


async def _turns(count: int) -> None:
    """So many turns of the loop."""
    for _ in range(count):
        await asyncio.sleep(0)


def _block(table: str, areas: Mapping[int, Sequence[int]]) -> list[SimData]:
    """Without any there is a place far away: the library wants one in every table."""
    if table in ("coil", "discrete"):
        return [
            SimData(first, values=[bool(each) for each in bits], datatype=DataType.BITS)
            for first, bits in (areas or {65_520: [0] * 16}).items()
        ]
    return [
        SimData(first, values=list(words), datatype=DataType.REGISTERS)
        for first, words in (areas or {65_535: [0]}).items()
    ]
