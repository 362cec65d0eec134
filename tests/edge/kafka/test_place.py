"""Where the parts of a record stand."""

from __future__ import annotations

import pytest

from mainstem_edge.kafka.place import RecordPlace
from mainstem_edge.patterns import PathPattern, Pattern
from mainstem_edge.subscription import filter_matches

Headers = list[tuple[str, bytes]] | None


class Fake:
    """A record as the library has it."""

    def __init__(self, key: bytes | None, headers: Headers = None) -> None:
        self._key, self._headers = key, headers

    def key(self) -> bytes | None:
        return self._key

    def partition(self) -> int:
        return 3

    def headers(self) -> Headers:
        return self._headers


def test_every_part_finds_its_placeholder() -> None:
    texts = ["root.{topic[1]}.{key}", "{header.line}/{partition}/{topic}/{topic[-1]}"]
    place = RecordPlace.of("^a\\.", texts)
    topic = place.of_record("a.b.c", Fake(b"m7", [("line", b"1"), ("line", b"2")]))
    assert filter_matches(place.filter, topic)
    levels = topic.split("/")
    assert PathPattern(place.pattern(texts[0])).path(levels, {}) == "root.b.m7"
    assert Pattern(place.pattern(texts[1])).value(levels, {}) == "2/3/a.b.c/c"


@pytest.mark.parametrize("key", [None, b"", b"a/b", b"\xff", b"a\n", b"x" * 256])
def test_what_is_no_text_of_a_path_is_not_there(key: bytes | None) -> None:
    place = RecordPlace.of("t", ["{key}", "{header.line}"])
    levels = place.of_record("t", Fake(key, [("line", b"1")])).split("/")
    assert Pattern(place.pattern("{key}")).value(levels, {}) is None
    assert Pattern(place.pattern("{header.line}")).value(levels, {}) == "1"


def test_a_name_is_one_topic_and_a_pattern_those_that_begin_so() -> None:
    assert [RecordPlace.of("a.b", []).fits(each) for each in ("a.b", "a.bc", "aab")] == [
        True, False, False,
    ]  # fmt: skip
    assert [RecordPlace.of("^a.b", []).fits(each) for each in ("aab", "a.bc", "xaab")] == [
        True, True, False,
    ]  # fmt: skip


def test_people_see_the_topic() -> None:
    assert RecordPlace.of("t", []).of_record("t", Fake(None)) == "t"
    assert RecordPlace.of("^t", []).of_record("t1", Fake(None)) == "^t/t1"
