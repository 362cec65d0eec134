"""Expressions over columns: as DuckDB computes them, and nothing that is not on the list."""

from __future__ import annotations

import math
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.model import AnyArray, Column
from mainstem_node.errors import ExpressionError
from mainstem_node.expressions import EXPRESSION_CHARS_MAX, parse

KNOWN = {"a": False, "b": False, "motor.rpm": False, "running": True}
ROWS: list[tuple[Any, ...]] = [
    (1.0, 2.0, 3.0, True),
    (-2.5, 0.0, 7.5, False),
    (None, 4.0, -1.0, None),
    (9.0, None, 0.5, True),
    (0.0, -3.0, None, False),
]
EXPRESSIONS = [
    "a * 2 + b / 4 - 1", "-a", "a % 2", "abs(a) + sqrt(b * b)", "a > b", "a = 1 OR b = 4",
    "NOT running", "running AND a > 0", "a > 0 AND b > 0", "a > 0 OR b > 0",
    "CASE WHEN a > 0 THEN b WHEN b = 0 THEN 5 END", "CASE WHEN running THEN 1 ELSE 0 END",
    "IF(a > 0, a, NULL)", "COALESCE(a, b, 0)", "LEAST(a, b)", "GREATEST(a, b, 1)",
    "ROUND(a)", "ROUND(a / 3, 2)", "FLOOR(a)", "CEIL(a)", "POWER(a, 2)", "EXP(b)", "SIGN(a)",
    "a BETWEEN 0 AND 5", "a IN (1, 9)", "a IS NULL", "a IS NOT NULL", "NULL", "a <> b",
    "LN(abs(a) + 1)", "LOG10(abs(b) + 1)", '"motor.rpm" * 2', "CASE a WHEN 1 THEN 10 ELSE 20 END",
]  # fmt: skip


def columns(rows: list[tuple[Any, ...]]) -> dict[str, Column | None]:
    found: dict[str, Column | None] = {}
    for name, values in zip(KNOWN, zip(*rows, strict=True), strict=True):
        valid = np.array([value is not None for value in values])
        plain = [value or 0 for value in values]
        found[name] = Column(np.array(plain, np.bool_ if KNOWN[name] else np.float64), valid)
    return found


def listed(found: Column) -> list[Any]:
    valid: AnyArray = np.ones(len(found.values), np.bool_) if found.valid is None else found.valid
    return [v if ok else None for v, ok in zip(found.values.tolist(), valid.tolist(), strict=True)]


def oracle(text: str, rows: list[tuple[Any, ...]]) -> list[Any]:
    with duckdb.connect() as connection:
        connection.execute(
            'CREATE TABLE t (n INT, a DOUBLE, b DOUBLE, "motor.rpm" DOUBLE, running BOOLEAN)'
        )
        connection.executemany(
            "INSERT INTO t VALUES (?, ?, ?, ?, ?)", [(n, *row) for n, row in enumerate(rows)]
        )
        answers = connection.execute(f"SELECT {text} FROM t ORDER BY n").fetchall()
    values = [row[0] for row in answers]
    return [None if isinstance(v, float) and not math.isfinite(v) else v for v in values]


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_it_is_what_duckdb_computes(text: str) -> None:
    found = listed(parse(text, KNOWN).evaluate(columns(ROWS), len(ROWS)))
    expected = oracle(text, ROWS)
    for mine, theirs in zip(found, expected, strict=True):
        assert (mine is None) == (theirs is None), (found, expected)
        assert theirs is None or mine == pytest.approx(float(theirs))


NUMBERS = st.sampled_from(["a", "b", "2", "0.5", '"motor.rpm"', "NULL"])
SUMS = st.recursive(
    NUMBERS,
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "/"]), inner),
        st.builds("coalesce({}, {})".format, inner, inner),
        st.builds("CASE WHEN {} > {} THEN {} ELSE {} END".format, inner, inner, inner, inner),
        st.builds("CASE WHEN running OR {} < {} THEN {} END".format, inner, inner, inner),
    ),
    max_leaves=6,
)


@settings(max_examples=40, deadline=None)
@given(SUMS)
def test_any_nesting_is_what_duckdb_computes(text: str) -> None:
    found = listed(parse(text, KNOWN).evaluate(columns(ROWS), len(ROWS)))
    for mine, theirs in zip(found, oracle(text, ROWS), strict=True):
        assert (mine is None) == (theirs is None), text
        assert theirs is None or mine == pytest.approx(float(theirs), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not one expression"),
        ("a +", "cannot be read"),
        ("a AS x", "not one expression"),
        ("a, b", "not one expression"),
        ("a FROM meters", "is a statement"),
        ("a WHERE b > 1", "is a statement"),
        ("a; SELECT 1", "is a statement"),
        ("c", "no measurement 'c'"),
        ("sum(a)", "cannot be computed"),
        ("(SELECT 1)", "cannot be computed"),
        ("'text'", "cannot be computed"),
        ("read_csv('x')", "cannot be computed"),
        ("a || b", "cannot be computed"),
        ("running + 1", "is a condition, not a number"),
        ("NOT a", "is a number, not a condition"),
        ("a = running", "compares"),
        ("IF(running, a, running)", "mixed"),
        ("1 + " * EXPRESSION_CHARS_MAX + "1", "too long"),
        ("abs(" * 90 + "a" + ")" * 90, "nested too deeply"),
        ("if(" * 9 + "a" + " BETWEEN 0 AND 1, 1, 0)" * 9, "too complex"),
    ],
)
def test_what_is_not_on_the_list_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ExpressionError, match=problem):
        parse(text, KNOWN)


def test_names_are_those_of_the_measurements_whatever_their_case() -> None:
    found = parse("A + `motor.rpm`", KNOWN)
    assert found.names == ("a", "motor.rpm")
    assert not found.is_condition
    assert parse("a > 1", KNOWN).is_condition


def test_a_measurement_that_no_row_has_is_null() -> None:
    found = parse("coalesce(a, 7)", KNOWN).evaluate({"a": None}, 2)
    assert listed(found) == [7.0, 7.0]
