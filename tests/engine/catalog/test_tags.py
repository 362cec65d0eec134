"""Tag columns and their index: which devices have which value."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from mainstem_engine.catalog import tags as tags_module
from mainstem_engine.catalog.key_index import KeyIndex
from mainstem_engine.catalog.tags import CodedTag, TagColumn, TagIndex, TagValues, packed
from mainstem_engine.catalog.value_table import ValueTable, stored_values


def column_of(values: list[Any], base: int = 0) -> TagColumn:
    """The first ``base`` values are in a base."""
    coded = CodedTag.of(values[:base])
    keys = sorted(packed(value) for value in coded.values if value is not None)
    known = ValueTable(stored_values(keys))
    codes = [0 if value is None else 1 + known.find(packed(value)) for value in values[:base]]
    column = TagColumn("tag", np.array(codes, np.uint8), known) if base else TagColumn("tag")
    if base < len(values):
        column.extend(CodedTag.of(values[base:]), base)
    return column


VALUES = ["x", None, 1, 1.0, True, "1", 0, 0.0, -0.0, False, b"x", 1 << 63, 2**63 + 0.0, "x", 7.5]


@pytest.mark.parametrize("base", [0, 5, len(VALUES)])
def test_values_and_equality(base: int) -> None:
    column = column_of(VALUES, base)
    positions = np.arange(len(VALUES))
    found = [column.values[code] for code in column.codes_of(positions).tolist()]
    assert [repr(value) for value in found] == [repr(value) for value in VALUES]
    held = column.codes_between(0, len(VALUES))
    for wanted in (*VALUES, "none of them", 8, 0.5, 1 << 200, np.int32(1), np.str_("x")):
        same = np.flatnonzero(np.isin(held, column.codes_equal_to([wanted]))).tolist()
        expected = [i for i, v in enumerate(VALUES) if v == wanted]
        assert same == expected, wanted
    assert column.codes_equal_to([object()]) == []


def test_nan_finds_nan() -> None:
    column = column_of([float("nan"), 1.0])
    assert column.codes_equal_to([float("nan")]) == [1]


@pytest.mark.parametrize("base", [0, 2, 4])
def test_beyond_its_end_a_column_has_no_value(base: int) -> None:
    column = column_of(["a", "b", "a", None], base)
    a = column.codes_equal_to(["a"])[0]
    assert (column.codes_of(np.array([2, 9, 0])) == [a, 0, a]).all()
    assert (column.codes_between(1, 6) == a).tolist() == [False, True, False, False, False]
    assert column.codes_between(7, 9).tolist() == [0, 0]
    column.extend(CodedTag.of(["c"]), 6)
    assert column.values[column.codes[6]] == "c"
    assert column.codes[5] == 0


def test_a_value_of_a_large_base_that_comes_again_is_one_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has two codes until the next merge; a question finds both, an answer has one."""
    monkeypatch.setattr(tags_module, "INDEXED_VALUES_MAX", 3)
    column = column_of(["a", "b", "B", ""], 4)
    column.extend(CodedTag.of(["new", "b", None, "", "b", "É"]), 4)
    held = column.codes_between(0, 10)
    assert len(column.codes_equal_to(["b"])) == 2
    values = ["a", "b", "B", "", "new", "b", None, "", "b", "É"]
    for wanted in dict.fromkeys(values):
        same = np.flatnonzero(np.isin(held, column.codes_equal_to([wanted]))).tolist()
        assert same == [i for i, value in enumerate(values) if value == wanted]
    codes = column.canonical(column.codes_of(np.arange(10)))
    assert [column.values[code] for code in codes.tolist()] == values
    assert len(set(codes.tolist())) == len(set(values))
    assert (column.canonical(codes[:4]) == codes[:4]).all()


def test_a_column_takes_over_what_another_has_beyond_its_end() -> None:
    old = column_of(["a", "b", "a", None, "c", "b"], 2)
    mine = column_of(["a", "b", "a"], 3)
    mine.extend_from(old, 3, 6)
    codes = mine.codes_of(np.arange(6)).tolist()
    assert [mine.values[code] for code in codes] == ["a", "b", "a", None, "c", "b"]
    assert codes[5] == codes[1]


@pytest.mark.parametrize("values", [["a", None, "b", "c"], ["a", "a", "b", "a"], [1, 1.0, True, 2]])
def test_some_of_the_devices(values: list[Any]) -> None:
    coded = CodedTag.of(values)
    assert [repr(value) for value in coded.to_list()] == [repr(value) for value in values]
    for places in ([], [1, 3], [0, 2], [2, 3], [0, 1, 2, 3]):
        taken = coded.take(np.array(places, np.int64))
        wanted = [values[place] for place in places]
        assert [repr(value) for value in taken.to_list()] == [repr(value) for value in wanted]
        assert len(taken.values) == len(set(map(repr, wanted)))


def test_values_are_a_sequence() -> None:
    values = column_of(["a", "b"], 1).values
    assert (len(values), list(values), values[1:]) == (3, [None, "a", "b"], ["a", "b"])
    assert values.index("b") == 2
    for wrong in (-1, 3):
        with pytest.raises(IndexError):
            values[wrong]
    assert list(TagValues(None, KeyIndex(), 0)) == [None]


def test_the_index_follows_new_devices() -> None:
    column, index = column_of(["a", "b", "a"], 2), TagIndex()
    a = column.codes_equal_to(["a"])[0]
    assert list(index.positions(0, column, a, 3)) == [0, 2]
    column.extend(CodedTag.of(["a"]), 3)
    assert list(index.positions(0, column, a, 4)) == [0, 2, 3]
    assert list(index.positions(0, column, a, 1)) == [0]
    assert list(index.positions(0, column, 0, 6)) == [4, 5]
    assert list(index.positions(1, column, a, 4)) == [0, 2, 3]
    # Another base has other codes, the same positions.
    again = column_of(["a", "b", "a", "a", "c"], 5)
    assert list(index.positions(0, again, again.codes_equal_to(["a"])[0], 5)) == [0, 2, 3]


def test_the_index_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tags_module, "INDEX_BYTES_MAX", 2000)
    column, index = column_of([f"v{i % 100}" for i in range(500)]), TagIndex()
    for _ in range(2):
        for code in range(1, 101):
            assert len(index.positions(0, column, code, 500)) == 5
            assert 0 < index.nbytes <= 2000


def test_many_threads_ask_at_once() -> None:
    column, index = column_of([f"v{i % 10}" for i in range(1000)]), TagIndex()
    wrong: list[int] = []

    def ask(first: int) -> None:
        for turn in range(200):
            code = 1 + (first + turn) % 10
            count = 100 * (1 + turn % 10)
            if len(index.positions(0, column, code, count)) != count // 10:
                wrong.append(turn)

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
