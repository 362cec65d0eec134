"""Times of payloads: units by magnitude, texts, zones, and what cannot be read."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_edge.errors import PayloadTimeError
from mainstem_edge.payload_time import TimeReader, parse_text_ns
from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS

ARRIVED = np.array([7], np.int64)
SECOND = 10**9


def read(value: Any, **options: Any) -> tuple[int, tuple[str, Any] | None]:
    found = TimeReader(**options).read({"ts": [value]}, ARRIVED)
    return int(found.ns[0]), found.refused.get(0)


@pytest.mark.parametrize(
    ("value", "ns"),
    [
        (1_700_000_000, 1_700_000_000 * SECOND),
        (1_700_000_000_123, 1_700_000_000_123 * 10**6),
        (1_700_000_000_123_456, 1_700_000_000_123_456 * 1000),
        (1_700_000_000_123_456_789, 1_700_000_000_123_456_789),
        (0, 0),
        (-5, -5 * SECOND),
        (1_458_229_140.123, 1_458_229_140_123_000_000),
        (1_700_000_000_123.0, 1_700_000_000_123 * 10**6),
        (10**30, TIME_MAX_NS),
        (-(10**30), TIME_MIN_NS),
        (99_999_999_999, TIME_MAX_NS),
        ("2026-10-03T06:00:00Z", 1_791_007_200 * SECOND),
        ("2026-10-03 08:00:00.5+02:00", 1_791_007_200 * SECOND + 500_000_000),
        ("2026-10-03T06:00:00.123456789Z", 1_791_007_200_123_456_789),
    ],
)
def test_magnitude_and_text(value: Any, ns: int) -> None:
    assert read(value) == (ns, None)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@given(number=st.integers(-(2**62), 2**62))
def test_a_declared_unit_is_exact_and_stops_at_the_extremes(unit: str, number: int) -> None:
    factor = {"s": SECOND, "ms": 10**6, "us": 1000, "ns": 1}[unit]
    exact = number * factor
    expected = min(max(exact, TIME_MIN_NS), TIME_MAX_NS)
    found, _ = read(number, unit=unit)
    assert found == exact if abs(exact) <= TIME_MAX_NS - factor else abs(found - expected) <= factor


@given(st.timedeltas(dt.timedelta(0), dt.timedelta(days=84_000)))
def test_every_iso_text_is_read_back(since: dt.timedelta) -> None:
    stamp = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + since
    expected = (since.days * 86_400 + since.seconds) * SECOND + since.microseconds * 1000
    assert parse_text_ns(stamp.isoformat(), None) == expected


def test_a_time_without_a_zone_needs_one() -> None:
    _, refused = read("2026-10-03T06:00:00")
    assert refused == ("time_without_zone", "2026-10-03T06:00:00")
    ns, refused = read("2026-07-03T06:00:00", zone="Europe/Berlin")
    assert refused is None
    assert ns == parse_text_ns("2026-07-03T04:00:00Z", None)


@pytest.mark.parametrize("value", [True, "yesterday", "", [1], {}, float("nan"), float("inf")])
def test_what_is_no_time_is_refused(value: Any) -> None:
    _, refused = read(value)
    assert refused is not None
    assert refused[0] == "bad_time"


def test_a_row_without_a_time_takes_the_arrival_time_unless_the_payload_must_have_one() -> None:
    assert read(None) == (7, None)
    assert read(None, source="payload")[1] == ("no_time", None)
    assert read(1_700_000_000, source="arrival") == (7, None)
    found = TimeReader().read({}, ARRIVED)
    assert found.from_arrival == 1
    assert 0 in TimeReader(source="payload").read({}, ARRIVED).refused


def test_the_first_default_field_that_is_there_counts_row_by_row() -> None:
    columns: dict[str, list[int | None]] = {
        "time": [1, 2, 3],
        "ts": [None, 5, None],
        "timestamp": [None, None, 9],
    }
    found = TimeReader(unit="ns").read(columns, np.zeros(3, np.int64))
    assert found.ns.tolist() == [1, 5, 9]


def test_a_measurement_is_never_taken_for_the_time() -> None:
    assert TimeReader(not_times=["Timestamp"]).fields == ("ts", "time")
    assert TimeReader(field="at", not_times=["at"]).fields == ("at",)


def test_kinds_may_be_mixed_in_a_column() -> None:
    values = [1_700_000_000, 1_700_000_000.5, "2026-10-03T06:00:00Z", None, "x"]
    found = TimeReader().read({"ts": values}, np.full(5, 7, np.int64))
    assert found.ns[:4].tolist() == [
        1_700_000_000 * SECOND, 1_700_000_000_500_000_000, 1_791_007_200 * SECOND, 7,
    ]  # fmt: skip
    assert list(found.refused) == [4]


def test_a_text_that_is_no_time_says_so() -> None:
    with pytest.raises(PayloadTimeError, match="is not a time"):
        parse_text_ns("25:00", None)


@pytest.mark.parametrize(
    ("text", "notation"),
    [
        ("03.10.2026 08:00:00", "dmy"),
        ("3/10/2026 8:00", "dmy"),
        ("10/03/2026 8:00 AM", "mdy"),
        ("03.10.26 08:00:00", "%d.%m.%y %H:%M:%S"),
        ("20261003080000", "%Y%m%d%H%M%S"),
        pytest.param(20261003080000, "%Y%m%d%H%M%S", id="digits as a number"),
    ],
)
def test_other_notations(text: Any, notation: str) -> None:
    options = {"notation": notation, "zone": "Europe/Berlin"}
    assert read(text, **options) == (1_791_007_200 * SECOND, None)
    assert read(text, notation=notation)[1] == ("time_without_zone", text)


def test_what_is_not_of_the_notation_is_refused() -> None:
    options = {"notation": "dmy", "zone": "Europe/Berlin"}
    assert read("2026-10-03 08:00:00", **options)[1] == ("bad_time", "2026-10-03 08:00:00")
    assert read("03.13.2026 08:00:00", **options)[1] == ("bad_time", "03.13.2026 08:00:00")


def test_a_date_and_a_time_of_day_in_two_fields() -> None:
    target = TimeReader(
        field="Datum", clock_field="Uhrzeit", notation="dmy", zone="Europe/Berlin", source="payload"
    )
    assert target.names == ("Datum", "Uhrzeit")
    columns = {"Datum": ["03.10.2026", "03.10.2026", None], "Uhrzeit": ["08:00:00,5", None, "x"]}
    found = target.read(columns, np.zeros(3, np.int64))
    assert found.ns[:2].tolist() == [
        1_791_007_200 * SECOND + 500_000_000,
        (1_791_007_200 - 8 * 3600) * SECOND,
    ]
    assert {row: reason for row, (reason, _) in found.refused.items()} == {2: "no_time"}
    iso = TimeReader(field="day", clock_field="clock", zone="UTC")
    found = iso.read({"day": ["2026-10-03"], "clock": ["06:00:00"]}, np.zeros(1, np.int64))
    assert found.ns.tolist() == [1_791_007_200 * SECOND]


def test_a_text_of_digits_is_a_number_only_where_no_notation_is_named() -> None:
    assert TimeReader(field="t").number_names == ("t",)
    assert TimeReader(field="t", notation="%Y%m%d%H%M%S").number_names == ()
