"""Windows that divide what an expression of the time cuts to: every row of one has its value."""

from __future__ import annotations

import numpy as np
import pytest
import sqlglot

from mainstem_engine.sql.select.time_buckets import ZONES_SINCE_NS, bucket_of, is_time_bucket
from mainstem_engine.sql.times import NS_PER_DAY

HOUR_NS = NS_PER_DAY // 24
MINUTE_NS = HOUR_NS // 60
ZONES = ("UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns", "Australia/Lord_Howe",
         "Africa/Monrovia", "America/Sao_Paulo", "Asia/Kathmandu", "-03:30")  # fmt: skip
SINCE_1973 = 1_100 * NS_PER_DAY


def width(text: str, zone: str = "UTC", start_ns: int | None = None) -> int | None:
    node = sqlglot.parse_one(text, dialect="duckdb")
    assert is_time_bucket(node)
    found, time = bucket_of(node, zone, start_ns)
    assert time is not None
    assert time.sql() == "t"
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("time_bucket(INTERVAL '90 seconds', t)", 90 * MINUTE_NS // 60),
        ("time_bucket(INTERVAL '7 minutes', t)", MINUTE_NS),
        ("time_bucket(INTERVAL '7 seconds', t)", None),
        ("time_bucket(INTERVAL '36 hours', t)", 12 * HOUR_NS),
        ("time_bucket(INTERVAL '3 months', t)", NS_PER_DAY),
        ("time_bucket(INTERVAL '0 days', t)", None),
        ("date_trunc('hour', t)", HOUR_NS),
        ("date_trunc('year', t)", NS_PER_DAY),
        ("date_trunc('decade', t)", None),
        ("year(t)", NS_PER_DAY),
        ("extract(month FROM t)", NS_PER_DAY),
        ("extract(hour FROM t)", HOUR_NS),
        ("extract(epoch FROM t)", None),
        ("CAST(t AS DATE)", NS_PER_DAY),
    ],
)
def test_widths(text: str, expected: int | None) -> None:
    assert width(text) == expected


def test_zones_need_times_since_they_were_whole_minutes_away() -> None:
    assert width("date_trunc('day', t)", "Europe/Berlin") is None
    assert width("date_trunc('day', t)", "Europe/Berlin", ZONES_SINCE_NS - 1) is None
    assert width("date_trunc('day', t)", "Europe/Berlin", ZONES_SINCE_NS) == HOUR_NS
    assert width("date_trunc('day', t)", "Asia/Kolkata", ZONES_SINCE_NS) == HOUR_NS // 2
    assert width("date_trunc('second', t)", "Europe/Berlin") == MINUTE_NS // 60
    # Its clocks once changed a minute after midnight.
    assert width("date_trunc('day', t)", "America/St_Johns", ZONES_SINCE_NS) == MINUTE_NS


@pytest.mark.parametrize("zone", ZONES)
def test_every_time_of_a_window_is_in_one_bucket(zone: str) -> None:
    import duckdb

    rng = np.random.default_rng(1)
    connection = duckdb.connect()
    connection.execute(f"SET TimeZone = '{zone if ':' not in zone else 'UTC'}'")
    if ":" in zone:
        assert width("date_trunc('day', t)", zone, SINCE_1973) == HOUR_NS // 2
        return
    for unit in ("hour", "day", "week", "month", "year"):
        step = width(f"date_trunc('{unit}', t)", zone, SINCE_1973)
        assert step is not None
        windows = rng.integers(SINCE_1973 // step, 20_000 * NS_PER_DAY // step, 3_000) * step
        first = windows // 1_000
        last = (windows + step - 1) // 1_000
        (differing,) = connection.execute(
            f"SELECT count(*) FROM (SELECT unnest($1) AS a, unnest($2) AS b) WHERE"
            f" date_trunc('{unit}', make_timestamptz(a)) <> date_trunc('{unit}',"
            " make_timestamptz(b))",
            [first.tolist(), last.tolist()],
        ).fetchone() or (None,)
        assert differing == 0, (zone, unit)
