"""Names and paths."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.catalog.names import (
    canonical_path,
    check_column_name,
    check_element,
    database_path,
    is_below,
    join_path,
    split_path,
)
from mainstem_engine.errors import SchemaError


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("root.a.b", "root.a.b"),
        ("root.`press-1`.`x y`", "root.press-1.x y"),
        ("root.press-1", "root.press-1"),
        ("root.`a.b`.c", "root.`a.b`.c"),
        ("root.`tick``s`", "root.`tick``s`"),
        ("root.größe.Ω", "root.größe.Ω"),
    ],
)
def test_equal_paths_are_kept_as_equal_strings(text: str, kept: str) -> None:
    assert canonical_path(text) == kept
    assert canonical_path(kept) == kept


@pytest.mark.parametrize(
    "text",
    [
        "",
        "root",
        "a.b",
        "Root.a",
        "root.",
        "root..a",
        "root.a.",
        ".root.a",
        "root.a/b",
        "root.a\\b",
        "root.a\x00",
        "root.`..`",
        "root.`a..b`",
        "root.`.`",
        "root.``",
        "root.`a",
        "root.`a`b",
        "root.a\nb",
        "root. ",
        "root.\ud800",
        "root." + "x" * 256,
        "root" + ".abcdefgh" * 200,
        "root" + ".ä-" * 300,
    ],
)
def test_paths_that_could_do_harm_are_refused(text: str) -> None:
    with pytest.raises(SchemaError):
        canonical_path(text)


def test_the_longest_element_and_path_are_accepted() -> None:
    assert canonical_path("root." + "x" * 255)
    assert canonical_path(("root" + ".abcdefg" * 127 + ".abc")[:1024])


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=5))
def test_a_path_is_read_as_it_was_joined(elements: list[str]) -> None:
    try:
        for element in elements:
            check_element(element, "element")
    except SchemaError:
        return
    path = join_path(["root", *elements])
    assert split_path(path) == ["root", *elements]
    assert canonical_path(path) == path


@given(st.text(max_size=20))
def test_any_text_is_accepted_or_refused_with_one_error(text: str) -> None:
    with contextlib.suppress(SchemaError):
        assert canonical_path(canonical_path(text)) == canonical_path(text)


def test_columns_that_every_table_has_are_not_given_away() -> None:
    with pytest.raises(SchemaError, match="Time_value"):
        check_column_name("Time", "measurement")
    assert check_column_name("Timer", "measurement") == "Timer"


def test_databases_may_be_named_without_root() -> None:
    assert database_path("power") == database_path("root.power") == "root.power"


def test_below_means_whole_elements() -> None:
    assert is_below("root.a.b", "root.a")
    assert is_below("root.a", "root.a")
    assert not is_below("root.ab", "root.a")
