"""Commands that a tier brings are commands like all others."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest
import typer
from typer.testing import CliRunner

from mainstem_node import cli
from mainstem_node.commands import of_tiers


@pytest.fixture
def tier(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A tier that brings ``mainstem lamp on``, and one that brings nothing."""
    app = typer.Typer(no_args_is_help=True, help="Lamps.")

    @app.callback()
    def lamp() -> None:
        """Lamps."""

    @app.command()
    def on() -> None:
        """Light it."""
        typer.echo("it is light")

    module = ModuleType("lamps.commands")
    module.APPS = {"lamp": app}  # type: ignore[attr-defined]
    package = ModuleType("lamps")
    package.__path__ = []
    entries = [
        EntryPoint("lamps", "lamps.node:Lamps", "mainstem.tiers"),
        EntryPoint("plain", "email.message:Message", "mainstem.tiers"),
    ]
    monkeypatch.setitem(sys.modules, "lamps", package)
    monkeypatch.setitem(sys.modules, "lamps.commands", module)
    monkeypatch.setattr(of_tiers, "find_spec", lambda name: name == "lamps.commands" or None)
    monkeypatch.setattr(of_tiers, "entry_points", lambda group: entries)
    of_tiers.apps.cache_clear()
    yield
    of_tiers.apps.cache_clear()


@pytest.mark.usefixtures("tier")
def test_a_tier_s_command_is_listed_and_runs() -> None:
    runner = CliRunner()
    assert "lamp " in runner.invoke(cli.app, ["--help"]).stdout
    assert runner.invoke(cli.app, ["lamp", "on"]).stdout == "it is light\n"
    for names in (["lamp"], ["lamp", "on"]):
        page = runner.invoke(cli.app, [*names, "--help"]).stdout
        assert page.startswith(f"Usage: mainstem {names[-1]}" if len(names) == 1 else "Usage: ")
        assert page.isascii(), "no frames: it looks as the help of all other commands"


@pytest.mark.usefixtures("tier")
def test_a_name_that_nobody_has_is_refused() -> None:
    answer = CliRunner().invoke(cli.app, ["lump"])
    assert answer.exit_code == 2
    assert "lump" in answer.output


def test_the_node_s_own_commands_do_not_look_for_tiers(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(group: str) -> None:
        raise AssertionError(group)

    monkeypatch.setattr(of_tiers, "entry_points", refuse)
    of_tiers.apps.cache_clear()
    assert CliRunner().invoke(cli.app, ["status", "--help"]).exit_code == 0
