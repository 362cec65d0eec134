"""Commands that installed tiers bring, such as ``mainstem opcua``.

1. The package of a tier may have a module ``commands`` with ``APPS``: Typer applications by the
   name of their command. Like all command modules it imports only typer at its top.
2. Tiers are looked for only when a name is none of the node's own, or when all names are listed:
   reading what is installed takes longer than most commands need to begin.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any

import typer
from typer.core import TyperGroup


class CommandsOfTiers(TyperGroup):
    """The node's own commands, and those of the tiers behind them. ``Any``: Typer has the classes
    of commands and contexts from elsewhere, by its version."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *apps()]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        own = super().get_command(ctx, cmd_name)
        if own is not None or cmd_name not in apps():
            return own
        app = apps()[cmd_name]
        app.rich_markup_mode = None  # their help looks as that of all others
        found = typer.main.get_group(app)
        found.name = cmd_name
        return found


@cache
def apps() -> Mapping[str, typer.Typer]:
    """By the name of the command, in its order."""
    found: dict[str, typer.Typer] = {}
    for tier in entry_points(group="mainstem.tiers"):
        module = f"{tier.module.partition('.')[0]}.commands"
        if find_spec(module) is not None:
            found |= import_module(module).APPS
    return dict(sorted(found.items()))
