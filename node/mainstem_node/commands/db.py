"""``mainstem db``: looks into a data directory without a node; only ``repair`` changes anything.

``check`` ends with 0 when everything is whole, 3 when something is damaged and listed, 4 when the
path cannot be read as a data directory. A directory that a process owns is refused with that
process's id and URL; only ``stats`` reads beside it.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainstem_node.commands.arguments import Json
from mainstem_node.commands.terminal import (
    USAGE,
    escaped,
    fail,
    moment,
    note,
    result,
    result_json,
    result_json_line,
    result_table,
)

if TYPE_CHECKING:
    from mainstem_engine.check import CheckReport
    from mainstem_engine.damage import Damage
    from mainstem_engine.repair import RepairReport
    from mainstem_engine.statistics import DirectoryStatistics

app = typer.Typer(no_args_is_help=True, help="Look into a data directory, offline.")
NS_PER_MS = 1_000_000
DAMAGED = 3
UNREADABLE = 4

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="A node's data directory.")]


@app.callback()
def db() -> None:
    """Look into a data directory, offline."""


@app.command()
def check(directory: Directory, as_json: Json = False) -> None:
    """Read everything and list every damage; exit 0 whole, 3 damaged, 4 unreadable."""
    from mainstem_engine.check import check_directory
    from mainstem_engine.errors import LockedError, NotFoundError

    try:
        report = check_directory(directory)
    except LockedError:
        raise
    except NotFoundError as error:
        fail(error.message, error.hint, UNREADABLE)
    except OSError as error:
        fail(f"{directory} cannot be read ({error.strerror})", "run as the node's user", UNREADABLE)
    if as_json:
        result_json(report_fields(report))
    else:
        print_report(report)
    if not report.whole:
        raise typer.Exit(DAMAGED)


def report_fields(report: CheckReport) -> dict[str, Any]:
    """The report for programs."""
    fields = asdict(report)
    damages = [{**asdict(d), "records": d.records} for d in report.damages]
    return {**fields, "path": str(report.path), "whole": report.whole, "damages": damages}


def print_report(report: CheckReport) -> None:
    """What was read, then one line for each damage."""
    from mainstem_node.overview import size

    result(f"node uuid    {report.node_uuid or 'unknown'}")
    result(
        f"parts        {report.parts:,}, {report.blocks:,} blocks, {report.rows:,} rows,"
        f" {size(report.part_bytes)}"
    )
    log = report.log
    result(
        f"log          {log.segments:,} segments, {log.records:,} records, {size(log.bytes)},"
        f" LSN {log.first_lsn:,} to {log.last_lsn:,}; checkpoint at {report.checkpoint_lsn:,}"
    )
    for damage in report.damages:
        result(f"damaged: {escaped(str(damage))}{span_of(damage)}")
    if report.unlisted:
        result(f"damaged: {report.unlisted:,} places more")
    for remark in report.remarks:
        note(escaped(remark))
    count = len(report.damages) + report.unlisted
    result(
        "whole" if not count else f"{count:,} damaged; `mainstem db repair` can go on without it"
    )


def span_of(damage: Damage) -> str:
    """The times of lost rows."""
    if not damage.rows:
        return ""
    return f", {time_of(damage.start_ns)} to {time_of(damage.end_ns)}"


@app.command()
def dump(
    directory: Directory,
    what: Annotated[
        list[str] | None,
        typer.Option(help="log, parts, part-list, catalog or checkpoint; may be given again."),
    ] = None,
    table: Annotated[str | None, typer.Option(help="Only what belongs to this table.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Entries of each kind; 0: all.")] = 1000,
    as_json: Json = False,
) -> None:
    """List what the files hold, one entry a line."""
    from mainstem_engine.dump import DUMPS, dump_directory
    from mainstem_engine.errors import NotFoundError

    unknown = [name for name in what or () if name not in DUMPS]
    if unknown:
        fail(f"--what {unknown[0]!r} is unknown", f"use {', '.join(DUMPS)}", USAGE)
    try:
        for entry in dump_directory(directory, what=what or (), table=table, limit=limit or None):
            if as_json:
                result_json_line(entry)
            else:
                result(entry_line(entry))
    except NotFoundError as error:
        fail(error.message, error.hint, UNREADABLE)


def entry_line(entry: dict[str, Any]) -> str:
    """One entry for people: its kind, then ``name value`` for each field."""
    import json

    fields = [
        f"{name} {value if isinstance(value, int) else json.dumps(value, ensure_ascii=False)}"
        for name, value in entry.items()
        if name != "entry"
    ]
    return escaped(f"{entry['entry']:<9} {'  '.join(fields)}")


@app.command()
def repair(
    directory: Directory,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do it; without it nothing is changed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Give up what cannot be read, so that the rest can be used; originals are kept."""
    from mainstem_engine.errors import NotFoundError
    from mainstem_engine.repair import plan_repair, repair_directory

    try:
        plan = plan_repair(directory)
    except NotFoundError as error:
        fail(error.message, error.hint, UNREADABLE)
    if not as_json:
        for action in plan.actions:
            result(f"{'doing' if yes else 'would'}: {escaped(action)}")
    if not plan.actions:
        if as_json:
            result_json({"actions": [], "whole": plan.report.whole})
        else:
            result("whole: nothing to repair")
        return
    if not yes:
        if as_json:
            result_json({"actions": plan.actions, "whole": False})
        note(
            "nothing was changed; `mainstem db repair DIR --yes` does it. Copy the directory first"
        )
        raise typer.Exit(DAMAGED)
    report = repair_directory(directory)
    if as_json:
        fields = {
            "actions": report.actions,
            "kept": None if report.kept is None else str(report.kept),
            "lost_rows": report.lost_rows,
            "lost_lsns": report.lost_lsns,
            "unknown": report.unknown,
            "whole": report.after.whole,
        }
        result_json(fields)
    else:
        print_repair(report)
    if not report.after.whole:
        raise typer.Exit(DAMAGED)


def print_repair(report: RepairReport) -> None:
    """What is gone, what is not known any more, and where the old files are."""
    for table, rows in sorted(report.lost_rows.items()):
        result(f"lost         {rows:,} rows of {escaped(table)}")
    for first, last in report.lost_lsns:
        result(f"lost         records {first:,} to {last:,} of the log")
    for text in report.unknown:
        result(f"unknown      {escaped(text)}")
    if report.kept is not None:
        result(f"kept         {report.kept}")
    for damage in report.after.damages:
        result(f"damaged: {escaped(str(damage))}")
    result(
        "whole" if report.after.whole else "not whole: what is listed above could not be repaired"
    )


@app.command()
def stats(directory: Directory, as_json: Json = False) -> None:
    """Say what a data directory holds: log, parts, tables, bytes a point, and what is damaged."""
    from mainstem_engine import directory_statistics
    from mainstem_engine.errors import NotFoundError

    try:
        found = directory_statistics(directory)
    except NotFoundError as error:
        fail(error.message, error.hint, USAGE)
    if as_json:
        result_json(statistics_fields(found))
        return
    print_statistics(found)
    note(
        "catalog and rows are those of the checkpoint; the log above it may hold more,"
        " and rows that were overwritten count until parts are merged"
    )


def statistics_fields(found: DirectoryStatistics) -> dict[str, Any]:
    """The statistics for programs."""
    fields = asdict(found)
    for name, table in found.tables.items():
        fields["tables"][name]["bytes_per_point"] = table.bytes_per_point
    return {**fields, "path": str(found.path)}


def print_statistics(found: DirectoryStatistics) -> None:
    """The directory, its tables, and how each column is stored."""
    from mainstem_node.overview import size

    result(f"node uuid    {found.node_uuid}")
    result(f"databases    {', '.join(map(escaped, found.databases)) or 'none'}")
    result(f"templates    {', '.join(map(escaped, found.templates)) or 'none'}")
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
            ("table", "devices", "parts", "rows", "points", "size", "bytes/point", "from", "to"),
            [
                (escaped(name), each.devices, each.parts, each.part_rows, each.part_values,
                 size(each.part_bytes), each.bytes_per_point,
                 time_of(each.time_min_ns), time_of(each.time_max_ns))
                for name, each in sorted(found.tables.items())
            ],
        )  # fmt: skip
        result("")
        result_table(
            ("table", "column", "encoding", "compression", "blocks", "values", "size",
             "bytes/value"),
            [
                (escaped(name), escaped(column.column), column.encoding, column.compression,
                 column.blocks, column.values, size(column.bytes), column.bytes_per_value)
                for name, each in sorted(found.tables.items())
                for column in each.columns
            ],
        )  # fmt: skip
    for damage in found.damages:
        result(f"damaged: {escaped(damage)}")


def time_of(time_ns: int | None) -> str:
    return "" if time_ns is None else moment(time_ns // NS_PER_MS)
