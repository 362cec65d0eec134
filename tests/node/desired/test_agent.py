"""How long a configuration may keep the parent away: by a clock that the test turns."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mainstem_node.config import load_topology
from mainstem_node.desired.agent import ConfigAgent
from mainstem_node.desired.documents import documents_of, hash_of, load_text, text_of
from mainstem_node.desired.revisions import APPLIED, PENDING, Revisions
from mainstem_sync.wire.order import State

NODES: list[dict[str, Any]] = [
    {"id": "edge", "tier": "edge", "listen": "127.0.0.1:1", "data_dir": "edge",
     "parent": {"node": "plant"}},
    {"id": "plant", "tier": "platform", "listen": "127.0.0.1:2", "data_dir": "plant"},
]  # fmt: skip


class FakeHost:
    """Two revisions: one that holds, and one with another parent that is tried now."""

    def __init__(self, place: Path, link: dict[str, Any]) -> None:
        self.back: list[tuple[int, str]] = []
        self.revisions = Revisions(place / "edge")
        self.file_hash = ""
        for rev, url in ((1, "http://127.0.0.1:2"), (2, "http://127.0.0.1:3")):
            nodes = [{**NODES[0], "parent": {"node": "plant", "url": url}, "link": link}, NODES[1]]
            path = place / "topology.yaml"
            path.write_text(yaml.safe_dump({"nodes": nodes}))
            document = documents_of(load_topology(path))["edge"]
            self.document = document
            self.revisions.add(
                text_of(document, "edge", place / "edge", None), digest=hash_of(document),
                file_hash="", by="ann", order="o1" if rev == 2 else "", at_ms=1,
                state=PENDING if rev == 2 else APPLIED,
            )  # fmt: skip
        self.topology = load_text(self.revisions.path(2), place, "edge")

    def adopt(self, rev: int) -> bool:
        raise AssertionError(rev)

    def switch(self, rev: int) -> None:
        raise AssertionError(rev)

    def switch_back(self, rev: int, why: str) -> None:
        self.back.append((rev, why))


class FakeDown:
    node = "edge"

    def __init__(self) -> None:
        self.said: list[State] = []
        self.orders = self

    def statement(self, node: str, ident: str) -> None:
        return None

    def say(self, ident: str, state: State, *more: object) -> Any:
        self.said.append(state)
        return self

    def wait(self, timeout_s: float) -> None:
        return None


class Turned:
    """A clock that goes on by what is waited for."""

    def __init__(self) -> None:
        self.now = random.Random(5).uniform(0, 1e6)
        self.began = self.now

    def pause(self, seconds: float) -> bool:
        self.now += seconds
        return False


def prove(host: FakeHost, is_linked: Callable[[Turned], bool]) -> tuple[Turned, FakeDown]:
    clock, down = Turned(), FakeDown()
    agent = ConfigAgent(
        down,  # type: ignore[arg-type]
        host,
        is_linked=lambda within_s: is_linked(clock),
        amend=lambda amendment: None,
        monotonic=lambda: clock.now,
        pause=clock.pause,
    )
    agent._prove("o1", host.revisions.all[1], clock.now)
    return clock, down


@pytest.mark.parametrize(("link", "limit_s"), [({}, 120.0), ({"reach_within": "7s"}, 7.0)])
def test_it_comes_back_when_the_parent_does_not_answer(
    tmp_path: Path, link: dict[str, Any], limit_s: float
) -> None:
    host = FakeHost(tmp_path, link)
    clock, down = prove(host, lambda clock: False)
    assert limit_s <= clock.now - clock.began <= limit_s + 1
    ((rev, why),) = host.back
    assert rev == 2
    assert f"within {limit_s:g} s" in why
    assert down.said == []  # its end is said by the node that is started again


def test_a_parent_that_answers_late_is_in_time(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, {})
    _, down = prove(host, lambda clock: clock.now - clock.began > 119)
    assert host.back == []
    assert State.DONE in down.said
    assert host.revisions.all[1].state == APPLIED
