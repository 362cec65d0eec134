"""Where a file stands, in whatever order its pieces become durable."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mainstem_edge.files.directory import Found
from mainstem_edge.files.handed import HandedFiles

A, B = Found("a", 100, 1), Found("b", 100, 1)


@given(st.permutations(range(6)))
def test_a_position_has_no_gap_before_it(order: list[int]) -> None:
    handed = HandedFiles()
    a, b = handed.begin(A, 10), handed.begin(B, 0)
    ids = [handed.hand_on((a, b)[n % 2], 20 + 10 * n) for n in range(6)]
    a.is_read = True
    done: set[int] = set()
    for each in order:
        handed.acknowledge([ids[each]])
        done.add(each)
        for file, mine, start in ((a, (0, 2, 4), 10), (b, (1, 3, 5), 0)):
            expected = start
            for n in mine:
                if n not in done:
                    break
                expected = 20 + 10 * n
            assert file.durable == expected
        assert (a in handed.stored()) == ({0, 2, 4} <= done)
    assert (handed.stored(), handed.begun(), handed.unacknowledged()) == ([a], [b], 0)


def test_what_is_forgotten_may_be_acknowledged() -> None:
    handed = HandedFiles()
    file = handed.begin(A, 0)
    number = handed.hand_on(file, 5)
    handed.forget(file)
    handed.acknowledge([number, 99])
    assert (len(handed), handed.unacknowledged(), file.durable) == (0, 0, 0)
