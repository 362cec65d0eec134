"""Scaling, units and ranges: bit-equal without them, exact factors with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_edge.decode.interface import Decoded
from mainstem_edge.payload_time import TimeReader
from mainstem_edge.preprocess import (
    MeasurementRule,
    Prepared,
    TemplateRules,
    combined_linear,
    prepare,
)
from mainstem_edge.testing.parts import COLUMNS, rules
from mainstem_engine.model import ColumnType
from mainstem_node.config import conversion
from mainstem_node.expressions import parse


def prepared(columns: dict[str, list[Any]], **changes: Any) -> Prepared:
    count = max(map(len, columns.values()))
    return prepare(Decoded([0] * count, columns), rules(**changes), TimeReader())


def values(found: Prepared, name: str) -> list[Any]:
    column = found.columns[list(COLUMNS).index(name)]
    valid = [True] * len(column.values) if column.valid is None else column.valid
    return [v if ok else None for v, ok in zip(column.values.tolist(), valid, strict=True)]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_without_options_doubles_are_bit_equal(raw: list[float]) -> None:
    found = values(prepared({"temperature": raw}), "temperature")
    assert [v.hex() for v in found] == [v.hex() for v in raw]


def test_scale_offset_and_unit_are_one_step() -> None:
    linear = combined_linear(1.0, 0.0, conversion("degF", "degC"))
    found = prepared({"temperature": [212, 32.0, None]}, temperature={"linear": linear})
    assert values(found, "temperature") == [
        pytest.approx(100.0),
        pytest.approx(0.0, abs=1e-12),
        None,
    ]
    assert combined_linear(0.001, 0.0, (1.0, 0.0)) == (0.001, 0.0)
    assert combined_linear(1.0, 0.0, (1.0, 0.0)) is None
    assert combined_linear(2.0, 1.0, (10.0, 5.0)) == (20.0, 15.0)


def test_scaled_integers_are_rounded_and_must_fit() -> None:
    found = prepared({"count": [15, 2.4, 1e300]}, count={"linear": (0.1, 0.0)})
    assert values(found, "count") == [2, 0, None]
    assert [(r.row, r.reason, r.value) for r in found.rejects] == [(2, "wrong_type", 1e300)]
    edge = prepared({"count": [2.0**63]}, count={"linear": (1.0, 1.0)})
    assert values(edge, "count") == [None]


def test_scaled_floats_must_fit() -> None:
    found = prepared({"pressure": [1e300, 1.0]}, pressure={"linear": (1e10, 0.0)})
    assert values(found, "pressure") == [None, np.float32(1e10)]
    found = prepared({"temperature": [1e308, 1.0]}, temperature={"linear": (1e10, 0.0)})
    assert values(found, "temperature") == [None, 1e10]


def test_a_range_includes_its_ends_and_leaves_sides_open() -> None:
    found = prepared({"temperature": [-40.0, 900, 900.1, -41, None]},
                     temperature={"low": -40.0, "high": 900.0})  # fmt: skip
    assert values(found, "temperature") == [-40.0, 900.0, None, None, None]
    assert [(r.row, r.reason) for r in found.rejects] == [(2, "out_of_range"), (3, "out_of_range")]
    found = prepared({"count": [5, -5]}, count={"high": 0.0})
    assert values(found, "count") == [None, -5]


def test_values_are_looked_up_by_the_name_in_the_payload() -> None:
    found = prepared({"temp_f": [1.0]}, temperature={"source": "temp_f"})
    assert values(found, "temperature") == [1.0]


def test_rows_know_whether_they_have_a_value() -> None:
    found = prepared({"temperature": [1.0, None, "x"], "note": [None, "n", None]})
    assert found.has_value.tolist() == [True, True, False]


def test_unknown_names_are_put_aside_with_their_value() -> None:
    decoded = Decoded([0], {"temperature": [1.0]}, [(0, "humidity", 5)])
    found = prepare(decoded, rules(), TimeReader())
    assert [(r.measurement, r.reason, r.value) for r in found.rejects] == [
        ("humidity", "unknown_measurement", 5)
    ]


def test_an_integer_payload_of_a_scaled_double_is_a_number() -> None:
    found = prepared({"temperature": [1500, True]}, temperature={"linear": (0.001, 0.0)})
    assert values(found, "temperature") == [1.5, None]
    assert rules(count={"linear": (0.1, 0.0)}).measurements[2].parsed_as == ColumnType.DOUBLE


QUALITY_OF_COUNT = 9


def with_quality(**changes: Any) -> TemplateRules:
    """The rules of ``press`` with a quality column for ``count``."""
    found = rules(count={"quality": QUALITY_OF_COUNT, **changes})
    column = MeasurementRule(
        QUALITY_OF_COUNT, "count_quality", ColumnType.UINT8, "count_quality", computed=True
    )
    return TemplateRules("press", (*found.measurements, column))


def test_quality_is_stored_beside_the_value_where_the_template_has_it() -> None:
    decoded = Decoded(
        [0] * 6,
        {
            "count": [1, 2, 3, 4, None, 6],
            "count_quality": [0, 1, "bad", None, "stale", "so so"],
        },
    )
    found = prepare(decoded, with_quality(), TimeReader())
    assert values(found, "count") == [1, 2, 3, 4, None, 6]
    quality = found.columns[QUALITY_OF_COUNT]
    assert quality.valid is not None
    assert quality.values[quality.valid].tolist() == [1, 2, 3]
    assert np.flatnonzero(quality.valid).tolist() == [1, 2, 4]
    assert [(r.row, r.measurement, r.value) for r in found.rejects] == [
        (5, "count_quality", "so so")
    ]
    assert found.has_value.all()  # stale, without a value, is worth a row


def test_without_a_column_for_it_a_bad_value_is_put_aside_and_an_uncertain_one_stays() -> None:
    found = prepared({"count": [1, 2, 3, 4], "count_quality": [1, 2, 3, 0]})
    assert values(found, "count") == [1, None, None, 4]
    assert [(r.row, r.reason, r.value) for r in found.rejects] == [
        (1, "bad_quality", 2),
        (2, "bad_quality", 3),
    ]
    assert found.has_value.tolist() == [True, False, False, True]


def test_measurements_are_derived_from_what_is_left_of_the_row() -> None:
    known = {"temperature": False, "pressure": False, "running": True}
    found = prepared(
        {"temperature": [10.0, 20.0, 900.0, None], "pressure": [1.0, 2.0, 3.0, 4.0]},
        temperature={"high": 100},
        count={"derive": parse("temperature * 2 + pressure", known), "computed": True},
        running={"derive": parse("temperature > 15", known), "computed": True},
    )
    assert values(found, "count") == [21, 42, None, None]
    assert values(found, "running") == [False, True, None, None]


def test_what_does_not_fit_the_type_of_a_derived_measurement_is_null() -> None:
    derived = parse("temperature * 1e300", {"temperature": False})
    found = prepared({"temperature": [1.0, 0.0]}, count={"derive": derived, "computed": True})
    assert values(found, "count") == [None, 0]
