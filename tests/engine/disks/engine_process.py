"""An engine in a process of its own, told what to do line by line.

Its limits may be changed, its system calls slowed down and its disk taken away while it runs, and
it leaves no mapping behind when it ends. Rows come in *batches*: batch n has ROWS rows, whose times
and values follow from n, so that every row that is found says whether it is right.

In: a JSON list, the name of a method of Commands and its arguments. Out: JSON, ``{"done": ...}``,
or ``{"kind": ..., "message": ...}`` of what was raised.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from mainstem_engine import ColumnType, Engine, EngineError, EngineOptions, Measurement, Template
from mainstem_engine.check import check_directory

ROOT = Path(__file__).parents[3]
ROWS = 500
DEVICES = 3
TABLE = "t"
TEMPLATE = Template(
    TABLE,
    (Measurement(0, "x", ColumnType.INT64), Measurement(0, "noise", ColumnType.DOUBLE)),
)
ANSWER_S = 60
"""Longer than anything takes on a busy machine; a hang ends a test."""
PR_SET_PDEATHSIG = 1


class Refused(Exception):
    """What the engine raised."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message


class EngineProcess:
    """The other side. ``acknowledged`` and ``tried``: numbers of batches."""

    def __init__(self, directory: Path) -> None:
        self.acknowledged: set[int] = set()
        self.tried: set[int] = set()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.engine.disks.engine_process", str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            cwd=ROOT,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Carries a command out. Raises Refused."""
        self.tell(name, *arguments, **options)
        return self.answer()

    def tell(self, name: str, *arguments: Any, **options: Any) -> None:
        """As ask(), without waiting for the answer."""
        assert self._process.stdin is not None
        print(json.dumps([name, arguments, options]), file=self._process.stdin)

    def has_answered(self) -> bool:
        """True when answer() would not wait."""
        assert self._process.stdout is not None
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def answer(self) -> Any:
        """Of the command that was told. Raises Refused."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], ANSWER_S)
        assert ready, "the process hangs"
        line = self._process.stdout.readline()
        assert line, f"the process is gone: {self._process.wait()}"
        found = json.loads(line)
        if "kind" in found:
            raise Refused(found["kind"], found["message"])
        return found["done"]

    def write(self, batch: int) -> None:
        """A batch, acknowledged. Raises Refused."""
        self.tried.add(batch)
        self.ask("write", batch)
        self.acknowledged.add(batch)

    def assert_right(self, found: dict[str, Any]) -> None:
        """Every acknowledged batch is among what ``rows`` found, and none that nobody wrote."""
        assert found["wrong"] == []
        whole = set(found["batches"])
        assert self.acknowledged <= whole, f"lost: {sorted(self.acknowledged - whole)[:10]}"
        assert whole <= self.tried, f"of nobody: {sorted(whole - self.tried)[:10]}"

    def kill(self) -> None:
        self._process.kill()
        self.close()

    def close(self) -> None:
        """Ends it, if it has not ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(ANSWER_S)
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()

    def __enter__(self) -> EngineProcess:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Commands:
    """What the process can be told."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.engine: Engine

    def open(self, **options: Any) -> None:
        chosen = {"background": False, "flush_every_ns": 0, **options}
        self.engine = Engine.open(self.directory, EngineOptions(**chosen))
        self.engine.create_template(TEMPLATE, if_not_exists=True)

    def write(self, batch: int) -> None:
        self._send(batch).wait()

    def _send(self, batch: int) -> Any:
        times = np.arange(batch * ROWS, (batch + 1) * ROWS)
        noise = np.random.default_rng(batch).random(ROWS)  # takes its space on disk
        device = f"root.a.d{batch % DEVICES}"
        return self.engine.write(TABLE, device, times, {"x": times * 3 + 1, "noise": noise})

    def write_many(self, first: int, count: int, threads: int) -> dict[str, float]:
        """Batches from several threads. Returns the greatest memory while it went on, in bytes."""
        numbers = iter(range(first, first + count))
        lock, most, failures = threading.Lock(), [0], list[BaseException]()

        def run() -> None:
            try:
                while True:
                    with lock:
                        number = next(numbers, None)
                    if number is None:
                        return
                    ack = self._send(number)
                    most[0] = max(most[0], self.engine.statistics().log.queue_bytes)
                    ack.wait()
            except BaseException as error:
                failures.append(error)

        workers = [threading.Thread(target=run) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if failures:
            raise failures[0]
        return {"queue_bytes": most[0]}

    def flush(self) -> None:
        self.engine.flush()

    def compact(self) -> None:
        self.engine.compact()

    def backup(self, to: str) -> None:
        self.engine.backup(to)

    def close(self) -> None:
        self.engine.close()

    def abandon(self) -> None:
        self.engine.abandon()

    def rows(self) -> dict[str, Any]:
        """Numbers of the batches that are there, and what is wrong with others."""
        found = self.engine.scan(TABLE).read_all()
        times = np.sort(found["time"].cast("int64").to_numpy())
        wrong = []
        if not np.array_equal(
            found["x"].to_numpy(), found["time"].cast("int64").to_numpy() * 3 + 1
        ):
            wrong.append("a value is not that of its time")
        batches, counts = np.unique(times // ROWS, return_counts=True)
        if len(np.unique(times)) != len(times) or (counts != ROWS).any():
            wrong.append(
                f"of batches {batches[counts != ROWS].tolist()} not every row is there once"
            )
        return {"batches": batches.tolist(), "wrong": wrong}

    def status(self) -> dict[str, Any]:
        """What the engine says of itself."""
        statistics = self.engine.statistics()
        return {
            "log_error": statistics.log.error,
            "last_error": statistics.housekeeping.last_error,
            "part_bytes": statistics.part_bytes,
            "parts": statistics.parts,
        }

    def check(self) -> list[str]:
        """Damages that the directory has; the engine is closed."""
        return [str(damage) for damage in check_directory(self.directory).damages]

    def cpu_s(self) -> float:
        return time.process_time()


def main() -> None:
    """Serves until the input ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    logging.basicConfig(level=logging.CRITICAL + 1)
    commands = Commands(Path(sys.argv[1]))
    for line in sys.stdin:
        name, arguments, options = json.loads(line)
        try:
            done = getattr(commands, name)(*arguments, **options)
            answer = {"done": done}
        except (OSError, EngineError, MemoryError, RuntimeError) as error:
            # RuntimeError: no memory for a thread
            answer = {"kind": type(error).__name__, "message": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
