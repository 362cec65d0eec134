"""Rollups of rollups, of history, under deletes, and where raw rows have gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mainstem_engine import (
    Column,
    ColumnType,
    Engine,
    Measurement,
    RollupDefinition,
    Rollups,
    Rows,
    Template,
    rollup_work,
)
from mainstem_engine.errors import OutOfRetentionError
from mainstem_engine.model import Origin
from mainstem_engine.testing.clock import FakeClock

OpenEngine = Callable[..., Engine]

MS = 1_000_000
MINUTE = 60_000 * MS
HOUR = 60 * MINUTE
DAY = 24 * HOUR
NOW = 20_000 * DAY
LATER = 1 << 62
MINUTES = RollupDefinition("t", MINUTE, "1m")
HOURS = RollupDefinition("t", HOUR, "1h")
T = Template("t", (Measurement(0, "x", ColumnType.DOUBLE), Measurement(0, "s", ColumnType.TEXT)))
CHILD = Origin("c" * 32, "child")


class Site:
    """An engine with rollups, and its clocks."""

    def __init__(self, open_engine: OpenEngine) -> None:
        self._open = open_engine
        self.wall = FakeClock(NOW)
        self.monotonic = FakeClock(0)
        self.engine: Engine
        self.rollups: Rollups

    def open(self, *definitions: RollupDefinition, **options: Any) -> Engine:
        self.rollups = Rollups(definitions or (MINUTES, HOURS))
        self.engine = self._open(
            consumers=[self.rollups], clock=self.wall, monotonic=self.monotonic, **options
        )
        self.engine.create_template(T, if_not_exists=True)
        self.rollups.bind(self.engine)
        return self.engine

    def reopen(self, *definitions: RollupDefinition) -> Engine:
        self.engine.close()
        return self.open(*definitions)

    def elapse(self, ns: int) -> None:
        self.wall.advance(ns)
        self.monotonic.advance(ns)

    def write(self, device: str, minutes: list[float], value: float = 1.0) -> None:
        times = [(NOW + int(m * MINUTE)) // MS for m in minutes]
        columns = {"x": [value] * len(times)}
        self.engine.write("t", f"root.a.{device}", times, columns).wait()

    def run(self) -> int:
        return self.rollups.run(LATER)

    def windows(self, table: str) -> dict[tuple[str, int], tuple[int, float | None]]:
        """(count, sum) by device and minutes from NOW."""
        rows = self.engine.scan(table).read_all().to_pylist()
        return {
            (r["device"][-1], (r["time"] * MS - NOW) // MINUTE): (r["x_count"], r["x_sum"])
            for r in rows
        }


@pytest.fixture
def site(open_engine: OpenEngine) -> Site:
    return Site(open_engine)


def test_coarser_windows_are_merged_from_finer_in_one_run(site: Site) -> None:
    engine = site.open()
    site.write("d", [0, 1, 59, 60], 2.0)
    site.write("e", [61])
    reads: list[str] = []
    original = engine.whole_rows

    def noted(table: str, **selection: Any) -> Rows:
        reads.append(table)
        return original(table, **selection)

    engine.whole_rows = noted  # type: ignore[method-assign]
    assert site.run() == 5 + 3
    assert reads == ["t", "t", "t_1m"]
    assert site.windows("t_1h") == {("d", 0): (3, 6.0), ("d", 60): (1, 2.0), ("e", 60): (1, 1.0)}
    site.write("d", [30], 5.0)
    assert site.run() == 2
    assert site.windows("t_1h")["d", 0] == (4, 11.0)
    assert site.run() == 0


def test_a_rollup_of_history_is_computed_from_parts(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollup_work, "SCAN_ROWS", 64)
    site.open(MINUTES)
    for device in "abcde":
        site.write(device, [m / 4 for m in range(240)])
        site.write(device, [60 * 24 * 400])
    site.run()
    expected = {(d, h): (c, float(c)) for d in "abcde" for h, c in ((0, 240), (576000, 1))}
    site.reopen(MINUTES, HOURS)
    assert site.rollups.pending() == 1, "one span of all history"
    site.run()
    assert site.windows("t_1h") == expected
    assert site.rollups.pending() == 0
    before = site.engine.log.appended_lsn
    site.reopen(MINUTES, HOURS)
    assert site.run() == 0
    assert site.engine.log.appended_lsn - before <= 2, "the history is not computed again"


def test_history_goes_on_where_a_crash_stopped_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollup_work, "SCAN_ROWS", 32)
    site.open(RollupDefinition("other", MINUTE, "1m"), block_rows=8)
    site.write("d", [m / 2 for m in range(200)])
    site.reopen(MINUTES)
    engine = site.engine
    original, left = engine.write_rows, [5]

    def fails(*args: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise OSError("the machine is gone")
        return original(*args, **options)

    engine.write_rows = fails  # type: ignore[method-assign]
    with pytest.raises(OSError, match="gone"):
        site.run()
    engine.flush()
    engine.abandon()
    engine = site.open(MINUTES)
    done = len(site.windows("t_1m"))
    assert 0 < done < 100
    assert site.run() <= 100 - done + 16
    assert site.windows("t_1m") == {("d", m): (2, 2.0) for m in range(100)}


def test_a_window_that_lost_its_rows_goes_and_the_coarser_one_follows(site: Site) -> None:
    engine = site.open()
    site.write("d", [0, 1, 1.5, 70])
    site.run()
    start = NOW // MS
    engine.delete("t", start=start + 60_000, end=start + 61_000).ack.wait()
    engine.delete("t", start=start, end=start + 1).ack.wait()
    assert site.rollups.pending() == 2
    assert site.run() == 3
    assert site.windows("t_1m") == {("d", 1): (1, 1.0), ("d", 70): (1, 1.0)}
    assert site.windows("t_1h") == {("d", 0): (1, 1.0), ("d", 60): (1, 1.0)}
    engine.delete("t", end=start + 3_600_000).ack.wait()
    site.run()
    assert site.windows("t_1m") == {("d", 70): (1, 1.0)}
    assert site.windows("t_1h") == {("d", 60): (1, 1.0)}
    engine.abandon()
    site.open()
    assert site.rollups.pending() == 0
    site.write("d", [0.5])
    site.run()
    assert site.windows("t_1m")["d", 0] == (1, 1.0)


def test_a_delete_of_very_much_is_a_span(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from mainstem_engine import rollup

    monkeypatch.setattr(rollup, "EXPANDED_MAX", 10)
    engine = site.open()
    site.write("d", list(range(100)))
    site.write("e", [50])
    site.run()
    engine.delete("t", devices=["root.a.d"], end=NOW // MS + 90 * 60_000).ack.wait()
    assert site.rollups.pending() == 1
    site.run()
    assert sorted(site.windows("t_1m")) == [("d", m) for m in range(90, 100)] + [("e", 50)]
    assert site.windows("t_1h") == {("d", 60): (10, 10.0), ("e", 0): (1, 1.0)}


def test_a_late_row_below_the_horizon_leaves_the_rollup_as_it_was(site: Site) -> None:
    engine = site.open()
    engine.create_database("root.a", keep_ns=DAY, duration_ns=HOUR)
    site.write("d", [0, 1])
    site.run()
    engine.flush()
    site.elapse(2 * DAY)
    assert engine.expire().parts == 1
    with pytest.raises(OutOfRetentionError):
        site.write("d", [0.5])
    # A child's rows are stored whatever their age: they are counted, and change nothing.
    ids = engine.device_ids("t", ["root.a.d"])
    late = Rows(ids, np.array([NOW + MINUTE // 2]), {0: Column(np.array([1.0]))})
    engine._store.application.add_foreign_rows("t", CHILD, late, 1, engine.applied_lsn + 1)
    definition = RollupDefinition("t", MINUTE, "1m", all=True)
    site.rollups._of(definition, "t")
    before = site.windows("t_1m")
    assert site.run() == 0
    assert site.windows("t_1m") == before
    counts = engine.store_accounting()["t"]
    assert counts.balanced
    assert (counts.logged, counts.expired) == (3, 2)
    site.write("e", [2 * 24 * 60])
    engine.flush()
    engine.expire()
    counts = engine.store_accounting()["t"]
    assert counts.balanced
    assert (counts.live, counts.expired) == (1, 3)


def test_raw_rows_wait_for_the_rollup(site: Site) -> None:
    engine = site.open(MINUTES)
    engine.create_database("root.a", keep_ns=DAY, duration_ns=HOUR)
    site.write("d", [0, 1])
    engine.flush()
    site.elapse(2 * DAY)
    assert engine.scan_rows("t").time.tolist() == []
    assert engine.expire().parts == 0
    assert site.run() == 2
    assert site.windows("t_1m") == {("d", 0): (1, 1.0), ("d", 1): (1, 1.0)}
    assert engine.expire().parts == 1


def test_a_tier_that_receives_only_rollups_makes_coarser_ones(site: Site) -> None:
    hours = RollupDefinition("t", HOUR, "1h", all=True)
    engine = site.open(hours)
    engine.create_rollup("t", "1m", MINUTE)
    ids = engine.device_ids("t", ["root.a.d"], create=True)
    count = engine.catalog.table("t_1m").measurement("x_count")
    assert count is not None
    times = np.array([NOW, NOW + MINUTE, NOW + HOUR])
    rows = Rows(np.repeat(ids, 3), times, {count.id: Column(np.array([3, 4, 5]))})
    engine._store.application.add_foreign_rows("t_1m", CHILD, rows, 1, engine.applied_lsn + 1)
    assert site.run() == 2
    assert {k: v[0] for k, v in site.windows("t_1h").items()} == {("d", 0): 7, ("d", 60): 5}
    engine.flush()
    site.reopen(hours, RollupDefinition("t", DAY, "1d", all=True))
    site.run()
    assert {k: v[0] for k, v in site.windows("t_1d").items()} == {("d", 0): 12}
    assert engine.catalog is not site.engine.catalog
    assert not any(held.answers(NOW, NOW + HOUR) for held in site.engine.rollups_of("t"))


def test_what_a_rollup_can_answer(site: Site) -> None:
    engine = site.open()
    engine.create_database("root.a", keep_ns=DAY, duration_ns=HOUR)
    assert [h.table for h in engine.rollups_of("t")] == []
    site.write("d", [0, 70])
    site.run()
    minutes, hours = engine.rollups_of("T")
    assert (minutes.table, minutes.of, minutes.every_ns) == ("t_1m", "t", MINUTE)
    assert hours.table == "t_1h"
    assert minutes.answers(NOW, NOW + HOUR)
    assert hours.answers(NOW, NOW + DAY)
    site.write("d", [30])
    assert not minutes.answers(NOW, NOW + HOUR)
    assert not hours.answers(NOW, NOW + HOUR)
    assert minutes.answers(NOW + HOUR, NOW + 2 * HOUR)
    site.run()
    assert hours.answers(NOW, NOW + HOUR)
    site.elapse(DAY + HOUR)
    assert not minutes.answers(NOW, NOW + HOUR), "what is expired is in no answer"
    assert minutes.answers(NOW + HOUR, NOW + 2 * HOUR)


def test_alterations_of_the_source_are_followed(site: Site) -> None:
    engine = site.open()
    site.write("d", [0])
    site.run()
    engine.alter_template("t", add=[Measurement(0, "y", ColumnType.INT32)], rename={"x": "z"})
    time = NOW // MS + 1
    engine.write("t", "root.a.d", [time], {"y": [5], "z": [2.0]}).wait()
    site.run()
    for table in ("t_1m", "t_1h"):
        (row,) = engine.scan(table).read_all().to_pylist()
        assert (row["z_count"], row["z_sum"], row["y_count"], row["y_max"]) == (2, 3.0, 1, 5)
    engine.alter_template("t", widen={"y": ColumnType.INT64})
    engine.write("t", "root.a.d", [time + 1], {"y": [2**40]}).wait()
    site.run()
    for table in ("t_1m", "t_1h"):
        (row,) = engine.scan(table).read_all().to_pylist()
        assert (row["y_count"], row["y_min"], row["y_max"]) == (2, 5, 2**40)


def test_definitions_change_while_rows_come(site: Site) -> None:
    """As after a start with the new ones: history, what is in the head, and what comes later."""
    engine = site.open(MINUTES)
    site.write("d", [0, 1, 59, 60], 2.0)
    engine.flush()
    site.write("e", [61])
    assert site.run() == 5
    site.rollups.redefine([MINUTES, HOURS])
    assert not site.rollups.held(engine.catalog.table("t_1m"))  # its table is made by the next run
    site.write("d", [30], 5.0)
    site.run()
    assert site.windows("t_1h") == {("d", 0): (4, 11.0), ("d", 60): (1, 2.0), ("e", 60): (1, 1.0)}
    assert site.run() == 0
    late = RollupDefinition("t", MINUTE, "1m", lateness_ns=HOUR)
    site.write("e", [62])
    site.rollups.redefine([late, HOURS])
    assert site.rollups.run(NOW + 63 * MINUTE) == 0  # it waits for longer now
    site.run()
    assert site.windows("t_1m")["e", 62] == (1, 1.0)
    site.rollups.redefine([late])
    site.write("d", [31])
    site.run()
    assert site.windows("t_1h")["d", 0] == (4, 11.0)
    site.rollups.redefine([HOURS])  # from the rows now: all of it is computed anew
    site.run()
    assert site.windows("t_1h")["d", 0] == (5, 12.0)
    assert site.windows("t_1h")["e", 60] == (2, 2.0)
    site.reopen(HOURS)
    assert site.run() == 0
