"""The line against a real server: what is read and written, refused, not answered, and late."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as some

from mainstem_edge.modbus import line as line_module
from mainstem_edge.modbus.errors import LineError, RefusedError, SilentError
from mainstem_edge.modbus.line import Line, LineSettings, Turns
from mainstem_edge.testing.modbus_server import Areas, ModbusServer

UNITS: dict[int, Areas] = {
    1: {
        "holding": {0: range(100, 110), 20: [7, 8]}, "input": {5: [55, 56]},
        "coil": {0: [1, 0, 1, 1] + [0] * 12}, "discrete": {0: [0, 1] + [0] * 14},
    },
    2: {"holding": {0: [200, 201]}},
}  # fmt: skip
TIMEOUT_S = 5.0
SHORT_S = 0.1


def settings(server: ModbusServer, scheme: str = "tcp") -> LineSettings:
    return LineSettings(scheme, "localhost", server.port)


@contextmanager
def opened(wanted: LineSettings) -> Iterator[Line]:
    line = Line(wanted)
    line.open()
    try:
        yield line
    finally:
        line.close()


@contextmanager
def cable() -> Iterator[tuple[str, str]]:
    """The names of two serial ports that are joined."""
    pairs = [os.openpty(), os.openpty()]
    for pair in pairs:
        tty.setraw(pair[1])
    ends = [pair[0] for pair in pairs]

    def carry(source: int, target: int) -> None:
        try:
            while octets := os.read(source, 512):
                os.write(target, octets)
        except OSError:
            return  # closed: the test is over

    threads = [threading.Thread(target=carry, args=way) for way in (ends, reversed(ends))]
    for thread in threads:
        thread.daemon = True
        thread.start()
    try:
        yield os.ttyname(pairs[0][1]), os.ttyname(pairs[1][1])
    finally:
        for pair in pairs:  # the slave first: the reader of its master then ends
            os.close(pair[1])
        for thread in threads:
            thread.join(TIMEOUT_S)
        for pair in pairs:
            os.close(pair[0])


@pytest.fixture
def server() -> Iterator[ModbusServer]:
    with ModbusServer(UNITS) as started:
        yield started


def everything(line: Line, server: ModbusServer) -> None:
    """What a device has is read, and what is written is there."""
    assert line.read(1, "holding", 0, 10, TIMEOUT_S).tolist() == list(range(100, 110))
    assert line.read(1, "input", 5, 2, TIMEOUT_S).tolist() == [55, 56]
    assert line.read(1, "coil", 0, 4, TIMEOUT_S).tolist() == [1, 0, 1, 1]
    assert line.read(1, "discrete", 1, 1, TIMEOUT_S).tolist() == [1]
    assert line.read(2, "holding", 0, 2, TIMEOUT_S).tolist() == [200, 201]
    with pytest.raises(RefusedError, match=r"exception 2 \(illegal data address\)"):
        line.read(1, "holding", 9, 2, TIMEOUT_S)
    line.write(1, "holding", 2, [65_535], False, TIMEOUT_S)
    line.write(1, "holding", 3, [1], True, TIMEOUT_S)
    line.write(1, "holding", 4, [2, 3], False, TIMEOUT_S)
    line.write(1, "coil", 1, [1], False, TIMEOUT_S)
    line.write(1, "coil", 2, [0], True, TIMEOUT_S)
    line.write_bit(1, 0, 3, True, TIMEOUT_S)
    assert server.get(1, "holding", 0, 6) == [100 | 8, 101, 65_535, 1, 2, 3]
    assert server.get(1, "coil", 0, 4) == [1, 1, 0, 1]


@pytest.mark.parametrize("scheme", ["tcp", "rtu+tcp"])
def test_over_tcp(scheme: str) -> None:
    with ModbusServer(UNITS, scheme) as server, opened(settings(server, scheme)) as line:
        everything(line, server)
    written = list(dict.fromkeys(function for _, function, _, _ in server.asked if function > 4))
    assert written == [6, 16, 5, 15, 22]


def test_over_a_serial_port() -> None:
    with (
        cable() as (here, there),
        ModbusServer(UNITS, "serial", place=there) as server,
        opened(LineSettings("serial", here, parity="N", baud=115_200)) as line,
    ):
        everything(line, server)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_over_tls_the_other_side_is_verified(tmp_path: Path) -> None:
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate, key)
    with ModbusServer(UNITS, "tls", tls=serving) as server:
        trusting = ssl.create_default_context(cafile=certificate)
        with opened(LineSettings("tls", "localhost", server.port, trusting)) as line:
            everything(line, server)
        stranger = Line(LineSettings("tls", "localhost", server.port, ssl.create_default_context()))
        with pytest.raises(LineError, match="verify failed"):
            stranger.open()


def test_a_unit_that_is_silent_is_told_apart_from_a_line_that_is_gone(server: ModbusServer) -> None:
    server.silent.add(2)
    with opened(settings(server)) as line:
        with pytest.raises(SilentError, match="unit 2"):
            line.read(2, "holding", 0, 1, SHORT_S)
        assert line.read(1, "holding", 0, 1, TIMEOUT_S).tolist() == [100]
        server.stop()
        with pytest.raises(LineError):
            line.read(1, "holding", 0, 1, TIMEOUT_S)
        assert not line.is_open
        with pytest.raises(LineError, match="refused"):
            line.open()


@pytest.mark.parametrize("scheme", ["tcp", "rtu+tcp", "serial"])
def test_a_late_answer_is_nobodys(scheme: str) -> None:
    """It has the form of the next answer, and comes before that."""
    with cable() as (here, there), ModbusServer(UNITS, scheme, place=there) as server:
        known = settings(server, scheme)
        if scheme == "serial":
            known = LineSettings("serial", here, parity="N", baud=115_200)
        with opened(known) as line:
            server.late.add(1)
            with pytest.raises(SilentError):
                line.read(1, "holding", 0, 1, SHORT_S)
            server.release()
            server.late.clear()
            assert line.read(1, "holding", 5, 1, TIMEOUT_S).tolist() == [105]
            assert line.read(1, "holding", 6, 1, TIMEOUT_S).tolist() == [106]


def test_a_serial_port_is_used_again_when_it_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device answers in its order: first what was given up."""
    monkeypatch.setattr(line_module, "QUIET_S", 0.6)
    with cable() as (here, there), ModbusServer(UNITS, "serial", place=there) as server:
        server.late.add(1)
        with opened(LineSettings("serial", here, parity="N", baud=115_200)) as line:
            with pytest.raises(SilentError):
                line.read(1, "holding", 0, 1, SHORT_S)
            releasing = threading.Timer(0.1, server.release)
            releasing.start()
            assert line.read(1, "holding", 5, 1, TIMEOUT_S).tolist() == [105]
            releasing.join(TIMEOUT_S)


@pytest.mark.parametrize("code", [10, 11])
def test_a_gateway_that_gets_no_answer_says_that_the_unit_is_silent(
    server: ModbusServer, code: int
) -> None:
    server.refuse[1] = code
    with opened(settings(server)) as line, pytest.raises(SilentError, match="gateway"):
        line.read(1, "holding", 0, 1, TIMEOUT_S)


def test_who_is_urgent_goes_before_who_waited() -> None:
    turns = Turns()
    order: list[str] = []

    def go(name: str, urgent: bool) -> None:
        with turns.take(urgent):
            order.append(name)

    with turns.take():
        threads = []
        for name, urgent in (("poll", False), ("command", True)):
            threads.append(threading.Thread(target=go, args=(name, urgent)))
            threads[-1].start()
            deadline = time.monotonic() + TIMEOUT_S
            while len(vars(turns._free)["_waiters"]) < len(threads):
                assert time.monotonic() < deadline
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert order == ["command", "poll"]


@given(
    some.lists(some.binary(min_size=1, max_size=40), min_size=1, max_size=4),
    some.sampled_from(["tcp", "rtu+tcp"]),
)
@settings_of_hypothesis(max_examples=30, deadline=None)
def test_whatever_comes_is_no_value(answers: list[bytes], scheme: str) -> None:
    """Something on the other side that does not speak Modbus."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def babble() -> None:
            with suppress(OSError):
                for octets in answers:
                    connection, _ = listening.accept()
                    with connection:
                        connection.recv(64)
                        connection.sendall(octets)

        thread = threading.Thread(target=babble)
        thread.start()
        line = Line(LineSettings(scheme, "127.0.0.1", listening.getsockname()[1]))
        for _ in answers:
            line.open()
            with pytest.raises((SilentError, LineError, RefusedError)):
                line.read(7, "holding", 3, 9, 0.02)
            line.close()
        thread.join(TIMEOUT_S)


def test_a_wait_is_ended_by_an_interruption(server: ModbusServer) -> None:
    server.silent.add(1)
    with opened(settings(server)) as line:
        waiting = threading.Timer(0.05, line.interrupt)
        waiting.start()
        before = time.monotonic()
        with pytest.raises(LineError):
            line.read(1, "holding", 0, 1, 30.0)
        assert time.monotonic() - before < 20.0
        waiting.join(TIMEOUT_S)
