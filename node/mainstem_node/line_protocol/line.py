"""One line of line protocol, read exactly, character by character in the grammar's own terms.

1. ``measurement[,tag=value...] field=value[,field=value...] [time]``, ended by ``\\n`` or
   ``\\r\\n``. A line of blanks, or one that begins with ``#``, is no point.
2. ``\\,`` and ``\\ `` are a comma and a blank of a name, ``\\=`` is an equals sign of a key or of a
   tag's value; in the key of a field a backslash also takes another one with it. A backslash before
   anything else is a backslash.
3. A text stands in double quotes and may hold anything, line ends too; ``\\"`` and ``\\\\`` are a
   quote and a backslash. Quotes anywhere else are part of a name.
4. A line that cannot be read ends where it would end if it could: a line end inside a text does not
   begin another line, so that what a text holds never becomes a point. A text that is nowhere
   closed ends with its first line.

Cost: every byte is looked at a bounded number of times, whatever the input.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache

from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_node.line_protocol.points import FieldType, Tags

LINE_BYTES_MAX = 64 << 10
"""Of one line; what InfluxDB takes of a single text."""
FIELDS_MAX = 1000
TAGS_MAX = 100
"""A template's columns and tags: more is not a measurement but a misread file."""
KEYS_KEPT = 16_384
KEY_BYTES_KEPT = 512
"""Series are remembered from request to request: about 1 KiB each."""
_INT64_MIN, _INT64_MAX, _UINT64_MAX = -(2**63), 2**63 - 1, 2**64 - 1

# All possessive: nothing is ever tried twice, and a long token takes no memory.
_NAME = rb"(?:[^, \n\\]++|\\[, ]?+)++"
_KEY = rb"(?:[^,= \n\\]++|\\[,= ]?+)++"
_STRING = rb'[^"\\]*+(?:\\[\s\S][^"\\]*+)*+'
_BLANK = re.compile(rb"[ \t]*")
_MEASUREMENT = re.compile(_NAME)
_TAG = re.compile(b",(" + _KEY + b")=(" + _KEY + b")")
_SPACES = re.compile(rb" [ \t]*+")
_FIELD_KEY = re.compile(rb"((?:[^,= \n\\]++|\\[^\n]?+)++)=")
_STRING_BODY = re.compile(_STRING)
_VALUE = re.compile(
    b'(?:"(?P<text>' + _STRING + b')"'
    rb"|(?P<integer>-?[0-9]{1,40})i"
    rb"|(?P<unsigned>[0-9]{1,40})u"
    rb"|(?P<float>-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    rb"|(?P<true>t|T|true|True|TRUE)"
    rb"|(?P<false>f|F|false|False|FALSE))"
    rb"(?=[, \r\n]|\Z)"
)
_END = re.compile(rb"(?: [ \t]*+(-?[0-9]{1,19}+)?[ \t]*+)?\r?(?:\n|\Z)")
_ESCAPED_TEXT = re.compile(rb'\\(["\\])')

Value = float | int | bool | str


@dataclass(frozen=True, slots=True)
class Line:
    """One point. ``fields``: name to (type, value). ``time``: in the precision, None if absent."""

    measurement: str
    tags: Tags
    fields: dict[str, tuple[FieldType, Value]]
    time: int | None


class _BadLineError(Exception):
    """What is wrong with a line; caught here."""


def read_line(data: bytes, start: int) -> tuple[int, Line | str | None]:
    """Reads the line that begins at ``start``: (where the next one begins, what it is).

    A Line; a text that says what is wrong with it; None for a blank line or a comment.
    """
    begin = _BLANK.match(data, start).end()  # type: ignore[union-attr]  # it matches nothing too
    first = data[begin : begin + 1]
    if first in (b"", b"\n", b"#") or (first == b"\r" and data[begin + 1 : begin + 2] in b"\n"):
        return _physical_end(data, begin), None
    try:
        end, line = _read(data, begin)
    except _BadLineError as problem:
        end = _logical_end(data, begin)
        return end, _too_long(start, end) or str(problem)
    except UnicodeDecodeError:
        return _logical_end(data, begin), "not UTF-8"
    return end, _too_long(start, end) or line


def _too_long(start: int, end: int) -> str:
    return f"longer than {LINE_BYTES_MAX} bytes" if end - start > LINE_BYTES_MAX else ""


def _read(data: bytes, begin: int) -> tuple[int, Line]:
    named = _MEASUREMENT.match(data, begin)
    if named is None:
        raise _BadLineError("no measurement")
    at = named.end()
    tags: list[tuple[bytes, bytes]] = []
    while (tag := _TAG.match(data, at)) is not None:
        tags.append((tag[1], tag[2]))
        at = tag.end()
        if len(tags) > TAGS_MAX:
            raise _BadLineError(f"more than {TAGS_MAX} tags")
    spaces = _SPACES.match(data, at)
    if spaces is None:
        missing = data[at : at + 1] in (b"", b"\n")
        raise _BadLineError("no fields" if missing else "a tag that is not key=value")
    fields, at = _fields(data, spaces.end())
    ending = _END.match(data, at)
    if ending is None:
        raise _BadLineError("what follows the fields is no integer time")
    stamp = ending.group(1)
    line = Line(
        name_of(named.group()),
        tags_of(tags),
        fields,
        None if stamp is None else int(stamp),
    )
    return ending.end(), line


def _fields(data: bytes, at: int) -> tuple[dict[str, tuple[FieldType, Value]], int]:
    """(fields, where they end). A key that comes twice has its last value."""
    fields: dict[str, tuple[FieldType, Value]] = {}
    for _ in range(FIELDS_MAX):
        key = _FIELD_KEY.match(data, at)
        if key is None:
            raise _BadLineError("a field that is not key=value")
        value = _VALUE.match(data, key.end())
        if value is None:
            raise _BadLineError(_problem_of(data, key.end()))
        fields[key_of(key.group(1))] = _value(value)
        at = value.end()
        if data[at : at + 1] != b",":
            return fields, at
        at += 1
    raise _BadLineError(f"more than {FIELDS_MAX} fields")


def _problem_of(data: bytes, at: int) -> str:
    if data[at : at + 1] != b'"':
        return "a value that is no number, boolean or text"
    end = _STRING_BODY.match(data, at + 1).end()  # type: ignore[union-attr]
    return "a text that is not closed" if end >= len(data) else "something follows a text"


def _value(found: re.Match[bytes]) -> tuple[FieldType, Value]:
    kind = found.lastgroup
    if kind == "float":
        number = float(found["float"])
        if math.isinf(number):
            raise _BadLineError("a number that is too large for a float")
        return FieldType.FLOAT, number
    if kind == "integer":
        integer = int(found["integer"])
        if not _INT64_MIN <= integer <= _INT64_MAX:
            raise _BadLineError("an integer of more than 64 bits")
        return FieldType.INTEGER, integer
    if kind == "text":
        return FieldType.TEXT, _ESCAPED_TEXT.sub(rb"\1", found["text"]).decode()
    if kind == "unsigned":
        integer = int(found["unsigned"])
        if integer > _UINT64_MAX:
            raise _BadLineError("an integer of more than 64 bits")
        return FieldType.UNSIGNED, integer
    return FieldType.BOOLEAN, kind == "true"


def name_of(raw: bytes) -> str:
    """A measurement without its escapes."""
    if b"\\" in raw:
        raw = raw.replace(b"\\,", b",").replace(b"\\ ", b" ")
    return raw.decode()


def key_of(raw: bytes) -> str:
    """A key, or the value of a tag, without its escapes."""
    if b"\\" in raw:
        raw = raw.replace(b"\\,", b",").replace(b"\\ ", b" ").replace(b"\\=", b"=")
    return raw.decode()


def tags_of(pairs: list[tuple[bytes, bytes]]) -> Tags:
    """Tags as they identify a series. Raises when a key comes twice."""
    if not pairs:
        return ()
    found = {key_of(key): key_of(value) for key, value in pairs}
    if len(found) < len(pairs):
        raise _BadLineError("a tag that comes twice")
    # UTF-8 sorts as code points do.
    return tuple(sorted(found.items()))


Key = tuple[str, Tags, tuple[str, ...]]


def read_key(text: bytes) -> Key | None:
    """(measurement, tags, names of fields) of ``m,tag=value field=,field=``: a line without its
    values. None for one that ``read_line`` shall judge: wrong, or a field that comes twice."""
    return _kept_key(text) if len(text) <= KEY_BYTES_KEPT else _read_key(text)


@lru_cache(maxsize=KEYS_KEPT)
def _kept_key(text: bytes) -> Key | None:
    return _read_key(text)


def _read_key(text: bytes) -> Key | None:
    try:
        named = _MEASUREMENT.match(text)
        if named is None or b" \t" in text or b'"' in text[text.find(b" ") :]:
            return None
        at = named.end()
        tags: list[tuple[bytes, bytes]] = []
        while (tag := _TAG.match(text, at)) is not None:
            tags.append((tag[1], tag[2]))
            at = tag.end()
        if text[at : at + 1] != b" ":
            return None
        fields: list[str] = []
        at += 1
        while (key := _FIELD_KEY.match(text, at)) is not None:
            fields.append(key_of(key.group(1)))
            at = key.end() + 1
        if at != len(text) + 1 or len(set(fields)) < len(fields):
            return None
        if len(fields) > FIELDS_MAX or len(tags) > TAGS_MAX:
            return None
        return name_of(named.group()), tags_of(tags), tuple(fields)
    except (_BadLineError, UnicodeDecodeError):
        return None


def scaled_time(time: int, factor: int) -> int | None:
    """ns of a time in units of ``factor`` ns; None when that is no time that can be stored."""
    found = time * factor
    return found if TIME_MIN_NS <= found <= TIME_MAX_NS else None


def _physical_end(data: bytes, at: int) -> int:
    found = data.find(b"\n", at)
    return len(data) if found < 0 else found + 1


def _logical_end(data: bytes, begin: int) -> int:
    """Where the line after a bad one begins: line ends in texts do not count."""
    first_end = _physical_end(data, begin)
    blank = _first_blank(data, begin, first_end)
    at, end = blank, first_end
    while True:
        quote = data.find(b'="', at, end)
        if quote < 0:
            return end
        # A quote that opens a text is never escaped, so it would have closed an earlier one: only
        # one text of the whole input can be open to its end, and this is linear.
        if _is_escaped(data, quote):
            at = quote + 2
            continue
        close = _STRING_BODY.match(data, quote + 2).end()  # type: ignore[union-attr]
        if close >= len(data):
            return first_end
        at = close + 1
        end = _physical_end(data, at)


def _is_escaped(data: bytes, at: int) -> bool:
    """True after an odd number of backslashes."""
    before = at
    while before and data[before - 1] == 0x5C:
        before -= 1
    return (at - before) % 2 == 1


def _first_blank(data: bytes, begin: int, end: int) -> int:
    """The blank that ends measurement and tags; ``end`` when there is none."""
    at = data.find(b" ", begin, end)
    while at > 0 and data[at - 1] == 0x5C:
        at = data.find(b" ", at + 1, end)
    return end if at < 0 else at
