"""Answers as text: a table for people, CSV and JSON for programs, and Parquet.

Nothing is rounded: floats are shown with the shortest digits that read back as the same number of
their type; a FLOAT of 10.3 is 10.3 in a table and in CSV. JSON has the value as a double.
"""

from __future__ import annotations

import csv
import io
import json
import math
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mainstem_node.client import Answer

if TYPE_CHECKING:
    import pyarrow as pa

TABLE_ROWS_MAX = 1000
"""Rows that a terminal shows; csv and json have all of them."""

FLOAT_DIGITS_MAX = 9
"""Decimal digits that tell any two FLOATs apart."""
FLOAT_MAX = struct.unpack("f", b"\xff\xff\x7f\x7f")[0]

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
    show = [cell_of(column["type"]) for column in answer.columns]
    for row in answer.rows:
        cells = zip(show, row, strict=True)
        writer.writerow(["" if value is None else plain(value) for plain, value in cells])
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
    show = [cell_of(column["type"]) for column in answer.columns]
    for row in shown:
        cells = zip(show, row, strict=True)
        table.add_row(
            *(Text("null", style="dim") if v is None else Text(str(plain(v))) for plain, v in cells)
        )
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


def cell_of(kind: str | None) -> Callable[[Any], Any]:
    """How values of a column of that type are shown."""
    return single if kind == "FLOAT" else plain


def plain(value: Any) -> Any:
    """A value as a cell holds it."""
    if isinstance(value, bool):
        return str(value).lower()
    return value


def single(value: Any) -> Any:
    """A FLOAT with the fewest digits that are the same FLOAT."""
    if not isinstance(value, float) or not math.isfinite(value):
        return plain(value)
    packed = struct.pack("f", value)
    for digits in range(6, FLOAT_DIGITS_MAX):
        short = float(f"{value:.{digits}g}")
        # Rounding may leave the range of a FLOAT; its neighbours are longer then.
        if abs(short) <= FLOAT_MAX and struct.pack("f", short) == packed:
            return short
    return float(f"{value:.{FLOAT_DIGITS_MAX}g}")


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
