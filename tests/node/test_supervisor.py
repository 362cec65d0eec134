"""Child processes are started parents first, restarted with a pause, and stopped children first."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mainstem_node import supervisor as module
from mainstem_node.config import load_topology
from mainstem_node.supervisor import ChildProgram, Supervisor, answers, node_programs

DEADLINE_S = 20.0

SERVE = """
import http.server, os, signal, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *args): pass
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer)
def stop(*_):
    print("stopped", flush=True); os._exit(0)
signal.signal(signal.SIGTERM, stop)
print("started", flush=True)
server.serve_forever()
"""


class Lines(list[tuple[str, str]]):
    """What the supervisor handed on; ``wait`` looks again at every line."""

    def __init__(self) -> None:
        super().__init__()
        self._more = asyncio.Event()

    def sink(self, name: str, line: str) -> None:
        self.append((name, line))
        self._more.set()

    def of(self, text: str) -> list[str]:
        return [name for name, line in self if line == text]

    async def wait(self, condition: Callable[[Lines], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition(self):
                self._more.clear()
                await self._more.wait()


def program(
    name: str, code: str, *arguments: str, rank: int = 0, url: str | None = None
) -> ChildProgram:
    return ChildProgram(name, (sys.executable, "-c", code, *arguments), rank, url)


async def test_order_of_start_and_stop(unused_tcp_port_factory: Callable[[], int]) -> None:
    lines = Lines()
    programs = []
    for rank, name in enumerate(("group", "plant", "edge")):
        port = unused_tcp_port_factory()
        url = f"http://127.0.0.1:{port}"
        programs.append(program(name, SERVE, str(port), rank=rank, url=url))
    supervisor = Supervisor(list(reversed(programs)), lines.sink)
    await supervisor.start()
    await lines.wait(lambda seen: len(seen.of("started")) == 3)
    assert lines.of("started") == ["group", "plant", "edge"]
    top = programs[0].url
    assert top is not None
    assert await answers(top, "/ready")
    await supervisor.stop()
    assert lines.of("stopped") == ["edge", "plant", "group"]
    assert not await answers(top, "/ready")
    assert [name for name, line in lines if name == "mainstem"] == []


async def test_a_process_that_dies_is_reported_and_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RESTART_S_MIN", 0.01)
    lines = Lines()
    # A port that nobody listens on: it is never ready.
    child = program("edge", "print('up'); raise SystemExit(3)", url="http://127.0.0.1:9")
    supervisor = Supervisor([child], lines.sink)
    await supervisor.start()
    assert supervisor.unready == ["edge"]
    await lines.wait(lambda seen: len(seen.of("up")) == 3)
    await supervisor.stop()
    assert supervisor.starts("edge") >= 3
    reports = [line for name, line in lines if name == "mainstem"]
    assert reports[0] == "edge ended with code 3; starting it again in 0.01 s"
    assert reports[1].endswith("in 0.02 s")


async def test_a_wrong_configuration_is_not_tried_again() -> None:
    lines = Lines()
    # A port that nobody listens on: it never gets ready.
    child = program("edge", "raise SystemExit(2)", url="http://127.0.0.1:9")
    supervisor = Supervisor([child], lines.sink)
    await supervisor.start()
    assert supervisor.misconfigured == {"edge"}
    assert supervisor.starts("edge") == 1
    await supervisor.stop()


async def test_a_process_that_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOP_TIMEOUT_S", 0.1)
    code = (
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('up', flush=True)\n"
        "time.sleep(60)"
    )
    lines = Lines()
    supervisor = Supervisor([program("edge", code)], lines.sink)
    await supervisor.start()
    await lines.wait(lambda seen: bool(seen.of("up")))
    await supervisor.stop()
    assert ("mainstem", "edge does not stop; killing it") in lines


def test_ranks_follow_the_parents(tmp_path: Path) -> None:
    file = tmp_path / "topology.yaml"
    file.write_text(
        "nodes:\n"
        "  - {id: e, tier: edge, listen: '127.0.0.1:3', data_dir: e, parent: {node: p},"
        " paths: [root.e]}\n"
        "  - {id: p, tier: platform, listen: '127.0.0.1:2', data_dir: p, parent: {node: g}}\n"
        "  - {id: g, tier: group, listen: '127.0.0.1:1', data_dir: g}\n"
    )
    programs = node_programs(load_topology(file, tmp_path / "base"))
    assert {each.name: each.rank for each in programs} == {"e": 2, "p": 1, "g": 0}
    assert programs[0].url == "http://127.0.0.1:3"
    assert str(tmp_path / "base") in programs[0].command
