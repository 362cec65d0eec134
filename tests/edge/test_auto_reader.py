"""The codec that is found out for each message."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_edge.auto_reader import TOPICS_MAX, AutoReader, format_of
from mainstem_edge.testing.parts import NOW_NS, message, subscription


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        (b'{"a": 1}', "json"), (b"\xef\xbb\xbf [1]", "json"), (b"{", "json"),
        (b"23.4", "raw"), (b"true", "raw"), (b"two words", "raw"), (b"", "raw"), (b"a=b", "raw"),
        (b"x y=z", "raw"), ("Grün".encode(), "raw"),
        (b"ts,a\n1,2", "csv"), (b"ts;a\r\n1;2\r\n", "csv"), (b"ts\ta\n1\t2", "csv"),
        (b"press,line=l1 t=81.5,n=12i 1792540800", "line_protocol"), (b"m a=1", "line_protocol"),
        (b'# comment\nm a="x y",b=t\n', "line_protocol"),
        (rb"my\ m,k=a\,b f=-.5", "line_protocol"), (b"\xff\xfe", "msgpack"),
        (msgspec.msgpack.encode({"a": 1}), "msgpack"),
        (msgspec.msgpack.encode([{"a": 1}]), "msgpack"),
        (msgspec.msgpack.encode({f"n{n}": n for n in range(40)}), "msgpack"),
    ],
)  # fmt: skip
def test_what_a_payload_is(payload: bytes, name: str) -> None:
    assert format_of(payload) == name


@given(st.binary(max_size=60) | st.text(max_size=40).map(str.encode))
def test_every_payload_is_something(payload: bytes) -> None:
    assert format_of(payload) in ("json", "msgpack", "line_protocol", "csv", "raw")


def test_each_message_by_itself_and_the_newest_are_shown() -> None:
    reader = AutoReader({"json": subscription("#"), "raw": subscription("#")})
    messages = [
        message({"temperature": 1.0}, "plant/a/t"), message(b"5", "plant/b/t"),
        message({"temperature": 2.0}, "plant/a/t"), message(b"x", "plant/a/t"),
    ]  # fmt: skip
    readings = reader.read(messages, NOW_NS)
    assert [(len(r.decoded), len(r.failures)) for r in readings] == [(2, 0), (0, 2)]
    assert reader.formats == {"plant/b/t": "raw", "plant/a/t": "raw"}
    assert reader.count(messages) == {"press": 4}
    assert (reader.filter, reader.templates) == ("#", ("press",))


def test_the_topics_shown_are_bounded() -> None:
    reader = AutoReader({"json": subscription("#")})
    reader.read([message({}, f"t/{n}") for n in range(TOPICS_MAX + 5)], NOW_NS)
    assert list(reader.formats) == [f"t/{n}" for n in range(5, TOPICS_MAX + 5)]
