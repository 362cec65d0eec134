"""The frontier: how far event time has come, as the collectors allow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mainstem_edge.frontier import SECOND_NS, SILENCE_NS, TIMEOUT_NS, CollectorView, Frontier, Gap

S = SECOND_NS
LATENESS = 10 * S
START = 1000 * S
AWAY = CollectorView(None)


def connected(
    since_s: int,
    *,
    arrival_s: int | None = None,
    event_s: int | None = None,
    waiting_s: int | None = None,
) -> CollectorView:
    def ns(value: int | None) -> int | None:
        return None if value is None else value * S

    return CollectorView(since_s * S, ns(arrival_s), ns(event_s), ns(waiting_s))


def test_a_node_without_collectors_is_at_now() -> None:
    assert Frontier(LATENESS).advance(START, {}) == START


def test_nothing_closes_before_a_collector_has_caught_up() -> None:
    frontier = Frontier(LATENESS)
    assert frontier.advance(START, {"a": AWAY}) == 0
    assert frontier.advance(START + S, {"a": connected(1001)}) == 0
    old = connected(1001, arrival_s=1002, event_s=500)
    assert frontier.advance(START + 2 * S, {"a": old}) == 0
    live = connected(1001, arrival_s=1003, event_s=993)
    assert frontier.advance(START + 3 * S, {"a": live}) == START + 3 * S
    assert frontier.caught_up("a")


def test_silence_after_the_subscription_is_no_backlog() -> None:
    frontier = Frontier(LATENESS)
    quiet = connected(1000)
    assert frontier.advance(START + SILENCE_NS - 1, {"a": quiet}) == 0
    assert frontier.advance(START + SILENCE_NS, {"a": quiet}) == START + SILENCE_NS


def test_an_arrival_begins_the_silence_anew_and_undrained_input_is_never_idle() -> None:
    frontier = Frontier(LATENESS)
    busy = connected(1000, arrival_s=1020, event_s=5)
    assert frontier.advance(START + SILENCE_NS, {"a": busy}) == 0
    waiting = connected(1000, arrival_s=1020, event_s=5, waiting_s=1020)
    assert frontier.advance(START + 100 * S, {"a": waiting}) == 0
    assert frontier.advance(START + 101 * S, {"a": busy}) == START + 101 * S


def test_what_waits_here_is_never_overtaken() -> None:
    frontier = Frontier(LATENESS)
    view = connected(1000, arrival_s=1005, event_s=1005, waiting_s=1003)
    assert frontier.advance(START + 5 * S, {"a": view}) == START + 3 * S


def test_it_holds_where_a_lost_collector_was_and_goes_on_when_it_is_back() -> None:
    frontier = Frontier(LATENESS)
    live = connected(1000, event_s=1000)
    assert frontier.advance(START, {"a": live}) == START
    assert frontier.advance(START + 20 * S, {"a": AWAY}) == START
    assert frontier.advance(START + 60 * S, {"a": connected(1050)}) == START
    back = connected(1050, event_s=1060)
    assert frontier.advance(START + 61 * S, {"a": back}) == START + 61 * S
    assert frontier.gaps(START + 61 * S) == []


def test_a_reconnection_between_two_looks_is_noticed() -> None:
    frontier = Frontier(LATENESS)
    frontier.advance(START, {"a": connected(1000, event_s=1000)})
    assert frontier.advance(START + S, {"a": connected(1001)}) == START


def test_after_five_minutes_it_follows_at_that_distance_and_states_the_gap() -> None:
    frontier = Frontier(LATENESS)
    frontier.advance(START, {"a": connected(1000, event_s=1000)})
    assert frontier.advance(START + S, {"a": AWAY}) == START
    late = START + S + TIMEOUT_NS
    assert frontier.advance(late - 1, {"a": AWAY}) == START
    assert frontier.gaps(late - 1) == []
    assert frontier.advance(late + 9 * S, {"a": AWAY}) == START + 10 * S
    assert frontier.gaps(late + 9 * S) == [Gap("a", START, late + 9 * S)]
    since = late // S + 10
    back = CollectorView(since * S, None, late + 10 * S)
    assert frontier.advance(late + 11 * S, {"a": back}) == late + 11 * S
    assert frontier.gaps(late + 20 * S) == [Gap("a", START, late + 11 * S)]


def test_a_collector_that_never_came_states_its_gap_from_the_start() -> None:
    frontier = Frontier(LATENESS)
    frontier.advance(START, {"a": AWAY})
    assert frontier.advance(START + TIMEOUT_NS, {"a": AWAY}) == START
    assert frontier.gaps(START + TIMEOUT_NS) == [Gap("a", START, START + TIMEOUT_NS)]


def test_the_slowest_collector_counts() -> None:
    frontier = Frontier(LATENESS)
    live = connected(1000, event_s=1000)
    assert frontier.advance(START, {"a": live, "b": AWAY}) == 0
    both = {"a": live, "b": connected(1000, event_s=1000, waiting_s=990)}
    assert frontier.advance(START, both) == START - 10 * S


def test_a_stopped_collector_is_left_out() -> None:
    frontier = Frontier(LATENESS)
    assert frontier.advance(START, {"a": AWAY}) == 0
    assert frontier.advance(START + S, {}) == START + S


def test_what_is_asked_and_does_not_answer_holds_only_its_own_tables() -> None:
    frontier = Frontier(LATENESS)
    broker, page = connected(1000, event_s=1000), CollectorView(None, asks=True)
    assert frontier.advance(START, {"broker": broker, "page": page}) == START
    assert frontier.held() == {"page": 0}
    answers = CollectorView(START + S, START + S, START + S, asks=True)
    at = START + S
    assert frontier.advance(at, {"broker": broker, "page": answers}) == at
    assert frontier.held() == {}
    for later in (at + 60 * S, at + 100 * S):
        assert frontier.advance(later, {"broker": broker, "page": page}) == later
        assert frontier.held() == {"page": at}
    overdue = at + 60 * S + TIMEOUT_NS
    assert frontier.advance(overdue, {"broker": broker, "page": page}) == overdue
    assert frontier.held() == {"page": overdue - TIMEOUT_NS}
    assert frontier.gaps(overdue) == [Gap("page", at, overdue)]


def test_an_answer_that_waits_here_is_not_overtaken() -> None:
    frontier = Frontier(LATENESS)
    page = CollectorView(START, START, None, START + S, asks=True)
    assert frontier.advance(START + 9 * S, {"page": page}) == START + S


VIEW = st.builds(
    CollectorView,
    st.none() | st.integers(0, 1000).map(lambda s: s * S),
    st.none() | st.integers(0, 1000).map(lambda s: s * S),
    st.none() | st.integers(0, 5000).map(lambda s: s * S),
    st.none() | st.integers(0, 1000).map(lambda s: s * S),
    st.booleans(),
)


@given(st.lists(st.tuples(st.integers(0, 300), VIEW, VIEW), max_size=20))
def test_it_never_goes_back_and_never_beyond_now(
    steps: list[tuple[int, CollectorView, CollectorView]],
) -> None:
    frontier, now, last = Frontier(LATENESS), START, 0
    for forward, a, b in steps:
        now += forward * S
        found = frontier.advance(now, {"a": a, "b": b})
        assert last <= found <= now
        last = found
        assert all(gap.start_ns <= gap.end_ns <= now for gap in frontier.gaps(now))
