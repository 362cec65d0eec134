"""docs/sql-functions.md: every function is on it, and every statement answers as it is shown.

An answer is shown below the statement that it is of, or below the last one of a block: one line of
headings, then a line per row; cells are separated by two spaces and more. Fractions are rounded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mainstem_engine.analysis import library
from mainstem_engine.analysis.function import Function, PointFunction
from mainstem_engine.sql.result import Result

PAGE = Path(__file__).resolve().parents[3] / "docs" / "sql-functions.md"
ROUNDED = 1e-5
"""Six digits are shown."""


def blocks() -> list[tuple[str, str]]:
    """("sql" or "text", content) of each block, in order."""
    return re.findall(r"```(sql|text)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def statements(block: str) -> Iterator[str]:
    for statement in re.split(r";\n", block):
        if statement.strip():
            yield statement


def shown(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def is_shown(value: Any, cell: str) -> bool:
    if isinstance(value, float) and cell != "null":
        expected = float(cell)
        both_nan = math.isnan(value) and math.isnan(expected)
        return both_nan or math.isclose(value, expected, rel_tol=ROUNDED, abs_tol=1e-9)
    return shown(value) == cell


def test_every_statement_runs_and_answers_as_shown(run: Callable[..., Result]) -> None:
    result: Result | None = None
    answers = 0
    for kind, content in blocks():
        if kind == "sql":
            for statement in statements(content):
                result = run(statement)
                assert result.row_count or not statement.startswith("SELECT"), statement
            continue
        assert result is not None, "an answer before any statement"
        heading, *lines = (re.split(r"\s{2,}", line.strip()) for line in content.splitlines())
        assert heading == [column["name"] for column in result.columns]
        rows = result.rows()
        assert len(lines) == len(rows), heading
        for line, row in zip(lines, rows, strict=True):
            assert all(is_shown(v, c) for v, c in zip(row, line, strict=True)), (heading, row, line)
        answers += 1
    assert answers > 10


def missing_of(function: Function, page: str, examples: str) -> str | None:
    """What the page lacks of a function: a row of a table, a parameter in it, an example."""
    rows = [row for row in page.splitlines() if row.startswith(f"| `{function.name}(")]
    if len(rows) != 1:
        return f"one row of {function.name}"
    named = rows[0].replace("_", "").casefold()
    for parameter in function.parameters:
        names = (parameter.name, *parameter.aliases)
        if not any(name.replace("_", "").casefold() in named for name in names):
            return f"{parameter.name} of {function.name}"
    called = re.search(rf"\b{function.name}\(", examples)
    return None if called else f"an example of {function.name}"


def test_every_function_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    examples = "".join(content for kind, content in blocks() if kind == "sql")
    missing = [missing_of(function, page, examples) for function in library.functions()]
    assert [what for what in missing if what] == []
    nowhere = PointFunction("nowhere", lambda *_: None)  # type: ignore[arg-type]
    assert missing_of(nowhere, page, examples)


@pytest.mark.parametrize(
    ("value", "cell", "same"),
    [
        (None, "null", True),
        (0.0, "null", False),
        (True, "true", True),
        (1.2345678, "1.23457", True),
        (1.2345, "1.2346", False),
        (12, "13", False),
        (math.nan, "nan", True),
        (1.0, "nan", False),
    ],
)
def test_an_answer_that_differs_is_noticed(value: Any, cell: str, same: bool) -> None:
    assert is_shown(value, cell) == same
