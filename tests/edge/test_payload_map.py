"""A declared map: rows out of payloads of any shape, and what is wrong with others."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_edge.decode.interface import Decoded, KnownNames
from mainstem_edge.decode.json_codec import JsonCodec
from mainstem_edge.decode.msgpack_codec import MsgpackCodec
from mainstem_edge.decode.object_codec import CHUNK_ROWS
from mainstem_edge.decode.payload_map import PayloadMap
from mainstem_node.payload_path import parse_one, parse_path

KNOWN = KnownNames(("a", "b", "id", "ts"), numbers=("a",))


def mapped(
    *, rows: str = "", columns: str = "", spread: tuple[str, ...] = (), **fields: str
) -> PayloadMap:
    return PayloadMap(
        parse_path(rows) if rows else None,
        parse_one(columns) if columns else None,
        {name: parse_one(path) for name, path in fields.items()},
        tuple(map(parse_one, spread)),
    )


def decode(found: PayloadMap, *payloads: Any) -> Decoded:
    data = [p if isinstance(p, bytes) else json.dumps(p).encode() for p in payloads]
    return JsonCodec(KNOWN, ("ts",), found).decode(data)


def rows(decoded: Decoded) -> list[dict[str, Any]]:
    return [decoded.row(index) for index in range(len(decoded))]


def test_only_what_is_named_is_taken() -> None:
    found = decode(
        mapped(a="s.t[1]", ts="when", id="$.gw.id"),
        {"s": {"t": [0, 5.5]}, "when": 7, "gw": {"id": "g1"}, "other": 1, "b": 2},
        [{"s": {"t": []}, "when": 8}, {"when": None}],
    )
    assert found.source == [0, 1, 1]
    assert rows(found) == [{"a": 5.5, "ts": 7, "id": "g1"}, {"ts": 8}, {}]
    assert found.extras == []
    assert found.failures == []
    assert "a" not in found.floats  # nobody looked whether they are numbers


def test_rows_are_found_and_objects_spread() -> None:
    found = decode(
        mapped(rows="*[*]", spread=("values",), id="@0", ts="ts"),
        {"M1": [{"ts": 1, "values": {"a": 1, "c": 9}}, {"ts": 2}], "M2": [{"ts": 3}]},
    )
    assert rows(found) == [
        {"a": 1, "c": 9, "id": "M1", "ts": 1}, {"id": "M1", "ts": 2}, {"id": "M2", "ts": 3},
    ]  # fmt: skip
    assert found.extras == [(0, "c", 9)]


def test_a_row_as_it_is_and_with_more() -> None:
    payload = {"machines": [{"a": 1, "m": {"x": 2}}], "id": "k"}
    assert rows(decode(mapped(rows="machines[*]"), payload)) == [{"a": 1, "m.x": 2}]
    found = decode(mapped(rows="machines[*]", spread=(".",), id="$.id"), payload)
    assert rows(found) == [{"a": 1, "m.x": 2, "id": "k"}]


def test_lists_as_rows() -> None:
    table = {"columns": ["ts", "a"], "rows": [[1, 10], [2, 20]]}
    assert rows(decode(mapped(rows="rows[*]", ts="[0]", a="[1]"), table)) == [
        {"ts": 1, "a": 10}, {"ts": 2, "a": 20},
    ]  # fmt: skip


def test_columns_side_by_side() -> None:
    payload = {"id": "s", "h": {"ts": [1, 2], "a": [5, None], "b": 3}}
    assert rows(decode(mapped(columns="h"), payload)) == [
        {"ts": 1, "a": 5, "b": 3}, {"ts": 2, "b": 3},
    ]  # fmt: skip
    assert rows(decode(mapped(columns="h", ts="ts", id="$.id"), payload)) == [
        {"ts": 1, "id": "s"}, {"ts": 2, "id": "s"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("found", "payload", "problem"),
    [
        (mapped(rows="metrics[*]"), {"x": 1}, "nothing at metrics[*]"),
        (mapped(rows="metrics[*]"), {"metrics": 5}, "nothing at metrics[*]"),
        (mapped(columns="h"), {"h": [1]}, "no object of columns at h"),
        (mapped(columns="h"), {"h": {"a": [1], "b": [1, 2]}}, "1, 2 elements"),
        (mapped(columns="h"), {"h": {"a": 1}}, "no elements"),
        (mapped(a="x"), b"{", "not JSON"),
    ],
)
def test_a_payload_of_another_shape_is_a_failure(
    found: PayloadMap, payload: Any, problem: str
) -> None:
    decoded = decode(found, payload, {})
    assert decoded.failures[0].message == 0
    assert problem in decoded.failures[0].problem


def test_an_element_of_another_shape_fails_alone() -> None:
    found = decode(
        mapped(rows="m[*].v"), {"m": [{"v": {"a": 1}}, {"w": 2}, {"v": 3}, {"v": {"a": 4}}]}
    )
    assert rows(found) == [{"a": 1}, {"a": 4}]
    assert [(f.problem, f.value) for f in found.failures] == [
        ("nothing at m[*].v", {"w": 2}), ("a row that is not an object", 3),
    ]  # fmt: skip
    spread = decode(mapped(rows="m[*]", spread=("v",)), {"m": [{"v": 1}, {"v": {"a": 2}}]})
    assert rows(spread) == [{"a": 2}]
    assert spread.failures[0].problem == "v is not an object"


def test_no_element_is_no_row_and_no_failure() -> None:
    decoded = decode(mapped(rows="metrics[*]"), {"metrics": []})
    assert (len(decoded), decoded.failures) == (0, [])


def test_many_rows_stay_in_order() -> None:
    count = 2 * CHUNK_ROWS + 3
    found = decode(mapped(rows="m[*]"), {"m": [{"a": n} for n in range(count)]}, {"m": [{"a": -1}]})
    assert found.columns["a"] == [*range(count), -1]
    assert found.source == [0] * count + [1]


def test_message_pack_and_keys_that_are_no_names() -> None:
    codec = MsgpackCodec(KNOWN, ("ts",), mapped(rows="m[*]", spread=("v",), ts="t"))
    payload = msgspec.msgpack.encode({"m": [{"t": 1, "v": {"a": 2.0}}, {"v": {1: 2}}]})
    found = codec.decode([payload])
    assert rows(found) == [{"a": 2.0, "ts": 1}]
    assert found.failures[0].problem == "v is not an object"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "ts", "m", "v"]), inner, max_size=3)
    ),
    max_leaves=12,
)
MAPS = [
    mapped(rows="m[*]"), mapped(rows="*.*", spread=("v", "."), id="@1"), mapped(columns="m"),
    mapped(columns=".", a="v", id="$.m"), mapped(a="m[0].v", ts="$.ts"), mapped(spread=("m",)),
]  # fmt: skip


@given(st.sampled_from(MAPS), st.lists(VALUES, max_size=4))
def test_no_payload_makes_it_raise(found: PayloadMap, payloads: list[Any]) -> None:
    """Whatever comes is rows or failures, and every column has a value for each row."""
    decoded = decode(found, *payloads)
    assert decoded.source == sorted(decoded.source)
    assert {len(values) for values in decoded.columns.values()} <= {len(decoded)}
    assert all(0 <= row < len(decoded) for row, _, _ in decoded.extras)
    assert all(0 <= failure.message < len(payloads) for failure in decoded.failures)
