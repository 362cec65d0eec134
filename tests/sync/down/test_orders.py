"""Orders as a state machine: whatever the order of words, the same outcome; bounds; snapshots."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.filesystem import byte_view
from mainstem_engine.log.records import Record, RecordKind, encode_payload
from mainstem_sync.down import orders as orders_module
from mainstem_sync.down.orders import Orders, OrdersFullError, Standing
from mainstem_sync.errors import TooLargeError, WireError
from mainstem_sync.wire.order import BODY_BYTES_MAX, Mode, Order, State, Word

SINK = None


def an_order(ident: str = "o1", to: str = "edge", **more: object) -> Order:
    return Order(ident, "command", to, {"a": 1}, 5, "group", **more)  # type: ignore[arg-type]


def record(lsn: int, kind: RecordKind, header: dict[str, object]) -> Record:
    payload = b"".join(map(byte_view, encode_payload(header)))
    return Record(lsn, kind, (payload,), len(payload), b"\0" * 16)


def apply(orders: Orders, lsn: int, item: Order | Word, **more: object) -> None:
    kind = RecordKind.ORD if isinstance(item, Order) else RecordKind.RES
    orders.apply(record(lsn, kind, {**item.to_header(), **more}), None, SINK)  # type: ignore[arg-type]


def stands(orders: Orders, ident: str = "o1") -> Standing:
    found = orders.find(ident)
    assert found is not None
    return found


def test_an_order_and_a_word_survive_their_headers() -> None:
    order = an_order(mode=Mode.ACTUATE, not_after_ms=9, slot="config", by="ann")
    assert Order.from_header(order.to_header()) == order
    word = Word("o1", "edge", State.DONE, 7, {"x": [1, 2]})
    assert Word.from_header(word.to_header()) == word


@pytest.mark.parametrize(
    "change",
    [{"id": ""}, {"mode": "twice"}, {"body": b"\xc1"}, {"body": {}}, {"to": 3}, {"until": -1}],
)
def test_an_order_of_another_machine_is_checked(change: dict[str, object]) -> None:
    with pytest.raises(WireError):
        Order.from_header({**an_order().to_header(), **change})


def test_a_body_beyond_the_bound_is_refused() -> None:
    order = Order("o1", "command", "edge", {"a": "x" * BODY_BYTES_MAX}, 5, "group")
    with pytest.raises(TooLargeError):
        order.to_header()


def test_an_order_goes_through_its_states_and_is_closed() -> None:
    orders = Orders()
    seen: list[State] = []
    orders.on_change = lambda standing: seen.append(standing.state)
    apply(orders, 1, an_order())
    for lsn, state in enumerate((State.DELIVERED, State.STARTED, State.DONE), 2):
        apply(orders, lsn, Word("o1", "edge", state, lsn))
    assert seen == [State.QUEUED, State.DELIVERED, State.STARTED, State.DONE]
    assert orders.open_for("edge") == []
    assert stands(orders).state is State.DONE


def test_the_last_word_is_that_of_the_node_that_the_order_is_for() -> None:
    orders = Orders()
    apply(orders, 1, an_order())
    apply(orders, 2, Word("o1", "group", State.FAILED, 2, error="superseded"))
    apply(orders, 3, Word("o1", "edge", State.DONE, 3))
    assert stands(orders).state is State.DONE
    apply(orders, 4, Word("o1", "group", State.FAILED, 4))
    assert stands(orders).state is State.DONE


WORDS = [
    (2, Word("o1", "edge", State.DELIVERED, 2)),
    (3, Word("o1", "edge", State.STARTED, 3)),
    (4, Word("o1", "edge", State.UNKNOWN, 4)),
    (9, Word("o1", "edge", State.DONE, 9)),
    (5, Word("o1", "plant", State.FAILED, 5)),
]


def test_words_may_come_in_any_order_and_before_the_order() -> None:
    outcomes = set()
    items: list[tuple[int, Order | Word]] = [(1, an_order()), *WORDS]
    for some in permutations(items):
        orders = Orders()
        for lsn, item in some:
            apply(orders, lsn, item)
        outcomes.add((stands(orders).state, stands(orders).word_lsn))
    # An early word waits for its order; only the last of them is kept.
    assert {state for state, _ in outcomes} <= {State.UNKNOWN, State.DONE, State.FAILED,
                                                State.STARTED, State.DELIVERED}  # fmt: skip
    after = set()
    for some in permutations(WORDS):
        orders = Orders()
        apply(orders, 1, an_order())
        for lsn, word in some:
            apply(orders, lsn, word)
        after.add((stands(orders).state, stands(orders).word_lsn))
    assert after == {(State.UNKNOWN, 4)}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(list(State)[1:]),
                          st.sampled_from(["edge", "plant"])), max_size=30),
       st.integers(0, 30))  # fmt: skip
def test_a_snapshot_goes_on_as_if_nothing_had_happened(
    words: list[tuple[int, State, str]], cut: int
) -> None:
    whole, first = Orders(), Orders()
    for number in range(4):
        order = an_order(f"o{number}", slot="s" if number % 2 else "")
        for each in (whole, first):
            apply(each, number + 1, order, source=["line", 0, 10 + number])
    second: Orders | None = None
    for at, (number, state, node) in enumerate(words):
        word = Word(f"o{number}", node, state, at)
        apply(whole, 100 + at, word)
        if at == cut:
            second = Orders()
            second.restore(first.snapshot())
        apply(second or first, 100 + at, word)
    after = second or first
    assert after.all() == whole.all()
    assert after.snapshot() == whole.snapshot()
    assert after.cursor(("line", 0)) == (13, "o3")
    assert after.open_above(0, lambda _: True) == whole.open_above(0, lambda _: True)


def test_of_one_slot_only_the_newest_is_handed_on() -> None:
    orders = Orders()
    for lsn in (1, 2, 3):
        apply(orders, lsn, an_order(f"o{lsn}", slot="config"))
    apply(orders, 4, an_order("o4", slot="config", to="other"))
    apply(orders, 5, an_order("o5"))
    handed = orders.open_above(0, lambda node: node == "edge")
    assert [each.order.id for each in handed] == ["o3", "o5"]


def test_what_has_begun_is_not_handed_on_again() -> None:
    orders = Orders()
    for lsn, state in enumerate((State.DELIVERED, State.STARTED, State.DONE), 1):
        apply(orders, lsn, an_order(f"o{lsn}"))
        apply(orders, lsn + 10, Word(f"o{lsn}", "edge", state, 1))
    handed = orders.open_above(0, lambda _: True)
    assert [each.order.id for each in handed] == ["o1"]


def test_open_orders_are_bounded_and_closed_ones_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders_module, "OPEN_MAX", 3)
    monkeypatch.setattr(orders_module, "CLOSED_MAX", 2)
    orders = Orders()
    for lsn in range(1, 4):
        apply(orders, lsn, an_order(f"o{lsn}"))
    with pytest.raises(OrdersFullError):
        orders.require_room()
    for lsn in range(1, 4):
        apply(orders, 10 + lsn, Word(f"o{lsn}", "edge", State.DONE, 1))
    orders.require_room()
    assert [each.order.id for each in orders.all()] == ["o2", "o3"]
    assert orders.is_at((2, "o2"))
    assert not orders.is_at((1, "o1"))
    assert not orders.is_at((2, "o3"))


def test_records_of_a_later_version_change_nothing() -> None:
    orders = Orders()
    header = {**an_order().to_header(), "mode": "thrice"}
    orders.apply(record(1, RecordKind.ORD, header), None, SINK)  # type: ignore[arg-type]
    assert orders.all() == []


def test_heads_of_batches_without_words_are_not_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order, word = an_order(), Word("o1", "edge", State.DONE, 7, {})
    orders = Orders()
    apply(orders, 1, order)
    said = b"".join(map(byte_view, encode_payload(word.to_header())))
    head = {"name": "edge", "ranges": [5, 5], "words": [[5, 0, len(said)]]}
    batch = b"".join(map(byte_view, encode_payload(head, [said])))
    orders.apply(Record(2, RecordKind.RCV, (batch,), len(batch), b"\0" * 16), None, SINK)  # type: ignore[arg-type]
    assert stands(orders).state is State.DONE

    def read_again(payload: object) -> None:
        raise AssertionError("the head was read")

    monkeypatch.setattr(orders_module, "decode_payload", read_again)
    orders.apply(record(3, RecordKind.RCV, {"name": "edge", "ranges": [6, 9]}), None, SINK)  # type: ignore[arg-type]
