"""EXPLAIN: what a plan reads and runs; EXPLAIN ANALYZE: what it read, and where the time went.

1. The plan says for each input its table, devices, times and columns, and how it would be read
   now: by a scan, from statistics, a rollup or the newest values, with parts, blocks and bytes.
2. Measured is the time until the plan was there, of reading each input, of walks, and the rest, in
   which the executing database ran. An input is read while it runs: its time is taken out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mainstem_engine.sql.plan import Plan
from mainstem_engine.sql.running.groups import describe_reading

if TYPE_CHECKING:
    import pyarrow as pa

    from mainstem_engine.sql.storage import Storage

Timer = Callable[[], float]
"""Seconds, of a clock that goes on evenly."""


@dataclass(slots=True)
class Reading:
    """What was read of one input."""

    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0


class Explanation:
    """Of one plan."""

    def __init__(self, engine: Storage, plan: Plan, timer: Timer = time.perf_counter) -> None:
        self._engine = engine
        self._plan = plan
        self._timer = timer
        self._readings = {source.name: Reading() for source in plan.inputs}

    def plan_lines(self) -> list[str]:
        """What would be read and run."""
        return self._plan.explain(lambda source: describe_reading(self._engine, source))

    def watch(
        self, name: str, open_input: Callable[[], pa.RecordBatchReader | pa.Table]
    ) -> pa.RecordBatchReader:
        """The batches of an input; their rows, bytes and time are counted."""
        import pyarrow as pa

        reading = self._readings[name]
        started = self._timer()
        source = open_input()
        reader = source.to_reader() if isinstance(source, pa.Table) else source
        reading.seconds += self._timer() - started

        def batches() -> Iterator[pa.RecordBatch]:
            while True:
                started = self._timer()
                batch = next(reader, None)
                reading.seconds += self._timer() - started
                if batch is None:
                    return
                reading.rows += batch.num_rows
                reading.bytes += batch.nbytes
                yield batch

        return pa.RecordBatchReader.from_batches(reader.schema, batches())

    def measured_lines(
        self, rows: int, planned_s: float, answered_s: float, walked_s: float = 0.0
    ) -> list[str]:
        """What was read, and the time of each stage. ``answered_s``: of the plan as a whole;
        ``walked_s``: of it, in walks."""
        lines = [
            f"read {found.rows} rows of {name}, {found.bytes} bytes, in {_ms(found.seconds)}"
            for name, found in self._readings.items()
        ]
        read_s = sum(found.seconds for found in self._readings.values())
        run_s = max(answered_s - read_s - walked_s, 0.0)
        stages = f"plan {_ms(planned_s)}, read {_ms(read_s)}, run {_ms(run_s)}"
        lines.append(f"{stages}, walks {_ms(walked_s)}" if walked_s else stages)
        return [*lines, f"answer {rows} rows in {_ms(planned_s + answered_s)}"]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
