"""The neighbours of a range, read by themselves, say what all rows say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from mainstem_engine import Engine
from mainstem_engine.sql.grammar.dialect import parse
from mainstem_engine.sql.lowering import interp
from mainstem_engine.sql.plan import Request
from mainstem_engine.sql.planning.planner import Planner
from mainstem_engine.sql.statements import Query
from mainstem_engine.sql.times import parse_zone

from .conftest import open_engine

ITEMS = [
    "tbname, _irowts, INTERP(f), _isfilled, _irowts_origin FROM m {where} PARTITION BY tbname",
    "loc, _irowts, INTERP(f), INTERP(t) FROM m {where} PARTITION BY loc",
    "_irowts, INTERP(f), INTERP(n), INTERP(b) FROM m {where}",
    "tbname, loc, _irowts, INTERP(f, 1), INTERP(t, 1) FROM m {where} PARTITION BY tbname, loc",
    "_irowts, INTERP(f, 1), _irowts_origin FROM m {where}",
    "_irowts, INTERP(f, 1) FROM d0 {where}",
    "_irowts, INTERP(f) FROM d0 {where}",
    "INTERP(f), INTERP(n) FROM root.main.* {where}",
    "INTERP(f) FROM root.main.* {where} ALIGN BY DEVICE",
    "tbname, _irowts, INTERP(f), INTERP(n, 1) FROM m {where} PARTITION BY tbname",
    "tbname, _irowts, INTERP(f + 1) FROM m {where} PARTITION BY tbname",
    "n % 2, _irowts, INTERP(f) FROM m {where} PARTITION BY n % 2",
    "tbname, _irowts, INTERP(s.f) FROM m AS s {where} PARTITION BY tbname",
]
WHERE = ["", "WHERE loc = 'a'", "WHERE ts > 100000 AND ts < 700000", "WHERE n > 0"]
FILLS = ["FILL(PREV)", "FILL(NEXT)", "FILL(NEAR)", "FILL(LINEAR)"]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine(tmp_path_factory.mktemp("surrounding")) as engine:
        engine.sql(
            "CREATE STABLE m (ts TIMESTAMP, f DOUBLE, n BIGINT, t TEXT, b BOOLEAN) TAGS (loc TEXT)"
        )
        tags: dict[str, list[Any]] = {"loc": ["a", "b", "a", None]}
        paths = [f"root.main.d{n}" for n in range(4)]
        engine.device_ids("m", paths, tags=tags, create=True)
        rng = np.random.default_rng(11)
        for number, path in enumerate(paths):
            times = np.unique(rng.integers(0, 800_000, 8**number))
            count = len(times)
            engine.write("m", path, times, {
                "f": (rng.normal(20, 5, count).round(2), rng.random(count) < 0.4),
                "n": (rng.integers(-10, 10, count), rng.random(count) < 0.3),
                "t": (rng.choice(np.array(["p", "q"], object), count), rng.random(count) < 0.5),
                "b": rng.random(count) < 0.5,
            }).wait()  # fmt: skip
            if number == 2:
                engine.flush()
        yield engine


@pytest.mark.parametrize("items", ITEMS)
def test_neighbours_stand_for_all_rows(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, items: str
) -> None:
    # No line can be drawn through texts and booleans.
    fills = FILLS[:3] if "INTERP(t" in items or "INTERP(b" in items else FILLS
    for at, where in enumerate(WHERE):
        if "FROM d0" in items and "loc" in where:
            continue
        low = 150_000 + at * 100_000
        fill = fills[(at + ITEMS.index(items)) % len(fills)]
        clause = f"RANGE({low}, {low + 40_000}) EVERY(7s) {fill}"
        sql = f"SELECT {items.format(where=where)} {clause}"
        found = engine.sql(sql)
        with monkeypatch.context() as patch:
            patch.setattr(interp, "with_neighbours", lambda query, *args: query)
            patch.setattr(interp, "with_neighbours_of_devices", lambda *args: None)
            wanted = engine.sql(f"{sql} ")
        assert found.arrow().schema == wanted.arrow().schema
        assert found.rows() == wanted.rows()


def plan_reads(engine: Engine, sql: str) -> list[Any]:
    (statement,) = parse(sql)
    assert isinstance(statement, Query)
    request = Request("root.main", "UTC", parse_zone("UTC"), engine.options.clock(), ())
    return [
        source.partials for source in Planner(engine.catalog).plan(statement.tree, request).inputs
    ]


def test_rows_outside_of_the_range_are_not_read(engine: Engine) -> None:
    clause = "RANGE(200000, 210000) EVERY(1s) FILL(PREV)"
    for items in ITEMS[:5]:
        reads = plan_reads(engine, f"SELECT {items.format(where='')} {clause}")
        assert len(reads) > 2
        assert reads.count(None) == 1


def test_a_plan_of_neighbours_holds_for_other_times(engine: Engine) -> None:
    for items in (ITEMS[0], ITEMS[6]):
        sql = f"SELECT {items} RANGE(300000, 400000) EVERY(20s) FILL(LINEAR)"
        asked = sql.format(where="WHERE ts > ?")
        for start in (0, 250_000, 290_000, 0):
            written = sql.format(where=f"WHERE ts > {start} AND ts <= 9000000")
            assert engine.sql(asked, [start]).rows() == engine.sql(written).rows()
