"""What stands in the name of a file."""

from __future__ import annotations

import pytest

from mainstem_edge.files.place import FilePlace, shown, stem_of, unrotated


@pytest.mark.parametrize(
    ("name", "stem"),
    [("m7.csv", "m7"), ("m7.csv.gz", "m7"), ("a.b.csv", "a.b"), ("m7", "m7"), (".x", ".x")],
)
def test_the_name_without_its_ending(name: str, stem: str) -> None:
    assert stem_of(name) == stem


def test_placeholders_are_levels_in_order() -> None:
    place = FilePlace.of(("root.{path[0]}.{file[0]}", "{file}", "{path[-1]}{file[0]}"))
    assert place.pattern("root.{path[0]}.{file[0]}") == "root.{topic[1]}.{topic[2]}"
    assert place.pattern("{path[-1]} {file} {payload.x}") == "{topic[4]} {topic[3]} {payload.x}"
    assert place.topic("a/b/m7_2026.csv") == "file/a/m7/m7_2026/b"
    assert place.topic("m7.csv") == "file//m7/m7/"
    assert place.filter == "file/#"


def test_what_is_no_text_is_not_there() -> None:
    place = FilePlace.of(("{file}",))
    assert place.topic("m\udcff.csv") == "file/"
    assert place.topic("m\n.csv") == "file/"
    assert place.topic("x" * 256 + ".csv") == "file/"
    assert place.topic("Prüfstand 7.csv") == "file/Prüfstand 7"


def test_odd_names_can_be_shown() -> None:
    assert shown("a\udcff\nb") == "a\\udcff\\x0ab"
    assert shown("ü.csv") == "ü.csv"
    assert len(shown("x" * 5000)) < 210
    shown("\udcff" * 300).encode()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/m7.csv.1", "a/m7.csv"), ("m7.csv-20261123", "m7.csv"), ("m7.log.2026-11-23", "m7.log"),
        ("m7.csv", "m7.csv"), ("m7_2026-11-23.csv", "m7_2026-11-23.csv"), ("m7.1", "m7.1"),
        ("7.8", "7.8"), ("m7.csv.old", "m7.csv.old"),
    ],
)  # fmt: skip
def test_what_a_rotation_appends_is_no_part_of_a_name(name: str, expected: str) -> None:
    assert unrotated(name) == expected
