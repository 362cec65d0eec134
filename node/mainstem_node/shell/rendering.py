"""Answers as text: a table for people, CSV and JSON for programs, and Parquet.

Nothing is rounded: floats are shown with the shortest digits that read back as the same number.
"""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from mainstem_node.client import Answer

if TYPE_CHECKING:
    import pyarrow as pa

TABLE_ROWS_MAX = 1000
"""Rows that a terminal shows; csv and json have all of them."""

WIDE = 10_000
"""Characters of a line that is not shown on a terminal: no cell is folded."""


def rendered(answer: Answer, output_format: str, width: int | None) -> str:
    """The answer as text. ``width``: columns of the terminal, None to ask it, 0 without one."""
    if output_format == "json":
        return json_text(answer)
    if output_format == "csv":
        return csv_text(answer)
    return table_text(answer, width)


def json_text(answer: Answer) -> str:
    """The object that the HTTP route answers with."""
    return (
        json.dumps(
            {
                "columns": answer.columns,
                "rows": answer.rows,
                "row_count": len(answer.rows),
                "elapsed_ms": answer.elapsed_ms,
                "rows_affected": answer.rows_affected,
                "warnings": answer.warnings,
                "completeness": answer.completeness,
            },
            ensure_ascii=False,
        )
        + "\n"
    )


def csv_text(answer: Answer) -> str:
    """A header line and the rows; null is an empty cell. Nothing where there are no columns."""
    if not answer.columns:
        return ""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(answer.names)
    writer.writerows([["" if v is None else plain(v) for v in row] for row in answer.rows])
    return text.getvalue()


def table_text(answer: Answer, width: int | None) -> str:
    """A table with as many rows as a person looks through, or what the statement changed."""
    if not answer.columns:
        count = answer.rows_affected
        return "done\n" if count is None else f"{count:,} row{'' if count == 1 else 's'} written\n"
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    shown = answer.rows[:TABLE_ROWS_MAX]
    for index, column in enumerate(answer.columns):
        values = [row[index] for row in shown if row[index] is not None]
        numbers = bool(values) and all(
            isinstance(v, int | float) and not isinstance(v, bool) for v in values
        )
        # The unit of a time is that of integers; a table shows times as text.
        unit = None if column["type"] == "TIMESTAMP" else column.get("unit")
        title = column["name"] + (f" [{unit}]" if unit else "")
        table.add_column(Text(title), justify="right" if numbers else "left", overflow="fold")
    for row in shown:
        cells = [Text("null", style="dim") if v is None else Text(str(plain(v))) for v in row]
        table.add_row(*cells)
    text = io.StringIO() if width == 0 else None
    console = Console(file=text, width=WIDE if width == 0 else width, highlight=False)
    with console.capture() as capture:
        console.print(table)
    lines = [line.rstrip() for line in capture.get().splitlines()]
    more = len(answer.rows) - len(shown)
    if more:
        lines.append(f"... {more:,} more rows; --format csv has all of them")
    count = len(answer.rows)
    lines.append(f"({count:,} row{'' if count == 1 else 's'})")
    return "\n".join(lines) + "\n"


def plain(value: Any) -> Any:
    """A value as a cell holds it."""
    if isinstance(value, bool):
        return str(value).lower()
    return value


def parquet_bytes(table: pa.Table) -> bytes:
    """The table as a Parquet file."""
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def remarks(answer: Answer) -> list[str]:
    """What to know about an answer: warnings, and tables that are not complete."""
    found = [f"warning: {warning}" for warning in answer.warnings]
    for entry in answer.completeness:
        if entry.get("state") != "complete":
            holes = len(entry.get("holes") or ())
            more = f", {holes} hole{'' if holes == 1 else 's'}" if holes else ""
            found.append(f"{entry['table']} of {entry['node']}: {entry['state']}{more}")
    return found
