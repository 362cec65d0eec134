"""Segments of version 1 are read, checked and followed; what is written has the present chain."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mainstem_engine.check_log import LogCounts, check_log
from mainstem_engine.damage import Findings
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.log.layout import (
    CHAIN_START,
    SEGMENT_HEADER_BYTES,
    VERSION,
    SegmentHeader,
    chain_of_version,
    pack_record_header,
    padded,
    payload_digest,
    record_salt,
    segment_name,
)
from mainstem_engine.log.log import Log
from mainstem_engine.log.records import RecordKind, encode_payload
from mainstem_engine.losses import Losses
from mainstem_engine.testing.recorder import NODE_UUID, CommitRecorder

OpenLog = Callable[..., Log]
UUID = bytes.fromhex(NODE_UUID)


def payload_of(lsn: int) -> bytes:
    pieces = encode_payload({"lsn": lsn}, [bytes([lsn]) * 40])
    return b"".join(bytes(piece) for piece in pieces)


def segment_bytes(
    first: int, last: int, chain: bytes, version: int = 1, unsynced: int = 0
) -> tuple[bytes, bytes]:
    """(a segment of ``version`` with records first to last, its last chain value)."""
    data = SegmentHeader(first, chain, UUID, version).pack()
    for lsn in range(first, last + 1):
        payload = payload_of(lsn)
        chain = chain_of_version(version, chain, RecordKind.MAN, lsn, payload)
        head = pack_record_header(
            record_salt(UUID, first), lsn, RecordKind.MAN, min(unsynced, lsn - first), chain,
            len(payload), [payload],
        )  # fmt: skip
        data += (head + payload).ljust(padded(len(head) + len(payload)), b"\0")
    return data, chain


def put(directory: Path, segments: dict[int, bytes]) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for first, data in segments.items():
        (directory / segment_name(first)).write_bytes(data)


def versions(directory: Path) -> dict[int, int]:
    """Version of each segment by its first LSN."""
    found = {}
    for path in sorted(directory.iterdir()):
        header = SegmentHeader.unpack(path.read_bytes()[:SEGMENT_HEADER_BYTES])
        found[int(path.stem)] = 0 if header is None else header.version
    return found


def checked(directory: Path) -> tuple[LogCounts, list[str]]:
    findings = Findings()
    counts = check_log(Filesystem(), directory.parent, NODE_UUID, 0, Losses(), findings)
    return counts, [damage.problem for damage in findings.damages]


def goes_on(open_log: OpenLog, directory: Path, last: int) -> None:
    """Opens the log, appends two records, and reads and checks all of it."""
    log = open_log(sink=CommitRecorder())
    assert log.recovery.damages == ()
    assert log.appended_lsn == last
    for lsn in (last + 1, last + 2):
        log.append(RecordKind.MAN, [payload_of(lsn)])
    log.barrier()
    records = list(log.read(1))
    assert [record.lsn for record in records] == list(range(1, last + 3))
    assert [bytes(record.payload) for record in records] == [payload_of(r.lsn) for r in records]
    log.close()
    counts, problems = checked(directory)
    assert problems == []
    assert counts.records == last + 2
    again = open_log()
    assert again.recovery.carried_records == 0
    assert again.appended_lsn == last + 2


def test_a_log_that_was_closed(open_log: OpenLog, directory: Path) -> None:
    data, chain = segment_bytes(1, 5, CHAIN_START)
    put(directory, {1: data, 6: segment_bytes(6, 5, chain)[0]})
    goes_on(open_log, directory, 5)
    assert versions(directory) == {1: 1, 6: VERSION, 8: VERSION}


def test_an_empty_log(open_log: OpenLog, directory: Path) -> None:
    put(directory, {1: segment_bytes(1, 0, CHAIN_START)[0]})
    goes_on(open_log, directory, 0)
    assert versions(directory) == {1: VERSION, 3: VERSION}


def test_records_that_are_copied_keep_their_chain(open_log: OpenLog, directory: Path) -> None:
    data, chain = segment_bytes(1, 5, CHAIN_START, unsynced=2)
    put(directory, {1: data})
    log = open_log()
    assert log.recovery.carried_records == 3
    assert log.chain_at(5) == chain
    log.close()
    assert versions(directory) == {1: 1, 3: 1, 6: VERSION}
    goes_on(open_log, directory, 5)
    assert versions(directory) == {1: 1, 3: 1, 6: VERSION, 8: VERSION}


@pytest.mark.parametrize("version", [1, VERSION])
@pytest.mark.parametrize("unsynced", [0, 5])
def test_a_damaged_header_does_not_hide_the_version(
    open_log: OpenLog, directory: Path, version: int, unsynced: int
) -> None:
    data, chain = segment_bytes(1, 5, CHAIN_START, version, unsynced)
    put(directory, {1: b"\xff" + data[1:]})
    assert checked(directory)[1] == ["the segment's header is damaged"]
    log = open_log(sink=CommitRecorder())
    assert log.chain_at(5) == chain
    log.append(RecordKind.MAN, [payload_of(6)])
    log.close()
    # With nothing to rely on, all is copied, and what is copied says what it is.
    expected = {1: version} if unsynced else {1: 0, 5: version}
    assert versions(directory).items() >= expected.items()
    assert checked(directory)[0].records == 6
    assert set(checked(directory)[1]) <= {"the segment's header is damaged"}


def test_a_broken_chain_of_either_version_is_found(directory: Path) -> None:
    for version in (1, VERSION):
        one, _ = segment_bytes(1, 2, CHAIN_START, version)
        two, _ = segment_bytes(3, 4, bytes(range(16)), version)
        put(directory, {1: one, 3: two})
        assert checked(directory)[1] == ["the chain does not follow the segment before"]
        # The header of one version before the records of the other.
        other = VERSION if version == 1 else 1
        put(directory, {1: SegmentHeader(1, CHAIN_START, UUID, other).pack() + one[64:]})
        assert "the chain breaks at LSN 1" in checked(directory)[1][0]


def test_the_digest_does_not_depend_on_the_pieces() -> None:
    data = bytes(range(256)) * 64
    whole = payload_digest([data])
    assert whole.hex() == "5266a2381f3587fec96b04ebefa8f6dc"
    for cuts in ([1, 5000], [7, 8, 9], [0, 16384]):
        edges = [0, *cuts, len(data)]
        pieces = [memoryview(data)[a:b] for a, b in itertools.pairwise(edges)]
        assert payload_digest(pieces) == whole
    assert payload_digest([np.frombuffer(data, np.uint8).data]) == whole
