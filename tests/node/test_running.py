"""Which command lines run a node without the library of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from mainstem_node import cli
from mainstem_node.running import RunOrder, plain_order


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
