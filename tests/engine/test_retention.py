"""Retention: cutoffs, the guarded clock, refusal, removal, horizons."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mainstem_engine import Engine, Template
from mainstem_engine.errors import OutOfRetentionError
from mainstem_engine.expiry import ExpiryResult
from mainstem_engine.model import Rows
from mainstem_engine.retention import Cutoff
from mainstem_engine.testing.clock import FakeClock

OpenEngine = Callable[..., Engine]


def _rows(device: list[int], time: list[int]) -> Rows:
    return Rows(np.array(device, np.uint32), np.array(time, np.int64))


def test_one_class_cuts_every_device_at_the_same_time() -> None:
    cutoff = Cutoff([100])
    assert (cutoff.least_ns, cutoff.greatest_ns) == (100, 100)
    assert cutoff.of(np.array([0, 7], np.uint32)).tolist() == [100, 100]
    mask = cutoff.keeps(_rows([0, 1, 2], [99, 100, 101]))
    assert mask is not None
    assert mask.tolist() == [False, True, True]
    assert cutoff.keeps(_rows([0, 1], [100, 101])) is None
    assert cutoff.keeps(_rows([], [])) is None


def test_classes_cut_their_own_devices() -> None:
    cutoff = Cutoff([100, 50], np.array([0, 1, 0], np.uint16))
    assert (cutoff.least_ns, cutoff.greatest_ns) == (50, 100)
    assert cutoff.of(np.array([0, 1, 2, 9], np.uint32)).tolist() == [100, 50, 100, 50]
    mask = cutoff.keeps(_rows([0, 1, 2], [60, 60, 100]))
    assert mask is not None
    assert mask.tolist() == [False, True, True]


SECOND = 1000
"""In the precision of the tables here."""
NS = 1_000_000
DAY = 86_400 * SECOND
DAY_NS = DAY * NS
NOW = 1_790_000_000 * SECOND


class Days:
    """The clocks of an engine: days pass on both."""

    def __init__(self) -> None:
        self.wall = FakeClock(NOW * NS)
        self.monotonic = FakeClock(0)

    def options(self) -> dict[str, Any]:
        return {"clock": self.wall, "monotonic": self.monotonic}

    def elapse(self, ns: int) -> None:
        self.wall.advance(ns)
        self.monotonic.advance(ns)


@pytest.fixture
def days() -> Days:
    return Days()


def _write(engine: Engine, device: str, times: Any, value: float = 1.0) -> None:
    engine.write("meters", device, np.asarray(times), {"current": value}).wait()


def _times(engine: Engine, table: str = "meters", **selection: Any) -> list[int]:
    times = engine.scan(table, **selection).read_all()["time"].cast("int64").to_pylist()
    return sorted(times)


def _last(engine: Engine) -> dict[str, int]:
    rows = engine.last_rows("meters")
    return {row["device"]: row["time"] for row in rows}


def test_expired_rows_vanish_from_every_answer_at_once(
    open_engine: OpenEngine, meters: Template, days: Days
) -> None:
    engine = open_engine(**days.options())
    engine.create_database("root.a", keep_ns=10 * DAY_NS)
    engine.create_template(meters)
    _write(engine, "root.a.old", [NOW - 9 * DAY, NOW - 8 * DAY])
    _write(engine, "root.a.new", [NOW - 9 * DAY, NOW])
    engine.flush()
    assert len(_times(engine)) == 4
    days.elapse(3 * DAY_NS // 2)
    assert _times(engine) == [NOW - 8 * DAY, NOW]
    assert _times(engine, start=NOW - 9 * DAY, end=NOW) == [NOW - 8 * DAY]
    days.elapse(DAY_NS)
    assert _times(engine) == [NOW]
    assert _last(engine) == {"root.a.new": NOW}
    assert len(engine.scan_rows("meters")) == 1
    digests = engine.slice_digests("meters", 0, 0, 2 * NOW * NS, DAY_NS)
    assert digests.count.tolist() == [1]


def test_the_newest_values_of_a_device_expire_one_by_one(
    open_engine: OpenEngine, meters: Template, days: Days
) -> None:
    engine = open_engine(**days.options())
    engine.create_database("root.a", keep_ns=10 * DAY_NS)
    engine.create_template(meters)
    engine.write("meters", "root.a.d", np.array([NOW - 9 * DAY]), {"voltage": 7}).wait()
    _write(engine, "root.a.d", [NOW])
    assert engine.last_rows("meters")[0]["voltage"] == 7
    days.elapse(2 * DAY_NS)
    assert "voltage" not in engine.last_rows("meters")[0]


def test_ttl_comes_before_keep_of_template_before_keep_of_database(
    open_engine: OpenEngine, meters: Template, days: Days
) -> None:
    engine = open_engine(**days.options())
    engine.create_database("root.a", keep_ns=40 * DAY_NS)
    engine.create_template(meters)
    old = [NOW - 30 * DAY, NOW - 15 * DAY, NOW - 5 * DAY]
    for device in ("root.a.x.d1", "root.a.x.y.d2", "root.a.z.d3"):
        _write(engine, device, old)

    def seen() -> list[int]:
        return [
            len(_times(engine, devices=[device]))
            for device in ("root.a.x.d1", "root.a.x.y.d2", "root.a.z.d3")
        ]

    assert seen() == [3, 3, 3]
    engine.set_keep("METERS", 20 * DAY_NS)
    assert seen() == [2, 2, 2]
    engine.set_ttl("root.a.x", 10 * DAY_NS)
    assert seen() == [1, 1, 2]
    engine.set_ttl("root.a.x.y", 100 * DAY_NS)
    assert seen() == [1, 3, 2]
    _write(engine, "root.a.x.y.new", old)
    assert len(_times(engine)) == 9
    engine.set_ttl("root.a.x", None)
    assert seen() == [2, 3, 2]
    engine.set_ttl("root.a.x.y.d2", 1 * DAY_NS)
    assert seen() == [2, 0, 2]


def test_rules_survive_replay_and_checkpoint(
    open_engine: OpenEngine, meters: Template, days: Days, tmp_path: Path
) -> None:
    engine = open_engine(**days.options())
    engine.create_template(meters)
    _write(engine, "root.a.x.d1", [NOW - 30 * DAY, NOW])
    engine.set_keep("meters", 20 * DAY_NS)
    engine.set_ttl("root.a.x", 40 * DAY_NS)
    engine.flush()
    engine.set_ttl("root.a.x.d1", 10 * DAY_NS)
    engine.abandon()
    engine = open_engine(**days.options())
    assert engine.catalog.rules.ttls() == {
        "root.a.x": 40 * DAY_NS,
        "root.a.x.d1": 10 * DAY_NS,
    }
    assert _times(engine) == [NOW]
    engine.close()
    engine = open_engine(**days.options())
    assert engine.catalog.rules.keep_of("meters", None) == 20 * DAY_NS
    assert _times(engine) == [NOW]


def test_a_row_that_is_too_old_is_refused_and_nothing_of_the_call_is_stored(
    open_engine: OpenEngine, meters: Template, days: Days
) -> None:
    engine = open_engine(**days.options())
    engine.create_database("root.a", keep_ns=10 * DAY_NS)
    engine.create_template(meters)
    _write(engine, "root.a.d", [NOW - 10 * DAY])
    with pytest.raises(OutOfRetentionError) as caught:
        _write(engine, "root.a.d", [NOW, NOW - 10 * DAY - 1, NOW - 11 * DAY])
    error = caught.value
    assert (error.code, error.reason, error.device) == ("OUT_OF_RETENTION", "expired", "root.a.d")
    assert error.time_ns == (NOW - 11 * DAY) * NS
    assert error.cutoff_ns == (NOW - 10 * DAY) * NS
    assert "root.a.d" in str(error)
    assert "2026-09" in str(error)
    assert "KEEP" in str(error)
    assert _times(engine) == [NOW - 10 * DAY]
    found = engine.out_of_retention(
        "meters", np.zeros(2, np.uint32), np.array([NOW - 11 * DAY, NOW]) * NS
    )
    assert found is not None
    assert found.expired.tolist() == [True, False]


def test_a_jump_of_the_clock_hides_and_refuses_nothing(
    open_engine: OpenEngine, meters: Template, days: Days
) -> None:
    engine = open_engine(**days.options())
    engine.create_database("root.a", keep_ns=10 * DAY_NS)
    engine.create_template(meters)
    _write(engine, "root.a.d", [NOW])
    days.wall.advance(365 * DAY_NS)
    assert _times(engine) == [NOW]
    _write(engine, "root.a.d", [NOW + 1])
    assert engine.statistics().retention_clock.paused
    engine.confirm_clock()
    assert _times(engine) == []
    days.wall.now_ns = 0
    assert _times(engine) == [NOW, NOW + 1]


def test_a_restart_remembers_the_confirmed_time(
    open_engine: OpenEngine, meters: Template, days: Days
) -> None:
    engine = open_engine(**days.options())
    engine.create_database("root.a", keep_ns=10 * DAY_NS)
    engine.create_template(meters)
    _write(engine, "root.a.d", [NOW])
    engine.close()
    days.wall.advance(4000 * DAY_NS)
    days.monotonic.now_ns = 0
    engine = open_engine(**days.options())
    assert _times(engine) == [NOW]
    assert engine.expire() == ExpiryResult()
    engine.confirm_clock()
    assert _times(engine) == []


def test_calls_of_one_row_are_refused_from_the_first_on(
    open_engine: OpenEngine, meters: Template, days: Days
) -> None:
    engine = open_engine(**days.options())
    engine.create_database("root.a", keep_ns=10 * DAY_NS)
    engine.create_database("root.b", keep_ns=2 * DAY_NS)
    engine.create_template(meters)

    def write(device: str, time: int) -> None:
        engine.write("meters", device, [time], {"current": [1.0]}).wait()

    write("root.a.d", NOW)
    for _ in range(2):
        with pytest.raises(OutOfRetentionError):
            write("root.a.d", NOW - 11 * DAY)
    write("root.a.d", NOW - 5 * DAY)
    write("root.b.d", NOW)
    with pytest.raises(OutOfRetentionError):
        write("root.b.d", NOW - 5 * DAY)
    days.wall.advance(20 * DAY_NS)
    write("root.a.d", NOW + 1)
    engine.confirm_clock()
    with pytest.raises(OutOfRetentionError):
        write("root.a.d", NOW + 2)
