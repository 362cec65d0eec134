"""The order in which windows are computed: few blocks are decoded twice, in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine import (
    Column,
    ColumnType,
    Engine,
    EngineOptions,
    Measurement,
    RollupDefinition,
    Rollups,
    Rows,
    Template,
    rollup_work,
)
from mainstem_engine.dirty_windows import DEVICE_MAX, DirtyWindows, Span
from mainstem_engine.part.reader import BlockNumbers, Part
from mainstem_engine.rollup_order import PLANNED_MAX, pieces_of

OpenEngine = Callable[..., Engine]

MINUTE = 60_000_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
LATER = 1 << 62
DEVICES, MINUTES = 40, 600
BLOCK_ROWS, SCAN_ROWS = 50, 2_000
PIECE_WINDOWS = 4 * MINUTES // 60
"""A scan holds the rows of three devices, and ends with the blocks of the fourth at most."""
HOURS = RollupDefinition("t", HOUR, "1h")
NONE_YET = RollupDefinition("other", HOUR, "1h")
T = Template("t", (Measurement(0, "x", ColumnType.DOUBLE),))


class Plant:
    """Devices with a row a minute, in parts of one partition or of many, and a keeper."""

    def __init__(self, open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        self._open = open_engine
        monkeypatch.setattr(rollup_work, "SCAN_ROWS", SCAN_ROWS)
        self.decoded: Counter[tuple[str, int]] = Counter()
        self.scanned: list[int] = []
        self._count(monkeypatch)
        self.engine: Engine
        self.rollups: Rollups

    def _count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        read = Part.read

        def counted(part: Part, blocks: BlockNumbers, ids: Collection[int], **how: Any) -> Any:
            if part.meta.table == "t":
                self.decoded.update((part.meta.name, int(number)) for number in blocks)
            return read(part, blocks, ids, **how)

        monkeypatch.setattr(Part, "read", counted)

    def open(self, definition: RollupDefinition, **options: Any) -> Engine:
        self.rollups = Rollups((definition,))
        self.engine = self._open(
            consumers=[self.rollups], block_rows=BLOCK_ROWS, background=False, **options
        )
        self.engine.create_template(T, if_not_exists=True)
        self.rollups.bind(self.engine)
        read = self.engine.whole_rows

        def noted(table: str, **selection: Any) -> Rows:
            rows = read(table, **selection)
            self.scanned.append(len(rows))
            return rows

        self.engine.whole_rows = noted  # type: ignore[method-assign]
        return self.engine

    def fill(self, duration_ns: int, step: int = 1) -> None:
        """Rows every ``step`` minutes."""
        self.engine.create_database("root.a", duration_ns=duration_ns)
        names = [f"root.a.d{number}" for number in range(DEVICES)]
        ids = np.sort(self.engine.device_ids("t", names, create=True))
        table = self.engine.catalog.table("t")
        time = np.arange(0, MINUTES, step) * MINUTE
        for device in ids:
            rows = Rows(np.repeat(device, len(time)), time, {0: Column(np.ones(len(time)))})
            self.engine.write_rows(table, rows).wait()
        self.engine.flush()
        self.engine.compact()
        self.decoded.clear()

    def blocks(self) -> int:
        view = self.engine.whole_view("t")
        return sum(len(part.blocks) for part in view.parts if isinstance(part, Part))

    def check(self, step: int = 1) -> None:
        rows = self.engine.scan("t_1h").read_all()
        assert rows["x_count"].to_pylist() == [60 // step] * (DEVICES * MINUTES // 60)
        assert self.rollups.pending() == 0


@pytest.fixture
def plant(open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch) -> Plant:
    return Plant(open_engine, monkeypatch)


@pytest.mark.parametrize("duration_ns", [400 * DAY, HOUR, 3 * HOUR])
def test_history_is_decoded_once(plant: Plant, duration_ns: int) -> None:
    plant.open(NONE_YET)
    plant.fill(duration_ns)
    plant.engine.close()
    plant.open(HOURS)
    before = plant.engine.log.appended_lsn
    assert plant.rollups.run(LATER) == DEVICES * MINUTES // 60
    pieces = DEVICES * MINUTES // SCAN_ROWS
    assert plant.engine.log.appended_lsn - before >= pieces, "more than one scan holds"
    assert set(plant.decoded.values()) <= {1, 2}
    assert plant.decoded.total() <= plant.blocks() + 2 * pieces, "blocks at the ends of pieces"
    assert len(plant.decoded) == plant.blocks()
    assert max(plant.scanned) <= 2 * SCAN_ROWS
    plant.check()


@pytest.mark.parametrize("duration_ns", [400 * DAY, HOUR])
def test_imported_history_is_decoded_once(plant: Plant, duration_ns: int) -> None:
    """Windows that rows marked singly."""
    plant.open(HOURS)
    plant.fill(duration_ns)
    marks = plant.rollups.pending()
    assert marks == DEVICES * MINUTES // 60
    assert plant.rollups.run(LATER) == marks
    assert len(plant.decoded) == plant.blocks()
    assert plant.decoded.total() <= plant.blocks() + 2 * DEVICES * MINUTES // SCAN_ROWS
    assert max(plant.scanned) <= 2 * SCAN_ROWS
    plant.check()


def test_of_short_partitions_few_blocks_are_decoded_twice(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block has rows of eight devices, a partition is more than a scan holds: a piece of all
    partitions would decode every block for each of its devices."""
    monkeypatch.setattr(rollup_work, "SCAN_ROWS", 80)
    plant.open(NONE_YET)
    plant.fill(HOUR, step=10)
    plant.engine.close()
    plant.open(HOURS)
    left = _spans_left(monkeypatch)
    plant.rollups.run(LATER)
    assert len(left) >= 20
    assert max(left) <= 2
    assert len(plant.decoded) == plant.blocks()
    assert plant.decoded.total() <= plant.blocks() + 2 * len(left)
    assert max(plant.scanned) <= 2 * 80
    plant.check(step=10)


def _spans_left(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many spans are left after each piece."""
    left: list[int] = []
    clean = DirtyWindows.clean_span

    def noted(dirty: DirtyWindows, done: Span) -> None:
        clean(dirty, done)
        left.append(len(dirty.spans))

    monkeypatch.setattr(DirtyWindows, "clean_span", noted)
    return left


def test_late_rows_of_few_windows_read_only_these(plant: Plant) -> None:
    plant.open(HOURS)
    plant.fill(400 * DAY)
    plant.rollups.run(LATER)
    plant.scanned.clear()
    for minute in (30, 3 * MINUTES):
        plant.engine.write("t", "root.a.d3", [minute * 60_000 + 1], {"x": [1.0]}).wait()
    assert plant.rollups.run(LATER) == 2
    assert plant.scanned == [61, 1]


def test_what_is_left_of_a_span_is_two_spans(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant.open(NONE_YET)
    plant.fill(400 * DAY)
    plant.engine.close()
    plant.open(HOURS)
    left = _spans_left(monkeypatch)
    plant.rollups.run(LATER)
    assert len(left) >= DEVICES * MINUTES // SCAN_ROWS
    assert max(left) <= 2
    plant.check()


def test_a_crash_between_devices_loses_one_piece(plant: Plant) -> None:
    plant.open(NONE_YET)
    plant.fill(400 * DAY)
    plant.engine.close()
    engine = plant.open(HOURS)
    write, left = engine.write_rows, [13]

    def fails(*args: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise OSError("the machine is gone")
        return write(*args, **options)

    engine.write_rows = fails  # type: ignore[method-assign]
    with pytest.raises(OSError, match="gone"):
        plant.rollups.run(LATER)
    engine.flush()
    engine.abandon()
    plant.decoded.clear()
    engine = plant.open(HOURS)
    done = engine.scan("t_1h").read_all().num_rows
    # A delete and late rows come in between: of what is done, and of what is not.
    names = engine.scan("t_1h").read_all()["device"].to_pylist()
    every = {f"root.a.d{number}" for number in range(DEVICES)}
    early, late = names[0], min(every - set(names))
    engine.delete("t", devices=[early], end=60 * 60_000).ack.wait()
    engine.delete("t", devices=[late], end=60 * 60_000).ack.wait()
    engine.write("t", late, [5], {"x": [7.0]}).wait()
    whole = DEVICES * MINUTES // 60
    assert 0 < done < whole
    assert plant.rollups.run(LATER) <= whole - done + PIECE_WINDOWS + 2
    assert plant.decoded.total() < plant.blocks()
    rows = {
        (r["device"], r["time"]): r["x_sum"] for r in engine.scan("t_1h").read_all().to_pylist()
    }
    expected = {(d, h * HOUR // 1_000_000): 60.0 for d in every for h in range(MINUTES // 60)}
    del expected[early, 0]
    expected[late, 0] = 7.0
    assert rows == expected
    assert plant.rollups.pending() == 0


def test_wide_rows_and_little_memory_make_small_pieces(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollup_work, "SCAN_ROWS", 1 << 18)
    monkeypatch.setattr("mainstem_engine.scan.STEP_ROWS_MIN", 16)
    plant.open(NONE_YET)
    plant.fill(400 * DAY)
    plant.engine.close()
    engine = plant.open(HOURS, memory_limit_bytes=1 << 20)
    plant.rollups.run(LATER)
    assert max(plant.scanned) <= 2 * (1 << 17) // (3 * (22 + 9)), "an eighth of the limit"
    statistics = engine.statistics().memory
    assert statistics is None or statistics.used["scan"] == 0
    plant.check()


@given(
    rows=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 300)), max_size=60),
    low=st.integers(0, 5),
    high=st.integers(3, 12) | st.just(DEVICE_MAX),
    hours=st.tuples(st.integers(0, 3), st.integers(4, 7)),
    scan_rows=st.integers(1, 30),
    flushed=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_pieces_together_are_the_span(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, int]],
    low: int,
    high: int,
    hours: tuple[int, int],
    scan_rows: int,
    flushed: bool,
) -> None:
    options = EngineOptions(background=False, durability="os", block_rows=8)
    with Engine.open(tmp_path_factory.mktemp("span"), options) as engine:
        engine.create_template(T)
        engine.create_database("root.a", duration_ns=2 * HOUR)
        for device, minute in rows:
            engine.write("t", f"root.a.d{device}", [minute * 60_000], {"x": [1.0]}).wait()
        if flushed:
            engine.flush()
        ids = np.sort(engine.catalog.devices.of_family(engine.catalog.table("t").family))
        span = Span(low, max(low, high), hours[0] * HOUR, hours[1] * HOUR, 5)

        def devices(some: Span) -> Any:
            return ids[(ids >= some.low) & (ids <= some.high)]

        view = engine.whole_view("t")
        found = list(pieces_of(span, lambda: (view, view), devices, HOUR, scan_rows))
    assert len(found) <= max(2 * PLANNED_MAX, 4 * len(rows) + 4)
    left = [span]
    for piece in found:
        assert piece.start_ns % HOUR == piece.end_ns % HOUR == 0
        assert piece.lsn == 5
        within = [part for part in left if part.without(piece) != [part]]
        assert within, "no piece comes twice"
        left = [part for some in left for part in some.without(piece)]
    assert left == []
