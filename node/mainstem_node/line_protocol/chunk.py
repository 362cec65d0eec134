"""Many lines of line protocol at once: numpy passes over a piece of text instead of a loop.

1. ``split`` finds the lines, and the delimiters of each that are not escaped and not in a text.
   Lines that it cannot judge (an odd number of quotes, a doubled backslash) are read one by
   one, in order, because a text in them may hold line ends.
2. ``structured`` keeps the lines whose delimiters come in the order of the grammar, and says where
   their values and times are.
3. ``valued`` reads the values: numbers of one type as one JSON list, which a number of the grammar
   nearly always is; what is not, one by one.

Whatever any step is in doubt about goes to ``read_line``, which alone decides what is an error. So
the result is that of ``read_line`` for every line; the tests hold the two against each other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from mainstem_engine.model import BoolMask
from mainstem_node.line_protocol.collected import Int64, Values
from mainstem_node.line_protocol.line import LINE_BYTES_MAX
from mainstem_node.line_protocol.points import FieldType, Index

Bytes = npt.NDArray[np.uint8]

_NEWLINE, _RETURN, _TAB, _SPACE, _COMMA, _EQUALS = b"\n\r\t ,="
_QUOTE, _BACKSLASH, _HASH = b'"\\#'
_DELIMITERS = np.zeros(256, np.bool_)
_DELIMITERS[list(b"\n ,=")] = True
_DELIMITERS_AND_QUOTES = _DELIMITERS.copy()
_DELIMITERS_AND_QUOTES[_QUOTE] = True
_TYPE_BY_LAST = np.full(256, FieldType.FLOAT, np.uint8)
_TYPE_BY_LAST[ord("i")] = FieldType.INTEGER
_TYPE_BY_LAST[ord("u")] = FieldType.UNSIGNED
_TYPE_BY_FIRST = np.full(256, 255, np.uint8)
_TYPE_BY_FIRST[list(b"tTfF")] = FieldType.BOOLEAN
_TYPE_BY_FIRST[_QUOTE] = FieldType.TEXT
_BOOLEANS = {
    **dict.fromkeys((b"t", b"T", b"true", b"True", b"TRUE"), 1),
    **dict.fromkeys((b"f", b"F", b"false", b"False", b"FALSE"), 0),
}
_FLOAT = re.compile(rb"-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INTEGER = re.compile(rb"-?[0-9]{1,40}")
_FLOATS = msgspec.json.Decoder(list[float])
_INTEGERS = msgspec.json.Decoder(list[int])
_DECODE_ERRORS = (msgspec.DecodeError, OverflowError)


@dataclass(slots=True)
class Split:
    """The m lines of a piece of text, and the delimiters of those that are to be read here.

    ``starts`` and ``ends`` [m]: a line without its ``\\n``; ``returns`` bool[m]: it ends with
    ``\\r``. ``empty`` bool[m]: no point. ``alone`` bool[m]: to be read one by one. ``suspicious``
    bool[m]: those of ``alone`` that may be longer than they look. ``places`` and ``which`` [d]:
    the delimiters.
    """

    starts: Index
    ends: Index
    returns: BoolMask
    empty: BoolMask
    alone: BoolMask
    suspicious: BoolMask
    places: Index
    which: Bytes
    line_of: Index


def split(text: Bytes, *, backslashes: bool, quotes: bool) -> Split:
    """Lines and delimiters of a text that ends with a line end."""
    places = np.flatnonzero((_DELIMITERS_AND_QUOTES if quotes else _DELIMITERS)[text])
    which = text[places]
    is_end = which == _NEWLINE
    ends = places[is_end]
    starts = np.empty_like(ends)
    starts[0] = 0
    starts[1:] = ends[:-1] + 1
    line_of = np.cumsum(is_end) - is_end
    # Of an empty line this looks at the line end before it, or at the last of all: neither fits.
    returns = (text[ends - 1] == _RETURN) & (ends > starts)
    first = text[starts]
    empty = (first == _HASH) | (ends - returns == starts)
    indented = (first == _SPACE) | (first == _TAB)
    suspicious = np.zeros(len(ends), np.bool_)
    doubled = suspicious
    if backslashes:
        slash = text == _BACKSLASH
        doubled = np.zeros(len(ends), np.bool_)
        doubled[np.searchsorted(ends, np.flatnonzero(slash[:-1] & slash[1:]))] = True
        # Quotes too: those that are escaped are part of a text, or of a name.
        keep = is_end | (text[places - 1] != _BACKSLASH)
        places, which, line_of, is_end = (a[keep] for a in (places, which, line_of, is_end))
    if quotes:
        is_quote = which == _QUOTE
        rank, in_line = _ranks(is_quote, is_end, line_of)
        blanks, _ = _ranks(which == _SPACE, is_end, line_of)
        # A text begins after = in the fields; other quotes are part of names.
        opening = is_quote & (rank % 2 == 0)
        stray = opening & ((text[places - 1] != _EQUALS) | (blanks == 0))
        if backslashes:
            stray |= opening & (text[places - 2] == _BACKSLASH)
        suspicious = (in_line % 2 == 1) | ((in_line > 0) & (indented | doubled))
        suspicious[line_of[stray]] = True
        suspicious &= ~empty
        outside = is_end | (~is_quote & (rank % 2 == 0))
        places, which, line_of = places[outside], which[outside], line_of[outside]
    alone = (indented | doubled | suspicious | (ends - starts >= LINE_BYTES_MAX)) & ~empty
    return Split(starts, ends, returns, empty, alone, suspicious, places, which, line_of)


def _ranks(wanted: BoolMask, is_end: BoolMask, line_of: Index) -> tuple[Index, Index]:
    """Per delimiter how many wanted ones stand before it in its line; per line how many it has."""
    count = np.cumsum(wanted)
    at_start = np.zeros(len(line_of) and int(line_of[-1]) + 1, np.intp)
    at_start[1:] = count[is_end][:-1]
    return count - wanted - at_start[line_of], count[is_end] - at_start


@dataclass(slots=True)
class Structure:
    """n lines whose delimiters are in order, and their v values.

    ``lines`` intp[n] of the Split. ``value_counts`` intp[n]. ``starts`` and ``ends`` [v] of the
    values. ``timed`` bool[n], ``time_starts`` and ``time_ends`` of those that have a time.
    """

    lines: Index
    value_counts: Index
    starts: Index
    ends: Index
    timed: BoolMask
    time_starts: Index
    time_ends: Index


def structured(found: Split) -> Structure:
    """The lines that are in order; the others become ``alone``."""
    here = ~(found.empty | found.alone)
    lines = np.flatnonzero(here)
    places, which = found.places, found.which
    if len(lines) < len(here):
        chosen = here[found.line_of]
        places, which = places[chosen], which[chosen]
    is_end = which == _NEWLINE
    line_of = np.cumsum(is_end) - is_end
    is_break = is_end | (which == _SPACE)
    section, rank = _sections(is_break, is_end, line_of)
    odd = rank & 1
    good = np.where(which == _EQUALS, odd != section, odd == section) & (section <= 1)
    # The line ends after the fields, or after the time.
    good[is_end] = np.where(section[is_end] == 1, odd[is_end] == 1, (section == 2)[is_end])
    good &= ~is_end | (section <= 2) & ((section == 1) | (rank == 0))
    lengths = np.diff(places, prepend=-1) - 1
    first = np.flatnonzero(is_end)[:-1] + 1
    if len(places):
        lengths[0] = places[0] - found.starts[lines[0]]
    lengths[first] = places[first] - found.starts[lines[1:]]
    returns = found.returns[lines]
    lengths[is_end] -= returns
    good &= lengths > 0
    if not good.all():
        bad = np.zeros(len(lines), np.bool_)
        bad[line_of[~good]] = True
        found.alone[lines[bad]] = True
        chosen = ~bad[line_of]
        places, which, section, line_of = (a[chosen] for a in (places, which, section, line_of))
        is_end = is_end[chosen]
        lines, returns = lines[~bad], returns[~bad]
        line_of = np.cumsum(is_end) - is_end
    stops = places.copy()
    stops[is_end] -= returns
    at = np.flatnonzero((which == _EQUALS) & (section == 1))
    at_end = np.flatnonzero(is_end)
    timed = section[at_end] == 2
    return Structure(
        lines,
        np.bincount(line_of[at], minlength=len(lines)).astype(np.intp),
        places[at] + 1,
        stops[at + 1],
        timed,
        places[at_end[timed] - 1] + 1,
        stops[at_end[timed]],
    )


def _sections(is_break: BoolMask, is_end: BoolMask, line_of: Index) -> tuple[Index, Index]:
    """Per delimiter: how many blanks stand before it in its line, and how many delimiters since the
    last of those."""
    section, _ = _ranks(is_break & ~is_end, is_end, line_of)
    begins = np.zeros(len(is_break), np.intp)
    after = np.flatnonzero(is_break[:-1]) + 1
    begins[after] = after
    return section, np.arange(len(is_break)) - np.maximum.accumulate(begins)


def keys_of(text: Bytes, found: Split, structure: Structure) -> list[bytes]:
    """Each line without the bytes of its values and its time."""
    edges = np.zeros(len(text) + 1, np.int8)
    edges[structure.starts] += 1
    edges[structure.ends] -= 1
    ends = found.ends[structure.lines]
    # A line's fields end where its last value does; from there to the line end nothing is kept.
    last = structure.ends[np.cumsum(structure.value_counts) - 1]
    edges[last] += 1
    edges[ends] -= 1
    if len(structure.lines) < len(found.starts):
        gone = np.ones(len(found.starts), np.bool_)
        gone[structure.lines] = False
        edges[found.starts[gone]] += 1
        edges[found.ends[gone] + 1] -= 1
    kept = text[np.cumsum(edges[:-1], dtype=np.int8) == 0]
    keys: list[bytes] = kept.tobytes().split(b"\n")
    keys.pop()
    return keys


def valued(
    text: Bytes, structure: Structure, texts: list[str]
) -> tuple[Values, Index, Int64, BoolMask]:
    """(values, numbers of those that are in doubt, times in their precision, which times are in
    doubt). Texts are appended to ``texts``."""
    starts, ends = structure.starts, structure.ends
    types = _TYPE_BY_LAST[text[ends - 1]]
    by_first = _TYPE_BY_FIRST[text[starts]]
    special = by_first != 255
    if special.any():
        types = np.where(special, by_first, types)
    values = Values(types, np.zeros(len(types)), np.zeros(len(types), np.int64))
    doubtful: list[Index] = []
    for kind in np.flatnonzero(np.bincount(types, minlength=5)).tolist():
        chosen = np.flatnonzero(types == kind)
        some_starts, some_ends = starts[chosen], ends[chosen]
        if kind == FieldType.FLOAT:
            values.floats[chosen], bad = _floats(text, some_starts, some_ends)
        elif kind == FieldType.INTEGER:
            values.integers[chosen], bad = _integers(text, some_starts, some_ends - 1)
        elif kind == FieldType.UNSIGNED:
            values.integers[chosen], bad = _unsigned(text, some_starts, some_ends - 1)
        elif kind == FieldType.BOOLEAN:
            values.integers[chosen], bad = _booleans(text, some_starts, some_ends)
        else:
            values.integers[chosen], bad = _texts(text, some_starts, some_ends, texts)
        if bad.any():
            doubtful.append(chosen[bad])
    times, bad_times = _integers(text, structure.time_starts, structure.time_ends)
    return values, np.concatenate([np.empty(0, np.intp), *doubtful]), times, bad_times


def _joined(text: Bytes, starts: Index, ends: Index) -> bytes:
    """The tokens as a JSON list, if each is JSON: ``[a,b]``. No token is empty."""
    sizes = ends - starts + 1
    stops = np.cumsum(sizes)
    places = np.repeat(starts - (stops - sizes), sizes) + np.arange(stops[-1])
    found = text[np.minimum(places, len(text) - 1)]
    found[stops - 1] = _COMMA
    found[-1] = ord("]")
    joined: bytes = found.tobytes()
    return b"[" + joined


def _tokens(text: Bytes, starts: Index, ends: Index) -> list[bytes]:
    whole = text.tobytes()
    return [whole[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]


def _floats(text: Bytes, starts: Index, ends: Index) -> tuple[npt.NDArray[np.float64], BoolMask]:
    joined = _joined(text, starts, ends)
    if not joined.translate(None, b"[0123456789+-.eE,]"):
        try:
            found = _FLOATS.decode(joined)
        except _DECODE_ERRORS:
            pass
        else:
            floats = np.array(found, np.float64)
            return floats, np.isinf(floats)
    read = [
        float(token) if _FLOAT.fullmatch(token) else np.inf for token in _tokens(text, starts, ends)
    ]
    floats = np.array(read, np.float64)
    return floats, np.isinf(floats)


def _integers(text: Bytes, starts: Index, ends: Index) -> tuple[Int64, BoolMask]:
    """int64; what does not fit is in doubt."""
    if not len(starts):
        return np.empty(0, np.int64), np.empty(0, np.bool_)
    if (ends > starts).all():
        joined = _joined(text, starts, ends)
        if not joined.translate(None, b"[0123456789-,]"):
            try:
                found = np.array(_INTEGERS.decode(joined), np.int64)
            except _DECODE_ERRORS:
                pass
            else:
                return found, np.zeros(len(found), np.bool_)
    numbers, bad = np.zeros(len(starts), np.int64), np.zeros(len(starts), np.bool_)
    for at, token in enumerate(_tokens(text, starts, ends)):
        number = int(token) if _INTEGER.fullmatch(token) else 2**63
        if -(2**63) <= number < 2**63:
            numbers[at] = number
        else:
            bad[at] = True
    return numbers, bad


def _unsigned(text: Bytes, starts: Index, ends: Index) -> tuple[Int64, BoolMask]:
    """The bits of uint64. Those above int64 are in doubt: they are rare."""
    found, bad = _integers(text, starts, ends)
    return found, bad | (text[starts] == ord("-"))


def _booleans(text: Bytes, starts: Index, ends: Index) -> tuple[Int64, BoolMask]:
    known = _BOOLEANS.get
    found = np.array([known(token, 2) for token in _tokens(text, starts, ends)], np.int64)
    return found, found == 2


def _texts(
    text: Bytes, starts: Index, ends: Index, texts: list[str]
) -> tuple[Int64, BoolMask]:  # fmt: skip
    """Places in ``texts``. The one escape in them is that of a quote: other lines are alone."""
    bad = (ends - starts < 2) | (text[ends - 1] != _QUOTE)
    first = len(texts)
    places = np.arange(first, first + len(starts))
    whole = text.tobytes()
    if whole.isascii() and not bad.any():
        # One byte a character: the texts can be cut out of the whole.
        decoded = whole.decode()
        found = [
            decoded[a + 1 : b - 1] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)
        ]
        if '"' not in "".join(found):
            texts += found
            return places, bad
    for at, token in enumerate(_tokens(text, starts, ends)):
        inside = token[1:-1]
        good = len(token) >= 2 and token.endswith(b'"')
        if b'"' in inside:
            good = good and inside.count(b'"') == inside.count(b'\\"')
            inside = inside.replace(b'\\"', b'"')
        try:
            texts.append(inside.decode() if good else "")
        except UnicodeDecodeError:
            texts.append("")
            good = False
        bad[at] = not good
    return places, bad
