"""Bounded pools, periodic jobs, remembered answers."""

from __future__ import annotations

import asyncio
import threading

import pytest

from mainstem_engine.errors import OverloadedError
from mainstem_node.errors import ApiError, ConflictError
from mainstem_node.idempotency import ANSWERS_MAX, LIFE_S, IdempotentAnswers
from mainstem_node.jobs import Job, Jobs
from mainstem_node.workers import Workers


async def test_a_full_pool_refuses_at_once() -> None:
    workers = Workers("test", threads=1, waiting_max=1)
    gate = threading.Event()
    running = [asyncio.ensure_future(workers.run(gate.wait)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await workers.run(gate.wait)
    gate.set()
    assert await asyncio.gather(*running) == [True, True]
    assert workers.statistics().refused == 1
    assert await workers.run(lambda: 7) == 7
    await workers.close()


async def test_a_cancelled_caller_keeps_its_place_until_the_call_ends() -> None:
    workers = Workers("test", threads=1, waiting_max=0)
    gate, started = threading.Event(), threading.Event()

    def call() -> None:
        started.set()
        gate.wait()

    running = asyncio.ensure_future(workers.run(call))
    await asyncio.to_thread(started.wait)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(OverloadedError):
        await workers.run(gate.wait)
    gate.set()
    async with asyncio.timeout(30):
        while workers.statistics().busy:  # noqa: ASYNC110 - the place is freed without an event
            await asyncio.sleep(0.001)
    assert await workers.run(lambda: 1) == 1
    await workers.close()


async def test_closing_waits_for_what_runs() -> None:
    workers = Workers("test", threads=1, waiting_max=0)
    gate, done = threading.Event(), []

    def call() -> None:
        gate.wait()
        done.append(1)

    running = asyncio.ensure_future(workers.run(call))
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(workers.close())
    await asyncio.sleep(0)
    gate.set()
    await closing
    assert done == [1]
    await running
    with pytest.raises(OverloadedError):
        await workers.run(call)


async def test_a_call_s_error_reaches_its_caller() -> None:
    workers = Workers("test", threads=1, waiting_max=0)

    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await workers.run(fail)
    await workers.close()


async def test_a_job_that_fails_is_counted_and_goes_on() -> None:
    calls = []

    async def work() -> None:
        calls.append(1)
        if len(calls) < 3:
            raise OSError("disk")

    job = Job("flush", 0.0, work)
    for _ in range(3):
        await job.run_once()
    found = job.statistics()
    assert (found.runs, found.failures, found.error) == (3, 2, "")


async def test_jobs_stop_together() -> None:
    ran = asyncio.Event()

    async def work() -> None:
        ran.set()

    jobs = Jobs()
    jobs.add("a", 3600, work)
    await asyncio.wait_for(ran.wait(), 5)
    await jobs.stop()
    assert [job.name for job in jobs.statistics()] == ["a"]


async def test_a_key_is_done_once() -> None:
    answers = IdempotentAnswers()
    count = [0]

    async def work() -> int:
        count[0] += 1
        return count[0]

    assert await answers.once("me", "k", b"body", work) == 1
    assert await answers.once("me", "k", b"body", work) == 1
    assert await answers.once("me", "other", b"body", work) == 2
    assert await answers.once("you", "k", b"body", work) == 3
    assert await answers.once("me", None, b"body", work) == 4


async def test_a_key_belongs_to_one_body() -> None:
    answers = IdempotentAnswers()

    async def work() -> int:
        return 1

    await answers.once("me", "k", b"one", work)
    with pytest.raises(ApiError) as caught:
        await answers.once("me", "k", b"two", work)
    assert caught.value.status == 422


async def test_a_key_in_use_is_a_conflict_and_a_failed_one_is_free_again() -> None:
    answers = IdempotentAnswers()
    gate = asyncio.Event()

    async def fail() -> int:
        await gate.wait()
        raise OSError("disk")

    running = asyncio.ensure_future(answers.once("me", "k", b"body", fail))
    await asyncio.sleep(0)
    with pytest.raises(ConflictError):
        await answers.once("me", "k", b"body", fail)
    gate.set()
    with pytest.raises(OSError, match="disk"):
        await running

    async def work() -> int:
        return 5

    assert await answers.once("me", "k", b"body", work) == 5


async def test_answers_are_forgotten_by_age_and_number() -> None:
    now = [0.0]
    answers = IdempotentAnswers(monotonic=lambda: now[0])
    count = [0]

    async def work() -> int:
        count[0] += 1
        return count[0]

    await answers.once("me", "k", b"", work)
    now[0] = LIFE_S + 1
    assert await answers.once("me", "k", b"", work) == 2
    for number in range(ANSWERS_MAX + 10):
        await answers.once("me", f"k{number}", b"", work)
    assert len(answers._entries) <= ANSWERS_MAX
