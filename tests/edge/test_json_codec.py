"""The JSON codec: every shape of the contract, and bad input that costs only itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_edge.decode.interface import Decoded, KnownNames
from mainstem_edge.decode.json_codec import JsonCodec
from mainstem_edge.decode.object_codec import CHUNK_ROWS

KNOWN = KnownNames(("a", "b", "motor.rpm", "device", "ts", "timestamp", "time"))


def decode(*payloads: Any) -> Decoded:
    data = [p if isinstance(p, bytes) else json.dumps(p).encode() for p in payloads]
    return JsonCodec(KNOWN, ("ts", "timestamp", "time")).decode(data)


def rows(decoded: Decoded) -> list[dict[str, Any]]:
    return [decoded.row(index) for index in range(len(decoded))]


def test_objects_and_arrays_of_objects() -> None:
    found = decode({"ts": 1, "a": 2.5}, [{"ts": 2, "a": 3}, {"ts": 3, "b": True}], {"b": None})
    assert found.source == [0, 1, 1, 2]
    assert found.columns == {
        "ts": [1, 2, 3, None], "a": [2.5, 3, None, None], "b": [None, None, True, None],
    }  # fmt: skip
    assert found.failures == []
    assert found.extras == []


def test_values_are_spread_and_nested_objects_joined() -> None:
    found = decode({"ts": 1, "values": {"a": 1, "motor": {"rpm": 5}}}, {"motor": {"rpm": 6}})
    assert rows(found) == [{"ts": 1, "a": 1, "motor.rpm": 5}, {"motor.rpm": 6}]


def test_samples_of_one_time_and_device_become_one_row() -> None:
    found = decode(
        [
            {"name": "a", "value": 1, "timestamp": 5},
            {"name": "b", "value": 2, "timestamp": 5},
            {"name": "a", "value": 3, "timestamp": 6},
            {"name": "a", "value": 4, "timestamp": 5, "device": "root.x"},
            {"name": "a", "value": 9, "timestamp": 6},
        ],
        {"name": "a", "value": 5, "timestamp": 5},
    )
    assert found.source == [0, 0, 0, 0, 1]
    assert rows(found) == [
        {"timestamp": 5, "a": 1, "b": 2},
        {"timestamp": 6, "a": 3},
        {"timestamp": 5, "a": 4, "device": "root.x"},
        {"timestamp": 6, "a": 9},
        {"timestamp": 5, "a": 5},
    ]


def test_a_measurement_called_value_is_no_sample() -> None:
    codec = JsonCodec(KnownNames(("value", "name", "ts")))
    assert rows(codec.decode([b'{"ts":1,"name":"x","value":2}'])) == [
        {"ts": 1, "name": "x", "value": 2}
    ]


def test_names_are_found_in_any_case_and_the_exact_one_first() -> None:
    found = decode({"A": 1, "TS": 2}, {"a": 3, "A": 4}, {"A": 5, "a": None})
    assert found.columns == {"a": [1, 3, 5], "ts": [2, None, None]}


def test_unknown_names_are_set_apart() -> None:
    found = decode({"a": 1, "x": 2, "y": None}, {"a": 1}, {"deep": {"er": {"x": [1]}}})
    assert found.extras == [(0, "x", 2), (2, "deep.er.x", [1])]
    assert found.columns == {"a": [1, 1, None]}


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"{", b'{"a":1', b'{"a":1}x', b"\xff\xfe", b'{"a":"\xff"}', b"nope", b"[1",
        b"[" * 100_000, b'{"a":"\\ud800"}', b'{"a":"\\ud800","b":NaN}',
        b'{"a":' * 3000 + b"1" + b"}" * 3000, b'{"a":' + b"9" * 5000 + b"}",
    ],
)  # fmt: skip
def test_malformed_payloads_fail_alone(payload: bytes) -> None:
    found = decode({"a": 1}, payload, {"a": 2})
    assert [failure.message for failure in found.failures] == [1] or found.columns["a"][
        1
    ] is not None
    assert found.columns["a"][0] == 1
    assert found.columns["a"][-1] == 2


@pytest.mark.parametrize("payload", [b"5", b'"text"', b"null", b"true"])
def test_neither_object_nor_array_is_a_failure(payload: bytes) -> None:
    assert [f.message for f in decode(payload).failures] == [0]


def test_bad_elements_of_an_array_fail_alone() -> None:
    found = decode([{"a": 1}, 5, {"a": 2}, None])
    assert found.columns == {"a": [1, 2]}
    assert [(f.message, f.value) for f in found.failures] == [(0, 5), (0, None)]


def test_nan_and_numbers_beyond_a_double_come_through_for_the_type_check() -> None:
    found = decode(b'{"a":NaN,"b":1}', b'{"a":1e999,"b":2}', b'\xef\xbb\xbf{"b":3}')
    assert str(found.columns["a"][:2]) == "[nan, inf]"
    assert found.columns["b"] == [1, 2, 3]


def test_an_empty_array_has_no_rows() -> None:
    assert len(decode([], [[]])) == 0
    assert decode([]).failures == []


VALUES = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5)
)
OBJECTS = st.dictionaries(st.sampled_from(["a", "A", "b", "ts", "x", "values", "m"]), VALUES)
NESTED = st.dictionaries(st.sampled_from(["a", "values", "m", "motor"]), OBJECTS | VALUES)


@given(st.lists(st.lists(OBJECTS | NESTED, max_size=3) | OBJECTS, max_size=8))
def test_columns_are_as_long_as_the_rows_and_hold_every_known_value(messages: list[Any]) -> None:
    payloads = [json.dumps(m).encode() for m in messages]
    found = JsonCodec(KNOWN, ("ts",)).decode(payloads)
    assert {len(values) for values in found.columns.values()} <= {len(found)}
    assert found.source == sorted(found.source)
    expected = [row for m in messages for row in (m if isinstance(m, list) else [m])]
    assert len(found) == len(expected)
    for index, row in enumerate(expected):
        if "a" in row and row["a"] is not None and "values" not in row:
            assert repr(found.columns["a"][index]) == repr(row["a"])


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_the_two_ways_of_parsing_agree_in_any_order(unknown: list[bool]) -> None:
    """A chunk boundary or an unknown name never moves a value to another row."""
    payloads = []
    for number, other in enumerate(unknown):
        block = [{"ts": number * 1000 + k, "a": float(k)} for k in range(CHUNK_ROWS // 3)]
        payloads.append(block + ([{"a": 1, "x": number}] if other else []))
    found = decode(*payloads)
    flat = [row for block in payloads for row in block]
    assert [found.row(i) for i in range(len(found))] == flat


NUMBERS = KnownNames(("ts", "a"), numbers=("a",))


@given(st.lists(st.none() | st.integers(-(2**70), 2**70) | st.floats(width=64), max_size=6))
def test_numbers_are_floats_as_python_reads_them(values: list[Any]) -> None:
    """Whether they came alone or beside something that is no number."""
    payloads = [json.dumps({"a": value}).encode() for value in values]
    found = JsonCodec(NUMBERS).decode(payloads)
    column = found.columns.get("a", [None] * len(values))
    if "a" in found.floats and values:
        assert {type(v) for v in column} <= {float, type(None)}
    for before, after in zip(values, column, strict=True):
        assert (before is None) == (after is None)
        if before is not None:
            assert float(before).hex() == float(after).hex()
    mixed = JsonCodec(NUMBERS).decode([*payloads, b'{"a":"text"}'])
    assert "a" not in mixed.floats
    assert mixed.columns["a"][-1] == "text"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_double_arrives_bit_for_bit(value: float) -> None:
    found = decode({"a": value}).columns["a"][0]
    assert (found, str(found)) == (value, str(value))
