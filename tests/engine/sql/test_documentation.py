"""The statements of docs/sql.md run, in their order."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from mainstem_engine.sql.result import Result

PAGE = Path(__file__).resolve().parents[3] / "docs" / "sql.md"


def test_every_statement_of_the_page_runs(run: Callable[..., Result]) -> None:
    blocks = re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    statements = [line for block in blocks for line in block.splitlines() if line]
    results = [run(statement) for statement in statements]
    assert len(results) > 15
    queries = [r for s, r in zip(statements, results, strict=True) if s.startswith("SELECT")]
    assert all(result.row_count or result.rows_affected for result in queries)
