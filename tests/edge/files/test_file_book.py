"""What the book remembers, and what it does where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from mainstem_edge.files.directory import Found
from mainstem_edge.files.file_book import FileBook

A, B = Found("a.csv", 10, 1), Found("m\udcff/b.csv", 10, 1)


def test_positions_and_kept_files_outlive_a_start(tmp_path: Path) -> None:
    book = FileBook(tmp_path, "x")
    book.note(A, 5)
    book.note(B, 7)
    book.keep(Found("c.csv", 1, 1))
    book.write()
    again = FileBook(tmp_path, "x")
    assert (again.position(A), again.position(B)) == (5, 7)
    assert again.is_kept(Found("c.csv", 1, 1))
    assert not again.is_kept(Found("c.csv", 2, 1))
    assert again.position(A._replace(mtime_ns=2)) == 0
    again.forget(A)
    again.retain(set())
    again.write()
    third = FileBook(tmp_path, "x")
    assert (third.position(A), third.position(B)) == (0, 7)
    assert not third.is_kept(Found("c.csv", 1, 1))
    assert FileBook(tmp_path, "y").position(B) == 0


def test_nothing_new_is_not_written(tmp_path: Path) -> None:
    book = FileBook(tmp_path, "x")
    book.write()
    assert list(tmp_path.iterdir()) == []
    book.note(A, 5)
    book.write()
    (file,) = tmp_path.iterdir()
    file.unlink()
    book.note(A, 5)
    book.write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": 2}', '{"version": 1, "reading": 7}'])
def test_a_book_that_cannot_be_read_is_as_good_as_none(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    book = FileBook(tmp_path, "x")
    book.note(A, 5)
    book.write()
    (file,) = tmp_path.iterdir()
    file.write_text(text, encoding="utf-8")
    assert FileBook(tmp_path, "x").position(A) == 0
    assert "read again" in caplog.text
