"""The records of a damaged part list: each is whole, torn, or bytes that say nothing."""

from __future__ import annotations

from pathlib import Path

import google_crc32c
import msgpack
import pytest

from mainstem_engine.filesystem import Filesystem
from mainstem_engine.part import manifest
from mainstem_engine.part.manifest import PartList, PartMeta
from mainstem_engine.part_list_records import HEAD_BYTES, PartListRecord, part_list_records

COMMITS = 3


@pytest.fixture
def data(tmp_path: Path) -> bytes:
    """A list to which three changes were made."""
    parts = PartList.open(Filesystem(), tmp_path / "part-list")
    for number in range(1, COMMITS + 1):
        added = PartMeta(f"{number:012d}", "t", 0, 10, 100, 0, 9, 0, 0)
        parts.commit(add=[added], checkpoint=f"c{number}", facts={"x": number})
    parts.close()
    return (tmp_path / "part-list").read_bytes()


def records(data: bytes) -> list[PartListRecord]:
    """They cover every byte, whatever it is."""
    found = list(part_list_records(data))
    assert HEAD_BYTES + sum(record.bytes for record in found) == len(data)
    return found


def test_whole(data: bytes) -> None:
    found = records(data)
    assert [record.problem for record in found] == [None] * COMMITS
    assert [record.checkpoint for record in found] == ["c1", "c2", "c3"]
    assert [record.facts for record in found] == [{"x": 1}, {"x": 2}, {"x": 3}]


@pytest.mark.parametrize("cut", [1, 30])
def test_an_end_that_is_missing_is_torn(data: bytes, cut: int) -> None:
    *whole, last = records(data[:-cut])
    assert len(whole) == COMMITS - 1
    assert last.torn


def test_only_the_beginning_of_a_header_is_torn(data: bytes) -> None:
    size = records(data)[-1].bytes
    *whole, last = records(data[: len(data) - size + 3])
    assert len(whole) == COMMITS - 1
    assert last.torn


def test_damage_between_good_records_is_none_of_them(data: bytes) -> None:
    first = records(data)[0].bytes
    place = HEAD_BYTES + first + 20
    damaged = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    before, stretch, after = records(damaged)
    assert (before.checkpoint, after.checkpoint) == ("c1", "c3")
    assert stretch.problem == "these bytes are no record"
    assert not stretch.torn


def test_damage_at_the_end_is_not_torn(data: bytes) -> None:
    *_, last = records(data[:-1] + bytes([data[-1] ^ 1]))
    assert last.problem == "these bytes are no record"
    assert not last.torn


def test_a_blank_sector_at_the_end_is_torn(data: bytes) -> None:
    *_, last = records(data + bytes(600))
    assert last.torn


def test_a_record_of_another_kind_is_not_understood(data: bytes) -> None:
    body = msgpack.packb({"something": "else"})
    head = manifest._RECORD.pack(len(body), len(body) ^ manifest._INVERT, google_crc32c.value(body))
    *whole, last = records(data + head + body)
    assert len(whole) == COMMITS
    assert last.problem is not None
    assert "not understood" in last.problem
