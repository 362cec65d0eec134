"""Functions of windows in SQL: their parameters as both peers write them, edges, zones, units."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mainstem_engine.errors import SqlError, SqlLimitError

from .conftest import Run

HOUR = 3_600_000
DAY = 24 * HOUR
START = 1_774_569_600_000
"""2026-03-27T00:00Z, two days before clocks change in Berlin."""


@pytest.fixture
def counters(run: Run) -> Run:
    """Every three hours from noon a number that rises by one an hour, and another that starts anew
    at seven."""
    rows = " ".join(f"({START + 12 * HOUR + h * HOUR}, {h}, {h % 7}, 'x')" for h in range(0, 72, 3))
    run("CREATE STABLE m (ts TIMESTAMP, a DOUBLE, n BIGINT, s TEXT) TAGS (site TEXT)")
    run(f"INSERT INTO d1 USING m TAGS ('north') VALUES {rows}")
    return run


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("count_if(n > 3)", 10),
        ("count_if(n > 1, 2)", 4),
        ("count_if(n > 1, keep >= 2)", 4),
        ("count_if(n > 1, keep = 2, 'ignoreNull'='true')", 1),
        ("count_if(n > 1, keep < 3)", 4),
        ("time_duration(a)", 69 * HOUR),
        ("time_duration(a, 1h)", 69),
        ("elapsed(ts)", 69 * HOUR),
        ("elapsed(ts, 10h)", 6),
        ("irate(a)", 1 / 3600),
        ("irate(n)", 3 / (3 * 3600)),
        ("twa(a)", 34.5),
        ("integralavg(a)", 34.5),
        ("integral(a, 'unit'='1H')", 69 * 69 / 2),
        ("consumption(a)", 69.0),
        ("consumption(n, 7)", 69.0),
        ("consumption(n, 'rollover'='7')", 69.0),
        ("leastsquares(a, 0, 1)", "{slop:3.000000, intercept:0.000000}"),
    ],
)
def test_of_all_rows(counters: Run, call: str, answer: Any) -> None:
    for source in ("d1", "m"):
        assert counters(f"SELECT {call} FROM {source}").rows() == [[pytest.approx(answer)]]


def test_windows_of_time_reach_to_their_edges(counters: Run) -> None:
    found = counters(
        "SELECT _wstart, consumption(n, 7), twa(a), elapsed(ts, 1h) FROM m INTERVAL(1d)"
    ).rows()
    assert found == [
        [START, 12.0, 6.0, 12],
        [START + DAY, 24.0, 24.0, 24],
        [START + 2 * DAY, 24.0, 48.0, 24],
        [START + 3 * DAY, 9.0, 64.5, 9],
    ]


def test_a_day_is_of_the_calendar_and_24_hours_are_not(counters: Run) -> None:
    days = counters("SELECT _wduration FROM m INTERVAL(1d)", time_zone="Europe/Berlin")
    assert days.rows() == [[DAY], [DAY], [DAY - HOUR], [DAY]]
    hours = counters("SELECT _wduration FROM m INTERVAL(24h)", time_zone="Europe/Berlin")
    assert hours.rows() == [[DAY]] * 4
    months = counters("SELECT _wstart FROM m INTERVAL(1n)", time_zone="Europe/Berlin")
    assert months.rows() == [[1_772_319_600_000]]


def test_of_groups_and_in_having(counters: Run) -> None:
    counters("INSERT INTO d2 USING m TAGS ('south') VALUES (0, 1, 1, 'x') (1000, 3, 1, 'x')")
    found = counters("SELECT site, twa(a) FROM m GROUP BY site HAVING twa(a) < 10").rows()
    assert found == [["south", 2.0]]
    found = counters(
        "SELECT tbname, count(*), twa(a) FROM m PARTITION BY tbname COUNT_WINDOW(2)"
    ).rows()
    assert found[:2] == [["d1", 2, 1.5], ["d1", 2, 7.5]]


def test_spellings_of_windows(counters: Run) -> None:
    base = "SELECT count(*) FROM root.main.d1 GROUP BY"
    low, high = START, START + 4 * DAY
    plain = counters(f"{base} ([{low}, {high}), 1d, 2d)").rows()
    assert counters(f"{base} TIME([{low}, {high}), 1d, 2d)").rows() == plain
    assert len(plain) == 2
    runs = counters(f"{base} VARIATION(n, 1, ignoreNull=true)").rows()
    assert counters(f"{base} VARIATION(n, 1, 'ignoringNull'=true)").rows() == runs


def test_states_of_several_keys(counters: Run) -> None:
    sign = "CASE WHEN n > 3 THEN 'high' ELSE 'low' END"
    found = counters(f"SELECT s, count(*) FROM m STATE_WINDOW(s, {sign})").rows()
    assert [row[1] for row in found][:6] == [2, 1, 1, 1, 1, 1]
    highs = counters(f"SELECT count(*) FROM m STATE_WINDOW({sign}) ZEROTH_STATE('low')").rows()
    assert highs == [[1]] * 10
    assert counters(f"SELECT count(*) FROM m STATE_WINDOW({sign}, 0, 'low')").rows() == highs
    both = f"SELECT count(*) FROM m STATE_WINDOW(s, {sign}) ZEROTH_STATE(NO_ZEROTH, 'low')"
    assert counters(both).rows() == highs
    with pytest.raises(SqlError, match="as many values"):
        counters("SELECT count(*) FROM m STATE_WINDOW(s, n) ZEROTH_STATE(1)")


def test_the_state_may_be_shown(counters: Run) -> None:
    sign = "CASE WHEN n > 3 THEN 'high' ELSE 'low' END"
    found = counters(
        f"SELECT {sign} AS sign, count(*) FROM m STATE_WINDOW({sign}) HAVING {sign} = 'high'"
    )
    assert found.rows() == [["high", 1]] * 10
    keyed = counters(f"SELECT upper({sign}) AS sign FROM m STATE_WINDOW({sign}) LIMIT 2").rows()
    assert keyed == [["LOW"], ["HIGH"]]


def test_the_time_of_rows_has_a_name_of_its_own(counters: Run) -> None:
    noon = START + 12 * HOUR
    for source in ("m", "(SELECT ts, n FROM m WHERE _rowts > 0)"):
        found = counters(f"SELECT count(*) FROM {source} SESSION(ts, 1d)").rows()
        assert found == [[24]]
    assert counters(f"SELECT _rowts, a FROM m WHERE _rowts <= {noon}").rows() == [[noon, 0.0]]
    late = counters(
        f"SELECT _wstart, count(*) FROM m WHERE _rowts >= {noon + 5 * HOUR} INTERVAL(1d, AUTO)"
    ).rows()
    assert late[0] == [noon + 5 * HOUR, 8]


def test_items_of_a_sub_query_are_called_by_their_text(counters: Run) -> None:
    inner = "SELECT max(a) - min(a), elapsed(ts, 1h), _wstart FROM m INTERVAL(2d)"
    found = counters(f"SELECT * FROM ({inner})")
    assert [column["name"] for column in found.columns] == [
        "max(a) - min(a)",
        "elapsed(ts, 1h)",
        "_wstart",
    ]
    assert found.rows() == counters(inner).rows()
    long = " + ".join(["max(a)"] * 40)
    assert counters(f"SELECT {long} FROM m SESSION(ts, 1d)").rows() == [[69.0 * 40]]


def test_windows_that_overlap_are_bounded(counters: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainstem_engine.sql.walks.window_walk.ROWS_MAX", 100)
    for item in ("count(*)", "count_if(n > 1, 2)"):
        assert counters(f"SELECT {item} FROM m COUNT_WINDOW(4, 1)").row_count == 24
        with pytest.raises(SqlLimitError, match="more than 100 rows"):
            counters(f"SELECT {item} FROM m COUNT_WINDOW(5, 1)")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("twa(s)", "twa takes numbers"),
        ("elapsed(ts, 0s)", "unit"),
        ("consumption(n, 0)", "rollover"),
        ("elapsed(ts, 99999999999999d)", "too large"),
        ("count_if(n > 1, 99999999999999999999)", "too large"),
        ("count_if(n > 1, keep <> 2)", "constant"),
        ("integral(a, 'unit'='long')", "unit|duration"),
    ],
)
def test_what_makes_no_sense_is_refused(counters: Run, call: str, said: str) -> None:
    with pytest.raises(SqlError, match=said):
        counters(f"SELECT {call} FROM m")


def test_histograms_of_windows(counters: Run) -> None:
    found = counters(
        "SELECT _wstart, histogram(a, 'user_input', '[-1, 12, 30]', 0) FROM m INTERVAL(1d)"
    ).rows()
    assert [[entry["count"] for entry in json.loads(text)] for _, text in found[:2]] == [
        [4, 0],
        [1, 6],
    ]
    one = '{"start": 0, "width": 40, "count": 2, "infinity": false}'
    for call in (
        f"'linear_bin', '{one}', 1",
        f"'bin_type'='linear_bin', 'bins'='{one}', 'normalized'='1'",
    ):
        (((text,),)) = counters(f"SELECT HISTOGRAM(a, {call}) FROM d1").rows()
        assert sum(entry["count"] for entry in json.loads(text)) == pytest.approx(1)
    grouped = counters(
        "SELECT device, histogram(a, 'USER_INPUT', '[0, 99]') FROM m GROUP BY device"
    )
    assert len(grouped.rows()) == 1
    assert counters("SELECT histogram(n) FROM m").rows(), "the executing database's own"
    with pytest.raises(SqlError, match="bin_type is user_input or"):
        counters("SELECT histogram(a, 'bin_type'='round', 'bins'='[1, 2]') FROM m")
