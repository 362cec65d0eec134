"""What doctor finds: each check with something that is wrong, and with nothing."""

from __future__ import annotations

import shutil
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.node.certificates import make_certificate

from mainstem_node.config import load_topology
from mainstem_node.config.schema import NodeConfig, Topology
from mainstem_node.doctor import certificates, clock, disk, links, memory, outage, ports
from mainstem_node.doctor.finding import BAD, FINE, WARNING
from mainstem_node.node import log_bytes_max

DAY_NS = 86_400 * 10**9


def topology(place: Path, extra: str = "") -> Topology:
    path = place / "t.yaml"
    path.write_text(
        f"""\
templates: {{m: {{measurements: {{x: {{type: DOUBLE}}}}}}}}
nodes:
  - id: edge
    tier: edge
    listen: 127.0.0.1:1
    data_dir: data
    paths: [root.a]
{extra}""",
        encoding="utf-8",
    )
    return load_topology(path)


@pytest.fixture
def node(tmp_path: Path) -> NodeConfig:
    return topology(tmp_path).nodes[0]


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_port_that_something_else_uses_is_bad(tmp_path: Path, taken: int) -> None:
    path = tmp_path / "t.yaml"
    topology(tmp_path)
    path.write_text(path.read_text().replace("127.0.0.1:1", f"127.0.0.1:{taken}"))
    found = ports.listener(load_topology(path).nodes[0], None)
    assert (found.state, found.check) == (BAD, "listen")
    assert str(taken) in found.message
    assert ports.listener(load_topology(path).nodes[0], {"node": "edge"}).state == FINE


def test_a_data_directory_that_cannot_be_written_is_bad(tmp_path: Path) -> None:
    blocked = tmp_path / "data"
    blocked.write_text("a file")
    node = topology(tmp_path, "    disk: {limit: 1GB}\n").nodes[0]
    assert disk.existing(node.data_dir) == tmp_path
    found = {each.check: each for each in disk.room(node, None)}
    assert found["disk"].state == FINE or "ms" in found["disk"].message
    assert list(tmp_path.glob(".doctor*")) == []


def test_less_free_disk_than_the_limit_allows_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = topology(tmp_path, "    disk: {limit: 100GB}\n").nodes[0]

    def usage(free: int) -> Any:
        return lambda place: shutil._ntuple_diskusage(200 * 10**9, 0, free)

    monkeypatch.setattr(shutil, "disk_usage", usage(50 * 10**9))
    found = {each.check: each for each in disk.room(node, None)}
    assert found["room"].state == WARNING
    assert "45.0GB" in found["room"].remedy
    monkeypatch.setattr(shutil, "disk_usage", usage(10**8))
    assert {each.check: each.state for each in disk.room(node, None)}["room"] == BAD
    monkeypatch.setattr(shutil, "disk_usage", usage(150 * 10**9))
    assert {each.check: each.state for each in disk.room(node, None)}["room"] == FINE


def test_more_memory_than_there_is_is_a_warning(
    node: NodeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "machine_bytes", lambda: 256 << 20)
    found = memory.limits(node)
    assert found.state == WARNING
    assert "memory_limit: 96MiB" in found.remedy
    monkeypatch.setattr(memory, "machine_bytes", lambda: None)
    assert memory.limits(node).state == FINE
    assert (memory.machine_bytes() or 1) > 0


def test_a_clock_far_from_the_parents_is_a_warning(
    node: NodeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert next(clock.offset(node, {"clock_offset_ms": 40})).state == FINE
    assert next(clock.offset(node, {"clock_offset_ms": -5000})).state == WARNING
    monkeypatch.setattr("time.time", lambda: 1000.0)
    assert next(clock.offset(node, None)).state == BAD


@pytest.mark.parametrize(
    ("days", "state"), [(400, FINE), (5, WARNING), (-1, BAD)], ids=["long", "soon", "over"]
)
def test_certificates_that_end_are_named(tmp_path: Path, days: int, state: str) -> None:
    cert, key = make_certificate(tmp_path, days=days)
    extra = f"    tls: {{cert: {cert}, key: {key}}}\n"
    (found,) = certificates.expiry(topology(tmp_path, extra).nodes[0])
    assert (found.check, found.state) == ("tls.cert", state)


def test_files_that_are_no_certificates_are_bad(tmp_path: Path) -> None:
    for name in ("c", "k"):
        (tmp_path / name).write_text("nothing")
    extra = f"    tls: {{cert: {tmp_path / 'c'}, key: {tmp_path / 'k'}}}\n"
    (found,) = certificates.expiry(topology(tmp_path, extra).nodes[0])
    assert found.state == BAD
    with pytest.raises((OSError, ssl.SSLError)):
        certificates.expires_at(tmp_path / "c", tmp_path / "k")


PARENT = "    parent: {node: plant, url: 'http://127.0.0.1:9', token_file: token}\n"


def test_a_parent_that_cannot_be_reached_and_a_missing_credential_are_bad(tmp_path: Path) -> None:
    found = topology(tmp_path, PARENT)
    node = found.nodes[0]
    assert node.parent is not None
    first = {each.check: each for each in links.parent(found, node, node.parent, None)}
    assert first["credential"].state == first["parent"].state == BAD
    (tmp_path / "token").write_text("secret-of-the-link" * 4)
    (tmp_path / "token").chmod(0o600)
    second = {each.check: each for each in links.parent(found, node, node.parent, None)}
    assert second["credential"].state == FINE
    assert "secret" not in str(second)
    connected = {"link": {"state": "connected"}}
    third = {each.check: each for each in links.parent(found, node, node.parent, connected)}
    assert third["parent"].state == FINE


def status(per_row: float | None, per_day: int, used: int = 0) -> dict[str, Any]:
    return {"buffer": {"bytes_per_row": per_row, "rows_per_day": per_day, "used_bytes": used}}


def test_the_disk_that_an_outage_takes(tmp_path: Path) -> None:
    node = topology(tmp_path, PARENT + "    disk: {limit: 20GB}\n").nodes[0]
    log = log_bytes_max(node)
    now = status(5.0, 86_400_000, used=10**9)  # a thousand rows a second
    found = outage.forecast(node, now, 7 * DAY_NS)
    assert found is not None
    assert found.bytes == round(5.0 * 86_400_000 * 7) + log
    assert outage.judged(node, now, 7 * DAY_NS, 10**12).state == FINE
    long = outage.judged(node, now, 365 * DAY_NS, 10**12)
    assert long.state == BAD
    assert f"{(19e9 - log) / (5.0 * 86_400_000):.1f} d" in long.message
    assert "give way" in long.message
    small = outage.judged(node, now, 7 * DAY_NS, 10**9)
    assert small.state == BAD
    assert outage.judged(node, status(None, 0), DAY_NS, 10**12).state == WARNING
    assert outage.judged(node, None, DAY_NS, 10**12).state == WARNING
