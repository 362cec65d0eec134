"""Revisions on disk: numbers, what holds, what is kept, a damaged list."""

from __future__ import annotations

from pathlib import Path

from mainstem_node.desired.revisions import APPLIED, FAILED, KEPT, PENDING, Revision, Revisions


def add(revisions: Revisions, state: str = APPLIED, order: str = "") -> Revision:
    return revisions.add(
        b"a: 1\n", digest="h", file_hash="f", by="ann", order=order, at_ms=1, state=state
    )


def test_the_newest_applied_one_holds(tmp_path: Path) -> None:
    revisions = Revisions(tmp_path)
    assert revisions.current is None
    first = add(revisions)
    second = add(revisions, PENDING, "o2")
    assert revisions.current == first
    assert revisions.pending == second
    assert revisions.before(second.rev) == first
    revisions.judge(second.rev, FAILED, "no")
    again = Revisions(tmp_path)
    assert again.current == first
    assert again.pending is None
    assert again.of_order("o2") == Revision(2, "h", "f", "ann", "o2", 1, FAILED, "no")
    assert add(again).rev == 3
    assert again.path(3).read_bytes() == b"a: 1\n"


def test_old_ones_go_but_never_the_one_that_holds(tmp_path: Path) -> None:
    revisions = Revisions(tmp_path)
    holding = add(revisions)
    for _ in range(2 * KEPT):
        revisions.judge(add(revisions, PENDING).rev, FAILED)
    assert revisions.current == holding
    assert revisions.path(holding.rev).exists()
    assert len(revisions.all) <= KEPT + 1
    assert len(list((tmp_path / "config").glob("*.yaml"))) == len(revisions.all)


def test_a_damaged_list_gives_no_number_twice(tmp_path: Path) -> None:
    revisions = Revisions(tmp_path)
    for _ in range(3):
        add(revisions)
    (tmp_path / "config" / "revisions.json").write_text("[{")
    again = Revisions(tmp_path)
    assert again.current is None
    assert add(again).rev == 4


def test_a_candidate_leaves_nothing_behind(tmp_path: Path) -> None:
    revisions = Revisions(tmp_path)
    with revisions.candidate(b"x") as path:
        assert path.read_bytes() == b"x"
    assert not path.exists()
