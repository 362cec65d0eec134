"""MessagePack payloads: the shapes of JSON, and what only MessagePack has."""

from __future__ import annotations

import datetime
from typing import Any

import msgspec
import numpy as np
import pytest

from mainstem_edge.decode.interface import KnownNames
from mainstem_edge.decode.json_codec import JsonCodec
from mainstem_edge.decode.msgpack_codec import MsgpackCodec
from mainstem_edge.payload_time import TimeReader

NAMES = ("temperature", "count", "motor.rpm", "ts", "device")
SHAPES: list[Any] = [
    {"ts": 5, "temperature": 1.5},
    [{"ts": 5, "temperature": 1.5, "count": 2}, {"count": 3, "other": [1]}],
    {"ts": 5, "values": {"temperature": 1.5, "motor": {"rpm": 7}}},
    [{"name": "count", "value": 4, "ts": 1}, {"name": "temperature", "value": 2.0, "ts": 1}],
]


def pack(value: Any) -> bytes:
    return msgspec.msgpack.encode(value)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_shapes_of_json_are_read(shape: Any) -> None:
    known = KnownNames(NAMES, {"temperature"})
    one = MsgpackCodec(known, ("ts",)).decode([pack(shape)])
    other = JsonCodec(known, ("ts",)).decode([msgspec.json.encode(shape)])
    assert (one.columns, one.extras, one.source) == (other.columns, other.extras, other.source)


@pytest.mark.parametrize(
    "payload", [b"", b"\xc1", pack({"count": 1})[:-1], pack(5), pack({1: 2}), b"{}"]
)
def test_what_is_no_map_of_names_is_a_failure(payload: bytes) -> None:
    found = MsgpackCodec(KnownNames(NAMES)).decode([payload, pack({"count": 1})])
    assert [failure.message for failure in found.failures] == [0]
    assert found.columns == {"count": [1]}


def test_a_timestamp_of_messagepack_is_a_time() -> None:
    stamp = datetime.datetime(2026, 1, 2, 3, 4, 5, 600_000, datetime.UTC)
    found = MsgpackCodec(KnownNames(NAMES), ("ts",)).decode([pack({"ts": stamp, "count": 1})])
    times = TimeReader(field="ts").read(found.columns, np.zeros(1, np.int64))
    assert times.ns.tolist() == [int(stamp.timestamp()) * 10**9 + 600_000_000]
