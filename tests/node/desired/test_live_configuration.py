"""Configurations that a running node goes on with: nothing is closed, and rows come meanwhile."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from mainstem_engine.errors import MainstemError
from mainstem_node import far_alters
from mainstem_node.config import load_topology
from mainstem_node.desired.agent import STATEMENT
from mainstem_node.reconfiguring import LIVE_KEYS, takes_no_start
from mainstem_sync.wire.order import State

from .pair import Pair

MINUTE_MS = 60_000
PAUSE_S = 0.002


class Source:
    """Writes a row every few milliseconds at the edge, each to be durable before the next."""

    def __init__(self, pair: Pair) -> None:
        self._engine = pair.edge().engine
        self._start_ms = time.time_ns() // 10**6 // MINUTE_MS * MINUTE_MS - 600 * MINUTE_MS
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.rows = 0
        self.error: Exception | None = None

    def _run(self) -> None:
        try:
            while not self._stopping.wait(PAUSE_S):
                time_ms = [self._start_ms + 1000 * self.rows]
                columns = {"flow": [float(self.rows)]}
                self._engine.write("pump", "root.p.e.d1", time_ms, columns).wait(10.0)
                self.rows += 1
        except (MainstemError, TimeoutError) as error:
            self.error = error

    def __enter__(self) -> Source:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        self._thread.join()


def everything(document: dict[str, Any]) -> None:
    """Each key that takes no start, at once."""
    pump = document["templates"]["pump"]
    pump["measurements"]["pressure"] = {"type": "DOUBLE", "range": [0, 10]}
    pump["tags"]["row"] = "TEXT"
    pump["keep"] = "90d"
    own = document["nodes"][0]
    own["rollups"] = [{"template": "pump", "every": ["1m", "1h"], "lateness": "1s"}]
    own["export"] = [
        {"template": "pump", "mode": "raw"},
        {"template": "pump", "mode": "rollup", "every": "1m"},
    ]
    own["databases"] = {"root.p": {"keep": "180d"}}
    own["link"] = {"limit": "8Mbit/s", "reach_within": "20s"}
    own["clock"] = {"future": "60s"}
    other = {"id": "other", "tier": "edge", "listen": "127.0.0.1:1", "data_dir": "other"}
    document["nodes"].append({**other, "paths": ["root.p.other"], "parent": {"node": "plant"}})


async def test_everything_that_takes_no_start_is_changed_while_rows_come(pair: Pair) -> None:
    before, port = pair.edge(), pair.edge().port
    plant = pair.plant().engine
    with Source(pair) as source:
        await pair.until(lambda: source.rows > 20, "rows come")
        rows = source.rows
        found = await pair.end_of(await pair.give(everything, base=1))
        assert found.state is State.DONE, found
        assert source.rows > rows
        await pair.until(lambda: source.rows > rows + 100, "rows still come")
    assert source.error is None
    assert (pair.edge(), pair.edge().port) == (before, port)
    engine = pair.edge().engine
    table = engine.catalog.table("pump")
    assert [m.name for m in table.shown] == ["flow", "pressure"]
    assert [tag.name for tag in table.template.tags] == ["line", "row"]
    assert engine.catalog.rules.keep_of("pump", None) == 90 * 86_400 * 10**9
    assert {d.name for d in before.rollups.definitions} == {"1m", "1h"}
    assert before.federation.policy.sends("pump_1m")
    assert before.federation.budget.bytes_per_s() == 1e6
    assert before.ownership.owner("root.p.other.d") == "other"
    assert before.runtime.config.link.reach_within == 20 * 10**9
    minutes = -(-source.rows // 60)

    def arrived() -> bool:
        if plant.catalog.templates.get("pump_1m") is None:
            return False
        rows = [plant.scan(name).read_all().num_rows for name in ("pump", "pump_1m")]
        return rows == [source.rows, minutes]

    await pair.until(arrived, "all rows and their windows are at the plant")
    found = await pair.end_of(await pair.order({"rollback": "before"}))
    assert found.state is State.DONE
    assert pair.edge() is before
    assert before.rollups.definitions == ()
    assert not before.federation.policy.sends("pump_1m")
    assert before.federation.budget.bytes_per_s() is None


async def test_what_cannot_be_applied_is_taken_back(pair: Pair) -> None:
    def another_type(document: dict[str, Any]) -> None:
        document["templates"]["pump"]["measurements"]["flow"]["type"] = "TEXT"

    found = await pair.end_of(await pair.give(another_type))
    assert found.state is State.FAILED
    assert found.word is not None
    assert found.word.result["rolled_back"] is True
    assert "flow is stored as DOUBLE" in found.word.error
    assert pair.hosts["edge"].document["templates"]["pump"]["measurements"] == {
        "flow": {"type": "DOUBLE"}
    }


async def test_a_budget_that_silences_the_link_is_taken_back(pair: Pair) -> None:
    found = await pair.end_of(
        await pair.give(lambda d: d["nodes"][0].update(link={"limit": "0bit/s"}))
    )
    assert found.state is State.FAILED
    assert found.word is not None
    assert "not reached within 1.5 s" in found.word.error
    assert pair.edge().federation.budget.bytes_per_s() is None


@pytest.mark.parametrize("key", ["hold", "storage", "disk", "sql", "paths", "intake", "parent"])
def test_other_keys_take_a_start(pair_file: Any, key: str) -> None:
    values: dict[str, Any] = {
        "hold": "durable@parent", "storage": {"flush_every": "5s"}, "disk": {"limit": "1GB"},
        "sql": {"processes": 2}, "paths": ["root.p.else"],
        "intake": {"max_new_devices_per_minute": 5},
        "parent": {"node": "plant", "url": "http://127.0.0.1:9"},
    }  # fmt: skip
    assert key not in LIVE_KEYS
    assert takes_no_start(pair_file({}), pair_file({"clock": {"future": "9s"}}), "edge")
    assert not takes_no_start(pair_file({}), pair_file({key: values[key]}), "edge")


def test_export_rules_take_a_start_where_rows_wait_to_be_synced(pair_file: Any) -> None:
    raw = {"export": [{"template": "pump", "mode": "raw"}]}
    nothing: dict[str, Any] = {"export": []}
    assert takes_no_start(pair_file(nothing), pair_file(raw), "edge")
    late = {"storage": {"durability": "interval:100ms"}}
    assert not takes_no_start(pair_file({**nothing, **late}), pair_file({**raw, **late}), "edge")


async def test_an_alter_at_the_plant_reaches_the_edge(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sql(statement: str) -> list[str]:
        return list(pair.plant().runtime.statements.execute(statement, by="ann").warnings)

    def measurements() -> dict[str, Any]:
        found: dict[str, Any] = pair.hosts["edge"].document["templates"]["pump"]["measurements"]
        return found

    before = pair.edge()
    with Source(pair) as source:
        orders = pair.plant().federation.down.orders
        await pair.until(lambda: orders.statement("edge", STATEMENT) is not None, "it is known")
        await pair.until(lambda: source.rows > 5, "rows come")
        warnings = await asyncio.to_thread(
            sql, "ALTER STABLE pump ADD COLUMN pressure FLOAT UNIT='bar', ADD COLUMN note TEXT"
        )
        assert warnings == []
        warnings = await asyncio.to_thread(
            sql,
            "ALTER STABLE pump RENAME COLUMN note TO remark; "
            "ALTER STABLE pump MODIFY COLUMN pressure DOUBLE; "
            "ALTER STABLE pump RENAME TAG line TO row",
        )
        assert warnings == []
    assert source.error is None
    assert pair.edge() is before
    assert measurements() == {
        "flow": {"type": "DOUBLE"},
        "pressure": {"type": "DOUBLE", "unit": "bar"},
        "remark": {"type": "TEXT", "from": "note"},
    }
    assert pair.hosts["plant"].document["templates"] == pair.hosts["edge"].document["templates"]
    table = pair.edge().engine.catalog.table("pump")
    assert [m.name for m in table.shown] == ["flow", "pressure", "remark"]
    assert [tag.name for tag in table.template.tags] == ["row"]
    revision = pair.hosts["edge"].revisions.current
    assert revision is not None
    assert (revision.rev, revision.by) == (3, "ann")
    # While the edge is away the plant goes ahead; the order waits, and comes before any row.
    await pair.hosts["edge"].stop()
    monkeypatch.setattr(far_alters, "WAIT_S", 0.5)
    (warning,) = await asyncio.to_thread(sql, "ALTER STABLE pump ADD COLUMN rpm DOUBLE")
    assert "edge has not followed yet" in warning
    await pair.start("edge")
    await pair.until(lambda: "rpm" in measurements(), "the edge follows")
    now_ms = time.time_ns() // 10**6
    columns = {"rpm": [3.0], "remark": ["x"]}
    engine = pair.edge().engine
    await asyncio.to_thread(engine.write("pump", "root.p.e.d1", [now_ms], columns).wait)
    plant = pair.plant()

    def arrived() -> bool:
        rows = plant.engine.scan("pump", columns=["rpm", "remark"]).read_all().to_pylist()
        return any(row["rpm"] == 3.0 and row["remark"] == "x" for row in rows)

    await pair.until(arrived, "a row with the new column is at the plant")
    assert plant.federation.quarantine.statistics().items == 0


async def test_a_statement_that_alters_nothing_orders_nothing(pair: Pair) -> None:
    statements = pair.plant().runtime.statements
    for text in (
        "ALTER STABLE pump KEEP 90d",
        "CREATE STABLE fan (ts TIMESTAMP, x DOUBLE) TAGS (y TEXT)",
    ):
        await asyncio.to_thread(statements.execute, text)
    with pytest.raises(MainstemError):
        await asyncio.to_thread(statements.execute, "ALTER STABLE pump ADD COLUMN flow TEXT")
    assert pair.plant().federation.down.orders.all() == []
    assert load_topology(pair.place / "topology.yaml").templates.keys() == {"pump"}


async def test_a_column_that_children_fill_is_not_dropped_above(pair: Pair) -> None:
    with Source(pair) as source:
        await pair.until(lambda: source.rows > 5, "rows come")
    rows = source.rows
    plant = pair.plant()
    await pair.until(lambda: plant.engine.scan("pump").read_all().num_rows == rows, "all is there")
    with pytest.raises(MainstemError, match="edge"):
        await asyncio.to_thread(
            plant.runtime.statements.execute, "ALTER STABLE pump DROP COLUMN flow"
        )
    assert [m.name for m in plant.engine.catalog.table("pump").shown] == ["flow"]
