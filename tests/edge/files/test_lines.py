"""Whole lines out of bytes that come in pieces: nothing is lost, doubled or torn."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from mainstem_edge.files.lines import CHUNK_BYTES, LineCutter


def cut(data: bytes, *, is_complete: bool = True, **options: int | bool) -> list[bytes]:
    cutter = LineCutter(io.BytesIO(data).read, **options)  # type: ignore[arg-type]
    found = []
    while (lines := cutter.next(is_complete=is_complete)) is not None:
        found.append(lines.data)
    return found


def test_the_last_line_without_an_end_waits_or_is_one() -> None:
    assert cut(b"a\nb\nc") == [b"a\nb\n", b"c"]
    assert cut(b"a\nb\nc", is_complete=False) == [b"a\nb\n"]
    assert cut(b"") == []


def test_a_piece_is_not_much_longer_than_a_chunk() -> None:
    line = b"x" * 99 + b"\n"
    pieces = cut(line * 20_000)
    assert b"".join(pieces) == line * 20_000
    assert len(pieces) == 8
    assert max(map(len, pieces)) <= CHUNK_BYTES + len(line)


def test_a_long_line_is_passed_over_and_counted_wherever_it_stands() -> None:
    for size in (101, CHUNK_BYTES * 3):
        cutter = LineCutter(
            io.BytesIO(b"a\n" + b"x" * size + b"\nb\n" + b"y" * size).read, line_bytes_max=100
        )
        found = b""
        while (lines := cutter.next(is_complete=True)) is not None:
            found += lines.data
        assert (found, cutter.long_lines) == (b"a\nb\n", 2)


def test_a_quoted_cell_with_line_ends_stays_in_one_piece() -> None:
    first = b"n,text\n" + b"1,x\n" * (CHUNK_BYTES // 4 - 3)
    data = first + b'2,"one\ntwo\n' + b"three\n" * 9 + b'"\n3,y\n'
    assert cut(data, quoted=True)[0] == first
    assert b"".join(cut(data, quoted=True)) == data


def test_a_quote_that_is_left_open_holds_up_no_more_than_a_line() -> None:
    data = b'1,5"\n' + b"2,x\n" * CHUNK_BYTES
    pieces = cut(data, quoted=True, line_bytes_max=CHUNK_BYTES)
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= 3 * CHUNK_BYTES


@given(st.binary(max_size=400), st.lists(st.integers(1, 50), min_size=1), st.booleans())
def test_pieces_are_the_file_in_order(data: bytes, sizes: list[int], quoted: bool) -> None:
    """However the bytes come: the places are right, and a start at any of them goes on there."""
    stream = io.BytesIO(data)
    turn = iter(sizes * 400)
    cutter = LineCutter(lambda size: stream.read(min(size, next(turn))), quoted=quoted)
    at = 0
    while (lines := cutter.next(is_complete=True)) is not None:
        assert lines.data == data[at : lines.end]
        assert lines.data.endswith(b"\n") or lines.end == len(data)
        at = lines.end
    assert at == len(data)
