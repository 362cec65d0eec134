"""How values are shown to people and to programs."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_node.client import Answer
from mainstem_node.shell.rendering import FLOAT_MAX, csv_text, json_text, single, table_text


def as_float(value: float) -> float:
    found: float = struct.unpack("f", struct.pack("f", value))[0]
    return found


def answer(kind: str, value: float) -> Answer:
    columns = [{"name": "x", "type": kind, "unit": None, "zone": None}]
    return Answer(columns, [[value], [None]], 0, 1.0, [], [])


def test_a_float_has_its_own_digits_and_a_double_all_of_them() -> None:
    stored = as_float(10.3)
    assert csv_text(answer("FLOAT", stored)) == 'x\n10.3\n""\n'
    assert "\n10.3\n" in table_text(answer("FLOAT", stored), 0)
    assert csv_text(answer("DOUBLE", stored)) == 'x\n10.300000190734863\n""\n'
    assert "10.300000190734863" in json_text(answer("FLOAT", stored))


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_what_is_shown_is_the_same_float(value: float) -> None:
    shown = float(str(single(value)))
    assert struct.pack("f", shown) == struct.pack("f", value)


@pytest.mark.parametrize("value", [FLOAT_MAX, -FLOAT_MAX, 1e-45, 0.0, -0.0, 16777217.0])
def test_the_extremes_of_a_float(value: float) -> None:
    assert struct.pack("f", float(str(single(as_float(value))))) == struct.pack("f", value)


def test_what_is_no_number_stays() -> None:
    assert math.isnan(single(math.nan))
    assert single("NaN") == "NaN"
    assert single(True) == "true"
