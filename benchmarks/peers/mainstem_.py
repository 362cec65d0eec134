"""Mainstem's engine on one directory, as a program that embeds it would use it.

- Durability is ``always``: an acknowledgement comes after the sync of the log. Up to four batches
  wait for theirs at a time; each is durable by itself.
- Two forms: as compacted, and a copy of that with a rollup of a minute, which answers only what
  rollups are for.
- One row per call: eight threads, a thousand rows of each not yet acknowledged (group commit).
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from telemetry import COUNTERS, Batch, sensor_names

from mainstem_engine import Engine, EngineOptions, RollupDefinition, Rollups
from peers.store import FILTER_ABOVE, MINUTE_MS, TABLE, Store

MIB = 1 << 20
IN_FLIGHT = 4
"""Batches that a loader has written and not yet seen acknowledged."""
THREADS = 8
UNACKNOWLEDGED_ROWS = 1_000
"""Rows that one thread has written and not yet seen acknowledged."""
QUERY_MEMORY_BYTES = 512 * MIB
ROLLUP = "with a rollup"
MINUTES = RollupDefinition(TABLE, MINUTE_MS * 1_000_000, "1m")
FAR_NS = 1 << 62
"""Event time that every window is closed at."""


class Mainstem(Store):
    """See the module. ``memory_limit_bytes``: what the engine may use; ``options``: its others."""

    name = "mainstem"
    title = "Mainstem"
    forms = ("compacted", ROLLUP)
    asked_of: ClassVar[Mapping[str, str]] = {"rollup windows": ROLLUP}

    def __init__(
        self,
        place: Path,
        devices: int,
        form: str = "",
        *,
        new: bool = False,
        memory_limit_bytes: int = QUERY_MEMORY_BYTES,
        **options: Any,
    ) -> None:
        super().__init__(place, devices, form, new=new)
        self.path = place / ("rollup" if form == ROLLUP else "db")
        # Rollups are bound when there is one: writing would otherwise keep its windows too.
        rollups = [Rollups([MINUTES])] if form == ROLLUP else []
        chosen = EngineOptions(memory_limit_bytes=memory_limit_bytes, **options)
        self.engine = Engine.open(self.path, chosen, consumers=rollups)
        if new:
            columns = ", ".join(
                f"{name} {'INT64' if name in COUNTERS else 'DOUBLE'}" for name in sensor_names()
            )
            self.engine.sql(f"CREATE SCHEMA TEMPLATE {TABLE} ({columns})")
            self.engine.device_ids(TABLE, self._paths, create=True)
        for rollup in rollups:
            rollup.bind(self.engine)
        self._rollups = rollups

    @classmethod
    def import_modules(cls) -> None:
        import pyarrow  # noqa: F401

    @property
    def _paths(self) -> list[str]:
        return [f"root.bench.d{number}" for number in range(self.devices)]

    @cached_property
    def ids(self) -> Any:
        """uint32[devices]: what a client looks up once."""
        return self.engine.device_ids(TABLE, self._paths)

    def load(self, batches: Iterable[Batch], in_flight: int = IN_FLIGHT) -> None:
        waiting: list[Any] = []
        for batch in batches:
            if len(waiting) >= in_flight:
                waiting.pop(0).wait()
            ids = self.ids[batch.device]
            waiting.append(self.engine.write(TABLE, ids, batch.time, batch.columns))
        for ack in waiting:
            ack.wait()

    def load_in_turn(self, batches: Iterable[Batch]) -> None:
        self.load(batches, in_flight=1)

    def rows_of(self, batch: Batch) -> list[Any]:
        """(device, time, columns of one value)."""
        columns = {name: values.tolist() for name, values in batch.columns.items()}
        pairs = zip(batch.device.tolist(), batch.time.tolist(), strict=True)
        return [
            (device, moment, {name: [values[row]] for name, values in columns.items()})
            for row, (device, moment) in enumerate(pairs)
        ]

    def insert_rows(self, rows: Sequence[Any]) -> None:
        failures: list[BaseException] = []
        ids = self.ids

        def write(some: Sequence[Any]) -> None:
            try:
                waiting = []
                for device, moment, columns in some:
                    waiting.append(self.engine.write(TABLE, ids[device], [moment], columns))
                    if len(waiting) == UNACKNOWLEDGED_ROWS:
                        waiting[-1].wait()
                        waiting.clear()
                if waiting:
                    waiting[-1].wait()
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=write, args=(rows[n::THREADS],)) for n in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    def settle(self) -> None:
        """Compacts; then a copy gets its rollup."""
        self.engine.flush()
        self.engine.compact()
        self.engine.close()
        shutil.copytree(self.path, self.place / "rollup")
        other = Mainstem(self.place, self.devices, ROLLUP)
        for rollup in other._rollups:
            while rollup.run(FAR_NS):
                pass
        other.engine.flush()
        other.engine.compact()
        other.close()
        self.engine = Engine.open(self.path)

    def data_bytes(self) -> int:
        """The parts: what the rows take once no log holds them."""
        return sum(path.stat().st_size for path in (self.path / "parts").rglob("*.part"))

    def close(self) -> None:
        self.engine.close()

    def last(self, device: int) -> Any:
        return self.engine.last(TABLE, self.ids[device : device + 1])

    def range(self, device: int, start: int, end: int, sensor: str) -> Any:
        ids = self.ids[device : device + 1]
        return self.engine.scan(TABLE, ids, start=start, end=end, columns=[sensor]).read_all()

    def windows(self, device: int, sensor: str) -> Any:
        ids = self.ids[device : device + 1]
        return self.engine.aggregate(TABLE, {sensor: ["mean"]}, ids, every=MINUTE_MS)

    def groups(self) -> Any:
        return self._ask(f"SELECT device, count(*), avg(m0), max(m1) FROM {TABLE} GROUP BY device")

    def filtered_groups(self) -> Any:
        return self._ask(
            f"SELECT device, avg(m0) FROM {TABLE} WHERE m1 > {FILTER_ABOVE} GROUP BY device"
        )

    def all_windows(self) -> Any:
        return self.engine.aggregate(TABLE, {"m0": ["mean"]}, every=MINUTE_MS, by="device")

    def day_windows(self) -> Any:
        return self._ask(
            f"SELECT device, date_trunc('day', time) AS day, avg(m0) FROM {TABLE}"
            " GROUP BY device, day"
        )

    def rollup_windows(self) -> Any:
        return self._ask(
            "SELECT device, time_bucket(INTERVAL '1 minute', time) AS minute, avg(m0)"
            f" FROM {TABLE} GROUP BY device, minute"
        )

    def first_answer(self, device: int, start: int, end: int, sensor: str) -> Any:
        """By the path: nothing was looked up before."""
        path = f"root.bench.d{device}"
        return self.engine.scan(TABLE, path, start=start, end=end, columns=[sensor]).read_all()

    def _ask(self, statement: str) -> Any:
        return self.engine.sql(statement).arrow()
