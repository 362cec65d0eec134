"""Expiry: what leaves the disk, what stays, what is counted, and what a crash may do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mainstem_engine import Engine, Template
from mainstem_engine.errors import OutOfRetentionError
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.retention import NOTHING_NS
from mainstem_engine.testing.clock import FakeClock

OpenEngine = Callable[..., Engine]

NS = 1_000_000
DAY = 86_400_000
DAY_NS = DAY * NS
NOW = 20_000 * DAY


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


@pytest.fixture
def engine(open_engine: OpenEngine, meters: Template, days: Days) -> Engine:
    """Daily partitions, kept for ten days."""
    opened = open_engine(**days.options())
    opened.create_database("root.a", keep_ns=10 * DAY_NS, duration_ns=DAY_NS)
    opened.create_template(meters)
    return opened


def _write(engine: Engine, device: str, times: Any, value: float = 1.0) -> None:
    engine.write("meters", device, np.asarray(times), {"current": value}).wait()


def _times(engine: Engine) -> list[int]:
    return sorted(engine.scan("meters").read_all()["time"].cast("int64").to_pylist())


def _counts(engine: Engine) -> tuple[int, int, int]:
    """(live, overwritten, expired); the sum holds."""
    counts = engine.store_accounting()["meters"]
    assert counts.balanced
    return counts.live, counts.overwritten + counts.unresolved, counts.expired


def _parts(engine: Engine) -> int:
    return engine.statistics().parts


def test_whole_parts_go_and_are_counted(engine: Engine, days: Days) -> None:
    _write(engine, "root.a.d", [NOW - 9 * DAY, NOW - 9 * DAY + 5, NOW])
    engine.flush()
    assert engine.expire().parts == 0
    assert engine.horizon_ns("meters") == NOTHING_NS
    days.elapse(2 * DAY_NS)
    assert _counts(engine) == (3, 0, 0)
    result = engine.expire()
    assert (result.rows, result.parts, result.rewritten) == (2, 1, 0)
    assert result.bytes > 0
    assert _counts(engine) == (1, 0, 2)
    assert _parts(engine) == 1
    assert engine.horizon_ns("meters") == (NOW - 9 * DAY + 5) * NS + 1
    assert engine.statistics().housekeeping.expired == result
    assert engine.expire().parts == 0


def test_what_was_removed_is_known_after_replay_and_reopening(
    engine: Engine, days: Days, open_engine: OpenEngine
) -> None:
    _write(engine, "root.a.d", [NOW - 9 * DAY, NOW])
    engine.flush()
    _write(engine, "root.a.d", [NOW + 1])
    days.elapse(2 * DAY_NS)
    engine.expire()
    horizon = engine.horizon_ns("meters")
    engine.abandon()
    engine = open_engine(**days.options())
    assert _counts(engine) == (2, 0, 1)
    assert engine.horizon_ns("meters") == horizon
    engine.close()
    engine = open_engine(**days.options())
    assert _counts(engine) == (2, 0, 1)
    assert _times(engine) == [NOW, NOW + 1]


def test_a_part_that_is_mostly_expired_is_rewritten(
    open_engine: OpenEngine, meters: Template, days: Days
) -> None:
    engine = open_engine(block_rows=8, **days.options())
    engine.create_database("root.a", keep_ns=10 * DAY_NS, duration_ns=1000 * DAY_NS)
    engine.create_template(meters)
    _write(engine, "root.a.d", NOW - 9 * DAY + np.arange(1200) * (DAY // 240))
    engine.flush()
    days.elapse(2 * DAY_NS)
    assert engine.expire().rewritten == 0
    days.elapse(2 * DAY_NS)
    seen = _times(engine)
    assert engine.expire().rewritten == 1
    assert _times(engine) == seen
    live, _, expired = _counts(engine)
    assert (live, live + expired) == (len(seen), 1200)
    assert engine.statistics().tables["meters"].part_rows == len(seen)
    assert engine.horizon_ns("meters") == days.wall() - 10 * DAY_NS


def test_a_key_in_two_parts_is_counted_once(engine: Engine, days: Days) -> None:
    early = NOW - 9 * DAY
    _write(engine, "root.a.d", [early, early + 1, NOW])
    engine.flush()
    _write(engine, "root.a.d", [early, early + DAY // 2])
    engine.flush()
    assert _counts(engine) == (4, 1, 0)
    days.elapse(DAY_NS + 10 * NS)
    # Only the first part is wholly expired: its second row goes, its first is in the other part.
    assert engine.expire().parts == 1
    assert _counts(engine) == (3, 1, 1)
    days.elapse(DAY_NS)
    assert engine.expire().parts == 1
    assert _counts(engine) == (1, 1, 3)


def test_holds_protect_rows_that_nobody_sees(engine: Engine, days: Days) -> None:
    _write(engine, "root.a.d", [NOW - 9 * DAY])
    _write(engine, "root.a.d", [NOW])
    engine.flush()
    days.elapse(2 * DAY_NS)
    lsn = 0
    engine.add_hold("parent", lambda: lsn)
    assert engine.expire().parts == 0
    assert _times(engine) == [NOW]
    assert _counts(engine) == (2, 0, 0)
    lsn = engine.applied_lsn
    asked: list[tuple[str, int, int]] = []
    needed = True

    def hold(table: str, start_ns: int, end_ns: int) -> bool:
        asked.append((table, start_ns, end_ns))
        return needed

    engine.add_part_hold("verified", hold)
    assert engine.expire().parts == 0
    early = (NOW - 9 * DAY) * NS
    assert asked == [("meters", early, early + 1)]
    needed = False
    assert engine.expire().parts == 1


def test_a_hold_that_fails_keeps_everything(engine: Engine, days: Days) -> None:
    _write(engine, "root.a.d", [NOW - 9 * DAY])
    engine.flush()
    days.elapse(2 * DAY_NS)

    def broken(table: str, start_ns: int, end_ns: int) -> bool:
        raise RuntimeError(table)

    engine.add_part_hold("broken", broken)
    assert engine.expire().parts == 0


def test_a_paused_clock_removes_nothing(engine: Engine, days: Days) -> None:
    _write(engine, "root.a.d", [NOW])
    engine.flush()
    days.wall.advance(100 * DAY_NS)
    assert engine.expire().parts == 0
    engine.confirm_clock()
    assert engine.expire().parts == 1


def test_nothing_that_was_removed_comes_back(engine: Engine, days: Days) -> None:
    _write(engine, "root.a.d", [NOW - 9 * DAY, NOW - 9 * DAY + 7, NOW])
    engine.flush()
    days.elapse(2 * DAY_NS)
    engine.expire()
    engine.set_keep("meters", 100 * DAY_NS)
    assert _times(engine) == [NOW]
    with pytest.raises(OutOfRetentionError) as caught:
        _write(engine, "root.a.d", [NOW - 9 * DAY])
    assert caught.value.reason == "too_late"
    assert caught.value.cutoff_ns == engine.horizon_ns("meters")
    _write(engine, "root.a.d", [NOW - 8 * DAY])
    assert _times(engine) == [NOW - 8 * DAY, NOW]


def test_devices_with_a_ttl_of_their_own_have_a_horizon_of_their_own(
    engine: Engine, days: Days
) -> None:
    engine.set_ttl("root.a.long", 100 * DAY_NS)
    early = [NOW - 9 * DAY]
    _write(engine, "root.a.d", early)
    engine.flush()
    _write(engine, "root.a.long.d", early)
    engine.flush()
    days.elapse(2 * DAY_NS)
    assert engine.expire().parts == 1
    _write(engine, "root.a.long.d", [NOW - 50 * DAY])
    assert _times(engine) == [NOW - 50 * DAY, *early]
    # What the path inherits now, its rows expire by; what beside it was removed stays removed.
    engine.set_ttl("root.a.long", None)
    assert _times(engine) == []
    engine.set_ttl("root.a", 100 * DAY_NS)
    assert _times(engine) == [NOW - 50 * DAY, *early]
    with pytest.raises(OutOfRetentionError, match="too late"):
        _write(engine, "root.a.d", early)


def test_rollups_do_not_expire_with_their_source(engine: Engine, days: Days) -> None:
    _write(engine, "root.a.d", [NOW - 9 * DAY])
    engine.create_rollup("meters", "1d", DAY_NS)
    rollup = engine.catalog.table("meters_1d")
    count = rollup.measurement("current_count")
    assert count is not None
    engine.write("meters_1d", "root.a.d", [NOW - 9 * DAY], {"current_count": 1}, derived=True)
    engine.flush()
    engine.set_ttl("root.a", DAY_NS)
    engine.expire()
    assert _times(engine) == []
    assert len(engine.scan_rows("meters_1d")) == 1
    engine.set_keep("meters_1d", 5 * DAY_NS)
    assert len(engine.scan_rows("meters_1d")) == 0
    assert engine.expire().parts == 1


def test_a_delete_of_what_was_removed_is_refused(engine: Engine, days: Days) -> None:
    _write(engine, "root.a.d", [NOW - 9 * DAY, NOW - DAY, NOW])
    engine.flush()
    engine.delete("meters", start=NOW - 20 * DAY, end=NOW - 10 * DAY)
    days.elapse(2 * DAY_NS)
    engine.expire()
    with pytest.raises(OutOfRetentionError, match="delete from"):
        engine.delete("meters", start=NOW - 9 * DAY, end=NOW)
    assert engine.delete("meters", end=NOW).rows == 1
    engine.create_rollup("meters", "1d", DAY_NS)
    with pytest.raises(OutOfRetentionError, match="delete from"):
        engine.delete("meters", end=NOW + 1)
    assert engine.delete("meters", start=NOW - DAY, end=NOW + 1).rows == 1


def test_housekeeping_expires_by_itself(engine: Engine, days: Days) -> None:
    _write(engine, "root.a.d", [NOW - 9 * DAY])
    engine.flush()
    days.elapse(2 * DAY_NS)
    engine._housekeeping.work()
    assert _parts(engine) == 0


class _FailsAt(Filesystem):
    """Raises at the n-th change of the directory from when it is armed."""

    def __init__(self) -> None:
        super().__init__()
        self.left = -1

    def _step(self) -> None:
        if self.left == 0:
            raise OSError("the machine is gone")
        self.left -= self.left > 0

    def unlink(self, path: Any) -> None:
        self._step()
        super().unlink(path)

    def create(self, path: Any, **options: Any) -> Any:
        self._step()
        return super().create(path, **options)

    def rename(self, source: Any, target: Any) -> None:
        self._step()
        super().rename(source, target)


@pytest.mark.parametrize("step", range(6))
def test_a_crash_at_any_step_leaves_all_or_nothing(
    open_engine: OpenEngine, meters: Template, days: Days, step: int
) -> None:
    fs = _FailsAt()
    engine = open_engine(fs=fs, block_rows=8, **days.options())
    engine.create_database("root.a", keep_ns=10 * DAY_NS, duration_ns=4 * DAY_NS)
    engine.create_template(meters)
    _write(engine, "root.a.d", NOW - 9 * DAY + np.arange(900) * (DAY // 100))
    engine.flush()
    days.elapse(7 * DAY_NS)
    seen = _times(engine)
    fs.left = step
    try:
        engine.expire()
    except OSError:
        engine.abandon()
        fs.left = -1
        engine = open_engine(fs=fs, **days.options())
    fs.left = -1
    live, _, expired = _counts(engine)
    assert live + expired == 900
    stored = engine.statistics().tables["meters"].part_rows
    assert live == stored
    assert _times(engine) == seen
    engine.expire()
    assert _times(engine) == seen
    assert _counts(engine)[0] == engine.statistics().tables["meters"].part_rows < 450
