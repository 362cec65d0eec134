"""Real nodes as child processes on loopback, for benchmarks: started, asked, measured, ended."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from mainstem_node.auth import ensure_link_tokens
from mainstem_node.config import load_topology
from mainstem_node.lifecycle import end_process

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
REQUEST_TIMEOUT_S = 60.0


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_topology(place: Path, document: dict[str, Any]) -> Path:
    """The topology as a file, with the link tokens that its links need."""
    path = place / "topology.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    ensure_link_tokens(load_topology(path))
    return path


def wait_for(condition: Callable[[], bool], timeout_s: float, what: str, poll_s: float) -> None:
    """Polls until ``condition`` holds. Ends the benchmark when it takes longer."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"benchmark: not within {timeout_s:g} s: {what}")
        time.sleep(poll_s)


class NodeProcess:
    """One node. ``request`` keeps its connection, so that polling costs the node little."""

    def __init__(self, topology: Path, name: str, port: int) -> None:
        self.name = name
        self.port = port
        self._topology = topology
        self._log = topology.with_name(f"{name}.log")
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: http.client.HTTPConnection | None = None

    def client(self) -> NodeProcess:
        """Another connection to the same node, for another thread; it is not to be started."""
        return NodeProcess(self._topology, self.name, self.port)

    def start(self) -> None:
        """Returns when the node is ready."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mainstem_node", "run", "-c", str(self._topology),
                 "--node", self.name],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        wait_for(self._is_ready, READY_TIMEOUT_S, f"{self.name} is ready", 0.02)

    def stop(self) -> None:
        """SIGTERM, and the end of the process."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is None:
            return
        end_process(self._process, STOP_TIMEOUT_S)
        self._process = None

    def kill(self) -> None:
        """As a power cut ends it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def request(
        self, path: str, body: bytes | None = None, content_type: str = "application/json"
    ) -> Any:
        """The JSON answer to a GET, or to a POST of ``body``."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection(
                "127.0.0.1", self.port, timeout=REQUEST_TIMEOUT_S
            )
        method, headers = "GET" if body is None else "POST", {"Content-Type": content_type}
        try:
            try:
                self._connection.request(method, path, body, headers)
                answer = self._connection.getresponse()
            except (BrokenPipeError, ConnectionResetError):
                # The node closes connections that nobody used for a while.
                self._connection.close()
                self._connection.request(method, path, body, headers)
                answer = self._connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            self._connection = None
            raise
        if answer.status >= 300:
            raise RuntimeError(f"{self.name} {path}: {answer.status} {content[:500]!r}")
        return json.loads(content)

    def sql(self, statement: str) -> list[list[Any]]:
        body = json.dumps({"sql": statement, "timeout_ms": 60_000}).encode()
        rows = self.request("/api/v1/sql", body)["rows"]
        assert isinstance(rows, list)
        return rows

    def sums(self, table: str) -> dict[str, Any]:
        """The accounting of one table; empty before its first row."""
        sums = self.request("/api/v1/status")["accounting"].get(table, {})
        assert isinstance(sums, dict)
        return sums

    def rss_bytes(self) -> dict[str, int]:
        """Resident memory of the node's process and, apart, of its own children."""
        assert self._process is not None
        own = _rss(self._process.pid)
        below = sum(_rss(pid) for pid in _descendants(self._process.pid))
        return {"node": own, "workers": below}

    def cpu_s(self) -> float:
        """Processor time of the node's own process so far."""
        assert self._process is not None
        fields = (
            Path(f"/proc/{self._process.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        )
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            sys.exit(f"benchmark: {self.name} ended:\n{self._log.read_text()[-2000:]}")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


def _rss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text(encoding="ascii").split():
            found += [int(child), *_descendants(int(child))]
    return found
