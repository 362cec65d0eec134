"""Acknowledgements: who waits is woken by its own record, once, with its own error."""

from __future__ import annotations

import threading

import pytest

from mainstem_engine.consumers import Ack, Completion
from mainstem_engine.errors import LogFailedError


def waiting(ack: Ack, found: list[object]) -> threading.Thread:
    """A thread that waits for ``ack`` and notes what came of it; it is in the queue already."""

    def wait() -> None:
        try:
            ack.wait(30)
            found.append(ack)
        except LogFailedError as error:
            found.append(error)

    before = len(ack._waiters or ())
    thread = threading.Thread(target=wait)
    thread.start()
    while len(ack._waiters or ()) == before:
        thread.join(0.001)
    return thread


def test_a_waiter_is_woken_by_its_own_record() -> None:
    completion = Completion()
    first, second = completion.ack(), completion.ack()
    found: list[object] = []
    one, two, other = waiting(first, found), waiting(first, found), waiting(second, found)
    completion.complete([first])
    one.join(30)
    two.join(30)
    assert found == [first, first]
    assert other.is_alive()
    assert not second.done()
    error = LogFailedError("gone")
    completion.complete([second], error)
    other.join(30)
    assert found == [first, first, error]
    assert second.exception() is error
    first.wait(0)
    with pytest.raises(LogFailedError):
        second.wait()


def test_a_wait_that_is_over_leaves_nothing_behind() -> None:
    completion = Completion()
    ack = completion.ack()
    ack.lsn = 7
    for timeout in (0, 0.001, -1):
        with pytest.raises(TimeoutError, match="LSN 7"):
            ack.wait(timeout)
    assert not ack._waiters
    completion.complete([ack])
    ack.wait(0)


def test_callbacks_run_once_and_one_that_fails_harms_no_other() -> None:
    completion = Completion()
    ack = completion.ack(decoded="rows")
    seen: list[Ack] = []

    def fail(_: Ack) -> None:
        raise ValueError

    ack.add_done_callback(fail)
    ack.add_done_callback(seen.append)
    thread = waiting(ack, [])
    completion.complete([ack])
    thread.join(30)
    assert seen == [ack]
    assert ack.decoded is None
    ack.add_done_callback(seen.append)
    assert seen == [ack, ack]
