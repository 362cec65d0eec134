"""What doctor says of a line, and what ``mainstem modbus read`` shows."""

from __future__ import annotations

import json
import os
import struct
import tty
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mainstem_edge.examination import brokers
from mainstem_edge.testing.modbus_server import Areas, ModbusServer
from mainstem_node import cli
from mainstem_node.config import load_topology
from mainstem_node.doctor.finding import BAD, FINE, Finding

FLOATS = struct.unpack(">4H", struct.pack(">2f", 1.5, -2.0))
UNITS: dict[int, Areas] = {
    1: {"holding": {0: [1, 65_535], 10: FLOATS}, "coil": {0: [1, 0] + [0] * 14}}
}


def finding(place: Path, url: str, more: str = "") -> Finding:
    path = place / "t.yaml"
    path.write_text(
        f"""\
templates: {{m: {{measurements: {{x: {{type: DOUBLE}}}}}}}}
nodes:
  - id: edge
    tier: edge
    listen: 127.0.0.1:0
    data_dir: data
    collectors:
      - type: modbus
        url: {url}
        devices: [{{device: root.d, template: m, registers: {{x: {{address: 0}}}}}}]
        {more}
""",
        encoding="utf-8",
    )
    (only,) = brokers(load_topology(path).nodes[0])
    return only


def test_a_line_that_can_be_opened_is_fine(tmp_path: Path) -> None:
    with ModbusServer(UNITS) as server:
        found = finding(tmp_path, server.url)
        assert (found.state, found.check) == (FINE, "collectors[0]")
    found = finding(tmp_path, server.url)
    assert found.state == BAD
    assert "refused" in found.message


def test_a_serial_port_is_looked_at_and_not_opened(tmp_path: Path) -> None:
    ends = os.openpty()
    tty.setraw(ends[1])
    assert finding(tmp_path, f"serial:{os.ttyname(ends[1])}").state == FINE
    for end in ends:
        os.close(end)
    found = finding(tmp_path, f"serial:{tmp_path}/tty")
    assert found.state == BAD
    assert "there is no" in found.message


def test_a_file_of_tls_that_is_missing_is_told(tmp_path: Path) -> None:
    found = finding(tmp_path, "tls://localhost:1", "tls: {ca: nowhere.crt}")
    assert found.state == BAD
    assert "tls" in found.message


def run(*arguments: str, code: int = 0) -> str:
    answer = CliRunner().invoke(cli.app, ["modbus", "read", *arguments])
    assert answer.exit_code == code, answer.output
    return answer.output


def test_registers_are_read_and_shown() -> None:
    with ModbusServer(UNITS) as server:
        url = server.url
        assert json.loads(run(url, "--count", "2", "--type", "int16", "--json")) == [
            {"address": 0, "registers": ["0001"], "value": 1},
            {"address": 1, "registers": ["ffff"], "value": -1},
        ]
        shown = run(url, "--address", "10", "--count", "2", "--type", "float32")
        assert "10  3fc0 0000  1.5" in shown
        assert "-2.0" in shown
        assert json.loads(run(url, "--table", "coil", "--count", "2", "--json"))[0]["value"] is True
        assert "illegal data address" in run(url, "--address", "100", code=1)
    assert "refused" in run(url, code=1)


@pytest.mark.parametrize(
    "arguments",
    [
        ("mqtt://h",),
        ("tcp://h", "--count", "100", "--type", "float32"),
        ("tcp://h", "--address", "65535", "--count", "2"),
        ("tls://h", "--ca", "nowhere.crt"),
        ("tcp://h", "--type", "float16"),
    ],
)
def test_wrong_arguments_are_told(arguments: tuple[str, ...]) -> None:
    run(*arguments, code=2)
