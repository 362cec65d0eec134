"""The intake of requests: one thread takes them, another helps where it is held up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import cast

import pytest

from mainstem_engine.consumers import Ack, Completion
from mainstem_engine.errors import LogFailedError
from mainstem_sync.http import intake as module
from mainstem_sync.http.intake import Intake
from mainstem_sync.receiving.receiver import Child, Receiver, Reply, Submission, _Answer
from mainstem_sync.wire.messages import AckCode

EDGE = Child("edge")
WAIT_S = 10.0


class Taken:
    """In place of a Receiver: what was submitted, and who answers it when."""

    def __init__(self) -> None:
        self.completion = Completion()
        self.bodies: list[bytes] = []
        self.acks: list[Ack] = []
        self.threads: set[int] = set()
        self.held = threading.Event()
        self.replies = 0

    def submit(self, child: Child, body: bytes) -> Submission:
        self.threads.add(threading.get_ident())
        if body == b"held up":
            assert self.held.wait(WAIT_S)
        if body == b"broken":
            raise RuntimeError("broken")
        self.bodies.append(body)
        submission = Submission(child=child.name)
        if body != b"known":
            self.acks.append(self.completion.ack())
            submission.answers.append(_Answer(body, AckCode.OK, ack=self.acks[-1]))
        return submission

    def reply(self, submission: Submission) -> Reply:
        self.replies += 1
        done = [a.hash for a in submission.answers if a.ack is None or a.ack.done()]
        return Reply(200, b"".join(done))

    def durable(self, error: LogFailedError | None = None) -> None:
        """All that is in the log, with one commit."""
        acks, self.acks = self.acks, []
        self.completion.complete(acks, error)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - other threads bring it about
            await asyncio.sleep(0.001)


def _nothing() -> None:
    pass


def _intake(taken: Taken, *, most: int = 4) -> Intake:
    return Intake(cast("Receiver", taken), "test", usual=1, most=most)


def test_requests_are_taken_in_order_by_one_thread_and_answered_when_they_are_durable() -> None:
    async def run() -> None:
        taken, left = Taken(), []
        intake = _intake(taken, most=1)  # a slow machine is no reason to help
        bodies = [b"%d" % number for number in range(200)]
        replies = [
            intake.offer(EDGE, body, lambda body=body: left.append(body))  # type: ignore[misc]
            for body in bodies
        ]
        # Bodies are let go before anything is durable.
        await _until(lambda: len(left) == len(bodies))
        assert taken.bodies == bodies == left
        assert not any(reply.done() for reply in replies)
        await asyncio.to_thread(taken.durable)
        found = await asyncio.wait_for(asyncio.gather(*replies), WAIT_S)
        assert [reply.body for reply in found] == bodies

    asyncio.run(run())


def test_the_loop_is_woken_once_for_what_one_commit_made_durable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def run() -> None:
        taken, wakes = Taken(), 0
        intake = _intake(taken)
        give = intake._give

        def counted() -> None:
            nonlocal wakes
            wakes += 1
            give()

        monkeypatch.setattr(intake, "_give", counted)
        replies = [intake.offer(EDGE, b"%d" % number, _nothing) for number in range(50)]
        await _until(lambda: sum(ack._callbacks is not None for ack in taken.acks) == 50)
        taken.durable()  # on this thread: the loop runs only afterwards
        await asyncio.wait_for(asyncio.gather(*replies), WAIT_S)
        assert wakes == 1

    asyncio.run(run())


def test_another_thread_helps_where_one_is_held_up() -> None:
    async def run() -> None:
        taken = Taken()
        intake = _intake(taken, most=2)
        first = intake.offer(EDGE, b"held up", _nothing)
        second = intake.offer(EDGE, b"known", _nothing)
        assert (await asyncio.wait_for(second, WAIT_S)).status == 200
        assert not first.done()
        assert len(taken.threads) == 2
        taken.held.set()
        await _until(lambda: bool(taken.acks))
        taken.durable()
        assert (await asyncio.wait_for(first, WAIT_S)).body == b"held up"

    asyncio.run(run())


def test_no_more_threads_help_than_there_may_be() -> None:
    async def run() -> None:
        taken = Taken()
        intake = _intake(taken, most=2)
        held = [intake.offer(EDGE, b"held up", _nothing) for _ in range(2)]
        waits = intake.offer(EDGE, b"known", _nothing)
        await _until(lambda: len(taken.threads) == 2)
        intake._moved = 0.0
        intake._help(asyncio.get_running_loop())
        assert intake._running == 2
        assert not waits.done()
        taken.held.set()
        await asyncio.wait_for(waits, WAIT_S)
        await _until(lambda: len(taken.acks) == 2)
        taken.durable()
        await asyncio.wait_for(asyncio.gather(*held), WAIT_S)

    asyncio.run(run())


def test_what_is_not_durable_in_time_is_answered_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SWEEP_S", 0.01)
    monkeypatch.setattr(module, "ACK_TIMEOUT_S", 0.0)

    async def run() -> None:
        taken = Taken()
        reply = await asyncio.wait_for(_intake(taken).offer(EDGE, b"slow", _nothing), WAIT_S)
        assert reply.body == b""  # nothing of it is acknowledged
        taken.durable()  # too late, and nobody minds

    asyncio.run(run())


def test_an_error_nobody_thought_of_is_that_of_its_request_alone() -> None:
    async def run() -> None:
        taken = Taken()
        intake = _intake(taken)
        broken, known = (
            intake.offer(EDGE, b"broken", _nothing),
            intake.offer(EDGE, b"known", _nothing),
        )
        with pytest.raises(RuntimeError, match="broken"):
            await asyncio.wait_for(broken, WAIT_S)
        assert (await asyncio.wait_for(known, WAIT_S)).status == 200

    asyncio.run(run())
