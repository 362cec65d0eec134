"""A relay passes bytes both ways, breaks open connections when cut, and works once restored."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from mainstem_node.relay import LinkRelay


@pytest.fixture
def echo_port() -> Iterator[int]:
    """A server that sends back what it gets, until its peer is done."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                peer, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(peer,), daemon=True).start()

    def answer(peer: socket.socket) -> None:
        with peer:
            try:
                while data := peer.recv(4096):
                    peer.sendall(data)
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    yield int(server.getsockname()[1])
    server.shutdown(socket.SHUT_RDWR)
    server.close()


@pytest.fixture
def relay(echo_port: int) -> Iterator[LinkRelay]:
    relay = LinkRelay(0, ("127.0.0.1", echo_port))
    relay.start()
    yield relay
    relay.close()


def connect(relay: LinkRelay) -> socket.socket:
    return socket.create_connection(("127.0.0.1", relay.port), timeout=5)


def test_bytes_pass_both_ways_and_ends_are_passed_on(relay: LinkRelay) -> None:
    with connect(relay) as client:
        client.sendall(b"x" * 300_000)
        client.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := client.recv(65_536):
            received += chunk
    assert received == b"x" * 300_000


def test_a_cut_breaks_open_connections_and_refuses_new_ones(relay: LinkRelay) -> None:
    with connect(relay) as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
        relay.cut()
        assert relay.is_cut
        assert ended(client)
    assert is_refused(relay)


def test_a_restored_link_works_again(relay: LinkRelay) -> None:
    relay.cut()
    relay.restore()
    with connect(relay) as client:
        client.sendall(b"again")
        assert client.recv(5) == b"again"


def is_refused(relay: LinkRelay) -> bool:
    """The reset may arrive while connecting, or after it."""
    try:
        with connect(relay) as connection:
            return ended(connection)
    except OSError:
        return True


def ended(connection: socket.socket) -> bool:
    """The peer closed or reset the connection."""
    try:
        return connection.recv(1) == b""
    except OSError:
        return True
