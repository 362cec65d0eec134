"""Worker processes: the same answers, and whatever happens to them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest

from mainstem_engine import Engine
from mainstem_engine.errors import (
    ClosedError,
    CorruptionError,
    OverloadedError,
    SqlCancelledError,
    SqlError,
    SqlLimitError,
    SqlTimeoutError,
)
from mainstem_engine.sql.result import Result
from mainstem_engine.sql.running.cancellation import Cancellation
from mainstem_engine.sql.running.executors import InProcessExecutor, WorkerExecutor
from mainstem_engine.sql.running.frames import (
    FrameKind,
    FrameReader,
    FrameWriter,
    read_frame,
    write_frame,
)
from mainstem_engine.sql.running.interrupter import INTERRUPT_SIGNAL
from mainstem_engine.sql.running.sandbox import MIB, Program, SqlLimits
from mainstem_engine.sql.running.worker import serve
from mainstem_engine.sql.running.worker_pipe import WorkerPipe
from mainstem_engine.sql.running.worker_process import SETTINGS, AnswerReader
from mainstem_engine.sql.session import Session

from .conftest import runner

Run = Callable[..., Result]

ENDLESS = "SELECT count(*) FROM range(1000000000000)"
DEADLINE_S = 20.0
"""How long a test waits for what must happen."""


@pytest.fixture(scope="module")
def workers() -> Iterator[WorkerExecutor]:
    executor = WorkerExecutor(SqlLimits(memory_limit_bytes=64 * MIB), pool_size=1, queue_size=1)
    yield executor
    executor.close()


@pytest.fixture
def far(plant_engine: Engine, workers: WorkerExecutor) -> Run:
    """Runs SQL on the shared plant in a worker."""
    return runner(Session(plant_engine, workers))


def program(sql: str, inputs: tuple[str, ...] = (), **limits: Any) -> Program:
    return Program(sql, (), "UTC", inputs, len(inputs) == 1, SqlLimits(**limits))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        ("SELECT * FROM meters", ()),
        ("SELECT a.ts, b.voltage FROM meters a JOIN meters b ON a.ts = b.ts ORDER BY ALL", ()),
        ("SELECT s1, s2 FROM root.beijing.**", ()),
        ("SELECT location, avg(voltage) FROM meters WHERE voltage > ? GROUP BY ALL", (220,)),
        ("SELECT date_trunc('day', ts), ? FROM meters LIMIT 1", ("x",)),
        ("SELECT * FROM meters WHERE voltage > 1000", ()),
        ("SHOW DEVICES", ()),
    ],
)  # fmt: skip
def test_a_worker_answers_as_this_process_does(
    plant: Run, far: Run, sql: str, params: tuple[Any, ...]
) -> None:
    here, there = plant(sql, *params, time_zone="+08:00"), far(sql, *params, time_zone="+08:00")
    assert there.rows() == here.rows()
    assert there.columns == here.columns
    assert there.tables == here.tables


def test_errors_keep_their_kind_and_the_worker_goes_on(far: Run, workers: WorkerExecutor) -> None:
    far("SELECT 1")
    (worker,) = workers._idle
    with pytest.raises(SqlError, match=r"nope.*DESCRIBE"):
        far("SELECT nope FROM meters")
    with pytest.raises(SqlLimitError, match="more than 2 rows"):
        far("SELECT * FROM meters", row_limit=2)
    with pytest.raises(SqlLimitError, match="memory"):
        far("SELECT list(r) FROM range(100000000) t(r)")
    assert far("SELECT count(*) FROM meters").rows() == [[4]]
    assert workers._idle == [worker]


def test_a_statement_that_takes_too_long_is_ended_and_its_worker_goes_on(
    far: Run, workers: WorkerExecutor
) -> None:
    far("SELECT 1")
    (worker,) = workers._idle
    for _ in range(3):
        with pytest.raises(SqlTimeoutError, match=r"0\.2 s"):
            far(ENDLESS, timeout_s=0.2)
        assert far("SELECT count(*) FROM meters").rows() == [[4]]
    if INTERRUPT_SIGNAL is not None:
        assert workers._idle == [worker]


def test_a_worker_that_does_not_end_its_statement_is_ended(
    far: Run, workers: WorkerExecutor
) -> None:
    far("SELECT 1")
    (worker,) = workers._idle
    with pytest.raises(SqlTimeoutError, match=r"0\.2 s"):
        far("SELECT levenshtein(repeat('a', 500000), repeat('b', 500000))", timeout_s=0.2)
    wait_until(lambda: not worker.is_alive)
    assert far("SELECT count(*) FROM meters").rows() == [[4]]


def test_a_worker_that_died_is_replaced(far: Run, workers: WorkerExecutor) -> None:
    far("SELECT 1")
    (worker,) = workers._idle
    worker._process.kill()
    worker._process.wait()
    assert far("SELECT count(*) FROM meters").rows() == [[4]]


def test_a_worker_that_dies_fails_its_statement_only(far: Run, workers: WorkerExecutor) -> None:
    far("SELECT 1")
    (worker,) = workers._idle

    def kill_when_busy() -> None:
        wait_until(lambda: worker in workers._busy)
        worker._process.kill()

    thread = threading.Thread(target=kill_when_busy)
    thread.start()
    with pytest.raises(SqlLimitError, match="ended its worker"):
        far(ENDLESS)
    thread.join(DEADLINE_S)
    assert far("SELECT count(*) FROM meters").rows() == [[4]]


def test_reading_that_fails_is_reported_as_it_is(workers: WorkerExecutor) -> None:
    schema = pa.schema([("x", pa.int64())])

    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch([pa.array([1])], schema=schema)
        raise CorruptionError("a part", 7, "a bad block")

    def broken(name: str) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(schema, batches())

    with pytest.raises(CorruptionError, match="a bad block"):
        workers.execute(program("SELECT sum(x) FROM t", ("t",)), broken)
    assert workers.execute(program("SELECT 7 AS v"), broken).to_pylist() == [{"v": 7}]


def test_inputs_are_streamed_and_left_when_enough_is_known(workers: WorkerExecutor) -> None:
    schema = pa.schema([("x", pa.int64())])
    read: list[int] = []

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(100_000):
            read.append(number)
            yield pa.record_batch([pa.array(range(1000))], schema=schema)

    def endless(name: str) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(schema, batches())

    table = workers.execute(program("SELECT x FROM t LIMIT 3", ("t",)), endless)
    assert table.column("x").to_pylist() == [0, 1, 2]
    assert len(read) < 10_000


def test_inputs_that_must_be_held_have_a_bound(workers: WorkerExecutor) -> None:
    schema = pa.schema([("x", pa.int64())])

    def big(name: str) -> pa.RecordBatchReader:
        batch = pa.record_batch([pa.array(range(100_000))], schema=schema)
        return pa.RecordBatchReader.from_batches(schema, [batch] * 10)

    bounded = program("SELECT count(*) FROM a, b WHERE a.x = b.x", ("a", "b"), input_bytes_max=MIB)
    with pytest.raises(SqlLimitError, match="narrow it"):
        workers.execute(bounded, big)


@pytest.mark.parametrize("is_started", [False, True])
def test_statements_wait_for_a_worker_but_not_without_bound(is_started: bool) -> None:
    """The first statements of all, and those that come while others run."""
    workers = WorkerExecutor(SqlLimits(memory_limit_bytes=64 * MIB), pool_size=1, queue_size=1)
    if is_started:
        workers.execute(program("SELECT 1"), lambda name: None)
    outcomes: list[BaseException] = []
    tokens = [Cancellation(), Cancellation()]

    def endless(token: Cancellation) -> None:
        try:
            workers.execute(program(ENDLESS), lambda name: None, token)
        except (SqlError, OverloadedError) as error:
            outcomes.append(error)

    threads = [threading.Thread(target=endless, args=(token,)) for token in tokens]
    for thread in threads:
        thread.start()
    wait_until(lambda: bool(workers._busy) and workers._waiting == 1)
    with pytest.raises(OverloadedError, match="waiting"):
        workers.execute(program("SELECT 1"), lambda name: None)
    assert outcomes == []
    for token in tokens:
        token.cancel()
    for thread in threads:
        thread.join(DEADLINE_S)
    workers.close()
    assert [type(error) for error in outcomes] == [SqlCancelledError, SqlCancelledError]


def test_a_worker_has_nothing_of_the_node(far: Run, workers: WorkerExecutor) -> None:
    """No variable of its environment, an empty directory, no open file of the data directory."""
    far("SELECT 1")
    (worker,) = workers._idle
    assert workers._directory is not None
    assert list(workers._directory.iterdir()) == []
    if not sys.platform.startswith("linux"):
        return
    with open(f"/proc/{worker.pid}/environ", "rb") as file:
        names = {entry.partition(b"=")[0] for entry in file.read().split(b"\0") if entry}
    assert names == {b"PYTHONPATH", *(name.encode() for name in SETTINGS)}
    folder = f"/proc/{worker.pid}/fd"
    targets = [os.readlink(f"{folder}/{number}") for number in os.listdir(folder)]
    assert not [t for t in targets if t.startswith("/") and not t.startswith("/dev/")]


def test_a_cancelled_statement_ends_wherever_it_is(workers: WorkerExecutor) -> None:
    outcomes: list[BaseException] = []
    tokens = [Cancellation(), Cancellation()]

    def endless(token: Cancellation) -> None:
        try:
            workers.execute(program(ENDLESS), lambda name: None, token)
        except SqlError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=endless, args=(token,)) for token in tokens]
    for thread in threads:
        thread.start()
    wait_until(lambda: bool(workers._busy) and workers._waiting == 1)
    for token in tokens:
        token.cancel()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert [type(error) for error in outcomes] == [SqlCancelledError, SqlCancelledError]
    with pytest.raises(SqlCancelledError):
        workers.execute(program("SELECT 1"), lambda name: None, tokens[0])
    assert workers.execute(program("SELECT 7 AS v"), lambda name: None).to_pylist() == [{"v": 7}]


def test_an_answer_that_is_left_ends_its_worker(workers: WorkerExecutor) -> None:
    steps = workers.stream(program("SELECT range AS x FROM range(1000000)"), lambda name: None)
    next(steps)
    (worker,) = workers._busy
    assert next(steps).num_rows > 0
    steps.close()
    wait_until(lambda: not worker.is_alive)
    assert workers.statistics().busy == 0
    wait_until(lambda: workers.statistics().idle == 1)


def test_numbers_that_do_not_fit_are_an_error_at_once(workers: WorkerExecutor) -> None:
    large = Program("SELECT ?", (1 << 70,), "UTC", (), False, SqlLimits())
    with pytest.raises(SqlError, match="64 bits"):
        workers.execute(large, lambda name: None)
    assert workers.execute(program("SELECT 7 AS v"), lambda name: None).to_pylist() == [{"v": 7}]


def test_a_pipe_is_left_while_its_other_end_is_held() -> None:
    read, write = os.pipe()
    pipe = WorkerPipe(os.fdopen(read, "rb"))
    os.write(write, b"abc")
    assert pipe.read(2) == b"ab"
    threading.Timer(0.01, pipe.leave).start()
    with pytest.raises(EOFError):
        pipe.read(2)
    os.close(write)
    pipe.close()
    pipe.leave()


def test_a_worker_that_keeps_memory_is_replaced(
    workers: WorkerExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers.execute(program("SELECT 1"), lambda name: None)
    (worker,) = workers._idle
    take = AnswerReader.take

    def retiring(self: AnswerReader, kind: FrameKind, payload: bytes) -> bytes | None:
        if kind == FrameKind.DONE:
            take(self, FrameKind.RETIRING, b"")
        return take(self, kind, payload)

    monkeypatch.setattr(AnswerReader, "take", retiring)
    assert workers.execute(program("SELECT 7 AS v"), lambda name: None).to_pylist() == [{"v": 7}]
    wait_until(lambda: not worker.is_alive)
    wait_until(lambda: workers.statistics().idle == 1)
    assert workers._idle != [worker]


def test_closing_ends_workers_and_refuses_statements() -> None:
    executor = WorkerExecutor(pool_size=1)
    executor.execute(program("SELECT 1"), lambda name: None)
    (worker,) = executor._idle
    directory = executor._directory
    executor.close()
    assert worker._process.returncode == 0
    assert directory is not None
    assert not directory.exists()
    with pytest.raises(ClosedError):
        executor.execute(program("SELECT 1"), lambda name: None)


def test_the_workers_side_of_the_pipe(executor: InProcessExecutor) -> None:
    """What the child process does, in this one: answers, errors, and reading on to CLOSE."""
    schema = pa.schema([("x", pa.int64())])
    source, sink = io.BytesIO(), io.BytesIO()
    stream = FrameWriter(source)
    with pa.ipc.new_stream(stream, schema) as writer:
        writer.write_batch(pa.record_batch([pa.array([1, 2])], schema=schema))
        stream.send()
    stream.send()
    write_frame(source, FrameKind.END)
    write_frame(source, FrameKind.CLOSE)
    write_frame(source, FrameKind.ABORT)
    write_frame(source, FrameKind.CLOSE)
    write_frame(source, FrameKind.CLOSE)
    source.seek(0)
    sandbox = executor._sandbox
    serve(program("SELECT sum(x) AS s FROM t", ("t",)), sandbox, source, sink)
    serve(program("SELECT sum(x) AS s FROM t", ("t",)), sandbox, source, sink)
    serve(program("SELECT nope"), sandbox, source, sink)
    sink.seek(0)
    assert pa.ipc.open_stream(FrameReader(sink)).read_next_batch().to_pydict() == {"s": [3]}
    sink.seek(0)
    kinds = []
    while sink.tell() < len(sink.getvalue()):
        kinds.append(read_frame(sink)[0])
    answers = [kind for kind in kinds if kind != FrameKind.DATA]
    assert answers == [FrameKind.DONE, FrameKind.ERROR, FrameKind.ERROR]
    assert source.read() == b""


def test_the_engine_alone_imports_none_of_it() -> None:
    """An idle edge is spared the memory of the parser, Arrow and the executing database."""
    code = (
        "import sys, mainstem_engine;"
        "print(sorted({'sqlglot', 'pyarrow', 'duckdb', 'asyncio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
