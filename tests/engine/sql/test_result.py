"""Results as Arrow and as Python values."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import Any

import pyarrow as pa
import pytest

from mainstem_engine.sql.result import HEAD_BYTES, Result

Run = Callable[..., Result]

UUID = "a8b1f2d4-0000-4000-8000-0000000000aa"


@pytest.mark.parametrize(
    ("sql", "type_name", "value"),
    [
        ("9223372036854775807::BIGINT", "INT64", 2**63 - 1),
        ("18446744073709551615::UBIGINT", "UINT64", 2**64 - 1),
        ("170141183460469231731687303715884105727::HUGEINT", "DECIMAL(38,0)", 2**127 - 1),
        ("1.25::DECIMAL(10,2)", "DECIMAL(10,2)", 1.25),
        ("5::DECIMAL(38,0)", "INT64", 5),
        ("1.5::FLOAT", "FLOAT", 1.5),
        ("TRUE", "BOOLEAN", True),
        ("'x'", "TEXT", "x"),
        ("'\\x00\\xff'::BLOB", "BLOB", b"\x00\xff"),
        ("DATE '2026-01-02'", "DATE", "2026-01-02"),
        ("TIME '10:00:01'", "TIME", "10:00:01"),
        ("INTERVAL '2 days' + INTERVAL '1 second'", "INTERVAL", 172_801_000),
        ("INTERVAL '1 month'", "INTERVAL", "P1M0DT0.000000S"),
        ("[1, NULL, 3]", "INT32[]", [1, None, 3]),
        ("{'a': 1, 'b': ['x']}", "STRUCT", {"a": 1, "b": ["x"]}),
        ("MAP {'k': 1}", "MAP", [["k", 1]]),
        (f"'{UUID}'::UUID", None, UUID),
        ("TIMESTAMPTZ '1970-01-01 00:00:01.5+00'", "TIMESTAMP", 1500),
        ("[TIMESTAMPTZ '1970-01-01 00:00:02+00']", "TIMESTAMP[]", [2000]),
        ("NULL::INTEGER", "INT32", None),
    ],
)  # fmt: skip
def test_values_of_every_type(plant: Run, sql: str, type_name: str | None, value: Any) -> None:
    result = plant(f"SELECT {sql} AS v")
    assert result.rows() == [[value]]
    assert type_name in (None, result.columns[0]["type"])


def test_nulls_inside_nested_values(plant: Run) -> None:
    rows = plant("SELECT x FROM (VALUES ([1]), (NULL), ([]), ([2, 3])) t(x)").rows()
    assert rows == [[[1]], [None], [[]], [[2, 3]]]


def test_floats_that_are_no_numbers(plant: Run) -> None:
    ((nan, infinity),) = plant("SELECT 'NaN'::FLOAT, '-Infinity'::DOUBLE").rows()
    assert math.isnan(nan)
    assert infinity == -math.inf


def test_times_as_text(plant: Run) -> None:
    result = plant("SELECT ts FROM meters WHERE voltage = 219", time_zone="Europe/Berlin")
    assert result.rows("rfc3339") == [["1970-01-01T01:00:01.000+01:00"]]
    assert result.rows() == [[1000]]


def test_arrow_times_are_timestamps_of_the_precision(plant: Run) -> None:
    table = plant("SELECT ts, voltage FROM meters ORDER BY voltage").arrow()
    assert table.schema.field("ts").type == pa.timestamp("ms", tz="UTC")
    assert table.column("voltage").to_pylist() == [219, 220, 221, 222]


def test_an_empty_result_has_columns(plant: Run) -> None:
    result = plant("SELECT * FROM meters WHERE voltage > 1000")
    assert (result.row_count, result.rows()) == (0, [])
    assert len(result.columns) == 6
    assert result.arrow().num_rows == 0


def test_a_result_says_what_was_read(plant: Run) -> None:
    result = plant("SELECT * FROM meters WHERE ts >= 1000 AND ts < 5000")
    assert result.tables == {"meters"}
    assert result.range_ns == (1_000_000_000, 5_000_000_000)
    both = plant("SELECT 1 FROM meters m JOIN car c ON m.ts = c.time WHERE c.time > 5 AND m.ts < 9")
    assert both.tables == {"meters", "car"}
    assert both.range_ns == (None, None)
    assert plant("SELECT 1").tables == frozenset()


def steps_of(schema: pa.Schema, *sizes: int) -> tuple[Generator[Any], list[str]]:
    """The schema and batches of so many rows; and what was done with them, as it is done."""
    done: list[str] = []

    def steps() -> Generator[Any]:
        try:
            yield schema
            for size in sizes:
                done.append(f"read {size}")
                column = pa.array(range(size)).cast(schema.field(0).type)
                yield pa.record_batch([column], schema=schema)
        finally:
            done.append("closed")

    return steps(), done


WHOLE_NUMBERS = pa.schema([("x", pa.int64())])
LARGE = HEAD_BYTES // 8
"""Rows that fill the head."""


def test_a_small_answer_is_there_at_once() -> None:
    steps, done = steps_of(WHOLE_NUMBERS, 2, 3)
    result = Result.of_steps(steps, is_streamed=True)
    assert result.is_whole
    assert done == ["read 2", "read 3", "closed"]
    assert [piece.rows() for piece in result.pieces()] == [[[0], [1], [0], [1], [2]]]


def test_a_large_answer_is_read_as_it_is_asked_for() -> None:
    steps, done = steps_of(WHOLE_NUMBERS, LARGE, LARGE, 5)
    result = Result.of_steps(steps, is_streamed=True, units={"x": "m"})
    assert not result.is_whole
    assert done == [f"read {LARGE}"]
    pieces = result.pieces()
    assert next(pieces).row_count == LARGE
    assert done == [f"read {LARGE}"]
    second = next(pieces)
    assert (second.row_count, second.columns) == (LARGE, result.columns)
    assert [piece.row_count for piece in pieces] == [5]
    assert done[-1] == "closed"


def test_leaving_early_ends_the_statement() -> None:
    for count in (0, 1):
        steps, done = steps_of(WHOLE_NUMBERS, LARGE, LARGE, LARGE)
        result = Result.of_steps(steps, is_streamed=True)
        pieces = result.pieces()
        for _ in range(count + 1):
            next(pieces)
        result.close()
        assert done == [*[f"read {LARGE}"] * (count + 1), "closed"]


def test_an_answer_is_held_unless_asked_otherwise_and_where_a_type_depends_on_all_rows() -> None:
    wide = pa.schema([("x", pa.decimal128(38, 0))])
    for schema, is_streamed in ((WHOLE_NUMBERS, False), (wide, True)):
        steps, done = steps_of(schema, LARGE, LARGE)
        result = Result.of_steps(steps, is_streamed=is_streamed)
        assert result.is_whole
        assert result.row_count == 2 * LARGE
        assert result.columns[0]["type"] == "INT64"
        assert done[-1] == "closed"
