"""What doctor says of those who are told of alarms. None of them is told anything."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.edge.notices.hook import Hook
from tests.node.certificates import make_certificate

from mainstem_edge.node import EdgeNode
from mainstem_node.broker import EmbeddedBroker
from mainstem_node.config import load_topology
from mainstem_node.config.schema import TlsConfig
from mainstem_node.doctor.finding import BAD, FINE, WARNING, Finding
from mainstem_node.server import server_context

KEY = "not-for-everybody"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_KEY", KEY)


def examined(place: Path, broker_port: int, hook: str) -> list[Finding]:
    path = place / "t.yaml"
    path.write_text(
        f"""\
nodes:
  - id: edge
    tier: edge
    listen: 127.0.0.1:0
    data_dir: data
    notify:
      - {{type: mqtt, url: "mqtt://127.0.0.1:{broker_port}"}}
      - {{type: webhook, url: "{hook}", secret_headers: {{X-Key: "${{HOOK_KEY}}"}}}}
""",
        encoding="utf-8",
    )
    topology = load_topology(path)
    return list(EdgeNode.examine(topology, topology.nodes[0]))


async def test_those_who_can_be_reached_are_fine(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        broker = stack.enter_context(EmbeddedBroker(tmp_path / "broker"))
        hook = Hook()
        url = await hook.start(stack)
        found = await asyncio.to_thread(examined, tmp_path, broker.port, url)
    assert [(each.check, each.state) for each in found] == [
        ("notify[0]", FINE), ("notify[1]", FINE),
    ]  # fmt: skip
    assert not hook.got
    assert not [each for each in found if "T0K3N" in each.message or KEY in each.message]


@pytest.mark.parametrize("status", [200, 400, 429, 500])
async def test_what_answers_at_the_path_is_there(tmp_path: Path, status: int) -> None:
    """It is asked with the headers of a notice, and not by what would be one."""
    async with AsyncExitStack() as stack:
        hook = Hook(options=status)
        url = await hook.start(stack)
        _, found = await asyncio.to_thread(examined, tmp_path, 1, url)
    assert found.state == FINE
    assert [each["X-Key"] for each in hook.asked] == [KEY]
    assert not hook.got


@pytest.mark.parametrize(
    ("status", "why"),
    [(401, "secret_headers"), (403, "secret_headers"), (404, "path of `url`"),
     (308, "redirections are not followed")],
)  # fmt: skip
async def test_a_mistyped_key_or_path_is_said_before_there_is_an_alarm(
    tmp_path: Path, status: int, why: str
) -> None:
    async with AsyncExitStack() as stack:
        hook = Hook(options=status)
        url = await hook.start(stack)
        _, found = await asyncio.to_thread(examined, tmp_path, 1, url)
    assert found.state == WARNING
    assert f"it answers {status}" in found.message
    assert why in found.message
    assert "`url` and `secret_headers`" in found.remedy
    for text in ("T0K3N", KEY):
        assert text not in found.message + found.remedy
    assert (len(hook.asked), hook.got) == (1, [])


async def test_a_path_that_is_not_there_is_one(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        url = await Hook().start(stack)
        mistyped = url.replace("/hooks/", "/hook/")
        _, found = await asyncio.to_thread(examined, tmp_path, 1, mistyped)
    assert (found.state, "it answers 404" in found.message) == (WARNING, True)


def test_those_who_are_not_there_are_bad(tmp_path: Path, unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}/hooks/T0K3N"
    found = examined(tmp_path, unused_tcp_port, url)
    assert [each.state for each in found] == [BAD, BAD]
    assert "mqtt cannot be told of alarms: the broker" in found[0].message
    assert "webhook cannot be told of alarms: cannot connect" in found[1].message
    assert "T0K3N" not in found[1].message


async def test_a_certificate_that_nobody_vouches_for_is_bad(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        broker = stack.enter_context(EmbeddedBroker(tmp_path / "broker"))
        cert, key = make_certificate(tmp_path)
        url = await Hook().start(stack, server_context(TlsConfig(cert=cert, key=key)))
        _, hook = await asyncio.to_thread(examined, tmp_path, broker.port, url)
    assert (hook.state, "certificate" in hook.message) == (BAD, True)
