"""Constants that filters compare with: what DuckDB makes of them, or none."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from sqlglot import exp, parse_one

from mainstem_engine.model import ColumnType
from mainstem_engine.sql.planning.value_filters import OPERATORS, exact_number, literal_of

KINDS = [ColumnType.INT8, ColumnType.UINT32, ColumnType.INT64, ColumnType.FLOAT, ColumnType.DOUBLE]
LITERALS = [
    "0", "7", "-7", "127", "128", "-129", "0.1", "-0.3", "20.25", "123456789.123456", "16777215",
    "16777216", "4294967295", "4294967296", "9007199254740991", "9223372036854775807",
    "0.000000000001", "1.0",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", LITERALS)
def test_duckdb_compares_with_the_same_number(kind: ColumnType, text: str) -> None:
    number = exact_number(kind, text)
    if number is None:
        return
    near = [np.array(number).astype(kind.dtype)]
    if kind.is_float:
        near += [np.nextafter(near[0], kind.dtype.type(np.inf))]
        near += [np.nextafter(near[0], kind.dtype.type(-np.inf))]
    values = np.array(near, kind.dtype)
    near_it = pa.table({"v": values})
    for operator in OPERATORS.values():
        answer = duckdb.sql(f"SELECT v {operator} {text} AS p FROM near_it")
        assert answer is not None
        found = answer.to_arrow_table()
        ours = {
            "=": values == number, "<>": values != number, "<": values < number,
            "<=": values <= number, ">": values > number, ">=": values >= number,
        }[operator]  # fmt: skip
        assert found.column("p").to_pylist() == ours.tolist()
    assert near_it.num_rows == len(values)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (ColumnType.INT8, 128),
        (ColumnType.UINT32, -1),
        (ColumnType.INT64, 1.0),
        (ColumnType.INT32, "1.5"),
        (ColumnType.FLOAT, 0.5),
        (ColumnType.FLOAT, 1 << 24),
        (ColumnType.DOUBLE, 1 << 53),
        (ColumnType.DOUBLE, float("nan")),
        (ColumnType.DOUBLE, float("inf")),
        (ColumnType.DOUBLE, "1e3"),
        (ColumnType.DOUBLE, "1234567890.123456"),
        (ColumnType.DOUBLE, "1_000"),
        (ColumnType.DOUBLE, ".5"),
        (ColumnType.DOUBLE, "٣"),
        (ColumnType.DOUBLE, True),
        (ColumnType.BOOLEAN, 1),
        (ColumnType.TIMESTAMP, 1),
        (ColumnType.TEXT, 1),
    ],
)
def test_constants_that_are_left_alone(kind: ColumnType, value: int | float | str) -> None:
    assert exact_number(kind, value) is None


def test_literals() -> None:
    assert literal_of(parse_one("5")) == "5"
    assert literal_of(parse_one("-5.25")) == "-5.25"
    assert literal_of(exp.Neg(this=parse_one("-5"))) is None
    assert literal_of(parse_one("'5'")) is None
    assert literal_of(parse_one("a")) is None
