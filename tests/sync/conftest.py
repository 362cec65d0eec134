"""Fixtures: tiers that are stopped when the test ends; senders whose lock is taken in order."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from mainstem_sync.sending.sender import Sender
from mainstem_sync.testing.tiers import Tiers


class TakenFirst:
    """A lock that notes who takes it after another: two threads that take two locks in two orders
    wait for each other, now and then. One thread alone shows it every time."""

    def __init__(self, other: Any, found: list[str]) -> None:
        self._lock: Any = threading.RLock()
        self._other = other
        self._found = found

    def __enter__(self) -> None:
        if self._other._is_owned() and not self._lock._is_owned():
            self._found.append("".join(traceback.format_stack(limit=6)))
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, value: object, trace: TracebackType | None
    ) -> None:
        self._lock.release()


@pytest.fixture(autouse=True)
def locks_in_order(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The sender's lock is taken before the federation's, never after it."""
    found: list[str] = []
    begin = Sender.__init__

    def __init__(sender: Sender, **options: Any) -> None:
        begin(sender, **options)
        lock: Any = TakenFirst(options["lock"], found)
        sender.lock = sender._lanes._lock = lock

    monkeypatch.setattr(Sender, "__init__", __init__)
    yield
    assert not found, found[0]


@pytest.fixture
def make_tiers(tmp_path: Path) -> Iterator[Callable[..., Tiers]]:
    made: list[Tiers] = []

    def make(**options: Any) -> Tiers:
        made.append(Tiers(tmp_path / str(len(made)), **options))
        return made[-1]

    yield make
    for tiers in made:
        tiers.stop()


@pytest.fixture
def tiers(make_tiers: Callable[..., Tiers]) -> Tiers:
    return make_tiers()
