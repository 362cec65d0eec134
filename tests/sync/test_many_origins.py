"""A relay with hundreds of nodes behind it: what its parent tells it comes in replies of few
frames, and all of it comes."""

from __future__ import annotations

import threading

from mainstem_sync.origins.origin_state import Origins
from mainstem_sync.proof import proven, repair
from mainstem_sync.proof.proven import TELL_EVERY_S, Teller
from mainstem_sync.proof.repair import Repair
from mainstem_sync.receiving.receiver import ACKS_BESIDE_RIDERS_MAX
from mainstem_sync.sending.outbox import ORIGINS_PER_CUT_MAX
from mainstem_sync.slices.manifest import SLICE_NS
from mainstem_sync.slices.watch import TableWatch
from mainstem_sync.wire.frames import FRAMES_MAX, decode_frames
from mainstem_sync.wire.messages import OriginKey

NODES = 300


def many() -> Origins:
    origins = Origins()
    for number in range(NODES):
        state = origins.open(OriginKey(f"{number:032x}", 0, f"edge_{number}"), "plant")
        state.watches["meters"] = TableWatch(SLICE_NS)
    return origins


def test_what_is_proven_is_told_in_turn() -> None:
    origins, now = many(), [100.0]
    teller = Teller(
        "group", origins, top=True, heard=lambda key: (), lease=lambda child: "lease",
        monotonic=lambda: now[0],
    )  # fmt: skip
    told: list[str] = []
    while found := list(decode_frames(teller.frames("plant"))):
        assert len(found) <= proven.ORIGINS_PER_REPLY_MAX
        told += [frame.header["origin"][1] for frame in found]
    assert sorted(told) == sorted(f"edge_{number}" for number in range(NODES))
    now[0] += TELL_EVERY_S
    assert teller.frames("plant") == b"", "nothing has changed"
    next(iter(origins)).received.add(1)
    now[0] += TELL_EVERY_S
    again = b"".join(teller.frames("plant") for _ in range(NODES))
    assert [frame.header["origin"][1] for frame in decode_frames(again)] == ["edge_0"]


def test_slices_are_asked_for_in_turn() -> None:
    origins = many()
    for state in origins:
        state.backlog.done.append(("", 0, 1))
    asking = Repair(origins, threading.RLock(), lambda child: "lease", lambda: 100.0)
    asked: set[str] = set()
    for _ in range(-(-NODES // repair.ORIGINS_PER_REPLY_MAX)):
        found = list(decode_frames(asking.frames("plant")))
        assert 0 < len(found) <= repair.ORIGINS_PER_REPLY_MAX
        asked.update(frame.header["origin"][1] for frame in found)
    assert len(asked) == NODES


def test_a_reply_has_room_for_all_of_it() -> None:
    others = repair.ORIGINS_PER_REPLY_MAX + proven.ORIGINS_PER_REPLY_MAX + proven.TELLERS_MAX
    ask, time, signature = 1, 1, 1
    assert ACKS_BESIDE_RIDERS_MAX + others + ask + time + signature <= FRAMES_MAX
    assert 3 * ORIGINS_PER_CUT_MAX <= ACKS_BESIDE_RIDERS_MAX


def test_origins_are_known_by_the_child_that_they_come_over() -> None:
    origins = many()
    key = OriginKey(f"{NODES:032x}", 0, "edge_new")
    state = origins.open(key, "")  # known from above only
    assert origins.behind("other") == []
    assert origins.open(key, "other") is state
    assert origins.behind("other") == [state]
    assert len(origins.behind("plant")) == NODES
