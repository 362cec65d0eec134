"""The threads of the codecs."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mainstem_engine.part import workers


def test_tasks_run_on_other_threads() -> None:
    assert workers.submit(threading.get_ident).result() != threading.get_ident()
    assert workers.done(threading.get_ident).result() == threading.get_ident()


def test_errors_come_with_the_result() -> None:
    for hand_over in (workers.submit, workers.done):
        future = hand_over(int, "x")
        with pytest.raises(ValueError, match="invalid literal"):
            future.result()


def test_work_is_done_where_no_thread_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = ThreadPoolExecutor(1)
    ended.shutdown()
    monkeypatch.setattr(workers, "_POOL", ended)
    assert workers.submit(threading.get_ident).result() == threading.get_ident()
