"""The test vectors of docs/protocol.md are what the code makes, byte for byte."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from mainstem_engine.filesystem import byte_view
from mainstem_engine.light_points import encode_light
from mainstem_engine.log.layout import CHAIN_START, next_chain, payload_digest
from mainstem_engine.log.records import RecordKind
from mainstem_engine.model import Column, ColumnType, Rows, VersionedRows
from mainstem_engine.points import encode_points, points_header
from mainstem_engine.slices import DeviceKeys, digest_rows
from mainstem_sync.lines.epochs import EpochTable
from mainstem_sync.lines.handshake import Hello
from mainstem_sync.wire.batch import (
    Acknowledgement,
    Batch,
    WireRecord,
    encode_batch,
    encode_request,
)
from mainstem_sync.wire.frames import FrameType, decode_frames, encode_frame, sign, verify_signature
from mainstem_sync.wire.messages import AckCode, ChainPoint, OriginKey, Queue, single_frame
from mainstem_sync.wire.ranges import RangeSet

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"
WIDTH = 64

NODE = OriginKey("00112233445566778899aabbccddeeff", 0, "edge")
LEASE = "lease-1"
TIME_NS = 1_800_000_000 * 10**9
MINUTE_NS = 60 * 10**9


def points_payload() -> bytes:
    """One row of table t: device 0, a = 7 (INT32), b = null, c = "x"."""
    types = {0: ColumnType.INT32, 1: ColumnType.DOUBLE, 2: ColumnType.TEXT}
    rows = Rows(
        np.array([0], np.uint32),
        np.array([TIME_NS], np.int64),
        {
            0: Column(np.array([7], np.int32)),
            1: Column(np.array([0.0]), np.array([False])),
            2: Column(np.array(["x"], object)),
        },
    )
    pieces = encode_points(points_header("t", 1, 1, accepted=1), rows, types)
    return b"".join(map(byte_view, pieces))


def light_block() -> bytes:
    """Records 7 and 9 of table t: devices 0 and 1 a second apart; a = 20.5 and null, b = 300."""
    rows = Rows(
        np.array([0, 1], np.uint32),
        np.array([TIME_NS, TIME_NS + 10**9]),
        {
            0: Column(np.array([20.5, 0.0]), np.array([True, False])),
            1: Column(np.array([300, 300], np.int32)),
        },
    )
    types = {0: ColumnType.DOUBLE, 1: ColumnType.INT32}
    header = {"t": "t", "rev": 1, "der": 0}
    return encode_light(header, rows, np.array([7, 9], np.uint64), types, {})


def chains() -> list[ChainPoint]:
    """Of a log with two records: PTS with the payload above, and BOOT with the bytes 01 02 03."""
    chain = CHAIN_START
    points: list[ChainPoint] = []
    for kind, payload in ((RecordKind.PTS, points_payload()), (RecordKind.BOOT, b"\x01\x02\x03")):
        lsn = len(points) + 1
        chain = next_chain(chain, kind, lsn, len(payload), payload_digest([payload]))
        points.append(ChainPoint(lsn, chain))
    return points


def hello() -> bytes:
    return Hello(
        NODE, "instance", "nonce", 1, 2, (chains()[1],), (), (), (1, 2), EpochTable(((1, 5),)),
        {2: bytes(range(16))}, 1, 1,
    ).encode()  # fmt: skip


def batch() -> tuple[bytes, bytes]:
    """(frame, hash): record 2, and 1 covered."""
    raw = b"\x01\x02\x03"
    records = [WireRecord(2, RecordKind.BOOT, "", 0, 0, len(raw))]
    return encode_batch(NODE, Queue.LIVE, RangeSet([(1, 2)]), records, raw, chains()[1])


def reply() -> bytes:
    ack = Acknowledgement(batch()[1], AckCode.OK, 2).encode()
    return sign(ack, LEASE.encode())


class _Paths:
    def path(self, device: int) -> str:
        return ("root.p.e.d1", "root.p.e.d2")[device]


def digests() -> list[tuple[int, int, int]]:
    """(rows, d1, d2) of the slices of three rows; see the page."""
    rows = VersionedRows(
        np.array([0, 0, 1], np.uint32),
        np.array([TIME_NS, TIME_NS + 1, TIME_NS + MINUTE_NS], np.int64),
        np.zeros(3, np.uint16),
        np.ones(3, np.uint64),
        {
            0: Column(np.array([7, -1, 0], np.int32)),
            1: Column(np.array([0.5, -0.0, 0.0]), np.array([True, True, False])),
            2: Column(np.array(["x", "", "é"], object)),
        },
    )
    found = digest_rows(rows, DeviceKeys(_Paths()), MINUTE_NS, {0: 0, 1: 1, 2: 2})
    return [(int(n), int(a), int(b)) for _, n, a, b in zip(*found, strict=True)]


def vectors() -> list[tuple[str, list[str]]]:
    """What the page shows, by title."""
    frame, digest = batch()
    one, two = chains()
    return [
        (
            "An ACK frame with an empty header and the payload 01 02 03",
            [encode_frame(FrameType.ACK, {}, b"\x01\x02\x03").hex()],
        ),
        (
            "The payload of a PTS record: table t, revision 1, device 0 at 1800000000 s, a = 7 "
            '(id 0, INT32), b = null (id 1, DOUBLE), c = "x" (id 2, TEXT)',
            [points_payload().hex()],
        ),
        (
            "The chain of a log whose first record is that PTS, and the second a BOOT with the "
            "payload 01 02 03",
            [f"chain[1] {one.chain.hex()}", f"chain[2] {two.chain.hex()}"],
        ),
        (
            "HELLO of that log: node edge, first 1, durable 2, chain[2], acked 1, epoch 1 begun "
            "after LSN 5, one boot at LSN 2 with the id 00 01 .. 0f",
            [hello().hex()],
        ),
        (
            f"A request under the lease {LEASE}, number 3 at 1800000000 s: REQUEST, and a BATCH "
            "with record 2, LSN 1 covered, not compressed",
            [encode_request(LEASE, 3, TIME_NS).hex(), frame.hex(), f"hash {digest.hex()}"],
        ),
        (
            "A light block of table t, revision 1: record 7 has device 0 at 1800000000 s with a = "
            "20.5 (id 0, DOUBLE) and b = 300 (id 1, INT32), record 9 device 1 a second later with "
            "a = null and b = 300",
            [light_block().hex()],
        ),
        ("The reply to it: ACK ok with D = 2, and SIGNATURE", [reply().hex()]),
        (
            "Digests: root.p.e.d1 at 1800000000 s has a = 7, b = 0.5, c = x; 1 ns later a = -1, "
            "b = -0.0, c empty; root.p.e.d2 a minute later a = 0, b null, c = é. Slices of a "
            "minute",
            [f"{n} rows  d1 {a:016x}  d2 {b:016x}" for n, a, b in digests()],
        ),
    ]


def rendered(title: str, lines: list[str]) -> str:
    """As it stands on the page."""
    cut = []
    for line in lines:
        pieces = [line[at : at + WIDTH] for at in range(0, len(line), WIDTH)]
        cut += pieces if " " not in line else [line]
        cut.append("")
    return "\n".join([f"{title}:", "", "```", *cut[:-1], "```", ""])


@pytest.mark.parametrize(("title", "lines"), vectors(), ids=lambda value: str(value)[:24])
def test_the_page_shows_what_the_code_makes(title: str, lines: list[str]) -> None:
    assert rendered(title, lines) in PAGE.read_text(encoding="utf-8")


def test_the_vectors_are_read_back() -> None:
    read = Batch.from_frame(single_frame(batch()[0]))
    assert read.decode_error is None
    assert (read.codec, list(read.ranges)) == ("none", [(1, 2)])
    assert bytes(read.payload) == b"\x01\x02\x03"
    assert Hello.from_frame(single_frame(hello())).table == EpochTable(((1, 5),))
    assert verify_signature(reply(), LEASE.encode())
    assert not verify_signature(reply(), b"another lease")
    assert [f.type for f in decode_frames(reply())] == [FrameType.ACK, FrameType.SIGNATURE]


def test_every_frame_that_is_sent_has_its_row_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for kind in FrameType:
        if kind is not FrameType.UNKNOWN:
            assert f"| {int(kind)} | {kind.name} |" in page
    for code in AckCode:
        assert f"| `{code}` |" in page


def test_the_mix_is_the_one_on_the_page() -> None:
    """The first sum of one row, from the page's own words."""
    import hashlib

    mask = (1 << 64) - 1

    def mix(x: int) -> int:
        x ^= x >> 30
        x = x * 0xBF58476D1CE4E5B9 & mask
        x ^= x >> 27
        x = x * 0x94D049BB133111EB & mask
        return x ^ x >> 31

    key = hashlib.blake2b(b"root.p.e.d2", digest_size=16, key=b"mainstem digest").digest()
    k1 = int.from_bytes(key[:8], "little")
    k = mix((k1 + (TIME_NS + MINUTE_NS) * 0x9E3779B97F4A7C15) & mask)
    text = hashlib.blake2b("é".encode(), digest_size=8, key=b"mainstem digest").digest()
    total = 0
    for ident, bits in ((0, 0), (2, struct.unpack("<Q", text)[0])):
        total += mix((k + (ident + 1) * 0xC2B2AE3D27D4EB4F & mask) ^ bits)
    assert total & mask == digests()[1][1]


if __name__ == "__main__":  # prints what belongs on the page
    print("\n".join(rendered(*vector) for vector in vectors()))
