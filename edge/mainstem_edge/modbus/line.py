"""The line: one connection, or one serial port, with one request on it at a time.

1. A request is sent once. Whether it is sent again is the caller's to say: a write never is.
2. A late answer is never taken for that of another request. Over ``tcp`` and ``tls`` answers are
   numbered. RTU has no numbers: behind a request that was not answered the connection is made anew
   (``rtu+tcp``), or the port is emptied until it is quiet (``serial``).
3. Threads take turns; a command goes before polls that wait.
4. TLS is that of the Modbus security specification: the frames of TCP, inside TLS, and the
   certificate of the other side is always verified.

The library is imported when a line is opened: an edge without Modbus never loads it.
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from mainstem_edge.modbus.errors import (
    GATEWAY_NO_ANSWER,
    GATEWAY_NO_PATH,
    LineError,
    RefusedError,
    SilentError,
)
from mainstem_edge.modbus.register import BIT_TABLES, Words
from mainstem_node.extras import remedy

CONNECT_S_MAX = 5.0
QUIET_S = 0.05
"""Silence after which nothing late is expected on a serial port: longer than any gap in a frame."""
QUIET_TRIES_MAX = 20
"""A port that is never quiet for a second has a talker on it; requests then fail by themselves."""
READS = {
    "holding": "read_holding_registers", "input": "read_input_registers",
    "coil": "read_coils", "discrete": "read_discrete_inputs",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class LineSettings:
    """``scheme``: tcp, rtu+tcp, tls or serial. ``place``: a host, or the name of a port.

    ``port``, ``tls``: of those with a host; the others are the serial port's. ``pause_s``: between
    two requests.
    """

    scheme: str
    place: str
    port: int = 502
    tls: ssl.SSLContext | None = None
    baud: int = 19_200
    parity: str = "E"
    stop_bits: int = 1
    data_bits: int = 8
    pause_s: float = 0.0

    def __str__(self) -> str:
        if self.scheme == "serial":
            return f"serial:{self.place}"
        host = f"[{self.place}]" if ":" in self.place else self.place
        return f"{self.scheme}://{host}:{self.port}"


class Turns:
    """A lock whose urgent waiters go first."""

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._taken = False
        self._urgent = 0

    @contextmanager
    def take(self, urgent: bool = False) -> Iterator[None]:
        with self._free:
            self._urgent += urgent
            self._free.wait_for(lambda: not self._taken and (urgent or not self._urgent))
            self._urgent -= urgent
            self._taken = True
        try:
            yield
        finally:
            with self._free:
                self._taken = False
                self._free.notify_all()


class Line:
    """``open`` before use; may be opened again after ``close``. Thread-safe."""

    def __init__(
        self, settings: LineSettings, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.settings = settings
        self.requests = 0
        self._monotonic = monotonic
        self._turns = Turns()
        self._client: Any = None
        self._late = False
        """An answer may still come that nobody waits for."""
        self._free_s = 0.0

    @property
    def is_open(self) -> bool:
        return self._client is not None

    def open(self) -> None:
        """Raises LineError."""
        with self._turns.take():
            self._close()
            self._open()

    def close(self) -> None:
        """Nothing goes out after this."""
        with self._turns.take():
            self._close()

    def interrupt(self) -> None:
        """Ends a wait for an answer, from another thread. A serial port's ends by itself."""
        client = self._client
        connection = None if client is None else client.socket
        if isinstance(connection, socket.socket):
            with suppress(OSError):  # it has just ended by itself
                connection.shutdown(socket.SHUT_RDWR)

    def read(
        self,
        unit: int,
        table: str,
        address: int,
        count: int,
        timeout_s: float,
        urgent: bool = False,
    ) -> Words:
        """``count`` registers; coils as 0 and 1. Raises LineError, SilentError, RefusedError."""

        def send(client: Any) -> Any:
            return getattr(client, READS[table])(address, count=count, device_id=unit)

        answer = self._ask(unit, send, timeout_s, urgent)
        found = answer.bits[:count] if table in BIT_TABLES else answer.registers
        if len(found) != count:
            raise SilentError(f"unit {unit} sent {len(found)} values instead of {count}")
        return np.array(found, np.uint16)

    def write(
        self,
        unit: int,
        table: str,
        address: int,
        words: Sequence[int],
        many: bool,
        timeout_s: float,
    ) -> None:
        """Functions 5 and 6, or 15 and 16 where there are several or ``many`` says so. Raises as
        ``read``; after a SilentError nobody knows whether it was done."""
        several = many or len(words) > 1

        def send(client: Any) -> Any:
            if table == "coil":
                if several:
                    return client.write_coils(
                        address, [bool(each) for each in words], device_id=unit
                    )
                return client.write_coil(address, bool(words[0]), device_id=unit)
            if several:
                return client.write_registers(address, list(words), device_id=unit)
            return client.write_register(address, words[0], device_id=unit)

        self._ask(unit, send, timeout_s, True)

    def write_bit(self, unit: int, address: int, bit: int, value: bool, timeout_s: float) -> None:
        """Function 22: the other bits of the register stay as they are, whoever else writes."""
        mask = 1 << bit

        def send(client: Any) -> Any:
            return client.mask_write_register(
                address=address,
                and_mask=0xFFFF ^ mask,
                or_mask=mask if value else 0,
                device_id=unit,
            )

        self._ask(unit, send, timeout_s, True)

    def _ask(self, unit: int, send: Callable[[Any], Any], timeout_s: float, urgent: bool) -> Any:
        from pymodbus.exceptions import ModbusException  # an extra, loaded with the line

        with self._turns.take(urgent):
            client = self._ready(timeout_s)
            self.requests += 1
            self._late = True
            try:
                answer = send(client)
            except (ModbusException, OSError) as error:
                if client.socket is None or isinstance(error, OSError):
                    self._close()
                    raise LineError(f"the connection to {self.settings} is lost", True) from error
                raise SilentError(f"unit {unit} does not answer") from None
            finally:
                self._free_s = self._monotonic() + self.settings.pause_s
            self._late = False
        if answer.isError():
            exception = int(getattr(answer, "exception_code", 0))
            if exception in (GATEWAY_NO_PATH, GATEWAY_NO_ANSWER):
                raise SilentError(f"unit {unit} does not answer its gateway")
            raise RefusedError(unit, exception)
        return answer

    def _ready(self, timeout_s: float) -> Any:
        """The client, with nothing on its way to it."""
        if self._client is None:
            raise LineError(f"there is no connection to {self.settings}")
        if self._late and self.settings.scheme == "rtu+tcp":
            self._close()
            self._open()
        elif self._late and self.settings.scheme == "serial":
            self._quieten()
        self._late = False
        rest = self._free_s - self._monotonic()
        if rest > 0:
            time.sleep(rest)
        self._client.comm_params.timeout_connect = timeout_s
        return self._client

    def _quieten(self) -> None:
        port = self._client.socket
        try:
            for _ in range(QUIET_TRIES_MAX):
                port.timeout = QUIET_S
                if not port.read(256):
                    return
        except OSError as error:
            self._close()
            raise LineError(f"{self.settings}: {error}") from error

    def _open(self) -> None:
        logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)  # the errors are told here
        try:
            self._client = self._serial() if self.settings.scheme == "serial" else self._tcp()
        except ImportError as error:
            raise LineError(f"the library is missing: {remedy('modbus')}") from error
        except OSError as error:
            raise LineError(f"{self.settings}: {error.strerror or error}") from error
        self._late = False

    def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _tcp(self) -> Any:
        from pymodbus import FramerType
        from pymodbus.client import ModbusTcpClient

        known = self.settings
        framer = FramerType.RTU if known.scheme == "rtu+tcp" else FramerType.SOCKET
        client = ModbusTcpClient(known.place, port=known.port, framer=framer, retries=0)
        # The library would dial by itself, but say neither why it failed, nor the host to TLS.
        dialled = socket.create_connection((known.place, known.port), CONNECT_S_MAX)
        try:
            dialled.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            dialled.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if known.tls is not None:
                dialled = known.tls.wrap_socket(dialled, server_hostname=known.place)
        except BaseException:
            dialled.close()
            raise
        client.socket = dialled
        return client

    def _serial(self) -> Any:
        import serial
        from pymodbus.client import ModbusSerialClient

        known = self.settings
        client = ModbusSerialClient(
            known.place, baudrate=known.baud, bytesize=known.data_bits, parity=known.parity,
            stopbits=known.stop_bits, retries=0,
        )  # fmt: skip
        client.socket = serial.serial_for_url(
            known.place, baudrate=known.baud, bytesize=known.data_bits, parity=known.parity,
            stopbits=known.stop_bits, timeout=CONNECT_S_MAX, write_timeout=CONNECT_S_MAX,
            exclusive=True,
        )  # fmt: skip
        client.socket.inter_byte_timeout = client.inter_byte_timeout
        return client
