"""``mainstem sql``: one statement, or an interactive shell.

Against a node over HTTP, or with ``--data DIR`` in this process on a directory that nobody owns.
What is printed is the same: integers in the table's precision for programs (csv, json, parquet),
readable times in tables. How complete the answer is goes to stderr.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mainstem_node.commands.arguments import DEFAULT_URL, TokenFile, Url, client_for
from mainstem_node.commands.terminal import USAGE, fail, note

if TYPE_CHECKING:
    from mainstem_node.shell.source import Source

FORMATS = ("table", "csv", "json", "parquet")
ON_INCOMPLETE = ("return", "fail", "wait", "fetch")


def sql(
    statement: Annotated[
        str | None, typer.Argument(metavar="[SQL]", help="Default: standard input, or a shell.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Open this data directory instead of asking a node.")
    ] = None,
    database: Annotated[str | None, typer.Option(help="The current database.")] = None,
    output_format: Annotated[
        str, typer.Option("--format", help="table, csv, json or parquet.")
    ] = "table",
    output: Annotated[Path | None, typer.Option(help="Write here instead of stdout.")] = None,
    time_zone: Annotated[str, typer.Option(help="Zone of times written without one.")] = "UTC",
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for a statement.")] = 60.0,
    on_incomplete: Annotated[
        str,
        typer.Option(
            help="return, fail, wait, or fetch (ask the nodes below for what is missing)."
        ),
    ] = "return",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Run one SQL statement, or an interactive shell."""
    chosen = "json" if as_json else output_format
    if chosen not in FORMATS:
        fail(f"--format {chosen!r} is unknown", f"use {', '.join(FORMATS)}", USAGE)
    if on_incomplete not in ON_INCOMPLETE:
        fail(
            f"--on-incomplete {on_incomplete!r} is unknown",
            f"use {', '.join(ON_INCOMPLETE)}",
            USAGE,
        )
    if chosen == "parquet" and output is None and sys.stdout.isatty():
        fail("parquet is not for a terminal", "give --output FILE, or redirect", USAGE)
    with source_for(data, url, token_file) as source:
        source.on_incomplete = on_incomplete
        source.database, source.time_zone, source.timeout_s = database, time_zone, timeout
        if statement is None and sys.stdin.isatty():
            from mainstem_node.shell.interactive import Shell

            Shell(source, chosen).run()
            return
        text = sys.stdin.read() if statement is None else statement
        if not text.strip():
            fail("no statement is given", 'mainstem sql "SELECT ..."', USAGE)
        run(source, text, chosen, output)


def source_for(data: Path | None, url: str, token_file: Path | None) -> Source:
    """Where statements go: a directory in this process, or a node."""
    from mainstem_node.shell.source import EmbeddedSource, RemoteSource

    if data is None:
        return RemoteSource(client_for(url, token_file))
    if data.exists() and not data.is_dir():
        fail(f"{data} is not a directory", "name a data directory", USAGE)
    if not data.exists():
        note(f"{data} is a new data directory")
    return EmbeddedSource(data)


def run(source: Source, statement: str, output_format: str, output: Path | None) -> None:
    """One statement, printed in one format."""
    from mainstem_node.shell.rendering import parquet_bytes, remarks, rendered

    if output_format == "parquet":
        content = parquet_bytes(source.arrow(statement))
    else:
        answer = source.ask(statement, readable_times=output_format == "table")
        width = None if output is None and sys.stdout.isatty() else 0
        content = rendered(answer, output_format, width).encode()
        for remark in remarks(answer):
            note(remark)
    if output is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:
        output.write_bytes(content)
        note(f"wrote {output} ({len(content):,} bytes)")
