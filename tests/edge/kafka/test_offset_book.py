"""The book is there after a start, says nothing that was not written, and outlives damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from mainstem_edge.kafka import offset_book
from mainstem_edge.kafka.offset_book import Noted, OffsetBook, file_name


def test_what_was_written_is_there_after_a_start(tmp_path: Path) -> None:
    book = OffsetBook(tmp_path, "g/1 ü")
    book.note(("t", 0), Noted(7, 1000))
    book.note(("t", 3), Noted(2))
    assert OffsetBook(tmp_path, "g/1 ü").get(("t", 0)) is None
    book.write()
    again = OffsetBook(tmp_path, "g/1 ü")
    assert again.get(("t", 0)) == Noted(7, 1000)
    assert again.get(("t", 3)) == Noted(2, None)
    assert again.knows_topic("t")
    assert OffsetBook(tmp_path, "another").get(("t", 0)) is None


def test_nothing_new_is_not_written(tmp_path: Path) -> None:
    book = OffsetBook(tmp_path, "g")
    book.note(("t", 0), Noted(7, 1000))
    book.write()
    (tmp_path / file_name("g")).unlink()
    book.note(("t", 0), Noted(7, 1000))
    book.write()
    assert not (tmp_path / file_name("g")).exists()


def test_a_topic_that_is_another_one_is_forgotten(tmp_path: Path) -> None:
    book = OffsetBook(tmp_path, "g")
    book.note(("t", 0), Noted(7, 1000))
    book.write()
    book.forget(("t", 0))
    book.write()
    assert OffsetBook(tmp_path, "g").get(("t", 0)) is None


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"version": 2, "group": "g", "topics": {}}',
               b'{"version": 1, "group": "g", "topics": {"t": {"x": [1, 2]}}}',
               b'{"version": 1, "group": "g", "topics": {"t": {"0": [1]}}}'],
)  # fmt: skip
def test_a_damaged_book_is_as_good_as_none(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / file_name("g")).write_bytes(damage)
    assert not OffsetBook(tmp_path, "g").knows_topic("t")
    assert "the brokers' offsets hold" in caplog.text


def test_it_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offset_book, "PARTITIONS_MAX", 2)
    book = OffsetBook(tmp_path, "g")
    for number in (0, 1, 0, 2):
        book.note(("t", number), Noted(number))
    book.note(("t", 0), Noted(9))
    assert book.get(("t", 1)) is None
