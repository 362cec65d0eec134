"""Statements for fuzzing: well-formed ones of odd parts, and texts that were cut and mixed."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

COLUMNS = ("x", "y", "s", "b", "ts", "time", "tbname", "device", "loc", "g", "_wstart", "_wend",
           "_rowts", "_irowts", "_isfilled", "__endTime", '"#t"', "nope", "d1.x", "m.x", "*",
           "`x`", "NULL", "1", "'a'", "-1.5", "true", "?", "now()", "1h", "x + y", "count(*)",
           "_qstart", "_wduration", "9223372036854775807", "1e400", "''")  # fmt: skip
FUNCTIONS = ("avg", "sum", "count", "min", "max", "first", "last", "last_row", "spread", "mode",
             "twa", "elapsed", "irate", "diff", "derivative", "csum", "mavg", "top", "bottom",
             "unique", "tail", "sample", "interp", "completeness", "validity", "percentile",
             "apercentile", "stddev", "count_if", "statecount", "stateduration", "histogram",
             "lttb", "m4", "zscore", "fft", "acf", "dtw", "pearson", "valuerepair", "resample",
             "change_points", "consumption", "integral", "extreme", "max_time", "abs", "coalesce",
             "date_trunc", "time_bucket", "leastsquares", "spline", "segment", "lof", "nope",
             "max_by", "time_difference", "zero_count", "equal_size_bucket_m4_sample")  # fmt: skip
ARGUMENTS = ("2", "0", "-1", "1.5", "'k'='2'", "'window'='3'", "1s", "0s", "'1s'", "x > 1", "GT",
             "'minute'", "INTERVAL '1 second'", "100000000000", "'points'='3'", "NULL", "true",
             "'every'='0s'", "'nope'='1'", "?")  # fmt: skip
CALLS = ("avg(x)", "count(*)", "last(x)", "last_row(s)", "first(y)", "max(x) - min(x)", "diff(x)",
         "top(x, 2)", "twa(x)", "elapsed(ts)", "csum(x)", "mavg(x, 2)", "derivative(x, 1s)",
         "unique(s)", "tail(x, 2)", "completeness(x)", "count_if(x > 1)", "percentile(x, 50)",
         "spread(x)", "statecount(x, GT, 1)", "lttb(x, 3)", "interp(x)", "interp(s)",
         "sum(diff(x))",
         "diff(diff(x))", "change_points(b)", "mode(s)", "max_time(x)", "consumption(y)", "x", "y",
         "m4(x, 'windowSize'='2')", "zscore(x)", "sum(x) FILTER (WHERE b)", "s", "tbname", "ts",
         "lag(x) OVER (ORDER BY ts)", "count(DISTINCT s)", "_wstart", "loc", "*")  # fmt: skip
TABLES = ("d1", "m", "d2", "empty", "root.main.d1", "root.main.*", "root.**", "root.main.d1, d2",
          "(SELECT ts, x FROM d1)", "(SELECT _wstart, avg(x) AS x FROM m INTERVAL(2s))", "nope",
          "d1 a JOIN d2 b ON a.ts = b.ts", "other", "odd", "(SELECT 1 AS x)")  # fmt: skip
WINDOWS = ("INTERVAL(2s)", "INTERVAL(1n)", "INTERVAL(2s) SLIDING(1s)", "INTERVAL(2s, AUTO)",
           "SESSION(ts, 1s)", "STATE_WINDOW(s)", "COUNT_WINDOW(2)", "INTERVAL(0s)",
           "EVENT_WINDOW START WITH x > 1 END WITH y > 1", "GROUP BY ([0, 9000), 2s)",
           "GROUP BY ((-5000, 9000], 2s, 1s)", "GROUP BY VARIATION(x, 1)", "GROUP BY LEVEL = 1",
           "GROUP BY CONDITION(b, KEEP >= 1)", "GROUP BY COUNT(x, 2)", "GROUP BY SESSION(1s)",
           "GROUP BY TAGS(loc)", "GROUP BY s", "GROUP BY 1", "INTERVAL(1a)",
           "GROUP BY ([0, 9000), 2s), LEVEL = 1", "STATE_WINDOW(x) TRUE_FOR(1s)",
           "GROUP BY ([9000, 0), 2s)", "SESSION(x, 1s)")  # fmt: skip
CLAUSES = ("PARTITION BY tbname", "PARTITION BY loc, g", "WHERE ts >= 0 AND ts < 9000",
           "WHERE x > 1", "WHERE diff(x) > 0", "WHERE tbname = 'd1'", "HAVING avg(x) > 1",
           "HAVING count(*) > 1", "FILL(PREVIOUS)", "FILL(LINEAR)", "FILL(VALUE, 0)", "FILL('a')",
           "FILL(NULL_F)", "FILL(PREV, 1s)", "RANGE(0, 5000) EVERY(1s)", "RANGE(1500)",
           "ALIGN BY DEVICE", "ALIGN BY TIME", "ALIGN(EVERY 2s)", "ALIGN(EVERY 2s, x RATE)",
           "ORDER BY x", "ORDER BY time DESC", "ORDER BY 1", "ORDER BY _wstart", "LIMIT 2",
           "LIMIT 0", "LIMIT 1 OFFSET 1", "SLIMIT 1", "SLIMIT 1 SOFFSET 1", "LIMIT ?",
           "WHERE ts > ?", "WHERE x IN (SELECT x FROM d2)", "QUALIFY true")  # fmt: skip
WHOLE = ("SHOW DEVICES", "SHOW TIMESERIES root.**", "COUNT NODES root.** LEVEL=1", "DESCRIBE m",
         "SHOW FUNCTIONS LIKE 'm%'", "EXPLAIN SELECT x FROM d1", "SELECT LAST x FROM root.**",
         "SHOW TAGS FROM m", "SHOW CHILD PATHS root.main", "SELECT LAST * FROM root.main.d1",
         "WITH c AS (SELECT * FROM m) SELECT _wstart, avg(x) FROM c INTERVAL(1s)")  # fmt: skip


def _call(function: str, arguments: list[str]) -> str:
    return f"{function}({', '.join(arguments)})"


_call_of_column = st.builds(
    lambda function, column, rest: _call(function, [column, *rest]),
    st.sampled_from(FUNCTIONS),
    st.sampled_from(COLUMNS),
    st.lists(st.sampled_from(ARGUMENTS), max_size=2),
)
_odd = st.one_of(st.sampled_from(COLUMNS), _call_of_column)
_item = st.one_of(*[st.sampled_from(CALLS)] * 5, _odd)


@st.composite
def selects(draw: Any) -> str:
    """SELECTs whose clauses stand in their usual order, or in any."""
    items = ", ".join(draw(st.lists(_item, min_size=1, max_size=3)))
    table = draw(st.sampled_from(TABLES[: draw(st.sampled_from((5, 10, len(TABLES))))]))
    clauses = draw(st.lists(st.sampled_from(CLAUSES), max_size=3, unique=True))
    clauses += draw(st.lists(st.sampled_from(WINDOWS), max_size=1))
    if draw(st.integers(0, 4)):
        clauses.sort(key=_place)
    return f"SELECT {items} FROM {table} {' '.join(clauses)}".strip()


_ORDER = ("WHERE", "PARTITION", "RANGE", "GROUP", "INTERVAL", "SESSION", "STATE_WINDOW",
          "EVENT_WINDOW", "COUNT_WINDOW", "FILL", "HAVING", "QUALIFY", "ORDER", "SLIMIT", "LIMIT",
          "ALIGN")  # fmt: skip


def _place(clause: str) -> int:
    word = clause.replace("(", " ").split()[0]
    return _ORDER.index(word)


@st.composite
def nested(draw: Any) -> str:
    """SELECTs around, beside and over others."""
    inner, other = draw(selects()), draw(selects())
    shape = draw(st.integers(0, 4))
    return (
        f"SELECT * FROM ({inner})",
        f"WITH c AS ({inner}) {other}",
        f"{inner} UNION ALL {other}",
        f"SELECT * FROM ({inner}) p JOIN ({other}) q ON true",
        f"EXPLAIN {inner}",
    )[shape]


@st.composite
def mangled(draw: Any) -> str:
    """Texts that lack parts, or have some twice, or parts of others."""
    words = draw(st.one_of(selects(), st.sampled_from(WHOLE))).split(" ")
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(words) - 1))
        change = draw(st.integers(0, 3))
        if change == 0 and len(words) > 1:
            del words[place]
        elif change == 1:
            words.insert(place, draw(st.sampled_from((*COLUMNS, *WINDOWS, *CLAUSES))))
        elif change == 2:
            words[place] = words[place][: draw(st.integers(0, len(words[place])))]
        else:
            words.insert(place, draw(st.text("()[],;.'\"`*?=<>-/\\\0%$#@!é\n ", max_size=3)))
    return " ".join(words)


STATEMENTS = st.one_of(selects(), selects(), nested(), mangled(), st.text(max_size=40))
"""What is asked. None of it writes."""
