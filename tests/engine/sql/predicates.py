"""A table of odd devices, and conditions on it as nobody would write them."""

from __future__ import annotations

from hypothesis import strategies as st

from mainstem_engine.sql.session import Session


def fill(session: Session) -> None:
    """Six devices with odd names, tags that may be missing, and times around 1970. Again: the same
    rows, written anew."""
    session.execute(
        "CREATE STABLE IF NOT EXISTS m (ts TIMESTAMP, v INT, ref TIMESTAMP) TAGS (loc TEXT, n INT)"
    )
    devices = ["d1", "D1", "d_1", "`d.1`", "d%1", "x"]
    tags = ["('a', 1)", "('b', 1)", "(NULL, 2)", "('a', NULL)", "('A', 2)", "('it''s', 3)"]
    for number, (device, values) in enumerate(zip(devices, tags, strict=True)):
        rows = ", ".join(
            f"({time * 1000}, {time if time % 3 else 'NULL'}, {time * 500})"
            for time in range(-number, 8, 1 + number % 2)
        )
        quoted = device if device.startswith("`") else f"`{device}`"
        session.execute(f"INSERT INTO {quoted} USING m TAGS {values} VALUES {rows}")


_TIMES = st.one_of(
    st.integers(-6000, 9000).map(str),
    st.sampled_from(["'1970-01-01T00:00:02Z'", "'1970-01-01 00:00:01.0005'", "now() - 1h", "NULL"]),
)
_TEXTS = st.sampled_from(["'a'", "'b'", "'A'", "'it''s'", "''", "NULL", "'d1'", "'d_1'", "'d.1'"])
_DEVICES = st.sampled_from(
    ["'root.main.d1'", "'root.main.D1'", "'root.main.`d.1`'", "'nope'", "'root.main.d%1'"]
)


def predicates(alias: str) -> st.SearchStrategy[str]:
    comparison = st.sampled_from(["=", "<", "<=", ">", ">=", "<>"])
    time_name = st.sampled_from(["ts", "time"])
    atoms = st.one_of(
        st.builds(lambda c, o, t: f"{alias}.{c} {o} {t}", time_name, comparison, _TIMES),
        st.builds(lambda o, t: f"{t} {o} {alias}.ts", comparison, _TIMES),
        st.builds(lambda a, b: f"{alias}.ts BETWEEN {a} AND {b}", _TIMES, _TIMES),
        st.builds(lambda a, b: f"{alias}.time IN ({a}, {b})", _TIMES, _TIMES),
        st.builds(lambda d: f"{alias}.device = {d}", _DEVICES),
        st.builds(lambda a, b: f"{alias}.device IN ({a}, {b})", _DEVICES, _DEVICES),
        st.sampled_from(["%", "root.main.d_1", "%d%", "root.main.d.1", "%`"]).map(
            lambda p: f"{alias}.device LIKE '{p}'"
        ),
        st.builds(lambda t: f"{alias}.loc = {t}", _TEXTS),
        st.builds(lambda t: f"{alias}.tbname = {t}", _TEXTS),
        st.builds(lambda a, b: f"{alias}.loc IN ({a}, {b})", _TEXTS, _TEXTS),
        st.integers(0, 3).map(lambda n: f"{alias}.n = {n}"),
        st.integers(-5, 8).map(lambda n: f"{alias}.v > {n}"),
        st.integers(0, 3000).map(lambda n: f"{alias}.ref > {n}"),
    )
    return st.recursive(
        atoms,
        lambda inner: st.one_of(
            st.builds(lambda a, b: f"({a} AND {b})", inner, inner),
            st.builds(lambda a, b: f"({a} OR {b})", inner, inner),
            inner.map(lambda a: f"(NOT {a})"),
        ),
        max_leaves=4,
    )
