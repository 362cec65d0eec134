"""The queue: bounds that the producer can ask for, batches that grow only under load."""

from __future__ import annotations

import threading

from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.testing.parts import message


def test_what_is_put_is_taken_in_order_up_to_the_bounds() -> None:
    queue = MessageQueue(100, 10_000)
    messages = [message(b"x" * 10) for _ in range(5)]
    queue.put(messages)
    assert queue.take(2, 1000, 0) == messages[:2]
    assert queue.take(10, 15, 0) == messages[2:4]
    assert queue.take(10, 1000, 0) == messages[4:]
    assert queue.take(10, 1000, 0) == []


def test_a_full_queue_says_so_and_calls_when_half_of_it_is_free() -> None:
    called: list[int] = []
    queue = MessageQueue(4, 10_000, on_room=lambda: called.append(1))
    queue.put([message(b"x") for _ in range(4)])
    assert queue.is_full()
    assert queue.is_full()
    queue.take(1, 1000, 0)
    assert not queue.is_full()
    assert called == []
    queue.take(2, 1000, 0)
    assert called == [1]
    assert queue.statistics().full == 1


def test_bytes_fill_it_too() -> None:
    queue = MessageQueue(100, 10)
    assert not queue.is_full()
    queue.put([message(b"x" * 10)])
    assert queue.is_full()
    assert (queue.statistics().messages, queue.statistics().bytes) == (1, 10)


def test_the_oldest_arrival_is_known() -> None:
    queue = MessageQueue(100, 1000)
    assert queue.oldest_arrival_ns() is None
    queue.put([message(b"", arrived_ns=5), message(b"", arrived_ns=6)])
    assert queue.oldest_arrival_ns() == 5
    assert len(queue) == 2


def test_what_was_taken_waits_until_it_is_handed_on() -> None:
    queue = MessageQueue(100, 1000)
    queue.put([message(b"", arrived_ns=each) for each in (5, 6, 7)])
    queue.take(2, 1000, 0)
    assert (queue.oldest_arrival_ns(), len(queue)) == (5, 1)
    queue.handed_on()
    assert queue.oldest_arrival_ns() == 7
    queue.take(2, 1000, 0)
    queue.handed_on()
    assert queue.oldest_arrival_ns() is None


def test_a_waiting_consumer_is_woken_and_closing_ends_the_wait() -> None:
    queue = MessageQueue(100, 1000)
    taken: list[int] = []

    def consume() -> None:
        taken.append(len(queue.take(10, 1000, 30)))
        taken.append(len(queue.take(10, 1000, 30)))

    thread = threading.Thread(target=consume)
    thread.start()
    queue.put([message(b"x")])
    queue.close()
    thread.join(10)
    assert taken == [1, 0]


def test_under_load_it_waits_for_a_batch_to_fill() -> None:
    now = [100.0]
    queue = MessageQueue(100, 1000, monotonic=lambda: now[0])
    queue.put([message(b"x")])
    assert len(queue.take(2, 1000, 0)) == 1  # idle before: no waiting
    thread = threading.Thread(target=lambda: taken.extend(queue.take(2, 1000, 0)))
    taken: list[object] = []
    queue.put([message(b"x")])
    thread.start()  # the clock stands still: only a full batch ends the wait
    queue.put([message(b"x")])
    thread.join(10)
    assert len(taken) == 2
