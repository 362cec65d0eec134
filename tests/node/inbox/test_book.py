"""What the inbox remembers beside the rows: who was seen, ignored, adopted elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from mainstem_node.errors import ConflictError
from mainstem_node.inbox import InboxBook, Sighting
from mainstem_node.inbox import book as module
from mainstem_node.inbox.book import FILE_NAME, identity


def clock() -> int:
    return 5_000_000_000


def test_it_is_there_after_a_restart(tmp_path: Path) -> None:
    book = InboxBook(tmp_path, clock)
    book.see([Sighting("pump", "root.a.p1", "mqtt-0", "a/p1/t", {"line": "A"})])
    book.ignore("pump", "root.a.p2")
    assert book.pass_over("pump", "root.a.p2")
    assert not book.pass_over("pump", "root.a.p3")
    book.adopt("", "a/b/c", "pump", "root.a.p4")
    book.pass_over("PUMP", "root.a.p2")  # templates are the same in any case
    book.keep()
    again = InboxBook(tmp_path, clock)
    assert again.sighting(identity("pump", "root.a.p1")) == Sighting(
        "pump", "root.a.p1", "mqtt-0", "a/p1/t", {"line": "A"}
    )
    ignored = again.ignored()[identity("pump", "root.a.p2")]
    assert (ignored.rows, ignored.since_ms) == (2, 5_000)
    assert again.path_of("", "a/b/c") == "root.a.p4"
    assert [each.name for each in again.topics()] == ["a/b/c"]
    assert again.heed(identity("pump", "root.a.p2"))
    assert not again.ignores_any
    assert not again.heed("none")


def test_what_is_damaged_is_not_believed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE_NAME).write_text('{"seen": [{"no": 1}]}')
    book = InboxBook(tmp_path, clock)
    assert not book.ignores_any
    assert "not readable" in caplog.text
    book.ignore("pump", "x")
    assert InboxBook(tmp_path, clock).ignores_any


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEEN_MAX", 2)
    monkeypatch.setattr(module, "DECIDED_MAX", 2)
    book = InboxBook()
    for number in range(3):
        book.see([Sighting("pump", f"p{number}", "mqtt-0")])
    assert [book.has_seen("pump", f"p{n}") for n in range(3)] == [False, True, True]
    for number in range(2):
        book.ignore("pump", f"p{number}")
        book.adopt("pump", f"p{number}", "pump", "root.a.p")
    with pytest.raises(ConflictError, match="2 names"):
        book.ignore("pump", "p9")
    with pytest.raises(ConflictError, match="2 names"):
        book.adopt("pump", "p9", "pump", "root.a.p")
