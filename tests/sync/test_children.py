"""Children as a parent sees them, and statuses that fit a frame."""

from __future__ import annotations

from typing import Any

import pytest

from mainstem_sync.errors import FencedError, LeaseError
from mainstem_sync.state.children import Children, Delivery, bounded_status
from mainstem_sync.testing.nodes import ManualClock
from mainstem_sync.wire.frames import pack_header
from mainstem_sync.wire.messages import STATUS_BYTES_MAX


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def children(clock: ManualClock) -> Children:
    tokens = iter(range(1000))
    return Children(
        monotonic=clock.monotonic, clock_ns=clock.wall, token=lambda: f"lease{next(tokens)}"
    )


def test_a_lease_belongs_to_the_newest_process(children: Children, clock: ManualClock) -> None:
    first = children.admit("edge", "uuid", "one")
    assert children.check("edge", first) == "uuid"
    again = children.admit("edge", "uuid", "one")
    with pytest.raises(LeaseError):
        children.check("edge", first)  # its own, given up: it only has to say HELLO
    second = children.admit("edge", "uuid", "two")
    assert children.check("edge", second) == "uuid"
    for old in (first, again):
        with pytest.raises(FencedError):
            children.check("edge", old)
    with pytest.raises(FencedError):
        children.is_newest("edge", "one")
    assert children.is_newest("edge", "two")
    assert not children.is_newest("edge", "three")
    assert not children.is_newest("nobody", "x")
    assert children.fenced == 1
    clock.advance(100)
    children.admit("edge", "uuid", "three")
    assert children.fenced == 1, "a process that was silent for long has simply been replaced"


def test_a_process_that_is_to_say_hello_again_may(children: Children) -> None:
    """Also one that has said it several times; and one that was fenced before stays so."""
    older = children.admit("edge", "uuid", "one")
    given_up = children.admit("edge", "uuid", "two")
    lease = children.admit("edge", "uuid", "two")
    children.expel("edge")
    for old in (given_up, lease):
        with pytest.raises(LeaseError):
            children.check("edge", old)
    assert not children.is_newest("edge", "two")
    for refused in (
        lambda: children.check("edge", older),
        lambda: children.is_newest("edge", "one"),
    ):
        with pytest.raises(FencedError):
            refused()
    assert children.check("edge", children.admit("edge", "uuid", "two")) == "uuid"
    assert children.fenced == 1


def test_unknown_leases_mean_hello(children: Children) -> None:
    with pytest.raises(LeaseError):
        children.check("edge", "x")
    children.admit("edge", "uuid", "one")
    with pytest.raises(LeaseError):
        children.check("edge", "of an earlier life of this parent")


def test_old_leases_are_forgotten_in_the_end(children: Children) -> None:
    leases = [children.admit("edge", "uuid", str(n)) for n in range(40)]
    with pytest.raises(LeaseError):
        children.check("edge", leases[0])
    with pytest.raises(FencedError):
        children.check("edge", leases[-2])


@pytest.mark.parametrize(
    ("silence_s", "status", "state"),
    [
        (0, {}, "live"),
        (5, {"lag_ms": 500}, "live"),
        (0, {"lag_ms": 11_000}, "lagging"),
        (0, {"delivery": {"oldest_pending_ms": 60_000}}, "lagging"),
        (7, {"lag_ms": 0}, "stale"),
        (31, {"lag_ms": 0}, "offline"),
    ],
)
def test_states_follow_lag_and_contact(
    children: Children, clock: ManualClock, silence_s: float, status: dict[str, Any], state: str
) -> None:
    children.admit("edge", "uuid", "one")
    children.said("edge", {"node": "somebody else", **status})
    clock.advance(silence_s)
    (shown,) = children.show({"edge": Delivery(7, 5)})
    assert (shown["node"], shown["state"]) == ("edge", state)
    assert shown["delivery"]["applied_lsn"] == 7
    assert shown["delivery"]["acked_lsn"] == 5


def test_a_child_known_only_from_the_log_is_offline(children: Children) -> None:
    (shown,) = children.show({"edge": Delivery(7, 7)})
    assert shown["state"] == "offline"
    assert shown["last_contact_ms"] is None
    assert shown["children"] == []
    children.admit("new", "uuid", "one")
    assert [c["delivery"]["acked_lsn"] for c in children.show({})] == [0]


def test_a_status_is_cut_until_it_fits() -> None:
    small = {"node": "a", "children": [{"node": "b", "accounting": {"x": 1}}]}
    assert bounded_status(small) == small

    def big(name: str) -> dict[str, Any]:
        child = {"node": "b", "accounting": {}, "completeness": [], "children": []}
        return {"node": "a", "state": "live", "children": [{**child, name: "x" * 2_000_000}]}

    for name in ("accounting", "completeness", "children"):
        cut = bounded_status(big(name))
        assert cut["truncated"]
        assert name not in cut["children"][0]
        assert cut["children"][0]["node"] == "b"
        assert len(pack_header(cut)) <= STATUS_BYTES_MAX
    hopeless = bounded_status(big("node"))
    assert hopeless == {"node": "a", "state": "live", "truncated": True, "children": []}
