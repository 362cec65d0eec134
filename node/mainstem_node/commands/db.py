"""``mainstem db``: looks into a data directory without a node, changing nothing."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mainstem_node.commands.arguments import Json
from mainstem_node.commands.terminal import (
    USAGE,
    fail,
    moment,
    note,
    result,
    result_json,
    result_table,
)

app = typer.Typer(no_args_is_help=True, help="Look into a data directory, offline.")
NS_PER_MS = 1_000_000


@app.callback()
def db() -> None:
    """Look into a data directory, offline."""


@app.command()
def stats(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A node's data directory.")],
    as_json: Json = False,
) -> None:
    """Say what a data directory holds: log, parts, tables, and what is damaged."""
    from mainstem_engine import directory_statistics
    from mainstem_engine.errors import NotFoundError
    from mainstem_node.overview import size

    try:
        found = directory_statistics(directory)
    except NotFoundError as error:
        fail(error.message, error.hint, USAGE)
    if as_json:
        result_json({**asdict(found), "path": str(found.path)})
        return
    result(f"node uuid    {found.node_uuid}")
    result(f"databases    {', '.join(found.databases) or 'none'}")
    result(f"templates    {', '.join(found.templates) or 'none'}")
    result(f"devices      {found.devices:,}")
    result(
        f"log          {found.log_segments:,} segments, {size(found.log_bytes)},"
        f" LSN {found.first_lsn:,} to {found.last_lsn:,}"
    )
    result(f"checkpoint   LSN {found.checkpoint_lsn:,}")
    result(f"parts        {found.parts:,}, {size(found.part_bytes)}, {found.rows:,} rows")
    if found.tables:
        result("")
        result_table(
            ("table", "devices", "parts", "rows", "size", "from", "to"),
            [
                (name, each.devices, each.parts, each.part_rows, size(each.part_bytes),
                 time_of(each.time_min_ns), time_of(each.time_max_ns))
                for name, each in sorted(found.tables.items())
            ],
        )  # fmt: skip
    for damage in found.damages:
        result(f"damaged: {damage}")
    note(
        "catalog and rows are those of the checkpoint; the log above it may hold more,"
        " and rows that were overwritten count until parts are merged"
    )


def time_of(time_ns: int | None) -> str:
    return "" if time_ns is None else moment(time_ns // NS_PER_MS)
