"""A whole river on loopback: a broker, an edge, a platform and a group as real processes.

Links between tiers run through relays, so that a test can drop them; processes can be killed and
are started again on the same data directory. Everything ends by its own process id.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
START_TIMEOUT_S = 60.0
"""A node replays its log before it is ready; on a loaded machine that takes seconds."""

REQUEST_TIMEOUT_S = 30.0


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def wait_for(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Polls ``condition`` until it holds; fails with ``what`` at the deadline."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.1)


@dataclass
class NodeProcess:
    """One node of the river as a child process."""

    name: str
    port: int
    config: Path
    log: Path
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.starts += 1
        environment = {**os.environ, **self.environment, "MAINSTEM_TEST_SEED": str(self.starts)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "slow_node.py"), "run", "-c", str(self.config),
                 "--node", self.name],
                stdout=log, stderr=log, env=environment,
            )  # fmt: skip

    def kill(self) -> None:
        """Kill -9: nothing is flushed, nothing is said."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM, and the exit code; a node has 10 s to drain."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(30)

    def request(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return self.post(path, None if body is None else json.dumps(body).encode())

    def post(self, path: str, data: bytes | None, kind: str = "application/json") -> Any:
        """The JSON answer to a POST of ``data``, or to a GET."""
        request = urllib.request.Request(self.url + path, data=data, headers={"Content-Type": kind})
        with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S) as answer:
            return json.loads(answer.read())

    def status(self) -> dict[str, Any] | None:
        """The status object, or None while the node is down."""
        try:
            answer = self.request("/api/v1/status")
        except (urllib.error.URLError, OSError, json.JSONDecodeError):
            return None
        assert isinstance(answer, dict)
        return answer

    def sql(self, statement: str) -> list[list[Any]]:
        rows = self.request("/api/v1/sql", {"sql": statement, "timeout_ms": 60_000})["rows"]
        assert isinstance(rows, list)
        return rows

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def wait_subscribed(self) -> None:
        """A broker keeps nothing for a subscriber that it has never seen: publish after this."""
        wait_for(self.is_subscribed, START_TIMEOUT_S, f"{self.name} is subscribed")

    def is_subscribed(self) -> bool:
        status = self.status()
        return status is not None and all(
            collector["state"] == "connected" for collector in status["collectors"]
        )

    def wait_ready(self) -> None:
        try:
            wait_for(self.is_ready, START_TIMEOUT_S, f"{self.name} is ready")
        except AssertionError:
            tail = self.log.read_text(errors="replace")[-3000:]
            raise AssertionError(f"{self.name} did not start:\n{tail}") from None
