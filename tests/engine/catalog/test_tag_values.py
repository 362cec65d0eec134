"""Tags hold what their type can hold: a value that it cannot would be in every row of a device."""

from __future__ import annotations

from typing import Any

import pytest

from mainstem_engine import ColumnType, Tag, Template
from mainstem_engine.catalog.tag_values import checked_tags
from mainstem_engine.catalog.templates import Table
from mainstem_engine.errors import EngineError, OutOfRangeError, SchemaError

TABLE = Table(
    Template(
        "t",
        (),
        tuple(Tag(kind.name.lower(), kind) for kind in ColumnType if kind != ColumnType.UNKNOWN),
    ),
    False,
)


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("int8", 128),
        ("int32", 3_000_000_000),
        ("int32", -(2**31) - 1),
        ("int64", 2**63),
        ("uint8", -1),
        ("uint64", 2**64),
        ("float", 1e39),
        ("double", 10**400),
        ("timestamp", 2**63),
    ],
)
def test_a_number_outside_of_the_type_is_refused(tag: str, value: Any) -> None:
    with pytest.raises(OutOfRangeError) as caught:
        checked_tags(TABLE, {tag: [value]}, 1)
    assert (caught.value.field, caught.value.hint is not None) == (tag, True)


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("int8", -128),
        ("int64", 2**63 - 1),
        ("uint64", 2**64 - 1),
        ("float", 3.4028234663852886e38),
        ("float", float("-inf")),
        ("double", 1e300),
        ("text", "größe"),
        ("text", "x" * 4096),
        ("blob", b"\x00\xff"),
        ("boolean", True),
        ("int32", None),
    ],
)
def test_the_ends_of_a_type_are_kept(tag: str, value: Any) -> None:
    assert checked_tags(TABLE, {tag: [value]}, 1) == {tag: [value]}


@pytest.mark.parametrize(
    ("tag", "value"),
    [("int32", "7"), ("int32", 1.5), ("text", 7), ("text", "\ud800"), ("int8", True)],
)
def test_a_value_of_another_kind_is_refused_with_a_remedy(tag: str, value: Any) -> None:
    with pytest.raises(SchemaError) as caught:
        checked_tags(TABLE, {tag: [value]}, 1)
    assert isinstance(caught.value, EngineError)
    assert (caught.value.field, caught.value.hint is not None) == (tag, True)
