"""Hypothesis strategies for what an engine stores. Needs hypothesis, which only tests install."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import strategies as st

from mainstem_engine.model import ColumnType, Measurement, Tag, Template

NAME_ALPHABET = "abcdefghijklmnopqrstuvwxyzABCXYZ_0123456789"


def names() -> st.SearchStrategy[str]:
    """Names that need no quoting and are not taken by every table."""
    return st.text(NAME_ALPHABET, min_size=1, max_size=12).filter(
        lambda name: name.casefold() not in {"time", "device"}
    )


def values(column_type: ColumnType) -> st.SearchStrategy[Any]:
    """Any value of the type, extremes and NaN payloads included; never None."""
    if column_type == ColumnType.BOOLEAN:
        return st.booleans()
    if column_type == ColumnType.TEXT:
        return st.text(max_size=8)
    if column_type == ColumnType.BLOB:
        return st.binary(max_size=8)
    if column_type == ColumnType.TIMESTAMP:
        return st.integers(-(2**40), 2**40)
    if column_type == ColumnType.DOUBLE:
        return st.integers(0, 2**64 - 1).map(lambda b: struct.unpack("<d", struct.pack("<Q", b))[0])
    if column_type == ColumnType.FLOAT:
        return st.floats(width=32)
    bits = column_type.dtype.itemsize * 8
    if column_type >= ColumnType.UINT8:
        return st.integers(0, 2**bits - 1)
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


@st.composite
def templates(draw: st.DrawFn, name: str = "t") -> Template:
    """A template of one to six measurements and up to two tags, with distinct names."""
    taken = draw(
        st.lists(names(), min_size=1, max_size=8, unique_by=lambda n: n.casefold()).filter(
            lambda found: all(n.casefold() != "time" for n in found)
        )
    )
    count = draw(st.integers(1, min(6, len(taken))))
    types = st.sampled_from([t for t in ColumnType if t != ColumnType.UNKNOWN])
    measurements = tuple(Measurement(i, n, draw(types)) for i, n in enumerate(taken[:count]))
    return Template(name, measurements, tuple(Tag(n) for n in taken[count : count + 2]))
