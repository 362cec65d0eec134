"""The clauses of both peers as nodes of the tree, in every spelling, and what is refused."""

from __future__ import annotations

from typing import Any, cast

import pytest
from sqlglot import exp

from mainstem_engine.errors import SqlError, SqlSyntaxError, SqlUnsupportedError
from mainstem_engine.sql.grammar.clauses import (
    ALIGN_EVERY,
    FILL,
    MERGE,
    PARTITION,
    RANGE,
    SLIMIT,
    SOFFSET,
    WINDOW,
    CountWindow,
    Duration,
    TrueFor,
    group_by_partition,
    has_clauses,
    read_duration,
    refuse_clauses,
)
from mainstem_engine.sql.grammar.dialect import ALIGN, parse
from mainstem_engine.sql.statements import Query

S_NS = 10**9
MINUTE_NS = 60 * S_NS
DAY_NS = 86_400 * S_NS


def select(sql: str) -> exp.Select:
    (statement,) = parse(sql)
    assert isinstance(statement, Query)
    return cast("exp.Select", statement.tree)


def plain(node: Any) -> Any:
    """A node as (name of its class, its arguments); expressions as SQL."""
    found: dict[str, Any] = {}
    for key, value in node.args.items():
        if isinstance(value, exp.Expr):
            found[key] = value.sql("duckdb")
        elif isinstance(value, list):
            if value:
                found[key] = [item.sql("duckdb") for item in value]
        elif value is not None and value is not False:
            found[key] = value
    return type(node).__name__, found


def window(text: str) -> Any:
    return plain(select(f"SELECT count(*) FROM m WHERE ts > 5 {text} ORDER BY time").args[WINDOW])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "GROUP BY ([5, 160), 20ms)",
            ("RangeWindow", {"start": "5", "end": "160", "interval": (0, 20_000_000, "ms")}),
        ),
        (
            "group by ((now() - 1d, ?], 1mo, 10d)",
            (
                "RangeWindow",
                {
                    "start": "NOW() - INTERVAL '86400000000' MICROSECOND",
                    "end": "$1",
                    "interval": (1, 0, "mo"),
                    "step": (0, 10 * DAY_NS, "d"),
                    "is_right_closed": True,
                },
            ),
        ),
        (
            "GROUP BY ((2023-02-01T11:47:00+08:00, 2024-02-01], 1h30m)",
            (
                "RangeWindow",
                {
                    "start": "'2023-02-01T11:47:00+08:00'",
                    "end": "'2024-02-01'",
                    "interval": (0, 90 * MINUTE_NS, "m"),
                    "is_right_closed": True,
                },
            ),
        ),
        ("INTERVAL(1m)", ("IntervalWindow", {"interval": (0, MINUTE_NS, "m")})),
        (
            "interval(1n, 5d) sliding(1n)",
            (
                "IntervalWindow",
                {"interval": (1, 0, "n"), "offset": (0, 5 * DAY_NS, "d"), "sliding": (1, 0, "n")},
            ),
        ),
        (
            "INTERVAL('1d', AUTO)",
            ("IntervalWindow", {"interval": (0, DAY_NS, "d"), "is_auto": True}),
        ),
        ("SESSION(ts, 10s)", ("SessionWindow", {"this": "ts", "gap": (0, 10 * S_NS, "s")})),
        ("GROUP BY SESSION(10s)", ("SessionWindow", {"gap": (0, 10 * S_NS, "s")})),
        ("STATE_WINDOW(a > 1)", ("StateWindow", {"this": "a > 1", "extend": 0})),
        (
            "state_window(s) extend(2) true_for(3s)",
            (
                "StateWindow",
                {"this": "s", "extend": 2, "true_for": TrueFor(3 * S_NS, None)},
            ),
        ),
        (
            "STATE_WINDOW(s, 1) TRUE_FOR(COUNT 3 OR 10s)",
            ("StateWindow", {"this": "s", "extend": 1, "true_for": (10 * S_NS, 3, True)}),
        ),
        (
            "EVENT_WINDOW START WITH a > 1 AND b END WITH a < 1",
            ("EventWindow", {"start": "a > 1 AND b", "end": "a < 1"}),
        ),
        (
            "event_window start with f1 = 0 end with f2 = 'c' true_for(1m and count 2)",
            (
                "EventWindow",
                {"start": "f1 = 0", "end": "f2 = 'c'", "true_for": (MINUTE_NS, 2, False)},
            ),
        ),
        ("COUNT_WINDOW(10)", ("CountWindow", {"rows": 10})),
        (
            "count_window(4, 2, a, b)",
            ("CountWindow", {"rows": 4, "slide": 2, "expressions": ["a", "b"]}),
        ),
        ("COUNT_WINDOW(4, a)", ("CountWindow", {"rows": 4, "expressions": ["a"]})),
        (
            "GROUP BY COUNT(a, 5)",
            ("CountWindow", {"rows": 5, "expressions": ["a"], "drops_tail": True}),
        ),
        (
            "GROUP BY COUNT(a, 5, ignoreNull=false)",
            ("CountWindow", {"rows": 5, "drops_tail": True}),
        ),
        ("GROUP BY VARIATION(a)", ("VariationWindow", {"this": "a", "ignores_null": True})),
        (
            "group by variation(a * 2, 1.5, ignoreNull=false)",
            ("VariationWindow", {"this": "a * 2", "delta": 1.5}),
        ),
        (
            "GROUP BY CONDITION(a = 1, KEEP >= 3, ignoreNull=true)",
            (
                "ConditionWindow",
                {"this": "a = 1", "operator": ">=", "keep": 3, "ignores_null": True},
            ),
        ),
        (
            "GROUP BY CONDITION(a = 1 & b < 2, 3)",
            (
                "ConditionWindow",
                {"this": "a = 1 AND b < 2", "operator": "=", "keep": 3, "ignores_null": True},
            ),
        ),
    ],
)
def test_windows(text: str, expected: tuple[str, dict[str, Any]]) -> None:
    name, found = window(text)
    assert (name, found) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FILL(PREVIOUS)", {"mode": "PREVIOUS"}),
        ("fill(previous, 2m)", {"mode": "PREVIOUS", "limit": (0, 2 * MINUTE_NS, "m")}),
        ("FILL(PREV)", {"mode": "PREVIOUS"}),
        ("FILL(NEXT)", {"mode": "NEXT"}),
        ("FILL(LINEAR)", {"mode": "LINEAR"}),
        ("FILL(NEAR, 1)", {"mode": "NEAR", "expressions": ["1"]}),
        ("FILL(NONE)", {"mode": "NONE"}),
        ("FILL(NULL)", {"mode": "NULL"}),
        ("FILL(NULL_F)", {"mode": "NULL_F"}),
        ("FILL(VALUE, 9, False)", {"mode": "VALUE", "expressions": ["9", "FALSE"]}),
        ("FILL(VALUE, NULL, NULL)", {"mode": "VALUE", "expressions": ["NULL", "NULL"]}),
        ("FILL(VALUE_F, -1.5)", {"mode": "VALUE_F", "expressions": ["-1.5"]}),
        ("FILL(1000)", {"mode": "CONSTANT", "expressions": ["1000"]}),
        ("FILL(true)", {"mode": "CONSTANT", "expressions": ["TRUE"]}),
        ("FILL('linear')", {"mode": "CONSTANT", "expressions": ["'linear'"]}),
    ],
)
def test_fill(text: str, expected: dict[str, Any]) -> None:
    for sql in (
        f"SELECT s1 FROM root.a.d1 {text}",
        f"SELECT s1 FROM m INTERVAL(1m) {text} LIMIT 1",
    ):
        assert plain(select(sql).args[FILL]) == ("FillClause", expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "RANGE('2020-02-01 00:00:04', 2020-02-02) EVERY(1s) FILL(NEXT)",
            {"start": "'2020-02-01 00:00:04'", "end": "'2020-02-02'", "every": (0, S_NS, "s")},
        ),
        ("RANGE(5)", {"start": "5"}),
        ("RANGE(5, 1h) FILL(NEAR, 1)", {"start": "5", "surround": (0, 60 * MINUTE_NS, "h")}),
        (
            "EVERY(1m) RANGE(5, ?, 1h)",
            {
                "start": "5",
                "end": "$1",
                "surround": (0, 60 * MINUTE_NS, "h"),
                "every": (0, MINUTE_NS, "m"),
            },
        ),
    ],
)
def test_range_and_every(text: str, expected: dict[str, Any]) -> None:
    found = select(f"SELECT _irowts, interp(c) FROM t {text}")
    assert plain(found.args[RANGE]) == ("RangeClause", expected)


def test_align_every_has_a_method_per_signal() -> None:
    text = "ALIGN(EVERY 1m, LINEAR, a.state PREVIOUS(15m), energy RATE 2h, linear prev)"
    clause = select(f"SELECT * FROM a, b {text}").args[ALIGN_EVERY]
    assert clause.args["every"] == Duration(0, MINUTE_NS, "m")
    assert (clause.args["method"], clause.args.get("limit")) == ("LINEAR", None)
    assert [
        (signal.this.sql(), signal.args["method"], signal.args["limit"])
        for signal in clause.expressions
    ] == [
        ("a.state", "PREVIOUS", (0, 15 * MINUTE_NS, "m")),
        ("energy", "RATE", (0, 120 * MINUTE_NS, "h")),
        ("linear", "PREVIOUS", None),
    ]


def test_groups_of_devices_partitions_and_their_limits() -> None:
    assert select("SELECT count(a) FROM root.** GROUP BY LEVEL = 1, 3").args[MERGE].args == {
        "levels": (1, 3)
    }
    both = select("SELECT count(a) FROM root.** GROUP BY ([0, 9), 3ms), TAGS(k, l)")
    assert plain(both.args[MERGE]) == ("TagGroups", {"expressions": ["k", "l"]})
    assert plain(both.args[WINDOW])[0] == "RangeWindow"
    keyed = select(
        "SELECT a FROM m PARTITION BY tbname AS t, b + 1 SESSION(ts, 1s) SLIMIT 2 SOFFSET 1"
    )
    assert plain(keyed.args[PARTITION])[1] == {"expressions": ['tbname AS "t"', "b + 1"]}
    assert (keyed.args[SLIMIT].sql(), keyed.args[SOFFSET].sql()) == ("2", "1")
    assert keyed.args.get("group") is None
    mixed = select("SELECT count(a) FROM m GROUP BY SESSION(1s), location HAVING count(a) > 1")
    assert plain(mixed.args[PARTITION])[1] == {"expressions": ["location"]}
    assert mixed.args["having"].sql() == "HAVING COUNT(a) > 1"


def test_clauses_stand_in_any_order_and_in_sub_queries() -> None:
    sql = """WITH w AS (SELECT avg(a) FROM m INTERVAL(1m))
        SELECT _wstart, max(a) FROM (SELECT ts, a FROM m FILL(LINEAR)) INTERVAL(1h)
        FILL(PREV) HAVING max(a) > 1 ORDER BY _wstart LIMIT 5 OFFSET 3 ALIGN BY DEVICE"""
    outer = select(sql)
    assert outer.args[WINDOW].args["interval"] == Duration(0, 3600 * S_NS, "h")
    assert outer.args[FILL].args["mode"] == "PREVIOUS"
    assert outer.meta[ALIGN] == "DEVICE"
    assert all(outer.args.get(key) for key in ("having", "order", "limit", "offset"))
    inner = [node for node in outer.find_all(exp.Select) if node is not outer]
    assert sorted(bool(node.args.get(FILL)) for node in inner) == [False, True]
    assert sorted(bool(node.args.get(WINDOW)) for node in inner) == [False, True]
    assert outer.args["from_"].this.alias == ""


def test_words_of_clauses_stay_names() -> None:
    found = select('SELECT every, slimit AS fill, session, range FROM interval AS "align"')
    assert [item.alias_or_name for item in found.expressions] == [
        "every",
        "fill",
        "session",
        "range",
    ]
    assert not has_clauses(found)
    standard = select("SELECT count(*), level FROM m GROUP BY level, count, (tags)")
    assert len(standard.args["group"].expressions) == 3


def test_walks_see_the_expressions_of_clauses_and_copies_keep_them() -> None:
    found = select("SELECT a FROM m EVENT_WINDOW START WITH b > 1 END WITH c < 1 FILL(VALUE, d)")
    assert {column.name for column in found.copy().find_all(exp.Column)} == {"a", "b", "c", "d"}
    assert has_clauses(found.copy())
    with pytest.raises(SqlUnsupportedError, match="WINDOW"):
        refuse_clauses(found)


def test_partition_by_alone_groups() -> None:
    found = select("SELECT LAST(a) FROM m PARTITION BY device AS d")
    group_by_partition(found)
    assert found.sql("duckdb") == 'SELECT LAST(a) FROM "m" GROUP BY device'
    windowed = select("SELECT LAST(a) FROM m PARTITION BY device COUNT_WINDOW(1)")
    group_by_partition(windowed)
    assert windowed.args.get("group") is None
    assert isinstance(windowed.args[WINDOW], CountWindow)


@pytest.mark.parametrize(
    ("condition", "meaning"),
    [
        ("a = 0 & b = 0", "a = 0 AND b = 0"),
        ("a = 0 | !(b > 1) || c < 2 && d is null", "a = 0 OR NOT (b > 1) OR c < 2 AND d IS NULL"),
        ("(a = 0) & (b = 0)", "(a = 0) AND (b = 0)"),
        ("flags & 4 = 4", "flags & 4 = 4"),
        ("a = flags & 4", "a = flags & 4"),
        ("a || 'x' = b", "a || 'x' = b"),
        ("f(a = 1, b & c = 2)", "f(a = 1, b & c = 2)"),
        ("a > 1 AND flags & 4 = 4", "a > 1 AND flags & 4 = 4"),
    ],
)
def test_signs_between_conditions_are_words(condition: str, meaning: str) -> None:
    written = select(f"SELECT a FROM m WHERE {condition}").args["where"]
    assert written == select(f"SELECT a FROM m WHERE {meaning}").args["where"]


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("count_if(a = 0 & b = 0, 3, 'ignoreNull'='true')", "COUNT_IF"),
        ('quantile(a, "rank"="0.2")', "QUANTILE"),
        ("range(a, 'lower_bound'='1')", "RANGE"),
        ("unique(a)", "unique"),
        ("stddev(a, 'window'='3')", "STDDEV"),
    ],
)
def test_functions_that_duckdb_calls_alike(call: str, name: str) -> None:
    (item,) = select(f"SELECT {call} FROM m").expressions
    assert isinstance(item, exp.Anonymous)
    assert item.name == name


def test_functions_of_duckdb_stay_its_own() -> None:
    found = select("SELECT count_if(a > 1), quantile(a, 0.2), median(a), stddev(a) FROM range(5)")
    assert [type(item) for item in found.expressions] == [
        exp.CountIf,
        exp.Quantile,
        exp.Median,
        exp.Stddev,
    ]


@pytest.mark.parametrize(
    ("clause", "message"),
    [
        ("GROUP BY ([1, 30), 0ms)", "longer than zero"),
        ("GROUP BY ([1, 30], 5ms)", r"\[a, b\)"),
        ("GROUP BY ([1, 30), 5)", "length of the window"),
        ("INTERVAL(1m) SLIDING(2m)", "SLIDING"),
        ("INTERVAL(1x)", "1x"),
        ("INTERVAL(200y)", "too long"),
        ("INTERVAL(1m) INTERVAL(1m)", "two"),
        ("INTERVAL(1m) SESSION(ts, 1s)", "two"),
        ("SESSION(ts)", None),
        ("STATE_WINDOW(a) EXTEND(3)", "0, 1 or 2"),
        ("STATE_WINDOW(a) TRUE_FOR(1mo)", "without months"),
        ("EVENT_WINDOW START WITH a > 1", "END"),
        ("COUNT_WINDOW(0)", "from 1"),
        ("COUNT_WINDOW(2, 3)", "slide"),
        ("GROUP BY CONDITION(a = 1, KEEP 3)", ">="),
        ("GROUP BY COUNT(a)", ","),
        ("GROUP BY LEVEL = 1000", "levels"),
        ("GROUP BY a PARTITION BY b", "both"),
        ("FILL()", None),
        ("FILL(VALUE)", "value"),
        ("FILL(LINEAR, 5)", "no value"),
        ("FILL(PREV) FILL(NEXT)", "two"),
        ("RANGE(1, 2, 3)", "parenthesis"),
        ("RANGE(1, 2) RANGE(1, 2)", "two"),
        ("EVERY(0s)", "longer than zero"),
        ("ALIGN(EVERY 1m, a)", "PREVIOUS"),
        ("ALIGN(1m)", "EVERY"),
        ("SLIMIT a", "number"),
        ("EXTERNAL_WINDOW((SELECT 1) w)", "EXTERNAL_WINDOW"),
    ],
)
def test_what_is_wrong_is_named(clause: str, message: str | None) -> None:
    with pytest.raises(SqlError, match=message):
        parse(f"SELECT count(a) FROM m {clause}")


def test_durations() -> None:
    assert read_duration("1y2mo3d") == Duration(14, 3 * DAY_NS, "d")
    assert read_duration("1w") == Duration(0, 7 * DAY_NS, "w")
    with pytest.raises(SqlSyntaxError):
        read_duration("1q")
