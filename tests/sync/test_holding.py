"""Retention waits until a tier above has proven the rows, as the file says which."""

from __future__ import annotations

from pathlib import Path

import pytest

from mainstem_sync.errors import ExportError, WireError
from mainstem_sync.proof.holding import DURABLE, VERIFIED, VERIFIED_TOP
from mainstem_sync.proof.proven import RUNS_MAX, Proven, ProvenTable, Restate
from mainstem_sync.state.exports import Export
from mainstem_sync.testing.nodes import START_NS, ManualClock, TestNode
from mainstem_sync.testing.tiers import MINUTE_NS, Tiers
from mainstem_sync.wire.frames import FrameType, decode_frames, encode_frame
from mainstem_sync.wire.messages import OriginKey
from mainstem_sync.wire.ranges import RangeSet

WINDOW = ("meters", START_NS, START_NS + 2 * MINUTE_NS)


def held(node: TestNode, level: str = VERIFIED) -> bool:
    node.federation.proving.holding.level = level
    return node.federation.proving.holding.holds(*WINDOW)


def told(tiers: Tiers) -> None:
    """Long enough for what is proven at the top to come down to the edge."""
    for _ in range(3):
        tiers.clock.advance(6)
        tiers.run(1)


def test_own_rows_are_held_until_the_parent_has_proven_them(tiers: Tiers) -> None:
    tiers.write(rows=120)
    assert held(tiers.edge)
    assert not held(tiers.edge, DURABLE), "the log has a hold of its own"
    tiers.run()
    assert held(tiers.edge), "delivered is not proven"
    tiers.clock.advance(300)
    tiers.edge.federation.run_manifests(tiers.clock.now_ns)
    tiers.run()
    assert held(tiers.edge), "nobody has compared it"
    tiers.plant.federation.run_verification()
    told(tiers)
    assert not held(tiers.edge)
    assert held(tiers.edge, VERIFIED_TOP)
    tiers.group.federation.run_verification()
    told(tiers)
    assert not held(tiers.edge, VERIFIED_TOP), "the plant hands down what the group says"
    assert not held(tiers.plant)
    # A late row, and it is held again until that is proven too.
    tiers.write(start_s=30.5, rows=1)
    assert held(tiers.edge)
    tiers.close()
    told(tiers)
    assert not held(tiers.edge)
    assert not held(tiers.edge, VERIFIED_TOP)


def test_after_a_start_nothing_is_known_until_it_is_said_again(tiers: Tiers) -> None:
    tiers.write(rows=120)
    tiers.close()
    told(tiers)
    assert not held(tiers.edge)
    tiers.edge.restart()
    assert held(tiers.edge)
    tiers.run()
    told(tiers)
    assert not held(tiers.edge)


def test_a_relay_holds_what_it_hands_on(tiers: Tiers) -> None:
    tiers.write(rows=120)
    tiers.up2.cut()
    tiers.close()
    assert held(tiers.plant)
    assert not held(tiers.group), "nobody is above the group: no hold was made"
    tiers.up2.restore()
    tiers.clock.advance(40)
    tiers.close()
    told(tiers)
    assert not held(tiers.plant)


def test_expired_rows_stay_while_they_are_held(tiers: Tiers) -> None:
    engine = tiers.edge.engine
    tiers.write(rows=120)
    tiers.run()
    engine.set_keep("meters", 10 * MINUTE_NS)
    tiers.up.cut()
    tiers.clock.advance(3600)
    engine.confirm_clock()
    engine.flush()
    assert engine.expire().rows == 0
    assert engine.store_accounting()["meters"].expired == 0
    tiers.edge.federation.run_manifests(tiers.clock.now_ns)
    tiers.up.restore()
    tiers.close()
    told(tiers)
    engine.flush()
    assert engine.expire().rows == 120
    assert engine.store_accounting()["meters"].expired == 120


def test_what_does_not_go_up_is_not_held(tmp_path: Path) -> None:
    tiers = Tiers(tmp_path, edge_exports=(Export("others"),))
    tiers.write(rows=120)
    assert not held(tiers.edge)
    tiers.stop()


def test_an_unknown_level_is_refused(tmp_path: Path) -> None:
    from mainstem_sync.federation import Federation

    with pytest.raises(ExportError) as caught:
        Federation(node="n", data_dir=tmp_path, hold="verified")
    assert "verified@parent" in str(caught.value.hint)
    assert ManualClock().now_ns == START_NS


def test_a_statement_survives_the_wire_and_is_bounded() -> None:
    key = OriginKey("ab" * 16, 2, "edge")
    slices = RangeSet((k, k) for k in range(2, 4 * RUNS_MAX, 2))
    said = Proven(
        key, "plant", True, 77, (ProvenTable("t", 60, slices),), (Restate("t", 60, -3, 9),)
    )
    (frame,) = decode_frames(said.encode())
    back = Proven.from_frame(frame)
    assert (back.origin, back.teller, back.top, back.through) == (key, "plant", True, 77)
    assert list(back.tables[0].slices) == list(slices)[:RUNS_MAX]
    assert back.restate == said.restate


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("origin", None), ("teller", ""), ("through", -1), ("tables", [["t", 60]]),
        ("tables", [["t", 60, [1]]]), ("tables", [["t", 60, [2, 1]]]),
        ("tables", [["t", 60, [1, "x"]]]), ("restate", [["t", 60, 1]]),
        ("restate", [["t", 60, 5, 5]]), ("restate", [[1, 60, 1, 2]]),
    ],
)  # fmt: skip
def test_a_hostile_statement_is_refused(field: str, value: object) -> None:
    header = {
        "origin": ["ab", "edge", 0], "teller": "plant", "top": False, "through": 1, "tables": [],
        "restate": [],
    }  # fmt: skip
    (good,) = decode_frames(encode_frame(FrameType.PROVEN, header))
    assert Proven.from_frame(good).tables == ()
    (frame,) = decode_frames(encode_frame(FrameType.PROVEN, {**header, field: value}))
    with pytest.raises(WireError):
        Proven.from_frame(frame)
