"""Messages: round trips, and hostile fields that are refused before they are used."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_sync.errors import (
    FencedError,
    ForkedError,
    HashMismatchError,
    LeaseError,
    PeerError,
    RejectedError,
    SyncError,
    VersionError,
    WireError,
)
from mainstem_sync.lines.handshake import Hello, Welcome
from mainstem_sync.wire.batch import (
    Acknowledgement,
    Batch,
    WireRecord,
    encode_batch,
    encode_request,
    request_lease,
)
from mainstem_sync.wire.frames import Frame, FrameType, decode_frames, decompress, encode_frame
from mainstem_sync.wire.messages import (
    STATUS_BYTES_MAX,
    AckCode,
    ChainPoint,
    OriginKey,
    Queue,
    decode_status,
    encode_error,
    encode_status,
    single_frame,
)
from mainstem_sync.wire.ranges import RangeSet

KEY = OriginKey("a" * 32, 0, "edge")
HELLO = Hello(
    KEY, "instance", "nonce", 1, 9, (ChainPoint(9, bytes(16)),), (OriginKey("b" * 32, 2, "x"),)
)
WELCOME = Welcome(
    "plant", "c" * 32, "nonce", "lease", 5, ((KEY, RangeSet([(1, 4), (6, 9)])),), (7,)
)


def only(message: bytes) -> Frame:
    (frame,) = decode_frames(message)
    return frame


def test_hello_and_welcome_come_back() -> None:
    assert Hello.from_frame(only(HELLO.encode())) == HELLO
    back = Welcome.from_frame(only(WELCOME.encode()))
    assert back == WELCOME
    assert back.held[0][0].name == "edge"


def test_a_batch_comes_back_with_its_hash() -> None:
    records = (WireRecord(3, 1, "meters", 7, 0, 4), WireRecord(4, 8, "", 0, 4, 2))
    frame_bytes, digest = encode_batch(
        KEY, Queue.LIVE, RangeSet([(3, 5)]), records, b"abcdef", ChainPoint(5, bytes(16))
    )
    batch = Batch.from_frame(only(frame_bytes))
    assert (batch.origin, batch.queue, batch.records) == (KEY, Queue.LIVE, records)
    assert batch.hash == digest
    assert batch.decode_error is None
    assert batch.chain == ChainPoint(5, bytes(16))
    assert bytes(decompress(batch.codec, batch.raw_length, batch.payload)) == b"abcdef"


def test_a_batch_whose_stated_hash_is_wrong_says_so() -> None:
    frame_bytes, _ = encode_batch(KEY, Queue.LIVE, RangeSet([(1, 1)]), (), b"x", None)
    frame = only(frame_bytes)
    forged = encode_frame(FrameType.BATCH, frame.header_bytes, bytes(16) + frame.payload[16:])
    assert isinstance(Batch.from_frame(only(forged)).decode_error, HashMismatchError)
    with pytest.raises(WireError):
        Batch.from_frame(only(encode_frame(FrameType.BATCH, frame.header_bytes, b"short")))


def test_acknowledgements_and_requests_come_back() -> None:
    answer = Acknowledgement(bytes(16), AckCode.NEED_SCHEMA, 4, "why")
    assert Acknowledgement.from_frame(only(answer.encode())) == answer
    assert request_lease(only(encode_request("lease", 3, 7))) == ("lease", 3)
    with pytest.raises(WireError):
        request_lease(only(answer.encode()))


def test_a_status_comes_back_within_its_bound() -> None:
    assert decode_status(only(encode_status({"node": "edge"}))) == {"node": "edge"}
    for payload in (b"\xc1", b"\x01", bytes(STATUS_BYTES_MAX + 1)):
        with pytest.raises(WireError):
            decode_status(only(encode_frame(FrameType.STATUS, {}, payload)))


@pytest.mark.parametrize(
    "kind", [FencedError, ForkedError, VersionError, LeaseError, RejectedError, PeerError]
)
def test_a_refusal_is_raised_as_what_it_is(kind: type[PeerError]) -> None:
    with pytest.raises(kind) as caught:
        single_frame(encode_error(kind("no", hint="do this")))
    assert type(caught.value) is kind
    assert caught.value.message == "no"
    assert caught.value.hint == "do this"


def test_an_empty_reply_is_not_an_answer() -> None:
    with pytest.raises(WireError):
        single_frame(b"")


PLAIN: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5)
    | st.binary(max_size=20) | st.floats(),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["hello", "welcome", "batch", "ack"]), st.data())
def test_hostile_fields_raise_nothing_but_sync_errors(kind: str, data: st.DataObject) -> None:
    frame_bytes, _ = encode_batch(
        KEY, Queue.LIVE, RangeSet([(1, 1)]), (WireRecord(1, 1, "t", 1, 0, 1),), b"x", None
    )
    good = {
        "hello": HELLO.encode(),
        "welcome": WELCOME.encode(),
        "batch": frame_bytes,
        "ack": Acknowledgement(bytes(16), AckCode.OK).encode(),
    }[kind]
    frame = only(good)
    header = dict(frame.header)
    header[data.draw(st.sampled_from(sorted(header)))] = data.draw(PLAIN)
    changed = only(encode_frame(frame.type, header, bytes(frame.payload)))
    decoder = {"hello": Hello, "welcome": Welcome, "batch": Batch, "ack": Acknowledgement}[kind]
    with contextlib.suppress(SyncError):
        decoder.from_frame(changed)  # type: ignore[attr-defined]
