"""A status comes from another machine: what has not its type shows at that child, nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest

from mainstem_sync.errors import WireError
from mainstem_sync.state import accounting
from mainstem_sync.state.child_status import TREE_DEPTH_MAX, shaped
from mainstem_sync.testing.tiers import Tiers
from mainstem_sync.wire.frames import FrameType, decode_frames, encode_frame
from mainstem_sync.wire.messages import decode_status

ITEM = {
    "id": "i", "node": "edge", "table": "t", "device": "root.p.d", "time": 1, "measurement": None,
    "reason": "wrong_type", "value": "x", "at": 5,
}  # fmt: skip


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"lag_ms": "soon", "state": "live"}, {"state": "live"}),
        ({"lag_ms": float("nan")}, {}),
        ({"lag_ms": None, "delivery": None}, {"lag_ms": None, "delivery": None}),
        ({"alarms": [1], "state": ["live"], "tier": 5, "paths": "root"}, {}),
        ({"state": "\x1b[2J"}, {}),
        ({"delivery": {"pending_rows": "many"}}, {}),
        ({"delivery": {"pending_rows": 3}}, {"delivery": {"pending_rows": 3}}),
        ({"accounting": {"t": {"log": {"logged": "all"}}}}, {}),
        ({"accounting": {"t": 7}}, {}),
        ({"completeness": [5]}, {}),
        ({"drops": 5, "link": [], "buffer": "full"}, {}),
        ({"children": 5}, {"children": []}),
        ({"children": {"a": 1}}, {"children": []}),
        ({"children": [5, None, {}, {"node": 7}, {"node": ""}]}, {"children": []}),
        (
            {"children": [{"node": "a", "lag_ms": "x", "children": 5}]},
            {"children": [{"node": "a", "children": []}]},
        ),
        ({"quarantine": {"bytes": "x", "items": 5}}, {"quarantine": {"bytes": 0, "items": []}}),
        (
            {"quarantine": {"bytes": 9, "items": [5, {"id": 5}, ITEM], "page": {"n": 1}}},
            {"quarantine": {"bytes": 9, "items": [ITEM], "page": {"n": 1, "items": []}}},
        ),
        ({5: 6, b"x": 7, "newer": {"than": "this"}}, {"newer": {"than": "this"}}),
    ],
)  # fmt: skip
def test_what_has_not_its_type_is_left_out(said: dict[Any, Any], kept: dict[str, Any]) -> None:
    assert shaped(said) == kept


def test_a_tree_has_a_depth() -> None:
    deep: dict[str, Any] = {"node": "n"}
    for _ in range(100):
        deep = {"node": "n", "children": [deep]}

    def levels(status: dict[str, Any]) -> Iterator[int]:
        yield 1
        for child in status["children"]:
            yield from levels(child)

    assert sum(levels(shaped(deep))) == TREE_DEPTH_MAX + 1


def test_what_nodes_say_passes_whole(make_tiers: Callable[..., Tiers]) -> None:
    tiers = make_tiers()
    tiers.write(rows=10)
    tiers.run()
    for node in tiers.nodes:
        said = node.federation
        status = {
            "node": "n", "lag_ms": 0, "delivery": said.delivery(), "drops": said.drops(),
            "accounting": said.accounting(), "completeness": said.completeness(),
            "children": said.children(), "link": said.link(),
        }  # fmt: skip
        assert shaped(status) == status


def test_types_of_their_own_are_nulls_and_times_numbers() -> None:
    status = {"a": msgpack.ExtType(5, b"x"), "b": [msgpack.Timestamp(1, 0)], "node": "n"}
    frame = next(decode_frames(encode_frame(FrameType.STATUS, {}, msgpack.packb(status))))
    assert decode_status(frame) == {"a": None, "b": [1.0], "node": "n"}
    frame = next(decode_frames(encode_frame(FrameType.STATUS, {}, msgpack.packb([status]))))
    with pytest.raises(WireError):
        decode_status(frame)


def test_sums_of_another_machine_may_lack_terms() -> None:
    said = {"t": {"intake": {"received": 5}, "log": None, "forward": {"logged": 1}}}
    assert accounting.check(said) == [
        "t: intake: accepted, filtered, quarantined, refused is not said",
        "t: forward: not_exported, delivered, pending, parked, lost is not said",
    ]
