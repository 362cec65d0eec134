"""What a command prints and how it ends: results on stdout, everything else on stderr.

Exit codes: 0 it worked, 1 the check failed or the work could not be done, 2 usage or configuration.
rich is imported only by what draws, so that ``--help`` and ``--json`` stay fast.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import typer

from mainstem_node.endings import FAILED, OK, USAGE

__all__ = [
    "FAILED", "OK", "USAGE", "escaped", "fail", "moment", "note", "result", "result_json",
    "result_json_line", "result_table", "shown",
]  # fmt: skip


def result(text: str) -> None:
    """One line of what was asked for."""
    typer.echo(text)


def note(text: str) -> None:
    """A remark for the person at the terminal."""
    typer.echo(text, err=True)


def result_json(value: Any) -> None:
    """A result for a program: one JSON document."""
    typer.echo(json.dumps(value, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False))


def result_json_line(value: Any) -> None:
    """One of many results for a program: a JSON document on a line of its own, in ASCII."""
    typer.echo(json.dumps(value))


def escaped(text: str) -> str:
    """``text`` without anything that a terminal would act on: control and formatting characters,
    which names and values from outside may hold, are shown as escapes."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def fail(message: str, remedy: str | None = None, code: int = FAILED) -> NoReturn:
    """Ends the command with one line that says what is wrong and what to do."""
    typer.echo(f"mainstem: {message}" + (f"; {remedy}" if remedy else ""), err=True)
    raise typer.Exit(code)


def result_table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table; columns whose cells are all numbers are set to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [["" if cell is None else cell for cell in row] for row in rows]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, title in enumerate(titles):
        numbers = cells and all(
            isinstance(row[index], int | float) or row[index] == "" for row in cells
        )
        table.add_column(title, justify="right" if numbers else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(shown(cell)) for cell in row))
    # Piped output is for programs and files: it is never folded to a terminal's width.
    width = None if sys.stdout.isatty() else WIDE
    console = Console(width=width, soft_wrap=False, highlight=False)
    with console.capture() as capture:
        console.print(table)
    typer.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))


WIDE = 400
"""Characters of a line that is not shown on a terminal."""


def shown(cell: object) -> str:
    """A cell as text: thousands are grouped in integers, booleans are lower case."""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        return f"{cell:,.6g}"
    return str(cell)


def moment(time_ms: int | None) -> str:
    """A time for people, in UTC."""
    if time_ms is None:
        return ""
    return dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
