"""Digests of slices."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine import ColumnType, Engine, Measurement, Template
from mainstem_engine.model import Column
from mainstem_engine.slices import SliceDigests, canonical_bits

MS = 1_000_000
MINUTE = 60_000 * MS
EVER = (0, 1 << 62)
MASK = (1 << 64) - 1


@pytest.fixture
def engine(open_engine: Any) -> Engine:
    found: Engine = open_engine()
    found.create_template(
        Template(
            "t",
            (
                Measurement(0, "a", ColumnType.DOUBLE),
                Measurement(0, "b", ColumnType.DOUBLE),
                Measurement(0, "s", ColumnType.TEXT),
            ),
        )
    )
    return found


def digest(engine: Engine, slice_ns: int = MINUTE, **more: Any) -> SliceDigests:
    return engine.slice_digests("t", 0, *EVER, slice_ns, **more)


def pairs(found: SliceDigests) -> list[tuple[int, int, int, int]]:
    columns = (found.start, found.count, found.d1, found.d2)
    return list(zip(*(c.tolist() for c in columns), strict=True))


def mix(value: int, s1: int, f1: int, s2: int, f2: int, s3: int) -> int:
    value ^= value >> s1
    value = value * f1 & MASK
    value ^= value >> s2
    value = value * f2 & MASK
    return value ^ value >> s3


def by_hand(path: str, time_ns: int, measurement: int, bits: int) -> tuple[int, int]:
    """The definition, one value at a time."""
    path_hash = hashlib.blake2b(path.encode(), digest_size=16, key=b"mainstem digest").digest()
    sums = []
    for half, constants in (
        (path_hash[:8], (30, 0xBF58476D1CE4E5B9, 27, 0x94D049BB133111EB, 31)),
        (path_hash[8:], (33, 0xFF51AFD7ED558CCD, 33, 0xC4CEB9FE1A85EC53, 33)),
    ):
        moment = int.from_bytes(half, "little") + time_ns * 0x9E3779B97F4A7C15
        key = mix(moment & MASK, *constants) + (measurement + 1) * 0xC2B2AE3D27D4EB4F
        sums.append(mix(key & MASK ^ bits, *constants))
    return sums[0], sums[1]


def test_a_digest_is_what_the_definition_says(engine: Engine) -> None:
    engine.write("t", "root.x.d", [1, 2], {"a": [1.5, None], "s": ["é", None]}).wait()
    double = struct.unpack("<Q", struct.pack("<d", 1.5))[0]
    text = hashlib.blake2b("é".encode(), digest_size=8, key=b"mainstem digest").digest()
    one = by_hand("root.x.d", MS, 0, double)
    two = by_hand("root.x.d", MS, 2, int.from_bytes(text, "little"))
    assert pairs(digest(engine)) == [(0, 2, (one[0] + two[0]) & MASK, (one[1] + two[1]) & MASK)]


def test_minutes_sum_to_hours(engine: Engine) -> None:
    rng = np.random.default_rng(3)
    times = np.sort(rng.choice(7_200_000, 500, replace=False))
    for path in ("root.x.d", "root.x.e"):
        engine.write("t", path, times, {"a": rng.normal(size=500)}).wait()
    engine.flush()
    minutes, hours = digest(engine), digest(engine, 60 * MINUTE)
    assert len(hours) == 2
    for i, start in enumerate(hours.start.tolist()):
        inside = (minutes.start >= start) & (minutes.start < start + 60 * MINUTE)
        assert minutes.count[inside].sum() == hours.count[i]
        assert minutes.d1[inside].sum() == hours.d1[i]
        assert minutes.d2[inside].sum() == hours.d2[i]


VARIANTS: list[tuple[str, list[int], dict[str, list[Any]]]] = [
    ("root.x.d", [1, 2], {"a": [1.0, 2.0], "b": [3.0, 4.0]}),
    ("root.x.d", [1, 2], {"a": [2.0, 1.0], "b": [3.0, 4.0]}),
    ("root.x.d", [1, 2], {"a": [3.0, 2.0], "b": [1.0, 4.0]}),
    ("root.x.e", [1, 2], {"a": [1.0, 2.0], "b": [3.0, 4.0]}),
    ("root.x.d", [1, 3], {"a": [1.0, 2.0], "b": [3.0, 4.0]}),
    ("root.x.d", [1, 2], {"a": [1.0, 2.0], "b": [3.0, None]}),
    ("root.x.d", [1, 2], {"a": [1.0, 2.0], "b": [-3.0, 4.0]}),
    ("root.x.d", [1, 2], {"a": [0.0, 2.0]}),
    ("root.x.d", [1, 2], {"a": [-0.0, 2.0]}),
    ("root.x.d", [1, 2], {"a": [float("nan"), 2.0]}),
    ("root.x.d", [1, 2], {"a": [None, 2.0]}),
    ("root.x.d", [1, 2], {"s": ["", "x"]}),
    ("root.x.d", [1, 2], {"s": [None, "x"]}),
]


def test_every_difference_shows_in_both_sums(open_engine: Any, tmp_path: Any) -> None:
    seen: dict[int, int] = {}
    template = Template(
        "t",
        tuple(Measurement(0, n, ColumnType.TEXT if n == "s" else ColumnType.DOUBLE) for n in "abs"),
    )
    for number, (path, times, columns) in enumerate(VARIANTS):
        engine = open_engine(tmp_path / str(number))
        engine.create_template(template)
        engine.write("t", path, times, columns).wait()
        ((_, _, d1, d2),) = pairs(digest(engine))
        for value in (d1, d2):
            assert value not in seen, f"variants {seen[value]} and {number} look alike"
            seen[value] = number


def test_it_does_not_matter_where_rows_lie_or_how_they_came(engine: Engine) -> None:
    engine.write("t", "root.x.d", [2], {"a": [2.0]}).wait()
    engine.flush()
    engine.write("t", "root.x.d", [1, 2], {"a": [1.0, None], "b": [None, 5.0]}).wait()
    scattered = pairs(digest(engine))
    engine.flush()
    engine.compact()
    assert pairs(digest(engine)) == scattered
    engine.write("t", "root.x.d", [2], {"a": [2.0]}).wait()
    assert pairs(digest(engine)) == scattered


def test_ids_of_the_owner_are_used_where_they_differ(engine: Engine) -> None:
    engine.write("t", "root.x.d", [1], {"b": [2.0]}).wait()
    ((_, count, d1, d2),) = pairs(digest(engine, measurement_ids={1: 7}))
    bits = struct.unpack("<Q", struct.pack("<d", 2.0))[0]
    assert (count, d1, d2) == (1, *by_hand("root.x.d", MS, 7, bits))


def test_only_slices_with_rows_of_the_origin_are_listed(engine: Engine) -> None:
    assert len(digest(engine)) == 0
    engine.write("t", "root.x.d", [0, 600_000], {"a": [1.0, 1.0]}).wait()
    assert digest(engine).start.tolist() == [0, 600_000 * MS]
    assert len(engine.slice_digests("t", 1, *EVER, MINUTE)) == 0
    assert len(engine.slice_digests("t", 0, 1, 600_000 * MS, MINUTE)) == 0


def test_times_before_the_epoch_have_slices_too(engine: Engine) -> None:
    engine.write("t", "root.x.d", [-1], {"a": [1.0]}).wait()
    found = engine.slice_digests("t", 0, -MINUTE, 0, MINUTE)
    assert found.start.tolist() == [-MINUTE]


@given(st.integers(0, 2**32 - 1))
def test_a_widened_float_has_the_same_bits(raw: int) -> None:
    narrow = np.array([raw], np.uint32).view(np.float32)
    (bits,) = canonical_bits(Column(narrow)).tolist()
    wide = np.array([bits], np.uint64).view(np.float64)
    assert np.isnan(wide[0]) == np.isnan(narrow[0])
    if not np.isnan(narrow[0]):
        assert wide[0] == narrow[0]
        assert np.signbit(wide[0]) == np.signbit(narrow[0])
    else:
        assert bits & ((1 << 52) - 1) == (raw & 0x7FFFFF) << 29
        assert bits >> 63 == raw >> 31


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint16, np.bool_])
def test_integers_are_the_same_whatever_their_width(dtype: Any) -> None:
    values = np.array([1, 0], dtype)
    assert canonical_bits(Column(values)).tolist() == [1, 0]


def test_negative_integers_are_sign_extended() -> None:
    for dtype in (np.int8, np.int32, np.int64):
        assert canonical_bits(Column(np.array([-1], dtype))).tolist() == [MASK]
