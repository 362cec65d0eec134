"""Slice images: made, carried, applied; and equal digests whatever was there before."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainstem_engine import (
    AppliedRows,
    Column,
    ColumnType,
    Engine,
    EngineOptions,
    Measurement,
    Origin,
    Rows,
    RowSink,
    Template,
)
from mainstem_engine.accounting import StoreCounts
from mainstem_engine.erasures import Erasure, decode_erasure
from mainstem_engine.errors import (
    CorruptionError,
    NotFoundError,
    OverloadedError,
    StaleImageError,
)
from mainstem_engine.filesystem import byte_view
from mainstem_engine.images import SliceImage, decode_image, encode_image, image_payload
from mainstem_engine.log.records import Record, RecordKind, encode_payload
from mainstem_engine.points import decode_points

MS = 1_000_000
SLICE = 10 * MS
T = Template("t", (Measurement(0, "a", ColumnType.INT32), Measurement(0, "s", ColumnType.TEXT)))
PATHS = ("root.a.d1", "root.a.d2")


class Relay:
    """Applies records of other nodes as the federation does; ids are the same everywhere here."""

    name = "relay"
    kinds = frozenset({RecordKind.RCV})

    def __init__(self) -> None:
        self.decoded: dict[int, Any] = {}

    def apply(self, record: Record, decoded: Any, sink: RowSink) -> None:
        decoded = self.decoded.setdefault(record.lsn, decoded)
        origin, lsn, what = decoded
        if isinstance(what, Erasure):
            sink.delete(origin, what)
        elif isinstance(what, SliceImage):
            sink.replace_slice(what)
        else:
            sink.add("t", origin, what, lsn)

    def rows_applied(self, batch: AppliedRows) -> None:
        pass

    def snapshot(self) -> bytes:
        return b""

    def restore(self, data: bytes) -> None:
        pass


def opened(path: Path, relay: Relay | None = None, **options: Any) -> Engine:
    chosen = EngineOptions(**{"background": False, "block_rows": 8, **options})
    engine = Engine.open(path, chosen, consumers=[relay or Relay()])
    engine.settled = lambda origin: (1 << 62) if origin == 0 else 0
    if engine.catalog.templates.get("t") is None:
        engine.create_template(T)
        engine.device_ids("t", PATHS, create=True)
    return engine


@pytest.fixture
def pair(tmp_path: Path) -> Any:
    owner, parent = opened(tmp_path / "owner"), opened(tmp_path / "parent")
    yield owner, parent
    owner.close()
    parent.close()


def write(engine: Engine, device: str, times: Sequence[int], value: int = 1) -> int:
    ack = engine.write("t", device, list(times), {"a": value, "s": f"v{value}"})
    ack.wait()
    return ack.lsn


def records_of(engine: Engine) -> dict[int, Any]:
    """What the owner would send, by LSN."""
    found: dict[int, Any] = {}
    for record in engine.log.read(1):
        if record.kind == RecordKind.PTS:
            found[record.lsn] = decode_points(record.payload).rows
        elif record.kind == RecordKind.DEL:
            found[record.lsn] = decode_erasure(record.payload)
    return found


def own(engine: Engine) -> Origin:
    return engine.origins[0]


def receive(engine: Engine, origin: Origin, lsn: int, what: Any) -> None:
    engine.append(RecordKind.RCV, {}, decoded=(origin, lsn, what)).wait()


def digests(engine: Engine, origin: Origin, start: int = 0, end: int = SLICE) -> Any:
    index = engine.origin_index(origin)
    if index is None:
        return []
    found = engine.slice_digests("t", index, start, end, SLICE)
    return list(zip(found.start.tolist(), found.count.tolist(), found.d1.tolist(), strict=True))


def balanced(engine: Engine) -> Any:
    counts = engine.store_accounting().get("t", StoreCounts())
    assert counts.balanced
    assert min(counts.live, counts.unresolved, counts.overwritten, counts.deleted) >= 0
    return counts


def test_an_image_replaces_what_differs(pair: Any) -> None:
    owner, parent = pair
    write(owner, PATHS[0], range(15))
    write(owner, PATHS[1], [3, 4])
    owner.delete("t", start=4, end=6).ack.wait()
    node = own(owner)
    ids = owner.device_ids("t", PATHS)
    wrong = Rows(ids[[0, 0, 1]], np.array([4, 5, 9]) * MS, {0: Column(np.array([9] * 3, np.int32))})
    receive(parent, node, 2, wrong)
    parent.flush()
    receive(parent, node, 3, Rows(ids[:1], np.array([12 * MS])))
    image = owner.slice_image("t", 0, 0, SLICE)
    assert (image.table, image.origin, len(image.rows)) == ("t", node, 9)
    assert image.as_of == owner.committed_lsn
    parent.apply_image(image).wait()
    assert digests(parent, node) == digests(owner, node)
    assert digests(parent, node, SLICE, 2 * SLICE) != digests(owner, node, SLICE, 2 * SLICE)
    for _ in range(2):
        balanced(parent)
        parent.flush()
        counts = balanced(parent)
        assert counts.live == len(parent.scan_rows("t")) == 10
        parent.compact()
        assert digests(parent, node) == digests(owner, node)


def test_what_arrives_later_is_judged_by_its_version(pair: Any) -> None:
    owner, parent = pair
    write(owner, PATHS[0], range(5))
    write(owner, PATHS[0], [2], value=2)
    image = owner.slice_image("t", 0, 0, SLICE)
    node = own(owner)
    parent.apply_image(image).wait()
    write(owner, PATHS[0], [3, 7], value=3)
    for lsn, what in reversed(records_of(owner).items()):
        receive(parent, node, lsn, what)
        assert balanced(parent)
    assert digests(parent, node) == digests(owner, node)
    parent.flush()
    assert balanced(parent).overwritten == 7  # six known by the image, and one at 3 ms
    index = parent.origin_index(node)
    assert index is not None
    assert parent._store.standing.floors("t").of(index, 0, SLICE) == image.as_of
    parent.drop_floors("t", node, image.as_of - 1)
    assert parent._store.standing.floors("t").of(index, 0, SLICE) == image.as_of
    parent.settled = lambda origin: image.as_of
    write(parent, "root.b.x", [1])
    parent.flush()
    assert parent._store.standing.floors("t").of(index, 0, SLICE) == 0


def test_an_image_of_nothing(pair: Any) -> None:
    owner, parent = pair
    write(owner, PATHS[0], [1, 2])
    node = own(owner)
    receive(parent, node, 2, Rows(owner.device_ids("t", PATHS[:1]), np.array([5 * MS])))
    owner.delete("t").ack.wait()
    image = owner.slice_image("t", 0, 0, SLICE)
    assert len(image.rows) == 0
    parent.apply_image(image).wait()
    assert len(parent.scan_rows("t")) == 0
    parent.flush()
    assert balanced(parent).live == 0


def test_an_image_of_a_slice_without_rows_needs_no_tombstone(pair: Any) -> None:
    owner, parent = pair
    write(owner, PATHS[0], [1, 2])
    parent.apply_image(owner.slice_image("t", 0, 0, SLICE)).wait()
    assert not parent._store.standing.of("t")
    # What it brought is replaced by the next one all the same, flushed or not.
    owner.sql("DELETE FROM root.a.d1 WHERE time = 1")
    parent.apply_image(owner.slice_image("t", 0, 0, SLICE)).wait()
    assert len(parent._store.standing.of("t")) == 1
    assert digests(owner, own(owner)) == digests(parent, own(owner))
    parent.flush()
    assert digests(owner, own(owner)) == digests(parent, own(owner))
    assert owner.slice_image("t", 0, 0, SLICE).rows.time.tolist() == [2 * MS]


def test_slices_by_the_versions_of_their_rows(pair: Any) -> None:
    owner, _ = pair
    first = write(owner, PATHS[0], [1, 25])
    second = write(owner, PATHS[1], [1, 12])
    assert owner.stored_slices("t", 0, SLICE, first, second).tolist() == [0, 1, 2]
    assert owner.stored_slices("t", 0, SLICE, second, second).tolist() == [0, 1]
    owner.flush()
    assert owner.stored_slices("t", 0, SLICE, first, first).tolist() == [0, 2]
    assert owner.stored_slices("t", 1, SLICE, first, second).tolist() == []


def test_several_origins_do_not_touch_each_other(pair: Any) -> None:
    owner, parent = pair
    write(owner, PATHS[0], [1, 2])
    other = Origin("e" * 32, "other")
    ids = owner.device_ids("t", PATHS)
    receive(parent, other, 9, Rows(ids[1:], np.array([3 * MS])))
    write(parent, "root.b.x", [4])
    parent.apply_image(owner.slice_image("t", 0, 0, SLICE)).wait()
    found = parent.scan("t").read_all().to_pydict()
    assert list(zip(found["device"], found["time"], strict=True)) == [
        (PATHS[0], 1),
        (PATHS[0], 2),
        (PATHS[1], 3),
        ("root.b.x", 4),
    ]
    index = parent.origin_index(own(owner))
    assert index is not None
    with pytest.raises(ValueError, match="as_of"):
        parent.slice_image("t", index, 0, SLICE)
    relayed = parent.slice_image("t", index, 0, SLICE, as_of=100)
    assert (relayed.origin, relayed.as_of, len(relayed.rows)) == (own(owner), 100, 2)
    with pytest.raises(StaleImageError):
        parent.slice_image("t", index, 0, SLICE, as_of=1)


def test_an_older_image_is_refused(pair: Any) -> None:
    owner, parent = pair
    first = write(owner, PATHS[0], [1])
    image = owner.slice_image("t", 0, 0, SLICE)
    second = write(owner, PATHS[0], [2])
    node = own(owner)
    receive(parent, node, second, records_of(owner)[second])
    assert parent.slice_max_lsn("t", node, 0, SLICE) == second
    assert parent.slice_max_lsn("t", Origin("d" * 32, "x"), 0, SLICE) == 0
    with pytest.raises(StaleImageError, match=f"LSN {first}, and LSN {second} has touched it"):
        parent.apply_image(image)
    newer = owner.slice_image("t", 0, 0, SLICE)
    with pytest.raises(StaleImageError):
        parent.apply_image(newer, max_lsn=newer.as_of + 1)
    parent.apply_image(newer).wait()
    assert parent.slice_max_lsn("t", node, 0, SLICE) == newer.as_of
    with pytest.raises(NotFoundError, match="is this node"):
        owner.apply_image(newer)


def test_after_a_restart(tmp_path: Path) -> None:
    owner, relay = opened(tmp_path / "owner"), Relay()
    parent = opened(tmp_path / "parent", relay)
    node = own(owner)
    write(owner, PATHS[0], [1, 2, 3])
    receive(parent, node, 1, Rows(owner.device_ids("t", PATHS[:1]), np.array([9 * MS])))
    parent.apply_image(owner.slice_image("t", 0, 0, SLICE)).wait()
    expected = digests(owner, node)
    for flush in (False, True, False):
        if flush:
            parent.flush()
        before = balanced(parent)
        parent.abandon()
        parent = opened(tmp_path / "parent", relay)
        assert digests(parent, node) == expected
        assert balanced(parent) == before
        receive(parent, node, 2, Rows(owner.device_ids("t", PATHS[:1]), np.array([9 * MS])))
        assert digests(parent, node) == expected
    parent.close()
    owner.close()


def test_an_owner_that_has_not_widened_what_is_wider_here(tmp_path: Path) -> None:
    owner, parent = opened(tmp_path / "owner"), opened(tmp_path / "parent")
    write(owner, PATHS[0], [1, 2, 3], -7)
    image = owner.slice_image("t", 0, 0, SLICE)
    parent.alter_template("t", widen={"a": ColumnType.INT64})
    parent.apply_image(image).wait()
    expected = digests(owner, own(owner))
    assert digests(parent, own(owner)) == expected
    parent.abandon()
    parent = opened(tmp_path / "parent")
    assert digests(parent, own(owner)) == expected
    parent.close()
    owner.close()


def test_only_what_is_on_disk(tmp_path: Path) -> None:
    owner = opened(tmp_path / "owner", durability="os")
    write(owner, PATHS[0], [1])
    owner.flush()
    write(owner, PATHS[0], [2])
    owner.delete("t", end=2).ack.wait()
    image = owner.slice_image("t", 0, 0, SLICE)
    assert image.as_of <= owner.durable_lsn
    assert image.rows.time.tolist() == [1 * MS]
    owner.close()


def test_a_large_image_is_cut(pair: Any) -> None:
    owner, parent = pair
    for n in range(30):
        owner.write("t", f"root.a.e{n}", list(range(10)), {"a": n, "s": "x" * 20}).wait()
    parent.device_ids("t", owner.catalog.devices.paths(list(range(32))), create=True)
    image = owner.slice_image("t", 0, 0, SLICE)
    for most in (1, 700, 3000, 100_000):
        pieces = list(image.pieces(most))
        assert sum(len(p.rows) for p in pieces) == 300
        firsts = [p for p in pieces if p.part == 0]
        assert firsts[0].start_ns == 0
        assert firsts[-1].end_ns == SLICE
        assert all(a.end_ns == b.start_ns for a, b in itertools.pairwise(firsts))
        again = [
            decode_image(joined(image_payload(p, {0: T.measurements[0].type, 1: ColumnType.TEXT})))
            for p in pieces
        ]
        assert [len(p.rows) for p in again] == [len(p.rows) for p in pieces]
    for piece in image.pieces(700):
        receive(parent, own(owner), 0, piece)
    assert digests(parent, own(owner)) == digests(owner, own(owner))


def joined(pieces: Any) -> bytes:
    return b"".join(map(byte_view, pieces))


def test_bytes_that_lie_are_refused(pair: Any) -> None:
    owner, _ = pair
    write(owner, PATHS[0], [1, 2])
    image = owner.slice_image("t", 0, 0, SLICE)
    types = owner.catalog.table("t").types
    found = decode_image(joined(image_payload(image, types)))
    assert found.rows.time.tolist() == image.rows.time.tolist()
    assert found.lsn.tolist() == image.lsn.tolist()
    header, buffers = encode_image(image, types)
    changes: list[dict[str, Any]] = [
        {"n": 1}, {"s": 2 * MS}, {"e": 2 * MS}, {"as_of": 1}, {"part": -1}, {"epoch": "x"},
    ]  # fmt: skip
    for change in changes:
        with pytest.raises(CorruptionError):
            decode_image(joined(encode_payload({**header, **change}, buffers)))
    with pytest.raises(CorruptionError):
        decode_image(joined(encode_payload(header, buffers[:1])))


def test_floors_have_a_bound(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, parent = pair
    monkeypatch.setattr("mainstem_engine.floors.FLOORS_MAX", 2)
    for at in (0, 2):
        parent.apply_image(owner.slice_image("t", 0, at * SLICE, (at + 1) * SLICE)).wait()
    with pytest.raises(OverloadedError):
        parent.apply_image(owner.slice_image("t", 0, 4 * SLICE, 5 * SLICE))
    parent.drop_floors("t", own(owner), 1 << 40)
    parent.apply_image(owner.slice_image("t", 0, 4 * SLICE, 5 * SLICE)).wait()


columns = st.sampled_from([["a"], ["s"], ["a", "s"]])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(PATHS), st.integers(0, 19), columns),
        st.tuples(st.just("delete"), st.integers(0, 19), st.integers(1, 8), st.none() | columns),
        st.tuples(st.just("image"), st.sampled_from([0, SLICE])),
    ),
    min_size=1,
    max_size=14,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps, st.randoms(use_true_random=False))
def test_whatever_the_order_the_states_become_equal(
    tmp_path_factory: pytest.TempPathFactory, plan: list[Any], rng: Any
) -> None:
    base = tmp_path_factory.mktemp("order")
    relay = Relay()
    owner, parent = opened(base / "owner"), opened(base / "parent", relay)
    node, waiting = own(owner), []
    try:
        for number, step in enumerate(plan):
            if step[0] == "write":
                values = {"a": number, "s": f"v{number}"}
                some = {name: values[name] for name in step[3]}
                owner.write("t", step[1], [step[2]], some).wait()
            elif step[0] == "delete":
                end = step[1] + step[2]
                owner.delete("t", start=step[1], end=end, measurements=step[3]).ack.wait()
            else:
                waiting.append(owner.slice_image("t", 0, step[1], step[1] + SLICE))
        records = list(records_of(owner).items())
        arrivals = [*records, *rng.sample(records, len(records) // 2), *enumerate(waiting)]
        rng.shuffle(arrivals)
        seen: set[int] = set()
        deletes: list[int] = []

        def settled(origin: int) -> int:
            """Own rows are; of the owner, what came without a gap."""
            missing = {lsn for lsn, _ in records} - seen
            return 1 << 62 if origin == 0 else min(missing, default=99) - 1

        parent.settled = settled
        for lsn, what in arrivals:
            if isinstance(what, SliceImage):
                known = max([n for n in deletes if n in seen], default=0)
                try:
                    parent.apply_image(what, max_lsn=known).wait()
                except StaleImageError:
                    continue
            elif lsn not in seen:
                seen.add(lsn)
                if isinstance(what, Erasure):
                    deletes.append(lsn)
                receive(parent, node, lsn, what)
            chance = rng.random()
            if chance < 0.2:
                parent.flush()
            elif chance < 0.3:
                parent.compact()
            elif chance < 0.4:
                parent.abandon()
                parent = opened(base / "parent", relay)
                parent.settled = settled
            balanced(parent)
        assert digests(parent, node, 0, 2 * SLICE) == digests(owner, node, 0, 2 * SLICE)
        parent.flush()
        assert balanced(parent).live == len(parent.scan_rows("t"))
    finally:
        owner.close()
        parent.close()
