"""Device paths and tags from topics and payloads: nothing that arrives can add a path element."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_edge.errors import PathFormError, PatternError
from mainstem_edge.patterns import PathPattern, Pattern, names_whole_path, whole_path
from mainstem_engine.catalog.names import split_path

TOPIC = ["plant_a", "press", "m1", "telemetry"]


def test_levels_and_values_are_put_in() -> None:
    pattern = PathPattern("root.{topic[0]}.press.m_{payload.id}")
    assert pattern.path(TOPIC, {"id": "7"}) == "root.plant_a.press.m_7"
    assert pattern.payload_names == ("id",)
    assert Pattern("{topic[1]}/{payload.a.b}").value(TOPIC, {"a.b": "x"}) == "press/x"


def test_what_is_missing_makes_the_path_impossible_and_the_tag_absent() -> None:
    with pytest.raises(PathFormError, match=r"topic\[9\]"):
        PathPattern("root.a.{topic[9]}").path(TOPIC, {})
    with pytest.raises(PathFormError, match=r"payload\.id"):
        PathPattern("root.a.{payload.id}").path(TOPIC, {"id": None})
    assert Pattern("{topic[9]}").value(TOPIC, {}) is None
    assert Pattern("{payload.id}").value(TOPIC, {"id": [1]}) is None


@given(st.text(max_size=40))
def test_one_placeholder_is_one_element_or_none(text: str) -> None:
    try:
        path = PathPattern("root.a.{topic[0]}.z").path([text], {})
    except PathFormError:
        return
    assert split_path(path) == ["root", "a", text, "z"]


@pytest.mark.parametrize("bad", ["", "..", "a/b", "a\\b", "a\x00", "\n", "x" * 256, "\ud800"])
def test_refused_characters_make_the_path_impossible(bad: str) -> None:
    with pytest.raises(PathFormError):
        PathPattern("root.a.{topic[0]}").path([bad], {})


def test_a_path_that_is_too_long_is_impossible() -> None:
    with pytest.raises(PathFormError, match="1024"):
        PathPattern("root" + ".{topic[0]}" * 5).path(["x" * 250], {})


def test_a_whole_path_comes_from_a_placeholder_that_stands_alone() -> None:
    pattern = PathPattern("{payload.device}")
    assert pattern.path([], {"device": "root.a.`b.c`"}) == "root.a.`b.c`"
    with pytest.raises(PathFormError):
        pattern.path([], {"device": "a.b"})
    assert names_whole_path("root.a")
    assert not names_whole_path("rooted")
    assert not names_whole_path({"id": 1})
    with pytest.raises(PathFormError):
        whole_path("root..a")


@pytest.mark.parametrize(
    "text",
    ["a.b", "root", "root.", "root..a", "root.{x}", "root.{topic[a]}", "{topic[0]}", "root.{", ""],
)
def test_patterns_that_cannot_be_used(text: str) -> None:
    with pytest.raises(PatternError):
        PathPattern(text)


def test_backquotes_keep_a_dot_inside_an_element() -> None:
    pattern = PathPattern("root.`v1.2`.{topic[0]}")
    assert pattern.path(["m"], {}) == "root.`v1.2`.m"


@pytest.mark.parametrize(
    ("value", "text"), [(5, "5"), (5.0, "5"), (2.5, "2.5"), (True, "true"), ("x", "x")]
)
def test_values_as_text(value: object, text: str) -> None:
    assert Pattern("{payload.v}").value([], {"v": value}) == text
