"""What the book of growing files remembers, for how many, and what it does where it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mainstem_edge.files.follow_book import GONE_MAX, FollowBook, Place

A = Place("m\udcff.csv", 10, "abc", 12, "ts;x\n", False)


def test_places_outlive_a_start(tmp_path: Path) -> None:
    book = FollowBook(tmp_path, "x")
    assert book.is_new
    book.note((1, 2), A)
    book.write()
    again = FollowBook(tmp_path, "x")
    assert (again.is_new, again.identities(), again.place((1, 2))) == (False, [(1, 2)], A)
    assert again.headers() == {A.name: b"ts;x\n"}
    assert FollowBook(tmp_path, "y").is_new


def test_an_inode_counts_where_the_device_has_another_number(tmp_path: Path) -> None:
    book = FollowBook(tmp_path, "x")
    book.note((1, 2), A)
    assert book.find((1, 2), ()) == (1, 2)
    assert book.find((7, 2), ()) == (1, 2)
    assert book.find((7, 2), {(1, 2)}) is None
    assert book.find((1, 3), ()) is None


def test_of_files_that_are_gone_the_newest_stay(tmp_path: Path) -> None:
    book = FollowBook(tmp_path, "x")
    for number in range(GONE_MAX + 10):
        book.note((1, number), A)
    book.retire({(1, 0)})
    assert len(book) == GONE_MAX + 1
    assert book.identities()[:2] == [(1, 0), (1, 10)]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"version": 2}', '{"version": 1, "files": [[1, 2, "a", "b", "", 0, 1, 1]]}']
)
def test_a_book_that_cannot_be_read_is_as_good_as_none(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """But it is no first start: nothing is passed over."""
    book = FollowBook(tmp_path, "x")
    book.note((1, 2), A)
    book.write()
    (path,) = tmp_path.iterdir()
    assert json.loads(path.read_text("utf-8"))["files"]
    path.write_text(text, encoding="utf-8")
    again = FollowBook(tmp_path, "x")
    assert (len(again), again.is_new) == (0, False)
    assert "read again" in caplog.text
