"""A TCP relay in front of one link, so that a demo or test can cut the link and restore it.

A cut link behaves like a broken line: open connections are reset and new ones are refused at once.
The relay copies bytes in threads of its own and knows nothing of what they mean.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

CHUNK_BYTES = 1 << 16
CONNECTIONS_MAX = 64
"""A link uses a handful of connections; more than this is a loop or an attack."""

POLL_S = 0.2
"""How long accept() may take to notice that the relay was closed."""

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER on, 0 s: closing sends RST, as a cut line does once it is noticed."""


class LinkRelay:
    """Relays 127.0.0.1:``port`` to ``target`` until it is cut.

    ``port`` 0 chooses a free one; ``self.port`` says which. Thread-safe.
    """

    def __init__(self, port: int, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", port))
        self._listener.settimeout(POLL_S)
        self.port = int(self._listener.getsockname()[1])
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._is_cut = False
        self._closed = threading.Event()
        self._acceptor = threading.Thread(target=self._accept, name=f"relay-{self.port}")
        self._acceptor.daemon = True

    @property
    def is_cut(self) -> bool:
        return self._is_cut

    def start(self) -> None:
        """Begins to accept connections."""
        self._acceptor.start()

    def cut(self) -> None:
        """Resets every connection and refuses new ones."""
        with self._lock:
            self._is_cut = True
            broken = list(self._open)
            self._open.clear()
        for each in broken:
            reset(each)

    def restore(self) -> None:
        """Accepts connections again."""
        with self._lock:
            self._is_cut = False

    def close(self) -> None:
        """Ends the relay and everything that runs through it."""
        self._closed.set()
        self.cut()
        if self._acceptor.is_alive():
            self._acceptor.join()
        self._listener.close()

    def carry(self, chunk: bytes) -> bytes:
        """What of a chunk goes on; a line of another kind may wait here, or change it."""
        return chunk

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                near, _ = self._listener.accept()
            except TimeoutError:
                continue
            with self._lock:
                refused = self._is_cut or len(self._open) >= 2 * CONNECTIONS_MAX
            if refused:
                reset(near)
                continue
            threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(self._target, timeout=5)
        except OSError:
            reset(near)
            return
        near.settimeout(None)
        far.settimeout(None)
        with self._lock:
            refused = self._is_cut
            if not refused:
                self._open |= {near, far}
        if refused:
            reset(near)
            reset(far)
            return
        back = threading.Thread(target=self._copy, args=(far, near), daemon=True)
        back.start()
        self._copy(near, far)

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while chunk := source.recv(CHUNK_BYTES):
                sink.sendall(self.carry(chunk))
            # One side is done sending; the other may still answer.
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            reset(source)
            reset(sink)
        finally:
            self._forget(source, sink)

    def _forget(self, source: socket.socket, sink: socket.socket) -> None:
        """Closes a pair once neither direction copies any more."""
        with self._lock:
            both_done = source not in self._open
            self._open.discard(sink)
        if both_done:
            source.close()
            sink.close()


def reset(connection: socket.socket) -> None:
    """Closes with RST instead of a polite end."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
