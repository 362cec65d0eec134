"""The statements of the README run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

from mainstem_engine import Engine, EngineOptions

ROOT = Path(__file__).resolve().parents[2]
NOW_MS = 1_792_600_000_000
SETTING = (
    "CREATE STABLE meters (ts TIMESTAMP, current FLOAT, voltage INT) TAGS (location TEXT)",
    "INSERT INTO d1 USING meters TAGS ('a') VALUES ('2026-10-21T00:00:00Z', 1.5, 220)"
    " ('2026-10-21T00:03:00Z', 2.5, 221)",
    "CREATE SCHEMA TEMPLATE car (s1 INT32, s2 FLOAT)",
    "CREATE DATABASE root.beijing",
    "SET SCHEMA TEMPLATE car TO root.beijing",
    "INSERT INTO root.beijing.d1(time, s1, s2) VALUES (2026-10-21T01:00:00Z, 1, 2)",
)


def test_the_statements_of_the_readme_are_answered(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    statements = [line for line in snippet.splitlines() if line.strip()]
    options = EngineOptions(background=False, clock=lambda: NOW_MS * 1_000_000)
    with Engine.open(tmp_path, options) as engine:
        for statement in SETTING:
            engine.sql(statement)
        windows, hours, scores = [engine.sql(statement).rows() for statement in statements]
    # Overlapping windows from half a minute before the first row to the last, none left empty.
    assert [row[2] for row in windows] == [220.0] * 6 + [221.0] * 2
    assert [row[1] for row in hours] == [0, 1] + [0] * 22
    assert scores == [["root.main.d1", None, None]]
