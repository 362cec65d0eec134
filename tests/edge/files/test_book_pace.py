"""When a book is written: by time, by progress, and a large one more seldom."""

from __future__ import annotations

from mainstem_edge.files.book_pace import BOOK_S, PROGRESS_BYTES, SLOWER_MAX, BookPace


def test_it_is_written_by_time_or_by_progress() -> None:
    pace = BookPace()
    assert pace.is_due(0.0, 0, 0)
    assert not pace.is_due(BOOK_S - 1, PROGRESS_BYTES - 1, 100)
    assert pace.is_due(BOOK_S - 1, PROGRESS_BYTES, 100)
    assert not pace.is_due(BOOK_S, PROGRESS_BYTES, 100)
    assert pace.is_due(2 * BOOK_S, PROGRESS_BYTES, 100)


def test_a_large_one_is_written_more_seldom() -> None:
    pace = BookPace()
    assert pace.is_due(0.0, 0, 0)
    assert not pace.is_due(BOOK_S * (SLOWER_MAX - 1), 15 * 4_000_000, 4_000_000)
    assert pace.is_due(BOOK_S, 16 * 4_000_000, 4_000_000)
    assert pace.is_due(BOOK_S * (SLOWER_MAX + 1), 16 * 4_000_000, 4_000_000)
