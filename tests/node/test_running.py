"""Which command lines run a node without the library of the command line."""

from __future__ import annotations

import ssl
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from aiohttp import connector

from mainstem_node import cli
from mainstem_node.late_certificates import LateContext
from mainstem_node.running import RunOrder, plain_order, run_order


@pytest.mark.parametrize(
    ("line", "order"),
    [
        ("run -c a.yaml", RunOrder(Path("a.yaml"))),
        ("run --config=a.yaml --node b", RunOrder(Path("a.yaml"), "b")),
        (
            "run --dir d -c a.yaml --logs text --until-stdin-ends",
            RunOrder(Path("a.yaml"), None, Path("d"), "text", until_stdin_ends=True),
        ),
    ],
)
def test_a_plain_order_is_read(line: str, order: RunOrder) -> None:
    assert plain_order(line.split()) == order


@pytest.mark.parametrize(
    "line",
    [
        "run", "run --help", "run -c", "run -c --node", "run -c a.yaml --no-such", "run a.yaml",
        "run -c=a.yaml", "run -c a.yaml --until-stdin-ends=yes", "run --node a", "up -c a.yaml", "",
    ],
)  # fmt: skip
def test_anything_else_is_for_the_command_line(line: str) -> None:
    assert plain_order(line.split()) is None


def test_every_option_of_run_is_known_to_the_short_way() -> None:
    run = typer.main.get_group(cli.app).commands["run"]
    options = [name for each in run.params for name in each.opts if name not in ("-h", "--help")]
    assert "--until-stdin-ends" in options
    for option in options:
        value = [] if option == "--until-stdin-ends" else ["value"]
        assert plain_order(["run", "-c", "a.yaml", option, *value]) is not None, option


class Host(ModuleType):
    """In the place of the module that runs a node: the context that aiohttp had at its import."""

    found: Any = None

    def __getattr__(self, name: str) -> Any:
        if name != "run_node":
            raise AttributeError(name)
        self.found = vars(connector)["_SSL_CONTEXT_VERIFIED"]
        return lambda topology, node, *, until_stdin_ends: 7


def test_a_run_puts_certificates_off_before_the_node_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is given back later lies between what stays."""
    config = tmp_path / "edge.yaml"
    config.write_text("nodes: [{id: edge, tier: edge, listen: '127.0.0.1:0', data_dir: data}]")
    for name in ("_SSL_CONTEXT_VERIFIED", "_SSL_CONTEXT_UNVERIFIED"):
        monkeypatch.setattr(connector, name, ssl.create_default_context())
    host = Host("mainstem_node.host")
    monkeypatch.setitem(sys.modules, host.__name__, host)
    assert run_order(RunOrder(config)) == 7
    assert isinstance(host.found, LateContext)
