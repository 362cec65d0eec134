"""The ``mainstem`` command: one Typer application, one file per command under ``commands/``.

The command modules import only typer at their top; whatever is heavy is imported by the command
that needs it, so that ``mainstem --help`` answers at once. Tiers add theirs (``of_tiers.py``).
Errors of Mainstem end in one line on stderr that names the remedy, never in a traceback.
"""

from __future__ import annotations

from typing import Annotated

import typer

from mainstem_node.commands import (
    alarm,
    audit,
    command,
    config,
    db,
    demo,
    device,
    node,
    quarantine,
    token,
)
from mainstem_node.commands.backup import backup, restore
from mainstem_node.commands.bench import bench
from mainstem_node.commands.doctor import doctor
from mainstem_node.commands.init import init
from mainstem_node.commands.join import join
from mainstem_node.commands.of_tiers import CommandsOfTiers
from mainstem_node.commands.publish import publish
from mainstem_node.commands.run import run
from mainstem_node.commands.sql import sql
from mainstem_node.commands.status import status
from mainstem_node.commands.trace import trace
from mainstem_node.commands.up import up
from mainstem_node.commands.verify import verify
from mainstem_node.endings import ending_well

app = typer.Typer(
    name="mainstem",
    cls=CommandsOfTiers,
    help="Edge-cloud federation for industrial time series.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def print_version(wanted: bool) -> None:
    """The version of the installed distribution, and the end."""
    if wanted:
        from importlib.metadata import version

        typer.echo(version("mainstem"))
        raise typer.Exit


@app.callback()
def mainstem(
    version: Annotated[
        bool,
        typer.Option("--version", callback=print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Edge-cloud federation for industrial time series."""


# In the order of the manual: try it, run it, enrol, ask.
app.add_typer(demo.app, name="demo")
app.command()(publish)
app.command()(init)
app.add_typer(config.app, name="config")
app.command()(run)
app.command()(up)
app.add_typer(node.app, name="node")
app.add_typer(device.app, name="device")
app.command()(join)
app.command()(doctor)
app.add_typer(token.app, name="token")
app.command()(sql)
app.command()(status)
app.command()(verify)
app.command()(trace)
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(alarm.app, name="alarm")
app.add_typer(command.app, name="command")
app.add_typer(audit.app, name="audit")
app.command()(backup)
app.command()(restore)
app.add_typer(db.app, name="db")
app.command()(bench)


def main() -> None:
    """The command line; the ``mainstem`` script begins in ``__main__.py``."""
    ending_well(app)


if __name__ == "__main__":
    main()
