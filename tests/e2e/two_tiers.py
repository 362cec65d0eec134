"""An edge below a platform, as real processes, and a line between them that can fail in many ways.

Rows are written over HTTP: an answer says that they are durable. Row ``n`` has the values ``n`` and
``n / 2`` and stands ``n`` steps after the base, so that what arrives can be judged by itself.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import urllib.error
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from processes import PATIENCE_S, Processes, section
from whole_river import NodeProcess, wait_for

from mainstem_node.relay import LinkRelay
from mainstem_sync.state import accounting

DEVICE = "root.plant.line.d1"
BASE_MS = 1_792_540_800_000
STEP_MS = 100
TEMPLATES = {"counter": {"n": "INT64", "half": "DOUBLE"}}
EXPORT = [
    {"template": "counter", "mode": "raw"},
    {"template": "counter", "mode": "rollup", "every": "1m"},
]


class SilentRelay(LinkRelay):
    """A relay that can stop carrying bytes without ending a connection, and takes new ones: as a
    line on which packets vanish, where nobody ever hears that anything is wrong."""

    def __init__(self, port: int, target: tuple[str, int]) -> None:
        super().__init__(port, target)
        self._carries = threading.Event()
        self._carries.set()

    def silence(self) -> None:
        self._carries.clear()

    def speak(self) -> None:
        self._carries.set()

    def close(self) -> None:
        self.speak()
        super().close()

    def carry(self, chunk: bytes) -> bytes:
        self._carries.wait()
        return chunk


class TwoTiers:
    """See the module. ``edge`` and ``plant``: further keys of the nodes."""

    def __init__(
        self,
        place: Path,
        *,
        edge: Mapping[str, Any] | None = None,
        plant: Mapping[str, Any] | None = None,
        base_ms: int = BASE_MS,
        templates: Mapping[str, Mapping[str, str]] = TEMPLATES,
    ) -> None:
        self.base_ms = base_ms
        common = {"storage": {"flush_every": "2s"}, "clock": {"future": "36500d"}}
        self.nodes = Processes(
            place,
            "acceptance",
            templates,
            [
                section("plant", "platform", **{**common, **(plant or {})}),
                section(
                    "edge", "edge", "plant", paths=["root.plant.line"], export=EXPORT,
                    rollups=[{"template": "counter", "every": ["1m"], "lateness": "1s"}],
                    **{**common, **(edge or {})},
                ),
            ],
            extra_ports=["link"],
        )  # fmt: skip
        self.through(self.nodes.ports["link"])
        self.relay = SilentRelay(self.nodes.ports["link"], ("127.0.0.1", self.nodes.ports["plant"]))

    def through(self, port: int) -> None:
        """The edge finds its platform there; before the start."""
        url = f"http://127.0.0.1:{port}"
        self.nodes.rewrite(lambda node: node["parent"].update(url=url), "edge")

    @property
    def edge(self) -> NodeProcess:
        return self.nodes["edge"]

    @property
    def plant(self) -> NodeProcess:
        return self.nodes["plant"]

    def __enter__(self) -> Self:
        self.relay.start()
        try:
            self.nodes.__enter__()
        except BaseException:
            self.relay.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: object, trace: TracebackType | None
    ) -> None:
        self.relay.close()
        self.nodes.__exit__(kind, value, trace)

    def rows(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        return [{"time": self.base_ms + n * STEP_MS, "n": n, "half": n / 2} for n in numbers]

    def write(self, numbers: Sequence[int], device: str = DEVICE) -> bool:
        """True when they are durable at the edge; False when it is not there, or refuses."""
        body = {"template": "counter", "device": device, "rows": self.rows(numbers)}
        try:
            answer = self.edge.request("/api/v1/write", body)
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise AssertionError(error.read()) from error
            return False
        except OSError:
            return False
        assert answer["quarantined"] == 0, answer
        return True

    def numbers(self, node: str) -> list[int]:
        """Every stored number of a node, in order; each is checked to be at its place."""
        rows = self.nodes[node].sql("SELECT time, n, half FROM counter ORDER BY time, n")
        for time_ms, n, half in rows:
            assert (time_ms, half) == (self.base_ms + n * STEP_MS, n / 2)
        return [int(n) for _, n, _ in rows]

    def wait_arrived(self, numbers: Sequence[int], timeout_s: float = PATIENCE_S) -> None:
        """Until the platform has exactly these."""
        wanted = sorted(numbers)
        wait_for(lambda: self.numbers("plant") == wanted, timeout_s, "the platform has all rows")

    def delivery(self) -> dict[str, Any]:
        """What the edge still owes."""
        status = self.edge.status()
        found: dict[str, Any] = {} if status is None else status["delivery"]
        return found

    def wait_delivered(self) -> None:
        wait_for(lambda: self.delivery().get("pending_rows") == 0, PATIENCE_S, "nothing is pending")

    def child(self) -> dict[str, Any]:
        """The edge as the platform sees it."""
        status = self.plant.status()
        assert status is not None
        found: dict[str, Any] = next(each for each in status["children"] if each["node"] == "edge")
        return found

    def check_sums(self) -> None:
        """The accounts of both nodes hold."""
        for name in ("edge", "plant"):
            status = self.nodes[name].status()
            assert status is not None
            assert accounting.check(status["accounting"]) == [], name


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """``mainstem`` as a person types it."""
    return subprocess.run(
        [sys.executable, "-m", "mainstem_node", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
