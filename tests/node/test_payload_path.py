"""Paths in payloads: what they find, and what is no path."""

from __future__ import annotations

from typing import Any

import pytest

from mainstem_node.payload_path import ABSENT, parse_one, parse_path

PAYLOAD = {
    "a": {"b": [{"c": 1}, {"c": None}, 7], "x.y": {"z": 2}},
    "metrics": [{"n": "p"}, {"n": "q"}],
    "Dev A": [{"ts": 1}],
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (".", PAYLOAD), ("$", PAYLOAD), ("a.b[0].c", 1), ("a.b[1].c", None), ("a.b[-1]", 7),
        ("$.a.b[2]", 7), ('a."x.y".z', 2), ("Dev A[0].ts", 1), ('"Dev A"[0].ts', 1),
        ("a.c", ABSENT), ("a.b[3]", ABSENT), ("a.b[-4]", ABSENT), ("a.b.c", ABSENT),
        ("a[0]", ABSENT), ("metrics[0].n[0]", ABSENT), ("[0]", ABSENT),
    ],
)  # fmt: skip
def test_one_value(path: str, value: Any) -> None:
    assert parse_one(path).one(PAYLOAD) is value or parse_one(path).one(PAYLOAD) == value


def test_elements_with_the_keys_that_stars_met() -> None:
    found, lacking = parse_path("metrics[*].n").all(PAYLOAD)
    assert [(each.value, each.keys) for each in found] == [("p", (0,)), ("q", (1,))]
    assert lacking == []
    found, lacking = parse_path("*[*].ts").all({"M1": [{"ts": 1}, {"ts": 2}], "M2": [{"t": 3}, 4]})
    assert [(each.value, each.keys) for each in found] == [(1, ("M1", 0)), (2, ("M1", 1))]
    assert lacking == [{"t": 3}, 4]
    assert parse_path("$.a.*").all({"a": {"k": 1}})[0][0].keys == ("k",)
    assert parse_path("[*]").all([1, 2])[0][1].value == 2
    assert parse_path("*").all("text") == ([], ["text"])
    assert parse_path("a[*]").all({"a": []}) == ([], [])


def test_a_key() -> None:
    assert parse_one("@1").key == 1


@pytest.mark.parametrize(
    "text", ["", "a..b", "a.", ".a", "a.[0]", "a[x]", "a[0", "a b]", "@x", "a@", '"a', "a$b", "$a"]
)
def test_what_is_no_path(text: str) -> None:
    with pytest.raises(ValueError, match="path in a payload") as caught:
        parse_path(text)
    assert len(caught.value.args) == 2


def test_one_value_has_no_star() -> None:
    with pytest.raises(ValueError, match="several values"):
        parse_one("a[*].b")
