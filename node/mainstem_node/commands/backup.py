"""``mainstem backup`` and ``mainstem restore``.

A running node writes a backup into its own ``backup_dir`` (the machine that asks has no say in
where else); with ``--data DIR`` the backup is taken here, of a directory that no process owns. A
restore is verified file by file before the directory appears.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from mainstem_node.commands.arguments import DEFAULT_URL, Json, TokenFile, Url, client_for
from mainstem_node.commands.terminal import USAGE, fail, moment, result, result_json
from mainstem_node.node_files import NODE_FILES


def backup(
    destination: Annotated[
        str,
        typer.Argument(
            metavar="DEST", help="A new directory; of a running node, a name in its backup_dir."
        ),
    ],
    data: Annotated[
        Path | None, typer.Option(help="Back up this data directory, which no process owns.")
    ] = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Write a consistent, verified backup; a running node goes on meanwhile."""
    if data is None:
        with client_for(url, token_file) as client:
            report = client.backup(destination)
    else:
        report = offline(data, Path(destination))
    if as_json:
        result_json(report)
        return
    from mainstem_node.overview import size

    result(f"backup       {report['path']}")
    result(
        f"files        {report['files']:,}, {size(report['bytes'])}, {report['linked']:,} linked"
    )
    result(f"up to        LSN {report['durable_lsn']:,}")


def offline(data: Path, destination: Path) -> dict[str, Any]:
    """A backup of a directory in this process."""
    from mainstem_engine.backup import backup_directory
    from mainstem_engine.errors import NotFoundError, SchemaError

    try:
        report = backup_directory(data, destination, NODE_FILES)
    except (NotFoundError, SchemaError) as error:
        fail(error.message, error.hint, USAGE)
    return {**asdict(report), "path": str(report.path)}


def restore(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="The backup.")],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new data directory.")],
    as_json: Json = False,
) -> None:
    """Make a data directory of a backup, every file compared with what was written."""
    from mainstem_engine.errors import NotFoundError, SchemaError
    from mainstem_engine.restore import restore as restore_backup

    try:
        report = restore_backup(source, directory)
    except (NotFoundError, SchemaError) as error:
        fail(error.message, error.hint, USAGE)
    if as_json:
        result_json({**asdict(report), "path": str(report.path)})
        return
    result(f"restored     {report.path}, {report.files:,} files, node {report.node_uuid}")
    result(f"as of        {moment(report.taken_at_ms)}, LSN {report.durable_lsn:,}")
