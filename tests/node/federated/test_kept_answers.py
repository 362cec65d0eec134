"""Answers that are kept: never older than what asking anew gives, and bounded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mainstem_engine.model import ColumnType, Measurement
from mainstem_node.config.schema import SqlConfig
from mainstem_node.federated.kept_answers import ENTRY_BYTES, Kept, KeptAnswers
from mainstem_node.federated.reading import Reading
from mainstem_node.federated.runner import QuestionRunner
from mainstem_node.federated.storage import FederatedStorage
from mainstem_node.federated.wish import Wish
from mainstem_sync.down.answers import Pending
from mainstem_sync.down.questions import Asked
from mainstem_sync.slices import closing_book, slice_table, watch
from mainstem_sync.state.exports import Export
from mainstem_sync.testing.tiers import START_MS, START_NS, Tiers
from mainstem_sync.wire.question import Question

HOUR_NS = 3_600_000_000_000
FUNCTIONS = {
    "current": ("count", "min", "max", "first", "last"),
    "voltage": ("count", "min", "max", "sum"),
}


class Direct:
    """Questions that are answered at once, by the runner of the child."""

    def __init__(self, runners: dict[str, QuestionRunner]) -> None:
        self.runners = runners

    def ask(self, child: str, body: bytes, wait_s: float, bytes_max: int) -> Asked:
        question = Question("q", body, int(wait_s * 1000), bytes_max)
        pending = Pending(question, "lease", 1e12)
        asked = Asked(question, child, 1, 1e12, 1e12)
        asked.result, asked.said = self.runners[child]._found(pending, Wish.unpack(body))
        asked.done.set()
        return asked

    def wait(self, asked: Asked) -> None:
        assert asked.done.is_set()

    def cancel(self, asked: Asked) -> None:
        pass


class World:
    """Three tiers, asked with what was kept and without."""

    def __init__(self, base: Path, edge_exports: tuple[Export, ...]) -> None:
        self.tiers = Tiers(base, edge_exports=edge_exports, plant_exports=())
        self.kept = {name: KeptAnswers() for name in ("edge", "plant", "group")}
        self.now = float(self.tiers.clock.monotonic())

    def ask(self, kept: dict[str, KeptAnswers], span: tuple[int, int], every_ns: int) -> Any:
        tiers = self.tiers
        runners = {
            node.name: QuestionRunner(
                node.engine, node.federation, SqlConfig(), kept=kept[node.name],
                monotonic=lambda: 0.0,
            )
            for node in (tiers.edge, tiers.plant)
        }  # fmt: skip
        for node in (tiers.plant, tiers.group):
            node.federation.down.questions = Direct(runners)  # type: ignore[assignment]
        federation = tiers.group.federation
        reading = Reading(federation, "read", "me", 1e9, monotonic=lambda: 0.0, kept=kept["group"])
        storage = FederatedStorage(tiers.group.engine, reading)
        pieces, _ = storage.aggregate_pieces(
            "meters", FUNCTIONS, None, *span, every_ns=every_ns, by_device=True
        )
        assert reading.warnings == []
        return None if pieces is None else shown(pieces), reading

    def both(self, span: tuple[int, int], every_ns: int) -> tuple[Any, Any]:
        anew = {name: KeptAnswers() for name in self.kept}
        return self.ask(self.kept, span, every_ns)[0], self.ask(anew, span, every_ns)[0]


def shown(pieces: Any) -> list[Any]:
    """Pieces as plain values, in their order."""
    order = np.lexsort((pieces.window, pieces.device))
    columns = [pieces.device, pieces.window, pieces.rows, pieces.begin_ns, pieces.end_ns]
    for _, values in sorted(pieces.values.items()):
        there = values.count > 0
        for array in values.arrays():
            if array is not None:
                at = there if array.ndim == 1 else there[:, None]
                columns.append(np.where(at, array, np.zeros(1, array.dtype)))
    return [column[order].tolist() for column in columns]


@pytest.fixture(params=[(), (Export("meters"),)], ids=["not_held", "held_at_the_plant"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path, request.param)
    yield world
    world.tiers.stop()


def change(world: World, rng: np.random.Generator) -> str:
    """Something that may change an answer, or time."""
    tiers, engine = world.tiers, world.tiers.edge.engine
    kind = rng.choice(["write", "late", "delete", "void", "time", "deliver", "flush", "alter"],
                      p=[0.2, 0.2, 0.15, 0.1, 0.1, 0.15, 0.08, 0.02])  # fmt: skip
    start_s = float(rng.integers(0, 4 * 3600))
    now_s = (tiers.clock.now_ns - START_NS) / 1e9
    if kind == "write":
        tiers.write(f"root.p.e.d{rng.integers(3)}", now_s, 5, value=float(rng.normal()))
    elif kind == "late":
        tiers.write(f"root.p.e.d{rng.integers(3)}", start_s, 50, value=float(rng.normal()))
    elif kind == "delete":
        first, length = START_MS + int(start_s * 1000), int(rng.integers(1, 3600)) * 1000
        engine.delete("meters", start=first, end=first + length).ack.wait()
    elif kind == "void":
        # Every row of one device, whatever its time: more slices than are listed one by one.
        engine.delete("meters", devices=[f"root.p.e.d{rng.integers(3)}"]).ack.wait()
    elif kind == "time":
        tiers.clock.advance(float(rng.integers(60, 1800)))
    elif kind == "deliver":
        tiers.close(5)
    elif kind == "flush":
        tiers.edge.engine.flush()
    else:
        extra = Measurement(0, f"extra{engine.catalog.revision}", ColumnType.DOUBLE)
        engine.alter_template("meters", add=[extra])
    return str(kind)


@pytest.mark.parametrize("seed", range(1))
def test_what_is_kept_is_never_older_than_what_asking_gives(
    world: World, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Little is remembered slice by slice: what is forgotten must not make an answer hold.
    monkeypatch.setattr(closing_book, "KEPT_SLICES", 60)
    monkeypatch.setattr(slice_table, "SPAN_SLICES_MAX", 20)
    monkeypatch.setattr(watch, "PROVEN_SLICES_KEPT", 60)
    rng = np.random.default_rng(seed)
    tiers = world.tiers
    for device in range(3):
        tiers.write(f"root.p.e.d{device}", 0, 4 * 3600)
    tiers.clock.advance(5 * 3600)
    tiers.close()
    spans = [
        (START_NS, START_NS + 4 * HOUR_NS),
        (START_NS + HOUR_NS, START_NS + 2 * HOUR_NS + 17),
        (START_NS, START_NS + 100 * HOUR_NS),
    ]
    done: list[str] = []
    for _ in range(20):
        for every_ns in (HOUR_NS, 7 * 60 * 10**9):
            span = spans[rng.integers(len(spans))]
            found, anew = world.both(span, every_ns)
            assert found == anew, (done, span)
        done += [change(world, rng) for _ in range(rng.integers(1, 4))]
    held = sum(kept.statistics().held for kept in world.kept.values())
    assert held > 5, "nothing was ever used again"


@pytest.mark.parametrize("world", [(Export("meters"),)], indirect=True, ids=["held"])
def test_a_row_that_takes_the_place_of_another_makes_an_answer_anew(world: World) -> None:
    tiers, span = world.tiers, (START_NS, START_NS + HOUR_NS)
    tiers.write(rows=3600, value=1.0)
    tiers.clock.advance(2 * 3600)
    tiers.close()
    for number in (2.0, 3.0):
        held = world.kept["group"].statistics().held
        assert world.both(span, HOUR_NS)[0] == world.both(span, HOUR_NS)[1]
        assert world.kept["group"].statistics().held > held
        # In the same minutes, and verified again before anybody asks.
        tiers.write(rows=3600, value=number)
        tiers.close()
        tiers.close()
        assert tiers.state(tiers.plant)["state"] == "complete"
        found, anew = world.both(span, HOUR_NS)
        assert found == anew


@pytest.mark.parametrize("world", [()], indirect=True, ids=["not_held"])
def test_rows_that_expire_make_an_answer_anew(world: World) -> None:
    tiers, span = world.tiers, (START_NS - HOUR_NS, START_NS + HOUR_NS)
    tiers.write(rows=3600)
    tiers.edge.engine.set_keep("meters", 4 * HOUR_NS)
    tiers.clock.advance(2 * 3600)
    tiers.close()
    for _ in range(2):
        found, anew = world.both(span, HOUR_NS)
        assert found == anew
    # None of the rows is that old yet, although the range is.
    assert world.kept["group"].statistics().held == 1
    counts = set()
    while tiers.clock.now_ns < START_NS + 5 * HOUR_NS:
        found, anew = world.both(span, HOUR_NS)
        assert found == anew
        counts.add(sum(found[2]))
        tiers.clock.advance(600)
    assert len(counts) > 3


def test_a_child_that_says_what_cannot_be_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiers, span = world.tiers, (START_NS, START_NS + HOUR_NS)
    tiers.write(rows=3600)
    tiers.clock.advance(2 * 3600)
    tiers.close()
    ask = Direct.ask

    def lie(self: Direct, *arguments: Any) -> Asked:
        asked = ask(self, *arguments)
        asked.said["kept"] = True  # of an answer that nobody here has
        return asked

    monkeypatch.setattr(Direct, "ask", lie)
    with pytest.raises(AssertionError, match="makes no sense"):
        world.ask(world.kept, span, HOUR_NS)
    # One that is no answer at all is not kept either, whatever its stamp.
    monkeypatch.setattr(Direct, "ask", lambda self, *a: broken(ask(self, *a)))
    with pytest.raises(AssertionError, match="did not answer"):
        world.ask(world.kept, span, HOUR_NS)
    monkeypatch.setattr(Direct, "ask", ask)
    found, anew = world.both(span, HOUR_NS)
    assert sum(found[2]) == 3600
    assert found == anew


def broken(asked: Asked) -> Asked:
    asked.result = b"nothing that can be read"
    return asked


def test_bytes_are_bounded_and_the_oldest_goes_first() -> None:
    kept = KeptAnswers(bytes_max=80_000)
    size = 9_000 - ENTRY_BYTES
    for number in range(20):
        kept.put(("plant", str(number).encode()), Kept("s", bytes(size), 1))
        kept.get(("plant", b"0"))
    assert kept.statistics().bytes <= 80_000
    assert kept.get(("plant", b"0")) is not None
    assert kept.get(("plant", b"1")) is None
    assert kept.get(("plant", b"19")) is not None
    kept.put(("plant", b"19"), Kept("t", b"", 0))
    assert kept.get(("plant", b"19")) == Kept("t", b"", 0)
    kept.put(("plant", b"19"), Kept("", b"", 0))
    assert kept.get(("plant", b"19")) is None
    kept.put(("plant", b"large"), Kept("s", bytes(20_000), 1))
    assert kept.get(("plant", b"large")) is None


def test_many_threads_share_it() -> None:
    kept = KeptAnswers(bytes_max=100_000)

    def work(number: int) -> None:
        for n in range(300):
            key = ("plant", str((number + n) % 40).encode())
            kept.put(key, Kept("s", bytes(3000), n))
            kept.get(key)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = kept.statistics()
    assert found.bytes <= 100_000
    assert found.made == 1200
