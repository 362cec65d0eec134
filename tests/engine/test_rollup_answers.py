"""Aggregates answered from a rollup are those of the rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mainstem_engine import Engine, EngineOptions, RollupDefinition, Rollups, rollup_answers
from mainstem_engine.aggregation import Aggregation
from mainstem_engine.rollup_answers import range_of_rollup
from mainstem_engine.rollup_definition import HeldRollup
from mainstem_engine.scan import Selection

MS = 1_000_000
MINUTE_NS = 60_000 * MS
ASKED = {
    "f": ("count", "min", "max", "sum", "mean", "first", "last"),
    "i": ("count", "min", "max", "sum", "first", "last"),
    "t": ("first", "last"),
}
FAR_NS = 2**62


@pytest.fixture
def rollups() -> Rollups:
    return Rollups(
        [RollupDefinition("m", MINUTE_NS, "1m"), RollupDefinition("m", 10 * MINUTE_NS, "10m")]
    )


@pytest.fixture
def engine(tmp_path: Path, rollups: Rollups) -> Iterator[Engine]:
    options = EngineOptions(durability="os", background=False, block_rows=1000)
    with Engine.open(tmp_path, options, consumers=[rollups]) as engine:
        engine.sql("CREATE STABLE m (ts TIMESTAMP, f DOUBLE, i INT, t TEXT) TAGS (loc TEXT)")
        engine.device_ids("m", ["root.a.d0", "root.a.d1"], create=True)
        rollups.bind(engine)
        rng = np.random.default_rng(3)
        times = np.arange(0, 7_200_000, 500, dtype=np.int64)
        for device in range(2):
            values = np.round(rng.normal(0, 5, len(times)), 2)
            columns = {
                "f": (values, rng.random(len(times)) < 0.1),
                "i": rng.integers(-1000, 1000, len(times)),
                "t": rng.choice(np.array(["a", "b"], object), len(times)),
            }
            engine.write("m", np.full(len(times), device, np.uint32), times, columns).wait()
        engine.flush()
        settle(engine, rollups)
        yield engine


def settle(engine: Engine, rollups: Rollups) -> None:
    while rollups.run(7_200_000 * MS + 1):
        pass
    engine.flush()


def ask(engine: Engine, every_ns: int | None, *bounds: int, by_device: bool = True) -> Any:
    first, beyond = bounds or (-FAR_NS, FAR_NS)
    return engine.aggregate_pieces(
        "m", ASKED, None, first, beyond, every_ns=every_ns, by_device=by_device
    )


def same_as_rows(engine: Engine, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    found = engine.aggregate("m", ASKED, **options).to_pylist()
    with monkeypatch.context() as patch:
        patch.setattr(type(engine), "rollups_of", lambda self, table: [])
        wanted = engine.aggregate("m", ASKED, **options).to_pylist()
    assert len(found) == len(wanted)
    for row, want in zip(found, wanted, strict=True):
        for name, value in want.items():
            if name.endswith(("_sum", "_mean")):
                assert row[name] == pytest.approx(value, rel=1e-12, abs=1e-9)
            else:
                assert row[name] == value, name


@pytest.mark.parametrize("every", [60_000, 120_000, 600_000, 3_600_000])
@pytest.mark.parametrize("bounds", [(None, None), (90_000, 7_000_123)])
@pytest.mark.parametrize("by", [None, "device"])
def test_it_says_what_the_rows_say(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, every: int, bounds: Any, by: str | None
) -> None:
    same_as_rows(engine, monkeypatch, every=every, start=bounds[0], end=bounds[1], by=by)


@pytest.mark.parametrize("every", [None, 60_000, 3_600_000])
@pytest.mark.parametrize("by", [None, "device"])
def test_without_first_and_last_no_rows_are_made(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, every: int | None, by: str | None
) -> None:
    plain = {"f": ASKED["f"][:-2], "i": ("count", "min", "max"), "t": ("count",)}
    monkeypatch.setattr(rollup_answers, "iterate_rows", lambda *args: pytest.fail("rows"))
    monkeypatch.setattr("mainstem_engine.aggregate_queries.BLOCKS_READ_AT_ONCE", -1)
    found = engine.aggregate("m", plain, every=every, by=by).to_pylist()
    assert engine.statistics().aggregates.from_rollups == 1
    monkeypatch.setattr(type(engine), "rollups_of", lambda self, table: [])
    wanted = engine.aggregate("m", plain, every=every, by=by).to_pylist()
    assert len(found) == len(wanted)
    for row, want in zip(found, wanted, strict=True):
        assert row.pop("device", None) == want.pop("device", None)
        assert row == pytest.approx(want, rel=1e-12, abs=1e-9)


def test_the_coarsest_that_fits_is_read(engine: Engine) -> None:
    assert ask(engine, MINUTE_NS)[1].rollup == "m_1m"
    assert ask(engine, 20 * MINUTE_NS)[1].rollup == "m_10m"
    assert ask(engine, 15 * MINUTE_NS)[1].rollup == "m_1m"
    assert ask(engine, 90_000 * MS)[1].rollup is None
    _, answered = ask(engine, MINUTE_NS, 90_000 * MS, 7_000_000 * MS)
    assert answered.rollup == "m_1m"
    assert 0 < answered.blocks < 8, "only the ends are read from the table"


def test_explain_names_it(engine: Engine) -> None:
    said = engine.sql(
        "EXPLAIN SELECT time_bucket(INTERVAL '1 minute', ts) AS w, avg(f) FROM m GROUP BY w"
    ).rows()
    assert any("from: rollup m_1m" in line for (line,) in said)
    rows = engine.sql(
        "EXPLAIN SELECT time_bucket(INTERVAL '1 minute', ts) AS w, count(*) FROM m GROUP BY w"
    ).rows()
    assert not any("rollup" in line for (line,) in rows), "a rollup does not count rows"


def test_windows_that_are_not_done_come_from_the_rows(
    engine: Engine, rollups: Rollups, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.write("m", "root.a.d0", [3_000_000], {"f": [1e6]}).wait()
    assert ask(engine, MINUTE_NS)[1].rollup is None
    same_as_rows(engine, monkeypatch, every=60_000, by="device")
    engine.write("m", "root.a.d0", [7_199_999], {"f": [-1e6]}).wait()
    settle(engine, rollups)
    assert ask(engine, MINUTE_NS)[1].rollup == "m_1m"
    engine.write("m", "root.a.d0", [7_199_998], {"f": [-2e6]}).wait()
    assert ask(engine, MINUTE_NS)[1].rollup == "m_1m", "but for the newest window"
    same_as_rows(engine, monkeypatch, every=60_000, by="device")


def test_rows_that_come_in_between_are_not_missed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine._store, "applied_lsn", engine._store.visible_lsn - 1)
    assert ask(engine, MINUTE_NS)[1].rollup is None


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (-100, 1000, (0, 100)),
        (0, 100, (0, 100)),
        (1, 100, (10, 100)),
        (5, 95, (10, 90)),
        (5, 96, (10, 100)),
        (41, 49, None),
    ],
)
def test_ranges_are_whole_windows(start: int, end: int, expected: Any) -> None:
    held = HeldRollup("m_x", "m", 10, lambda first, beyond: True)
    found = range_of_rollup(held, Selection(None, start, end), Aggregation({}, 20), (0, 95))
    assert found == expected
    busy = HeldRollup("m_x", "m", 10, lambda first, beyond: beyond <= 80)
    found = range_of_rollup(busy, Selection(None, 0, 100), Aggregation({}, None), (0, 95))
    assert found == (0, 80)


FINE: dict[str, list[str]] = {
    "f_sum": ["sum"], "f_sumsq": ["sum"], "f_count": ["sum"], "f_min": ["min"], "f_max": ["max"],
    "i_sum": ["sum"], "i_min": ["min"], "i_max": ["max"], "t_count": ["sum"],
}  # fmt: skip
"""What the rollup of ten minutes knows of that of one."""


def ask_fine(engine: Engine, asked: dict[str, list[str]], every_ns: int | None) -> Any:
    return engine.aggregate_pieces(
        "m_1m", asked, None, -FAR_NS, FAR_NS, every_ns=every_ns, by_device=True
    )


@pytest.mark.parametrize("every", [600_000, 3_600_000, None])
@pytest.mark.parametrize("by", [None, "device"])
def test_a_coarser_rollup_answers_for_a_finer_one(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, every: int | None, by: str | None
) -> None:
    monkeypatch.setattr("mainstem_engine.aggregate_queries.BLOCKS_READ_AT_ONCE", -1)
    assert ask_fine(engine, FINE, 10 * MINUTE_NS)[1].rollup == "m_10m"
    found = engine.aggregate("m_1m", FINE, every=every, by=by).to_pylist()
    monkeypatch.setattr(type(engine), "rollups_of", lambda self, table: [])
    wanted = engine.aggregate("m_1m", FINE, every=every, by=by).to_pylist()
    assert len(found) == len(wanted)
    for row, want in zip(found, wanted, strict=True):
        assert row.pop("device", None) == want.pop("device", None)
        assert row == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize(
    ("column", "function"),
    [("f_sum", "count"), ("f_sum", "min"), ("f_min", "max"), ("f_max", "sum"), ("f_sum", "mean"),
     ("f_first", "first"), ("f_last", "last"), ("f_last_time", "first")],
)  # fmt: skip
def test_what_only_the_finer_one_knows(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, column: str, function: str
) -> None:
    monkeypatch.setattr("mainstem_engine.aggregate_queries.BLOCKS_READ_AT_ONCE", -1)
    assert ask_fine(engine, {column: [function]}, 10 * MINUTE_NS)[1].rollup is None
    assert ask_fine(engine, {"f_min": ["min"]}, 10 * MINUTE_NS)[1].rollup == "m_10m"
    assert ask_fine(engine, {"f_min": ["min"]}, 5 * MINUTE_NS)[1].rollup is None
