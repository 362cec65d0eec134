"""Cases that are not run as they stand, each with the reason.

``STATEMENTS``: what is run in place of the case's statement. ``RULED_OTHERWISE``: cases for which
the dialect's decision differs from the peer's: what is run, and what is expected of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

STATEMENTS: dict[str, str] = {
    # Shortened in the case.
    "iotdb-anom-01": (
        'select range(s1,"lower_bound"="101.0","upper_bound"="125.0") from root.test.d1'
        " where time <= 2020-01-01 00:00:30"
    ),
    "td-state-03": (
        "select _wstart, _wduration, _wend, count(*) from state_window_example"
        " state_window(status) extend(2)"
    ),
    "td-interp-04": (
        "select _irowts, interp(c0), _isfilled from tb"
        " range('2020-02-01 00:00:05','2020-02-01 00:00:15') every(2s) fill(next)"
    ),
    "td-twa-04": (
        "select _wstart, twa(k), avg(k), count(1) from t1"
        " where ts>='2015-8-18 00:00:00' and ts<='2015-8-18 00:07:00' interval(1m)"
    ),
    "td-twa-05": (
        "select _wstart, twa(k), avg(k), count(1) from t1"
        " where ts>='2015-8-18 00:00:00' and ts<='2015-8-18 00:27:00' interval(10m)"
    ),
    # The peer's session was at +08:00, its rows' times are those of UTC.
    "iotdb-resample-03": (
        "select resample(s1,'every'='30m','start'='2021-03-06 15:00:00+08:00') from root.test.d1"
    ),
    # The rows are of another table or column.
    "iotdb-run-02": "select non_zero_duration(s1) from root.sg.d2",
    "td-irate-01": "select irate(col1) from gtest1",
    "td-irate-03": "select irate(col1) from gtest3",
    "td-irate-04": "select irate(col1) from gtest4",
    # TDengine 2 shows the column beside what is counted of it.
    "td-statecount-01": "select dtiny, stateCount(dtiny,GT,10) from statef2",
    "td-uniq-01": "select unique(voltage) from all_tables",
    # The case lists the columns in another order than its statement.
    "iotdb-aligned-04": (
        "select count(s1), sum(s1), avg(s1), first_value(s1), last_value(s1), min_time(s1),"
        " max_time(s1), min_value(s1), max_value(s1) from root.sg1.d1 where s1 < 10"
    ),
}

SUPER_TABLES = {"td-uniq-01": "all_tables"}
"""Cases whose tables are read through a super table that the case does not name."""


@dataclass(frozen=True)
class Ruling:
    """What is run and expected where the dialect decides otherwise."""

    reason: str
    statement: str
    rows: list[list[Any]] | None = None
    """None: the case's own."""


RULED_OTHERWISE: dict[str, Ruling] = {
    "iotdb-deriv-01": Ruling(
        "DERIVATIVE is per second unless a unit is given; IoTDB's is per millisecond",
        "select DERIVATIVE(s1, 1ms) from root.sg.d1",
    ),
    "td-diff-02": Ruling(
        "DIFF has one value per row, the first included; TDengine leaves the first row out",
        "select ts, diff(col1, 1) from stb30749_1",
        [
            [1694912400001, None],
            [1694912400002, None],
            [1694912400003, 1],
            [1694912400004, None],
            [1694912400005, 1],
            [1694912400006, None],
        ],
    ),
    "iotdb-del-03": Ruling(
        "rows may be deleted by value, which IoTDB refuses; the one row does not match",
        "SELECT count(s0) FROM root.vehicle1.d0",
        [[1]],
    ),
}
