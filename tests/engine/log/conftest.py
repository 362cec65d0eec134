"""Logs in a temporary directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mainstem_engine.filesystem import Filesystem
from mainstem_engine.log.log import Log
from mainstem_engine.options import Durability
from mainstem_engine.testing.recorder import NODE_UUID, CommitRecorder


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def open_log(directory: Path) -> Iterator[Callable[..., Log]]:
    """Opens the log in ``directory``; started if a recorder is given; closed at the end."""
    logs: list[Log] = []

    def make(
        fs: Filesystem | None = None,
        mode: str = "always",
        sink: CommitRecorder | None = None,
        **options: int,
    ) -> Log:
        log = Log.open(
            directory,
            fs=fs or Filesystem(),
            node_uuid=NODE_UUID,
            durability=Durability.parse(mode),
            **options,
        )
        logs.append(log)
        if sink is not None:
            log.start(sink.on_commit, sink.on_failure)
        return log

    yield make
    for log in logs:
        log.close()
