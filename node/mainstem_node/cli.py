"""The ``mainstem`` command: one Typer application, one file per command under ``commands/``.

The command modules import only typer at their top; whatever is heavy is imported by the command
that needs it, so that ``mainstem --help`` answers at once. Errors of Mainstem end in one line on
stderr that names the remedy, never in a traceback.
"""

from __future__ import annotations

import sys

import typer

from mainstem_node.commands.bench import bench
from mainstem_node.commands.publish import publish
from mainstem_node.commands.terminal import FAILED, USAGE

app = typer.Typer(
    name="mainstem",
    help="Edge-cloud federation for industrial time series.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(publish)
app.command()(bench)

USAGE_CODES = frozenset({"CONFIG", "CREDENTIAL", "UNIT", "TIER", "LOCKED", "CSV"})
"""Errors by which the user, not the system, has to change something before the next try."""


def main() -> None:
    """The entry point of the ``mainstem`` script."""
    from mainstem_engine.errors import MainstemError

    try:
        app()
    except MainstemError as error:
        typer.echo(f"mainstem: {error}", err=True)
        sys.exit(USAGE if error.code in USAGE_CODES else FAILED)
    except BrokenPipeError:
        # The reader of our output went away (`mainstem ... | head`): nothing to report to.
        sys.stderr.close()
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
