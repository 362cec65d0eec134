"""Constants that are compared with times: their value, exactly."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlglot import exp

from mainstem_engine.errors import SqlError
from mainstem_engine.sql.grammar.dialect import parse
from mainstem_engine.sql.select.scopes import Scopes
from mainstem_engine.sql.select.time_expressions import Clock, TimeExpressions, datetime_ns
from mainstem_engine.sql.statements import Query
from mainstem_engine.sql.times import parse_time_ns, parse_zone

NOW = "2026-03-31T10:00:00.123456789Z"
NOW_NS = parse_time_ns(NOW, dt.UTC)


def value(sql: str, *params: Any, zone: str = "UTC", precision_ns: int = 10**6) -> str | int | None:
    """The constant's time as text in UTC, or its nanoseconds when they are not whole seconds."""
    (statement,) = parse(f"SELECT {sql}")
    assert isinstance(statement, Query)
    clock = Clock(NOW_NS, parse_zone(zone), precision_ns, params)
    (node,) = statement.tree.expressions
    found = TimeExpressions(Scopes([]), clock).constant_ns(node)
    if found is None or found % 10**9:
        return found
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=found // 10**9)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("now()", NOW_NS),
        ("now", NOW_NS),
        ("CURRENT_TIMESTAMP - 1ms", NOW_NS - 10**6),
        ("now() - INTERVAL '1' HOUR - 30s", NOW_NS - 3630 * 10**9),
        ("now() + (INTERVAL '1 minute' + INTERVAL '5 seconds')", NOW_NS + 65 * 10**9),
        ("now() + (INTERVAL '1 minute' - INTERVAL '5 seconds')", NOW_NS + 55 * 10**9),
        ("1000", "1970-01-01T00:00:01Z"),
        ("-1000", "1969-12-31T23:59:59Z"),
        ("(2 * 1000 - 1) + 1", "1970-01-01T00:00:02Z"),
        ("'2026-01-31' + INTERVAL 1 MONTH", "2026-02-28T00:00:00Z"),
        ("'2026-01-31' + 1mo", "2026-02-28T00:00:00Z"),
        ("DATE '2024-02-29' - INTERVAL '1 year'", "2023-02-28T00:00:00Z"),
        ("TIMESTAMP '2026-01-31' + INTERVAL 1 QUARTER", "2026-04-30T00:00:00Z"),
        ("'2026-01-01' + INTERVAL 2 WEEKS", "2026-01-15T00:00:00Z"),
        ("'2026-01-01' + 2w", "2026-01-15T00:00:00Z"),
        # No constants, or none that is understood:
        ("TRUE", None),
        ("1.5", None),
        ("a", None),
        ("now() - INTERVAL (a) DAY", None),
        ("CAST(a AS TIMESTAMP)", None),
        ("1000 + a", None),
        ("1000 / 2", None),
        ("now() + INTERVAL '1.5' HOUR", None),
        ("now() + INTERVAL 1 CENTURY", None),
    ],
)
def test_constants(sql: str, expected: str | int | None) -> None:
    assert value(sql) == expected


def test_integers_are_in_the_precision() -> None:
    assert value("1", precision_ns=1) == 1
    assert value("1", precision_ns=1_000) == 1_000


def test_days_are_of_the_zone_and_hours_are_hours() -> None:
    """Clocks in Berlin went forward on 29 March 2026 at 02:00."""
    berlin = "Europe/Berlin"
    assert value("'2026-03-29' + INTERVAL '1 day'", zone=berlin) == "2026-03-29T22:00:00Z"
    assert value("'2026-03-29' + INTERVAL '24 hours'", zone=berlin) == "2026-03-29T23:00:00Z"
    assert value("'2026-03-29' + 1d", zone=berlin) == "2026-03-29T23:00:00Z"
    assert value("'2026-04-29' - INTERVAL '1 month'", zone=berlin) == "2026-03-28T23:00:00Z"


def test_what_leaves_the_calendar_is_beyond_every_time() -> None:
    later = value("now() + INTERVAL '9999 years'")
    earlier = value("now() - INTERVAL '9999 years'")
    assert isinstance(later, int)
    assert isinstance(earlier, int)
    assert later > 2**63 - 2
    assert earlier < -(2**63) + 1


def test_parameters() -> None:
    moment = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
    assert value("?", 5000) == "1970-01-01T00:00:05Z"
    assert value("?", "1970-01-01T00:00:05Z") == "1970-01-01T00:00:05Z"
    assert value("?", moment) == "2026-01-01T12:00:00Z"
    assert value("? - 1h", moment) == "2026-01-01T11:00:00Z"
    for other in (None, True, 1.5, b"x"):
        assert value("?", other) is None
    with pytest.raises(SqlError, match="parameter 1"):
        value("?")


def test_datetimes_without_a_zone_are_of_the_requests() -> None:
    naive = dt.datetime(1970, 1, 1, 1)  # noqa: DTZ001 -- that is what is tested
    assert datetime_ns(naive, parse_zone("Europe/Berlin")) == 0
    assert datetime_ns(naive, dt.UTC) == 3600 * 10**9


def test_an_interval_finer_than_microseconds_is_refused() -> None:
    with pytest.raises(SqlError, match="microseconds"):
        parse("SELECT now() - 5ns")


def test_nothing_is_a_time_that_comes_from_no_table() -> None:
    (statement,) = parse("SELECT max(a), CASE WHEN a THEN b END, (SELECT a), a + 1h, a - b")
    assert isinstance(statement, Query)
    times = TimeExpressions(Scopes([]), Clock(0, dt.UTC, 1))
    assert [times.is_time(node) for node in statement.tree.expressions] == [False] * 5
    assert times.is_time(exp.CurrentTimestamp())
