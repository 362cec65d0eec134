"""Files that are written, rotated and followed in any order, with kills: no line is lost."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_edge.collectors.file_follow import FollowCollector
from mainstem_edge.collectors.interface import Message
from mainstem_edge.files.lines import CHUNK_BYTES
from mainstem_edge.testing.file_site import HEADER, FileSite

NAMES = ("a.csv", "b.csv")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(NAMES), st.integers(1, 30)),
        st.tuples(st.just("begin"), st.sampled_from(NAMES), st.integers(1, 30)),
        st.tuples(st.just("rotate"), st.sampled_from(NAMES), st.just(0)),
        st.tuples(st.just("turn"), st.just(""), st.integers(0, 3)),
        st.tuples(st.just("note"), st.just(""), st.just(0)),
        st.tuples(st.sampled_from(["stop", "kill"]), st.just(""), st.just(0)),
    ),
    max_size=40,
)


class World:
    """Two logs, their writers, and what came of them. A row is the number of its line."""

    def __init__(self, site: FileSite) -> None:
        self.site = site
        self.written = dict.fromkeys(NAMES, 0)
        self.begun = dict.fromkeys(NAMES, "")
        self.clock = 0
        self.stored: dict[str, list[int]] = {name: [] for name in NAMES}
        self.waiting: list[Message] = []
        self.again = 0
        for name in NAMES:
            self._append(name, HEADER)
        self.collector = self._started()

    def _started(self) -> FollowCollector:
        return self.site.follower(pattern="*.csv*")

    def _append(self, name: str, text: str) -> None:
        path = self.site.root / name
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
        self.clock += 1
        os.utime(path, ns=(self.clock, self.clock))

    def write(self, name: str, count: int) -> None:
        """Lines of different lengths; the one that was begun is ended."""
        numbers = range(self.written[name], self.written[name] + count)
        lines = [f"{number},{'9' * (number * 7 % 50)}\n" for number in numbers]
        self._append(name, "".join(lines).removeprefix(self.begun[name]))
        self.begun[name] = ""
        self.written[name] += count

    def begin(self, name: str, size: int) -> None:
        if not self.begun[name]:
            number = self.written[name]
            self.begun[name] = f"{number},{'9' * (number * 7 % 50)}"[:size]
            self._append(name, self.begun[name])

    def rotate(self, name: str, _: int) -> None:
        if self.begun[name]:
            self.write(name, 1)
        old = sorted(self.site.root.glob(f"{name}.*"), key=lambda p: int(p.suffix[1:]))
        for path in reversed(old):
            path.rename(path.with_suffix(f".{int(path.suffix[1:]) + 1}"))
        (self.site.root / name).rename(self.site.root / f"{name}.1")
        self._append(name, HEADER)

    def turn(self, _: str, kept: int) -> None:
        """All but the last ``kept`` messages become durable."""
        self.collector.turn()
        if len(self.collector.queue):
            self.waiting += self.collector.queue.take(1000, 1 << 30, 0)
        while len(self.waiting) > kept:
            message = self.waiting.pop(0)
            message.origin.acknowledge([message.id])
            self._store(message)

    def _store(self, message: Message) -> None:
        header, *lines = message.payload.decode().splitlines()
        assert header + "\n" == HEADER
        rows = self.stored[message.topic.removeprefix("file/") + ".csv"]
        for line in lines:
            number = int(line.partition(",")[0])
            assert line == f"{number},{'9' * (number * 7 % 50)}"
            assert number <= len(rows)  # in order, with no gap
            if number == len(rows):
                rows.append(number)
            else:
                self.again += 1

    def note(self, *_: object) -> None:
        self.collector.write_book()

    def stop(self, *_: object) -> None:
        self.turn("", 0)
        self.collector.write_book()
        self.kill()
        again = self.again
        self.turn("", 0)
        assert self.again == again, "read again after a stop"

    def kill(self, *_: object) -> None:
        self.collector.close()
        self.waiting.clear()
        self.collector = self._started()


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_every_line_is_stored_once_and_in_order(steps: list[tuple[str, str, int]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        site = FileSite(Path(place), _no_intake)
        world = World(site)
        killed = False
        for step, name, number in steps:
            getattr(world, step)(name, number)
            killed |= step == "kill"
        world.turn("", 0)
        world.turn("", 0)
        for name in NAMES:
            assert world.stored[name] == list(range(world.written[name]))
        assert killed or world.again == 0
        site.stop_all()


def _no_intake(**_: Any) -> Any:
    raise AssertionError("there is none")


def test_the_lines_are_smaller_than_a_piece() -> None:
    """Or else a turn would not read all of them."""
    assert CHUNK_BYTES > 40 * 30 * 60
