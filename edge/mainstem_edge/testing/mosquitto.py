"""The system's mosquitto on loopback: a broker that speaks MQTT 5, with users, access lists, TLS.

It is started on a configuration of its own and ended by the id of its process.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from mainstem_node.lifecycle import end_process

START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 10.0
_POLL_S = 0.01


def mosquitto_binary() -> str | None:
    """Where it is installed; None when it is not."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


class Mosquitto:
    """mosquitto in ``directory``: keeps what it acknowledged, has no queue limit.

    ``options``: further lines of its configuration; those of the listener come right after it.
    ``in_flight_max`` 0: no limit of its own (and, in version 2.0, none that a client asks for).
    ``saves`` False: its file is written at its end, and not with every message and acknowledgement.
    """

    def __init__(
        self,
        directory: Path,
        *,
        options: Sequence[str] = ("allow_anonymous true",),
        scheme: str = "mqtt",
        in_flight_max: int = 0,
        saves: bool = True,
    ) -> None:
        self._directory = directory
        self._options = tuple(options)
        self._scheme = scheme
        self._in_flight_max = in_flight_max
        self._saves = saves
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of its process; it has to be running."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Returns when clients can connect."""
        binary = mosquitto_binary()
        assert binary is not None, "mosquitto is not installed"
        self._directory.mkdir(parents=True, exist_ok=True)
        config = self._directory / "mosquitto.conf"
        lines = (
            f"listener {self.port} 127.0.0.1",
            *self._options,
            "persistence true",
            f"persistence_location {self._directory}/",
            f"autosave_on_changes {str(self._saves).lower()}",
            f"autosave_interval {int(self._saves)}",
            "max_queued_messages 0",
            f"max_inflight_messages {self._in_flight_max}",
            "user root",
        )
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [binary, "-c", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                text = (self._directory / "log").read_text(errors="replace")
                assert self._process.poll() is None, f"mosquitto ended: {text}"
                assert time.monotonic() < deadline, f"mosquitto does not answer: {text}"
                time.sleep(_POLL_S)
            else:
                return

    def stop(self) -> None:
        """Ends it in order; what it has acknowledged is in its file."""
        if self._process is not None:
            end_process(self._process, STOP_TIMEOUT_S)
            self._process = None

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


def free_port() -> int:
    """A port of loopback that was free a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
