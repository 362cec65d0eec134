"""Texts of many lines: read together and one by one, the same comes out."""

from __future__ import annotations

import random
from typing import Any

import hypothesis.strategies as st
import line_protocol_parser  # type: ignore[import-untyped]
import numpy as np
import pytest
from hypothesis import given, settings

from mainstem_node.line_protocol import parser
from mainstem_node.line_protocol.parser import (
    OUT_OF_TIME,
    PRECISIONS,
    TooManyBadLinesError,
    TooMuchError,
    parse_lines,
)
from mainstem_node.line_protocol.points import FieldType, Parsed

ATOMS = [
    b"m", b",", b" ", b"=", b"\n", b'"', b"\\", b"1", b"i", b"u", b"t", b".", b"-", b"e", b"\r",
    b"#", b"\xc3\xa9", b"\xff", b"f=1", b"m f=1\n", b'm,t=a f="x y",g=2i 12\n', b'="', b"true",
    b"\t", b"1e5", b"9" * 20, b"a b=c d", b"\\ ", b"m,a=b,c=d x=1,y=2 5\r\n", b'" ', b'",', b'"\n',
    b'm f="', b"\\\\", b"\\=", b"\\,", b'\\"', b'="a\\"b"', b',f="',
]  # fmt: skip


def by_line(parsed: Parsed) -> dict[int, Any]:
    """By line number: (measurement, tags, time or None, fields), or (problem, text)."""
    found: dict[int, Any] = {}
    for points in parsed.points:
        for row, number in enumerate(points.lines.tolist()):
            time_ns = int(points.time_ns[row]) if points.timed[row] else None
            tags = points.series[int(points.series_of[row])]
            found[number] = (points.measurement, tags, time_ns, {})
        for column in points.columns:
            for row, value in zip(column.rows.tolist(), column.values.tolist(), strict=True):
                fields = found[int(points.lines[row])][3]
                assert column.name not in fields
                fields[column.name] = (column.type, value)
    for bad in parsed.bad:
        assert bad.number not in found
        found[bad.number] = (bad.problem, bad.text)
    return found


def read(monkeypatch: pytest.MonkeyPatch, data: bytes, *, together: bool) -> dict[int, Any]:
    with monkeypatch.context() as patch:
        patch.setattr(parser, "SMALL_BYTES", 0 if together else 1 << 40)
        if together and len(data) % 2:
            patch.setattr(parser, "PIECE_BYTES", 20)
        return by_line(parse_lines(data))


@pytest.fixture(scope="module")
def patched() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(ATOMS), max_size=50).map(b"".join))
def test_together_as_one_by_one(patched: pytest.MonkeyPatch, data: bytes) -> None:
    assert read(patched, data, together=True) == read(patched, data, together=False)


VALUES = ["1", "2.5", "-3i", "4u", "t", "False", "007", '"a b"', '"q\\""']
NAMES = ["a", "b\\ c", "usage_user", "d"]
MEASUREMENTS = ["cpu", "mem", "m\\,x"]


def realistic(seed: int) -> bytes:
    """Lines as clients send them, some of them damaged by one byte."""
    rng = random.Random(seed)
    lines = []
    for _ in range(rng.randint(1, 60)):
        tags = rng.choice(["", ",host=a", ",host=a,cpu=cpu\\ 0", ",path=/var\\,x"])
        fields = ",".join(
            f"{name}={rng.choice(VALUES)}" for name in rng.sample(NAMES, rng.randint(1, 4))
        )
        stamp = rng.choice(["", " 1", " 1700000000000000000", " -5"])
        line = f"{rng.choice(MEASUREMENTS)}{tags} {fields}{stamp}".encode()
        if rng.random() < 0.1:
            at = rng.randrange(len(line))
            line = line[:at] + rng.choice(ATOMS) + line[at + 1 :]
        lines.append(line + rng.choice([b"\n", b"\n", b"\r\n"]))
    return b"".join(lines)


def test_realistic_lines_together_as_one_by_one(patched: pytest.MonkeyPatch) -> None:
    good = 0
    for seed in range(50):
        data = realistic(seed)
        found = read(patched, data, together=True)
        assert found == read(patched, data, together=False), seed
        good += sum(len(each) == 4 for each in found.values())
    assert good > 1000


ORACLE_ATOMS = [
    "m", ",", " ", "=", '"', "\\", "1", "i", "u", "t", ".", "-", "e", "é", "f=1", ",t=a",
    ' f="x y"', ",g=2i", " 12", '="', "true", "1e5", "\\ ", "a b=c", "\\,", "\\=", '\\"', "+", "0",
]  # fmt: skip


@settings(max_examples=250, deadline=None)
@given(st.lists(st.sampled_from(ORACLE_ATOMS), max_size=14).map(lambda a: "m" + "".join(a)))
def test_as_line_protocol_parser_reads_it(text: str) -> None:
    """Where it differs: a field that comes twice has its first value there; it takes what follows
    a text into it (``"a"b"``); an integer without type is what it makes of ``1u``."""
    found = by_line(parse_lines(text.encode())).get(1)
    try:
        theirs = line_protocol_parser.parse_line(text)
    except line_protocol_parser.LineFormatError:
        assert found is None or len(found) == 2
        return
    assert found is not None
    if len(found) == 2:
        assert found[0] == "something follows a text"
        return
    measurement, tags, time_ns, fields = found
    assert (measurement, dict(tags), time_ns) == (
        theirs["measurement"], theirs["tags"], theirs["time"],
    )  # fmt: skip
    assert set(fields) == set(theirs["fields"])
    if text.count("f=") < 2 and text.count("g=") < 2:
        assert {name: value for name, (_, value) in fields.items()} == theirs["fields"]


def test_fields_of_other_types_are_other_columns() -> None:
    parsed = parse_lines(b"m,t=a f=1,g=2i 1\nm,t=b f=3i 2\nm,t=a f=5 3\n")
    (points,) = parsed.points
    columns = {(c.name, c.type): (c.rows.tolist(), c.values.tolist()) for c in points.columns}
    assert columns == {
        ("f", FieldType.FLOAT): ([0, 2], [1.0, 5.0]),
        ("g", FieldType.INTEGER): ([0], [2]),
        ("f", FieldType.INTEGER): ([1], [3]),
    }
    assert [points.series[at] for at in points.series_of] == [
        (("t", "a"),), (("t", "b"),), (("t", "a"),),
    ]  # fmt: skip
    assert points.lines.tolist() == [1, 2, 3]


@pytest.mark.parametrize(("name", "factor"), PRECISIONS.items())
@pytest.mark.parametrize("together", [True, False])
def test_precision(
    monkeypatch: pytest.MonkeyPatch, name: str, factor: int, *, together: bool
) -> None:
    monkeypatch.setattr(parser, "SMALL_BYTES", 0 if together else 1 << 40)
    most = (2**63 - 2) // factor
    least = -((2**63 - 1) // factor)
    data = f"m f=1 {most}\nm f=1 {most + 1}\nm f=1 {least}\nm f=1 {least - 1}\n".encode()
    found = by_line(parse_lines(data, factor))
    assert found[1][2] == most * factor
    assert found[3][2] == least * factor
    assert found[2][0] == found[4][0] == OUT_OF_TIME


def test_a_bad_line_costs_that_line() -> None:
    lines = [f"m,t=a f={n} {n}" for n in range(5000)]
    lines[17] = "m,t=a f= 17"
    lines[4000] = 'm,t=a f="x 4000'
    parsed = parse_lines("\n".join(lines).encode())
    assert [bad.number for bad in parsed.bad] == [18, 4001]
    (points,) = parsed.points
    wanted = [n for n in range(5000) if n not in (17, 4000)]
    assert points.columns[0].values.tolist() == wanted
    assert points.lines.tolist() == [n + 1 for n in wanted]


def test_all_floats_are_exact() -> None:
    rng = random.Random(4)
    numbers = [rng.uniform(-1, 1) * 10 ** rng.randint(-300, 300) for _ in range(3000)]
    data = "\n".join(f"m f={number!r}" for number in numbers).encode()
    (points,) = parse_lines(data).points
    np.testing.assert_array_equal(points.columns[0].values, numbers)


def test_too_many_bad_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser, "BAD_LINES_MAX", 100)
    assert len(parse_lines(b"x\n" * 100).bad) == 100
    with pytest.raises(TooManyBadLinesError):
        parse_lines(b"x\n" * 101)


def test_too_many_lines_and_series(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser, "LINES_MAX", 3000)
    monkeypatch.setattr(parser, "SERIES_MAX", 1000)
    few = "".join(f"m,t={n % 1000} f=1\n" for n in range(3000)).encode()
    assert len(parse_lines(few)) == 3000
    with pytest.raises(TooMuchError, match="3000 lines"):
        parse_lines(few + b"m f=1\n")
    with pytest.raises(TooMuchError, match="1000 series"):
        parse_lines("".join(f"m,t={n} f=1\n" for n in range(1001)).encode())


def test_nothing() -> None:
    assert len(parse_lines(b"")) == 0
    assert len(parse_lines(b"\n# nothing\n" * 1000)) == 0
