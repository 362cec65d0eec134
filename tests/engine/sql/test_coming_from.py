"""The statements of the pages for users of other systems: run, or refused, as the pages say."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mainstem_engine.errors import EngineError
from mainstem_engine.sql.result import Result

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGES = ("coming-from-iotdb.md", "coming-from-tdengine.md")
_CODE = re.compile(r"(`+)(.*?)\1(?!`)")
_STATEMENT = re.compile(r"(?:CREATE|SELECT|INSERT|SHOW|DELETE|DROP|ALTER|SET|UNSET|USE)\b", re.I)


def cells(page: str, heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    text = (DOCS / page).read_text(encoding="utf-8").partition(f"## {heading}\n")[2]
    lines = text.partition("\n## ")[0].splitlines()
    rows = [line.strip().strip("|").split("|") for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


@pytest.mark.parametrize("page", PAGES)
def test_every_statement_that_is_as_they_know_it_runs(
    run: Callable[..., Result], page: str
) -> None:
    statements = [row[0].strip("`") for row in cells(page, "As you know it")]
    assert len(statements) > 40
    failed = {}
    for statement in statements:
        try:
            result = run(statement)
        except EngineError as error:
            failed[statement] = str(error)
            continue
        if statement.upper().startswith(("SELECT", "SHOW", "COUNT", "DESCRIBE")):
            assert result.row_count or result.rows_affected, statement
    assert failed == {}


@pytest.mark.parametrize("page", PAGES)
def test_what_is_refused_says_what_to_write(run: Callable[..., Result], page: str) -> None:
    rows = cells(page, "Spelled otherwise")
    assert rows
    for theirs, *ours in rows:
        with pytest.raises(EngineError) as caught:
            run(theirs.strip("`"))
        assert caught.value.hint, theirs
        code = _CODE.match(ours[0])
        statement = "" if code is None else code[2]
        if _STATEMENT.match(statement):
            run(statement)
