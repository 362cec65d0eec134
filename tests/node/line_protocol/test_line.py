"""The grammar, line by line."""

from __future__ import annotations

import time

import pytest

from mainstem_node.line_protocol.line import FIELDS_MAX, LINE_BYTES_MAX, TAGS_MAX, Line, read_line
from mainstem_node.line_protocol.points import FieldType

F, I, U, B, T = FieldType  # noqa: E741 - as the protocol's own suffixes


def line(text: str) -> Line:
    found = problem_or_line(text)
    assert isinstance(found, Line), found
    return found


def problem_or_line(text: str) -> Line | str | None:
    data = text.encode()
    end, found = read_line(data, 0)
    assert end == len(data)
    return found


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("1", (F, 1.0)),
        ("-1.5e-3", (F, -0.0015)),
        ("1.", (F, 1.0)),
        (".5", (F, 0.5)),
        ("007", (F, 7.0)),
        ("1E+5", (F, 1e5)),
        ("1i", (I, 1)),
        ("-9223372036854775808i", (I, -(2**63))),
        ("9223372036854775807i", (I, 2**63 - 1)),
        ("1u", (U, 1)),
        ("18446744073709551615u", (U, 2**64 - 1)),
        ("t", (B, True)),
        ("TRUE", (B, True)),
        ("False", (B, False)),
        ('""', (T, "")),
        ('"a,b c=d"', (T, "a,b c=d")),
        ('"two\nlines"', (T, "two\nlines")),
        (r'"\"quoted\" \\ and \n"', (T, r'"quoted" \ and \n')),
    ],
)
def test_value(written: str, expected: tuple[FieldType, object]) -> None:
    assert line(f"m f={written}").fields == {"f": expected}
    assert line(f"m f={written} 12").time == 12


@pytest.mark.parametrize(
    "written",
    ["", "+1", "nan", "inf", "0x10", "1_0", "-", "1e", "1e400", "tRUE", "1ii", "1.0i", "-1u",
     "9223372036854775808i", "18446744073709551616u", '"a"b', "'a'", "null", "1\t"],
)  # fmt: skip
def test_value_that_is_none(written: str) -> None:
    assert isinstance(problem_or_line(f"m f={written}"), str)
    assert isinstance(problem_or_line(f"m f={written} 12"), str)


def test_escapes_of_names() -> None:
    found = line(r"m\ x\,y\=z,t\ a=b\,c\=d f\=g\,h=1")
    assert found.measurement == r"m x,y\=z"
    assert found.tags == (("t a", "b,c=d"),)
    assert list(found.fields) == ["f=g,h"]


def test_a_backslash_before_anything_else_is_one() -> None:
    found = line(r"m\x,t=C:\dir f\n=1")
    assert (found.measurement, found.tags, list(found.fields)) == (
        r"m\x", (("t", r"C:\dir"),), [r"f\n"],
    )  # fmt: skip


def test_quotes_are_part_of_names() -> None:
    found = line('"m",t="a" "f"=1')
    assert (found.measurement, found.tags, list(found.fields)) == ('"m"', (("t", '"a"'),), ['"f"'])


def test_tags_are_in_the_order_of_their_keys() -> None:
    assert line("m,b=1,a=2 f=1").tags == (("a", "2"), ("b", "1"))


def test_blanks_and_line_ends() -> None:
    for text in ("m f=1 12\n", "m f=1 12\r\n", "  m f=1 12", "m  f=1  12 ", "m \tf=1 \t12"):
        assert line(text) == line("m f=1 12")
    assert line("m f=1").time is None
    for text in ("", "\n", "\r\n", "  \n", "# m f=1\n", '  # "\n'):
        assert problem_or_line(text) is None


@pytest.mark.parametrize(
    "text",
    ["m", ",t=a f=1", "m,t f=1", "m,t= f=1", "m,=a f=1", "m,t=a=b f=1", "m,t=a,t=b f=1", "m f",
     "m =1", "m f=1,", "m f==1", "m f=1 12a", "m f=1 1.5", "m f=1 +5", "m f=1 5 6", "m f=1\t12"],
)  # fmt: skip
def test_line_that_is_none(text: str) -> None:
    assert isinstance(problem_or_line(text), str)


def test_a_key_that_comes_twice_has_its_last_value() -> None:
    assert line("m f=1,f=2i").fields == {"f": (I, 2)}


def test_not_utf8() -> None:
    for text in (b"m\xff f=1", b"m,t=\xff f=1", b"m \xff=1", b'm f="\xff"'):
        assert read_line(text, 0) == (len(text), "not UTF-8")


def test_bounds() -> None:
    tags = "".join(f",t{n}=a" for n in range(TAGS_MAX))
    assert len(line(f"m{tags} f=1").tags) == TAGS_MAX
    assert "tags" in str(problem_or_line(f"m{tags},x=a f=1"))
    fields = ",".join(f"f{n}=1" for n in range(FIELDS_MAX))
    assert len(line(f"m {fields}").fields) == FIELDS_MAX
    assert "fields" in str(problem_or_line(f"m {fields},x=1"))
    rest = LINE_BYTES_MAX - len('m f=""')
    assert line(f'm f="{"x" * rest}"').fields
    assert "longer" in str(problem_or_line(f'm f="{"x" * (rest + 1)}"'))


def test_a_bad_line_ends_where_it_would_end_if_it_were_good() -> None:
    """What stands in a text never becomes a point of its own."""
    data = b'm f="a\nm f=2\nb"x\nm f=3\n'
    end, found = read_line(data, 0)
    assert isinstance(found, str)
    assert data[end:] == b"m f=3\n"


def test_a_text_that_is_nowhere_closed_ends_with_its_first_line() -> None:
    data = b'm f="a\nm f=3\n'
    end, found = read_line(data, 0)
    assert found == "a text that is not closed"
    assert data[end:] == b"m f=3\n"


def test_an_escaped_equals_sign_opens_no_text() -> None:
    data = b'm f\\="a\nm f="3"\n'
    end, found = read_line(data, 0)
    assert isinstance(found, str)
    assert data[end:] == b'm f="3"\n'


@pytest.mark.parametrize(
    "text",
    [b'm f="' + b"\\a" * 500_000, b"x" * 1_000_000, b"m" + b",a=b" * 250_000,
     b"m " + b"a=1," * 250_000, b'm f=\\"' * 150_000, b"\\" * 1_000_000],
)  # fmt: skip
def test_a_million_bytes_of_nonsense_are_read_in_time(text: bytes) -> None:
    started = time.process_time()
    assert isinstance(read_line(text, 0)[1], str)
    assert time.process_time() - started < 5.0  # a tenth of a second; quadratic would be hours
