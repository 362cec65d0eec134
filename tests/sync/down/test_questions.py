"""Questions over one hop: losses, doubles, deadlines, cancelling, bounds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mainstem_sync.down.answers import Pending, Sending
from mainstem_sync.down.questions import OPEN_MAX, Asked, UnansweredError
from mainstem_sync.errors import BusyError
from mainstem_sync.testing.down_link import DownLink
from mainstem_sync.testing.tiers import Tiers
from mainstem_sync.wire.question import PIECE_BYTES


class Line:
    """The plant asks, the edge answers; what the edge was asked is in ``asked``."""

    def __init__(self, tiers: Tiers) -> None:
        self.tiers = tiers
        self.link = DownLink(tiers.edge, tiers.plant)
        self.questions = tiers.plant.federation.down.questions
        self.answers = tiers.edge.federation.down.answers
        self.asked: list[Pending] = []
        self.answers.on_question = self.asked.append
        self.run()

    def run(self, seconds: float = 1.0) -> None:
        for _ in range(int(seconds / 0.25)):
            self.tiers.run(0.25)
            self.link.step()

    def ask(self, body: bytes = b"?", wait_s: float = 20.0, **more: int) -> Asked:
        return self.questions.ask("edge", body, wait_s, **more)

    def post(self, times: int = 1) -> None:
        """What the edge has to send, sent ``times`` times each."""
        while (sending := self.answers.next_sending()) is not None:
            self.post_one(sending, times)

    def post_one(self, sending: Sending, times: int = 1) -> None:
        for _ in range(times):
            taken = self.questions.took("edge", sending.pending.lease, sending.body)
        self.answers.sent(sending, *taken)


@pytest.fixture
def line(tiers: Tiers) -> Line:
    tiers.write()
    tiers.run(2)
    return Line(tiers)


def test_an_answer_of_many_pieces_comes_back(line: Line) -> None:
    asked = line.ask(b"what")
    line.run()
    assert [pending.question.body for pending in line.asked] == [b"what"]
    raw = bytes(range(256)) * (PIECE_BYTES // 100)
    line.answers.answer(line.asked[0], raw, {"rows": 3})
    line.post(times=2)
    line.questions.wait(asked)
    assert asked.result == raw
    assert asked.said == {"rows": 3}
    assert line.answers.open() == []


def test_a_question_survives_a_lost_answer_and_comes_once(line: Line) -> None:
    line.link.lose_answers = 2
    asked = line.ask()
    line.run(6)
    assert len(line.asked) == 1
    line.run(3)
    line.answers.answer(line.asked[0], b"!", {})
    line.post()
    line.questions.wait(asked)
    assert (asked.result, len(line.asked)) == (b"!", 1)


def test_a_refusal_is_an_error_with_its_code(line: Line) -> None:
    asked = line.ask()
    line.run()
    line.answers.answer(line.asked[0], b"", {}, "FORBIDDEN", "not you")
    line.post()
    with pytest.raises(UnansweredError, match="not you") as caught:
        line.questions.wait(asked)
    assert caught.value.code == "FORBIDDEN"


def test_what_is_given_up_is_called_off_there(line: Line) -> None:
    asked = line.ask()
    line.run()
    line.questions.cancel(asked)
    line.run()
    assert line.asked[0].cancelled.is_set()
    line.answers.answer(line.asked[0], b"late", {})
    assert line.answers.next_sending() is None
    with pytest.raises(UnansweredError, match="given up"):
        line.questions.wait(asked)


def test_an_answer_that_nobody_wants_stops(line: Line) -> None:
    asked = line.ask()
    line.run()
    line.answers.answer(line.asked[0], b"x" * (3 * PIECE_BYTES), {})
    first = line.answers.next_sending()
    assert first is not None
    line.questions.cancel(asked)
    line.post_one(first)
    assert line.answers.next_sending() is None


def test_a_question_dies_with_its_time(line: Line) -> None:
    asked = line.ask(wait_s=5.0)
    line.run()
    line.tiers.run(6)
    line.answers.answer(line.asked[0], b"late", {})
    assert line.answers.next_sending() is None
    with pytest.raises(UnansweredError, match="in time"):
        line.questions.wait(asked)


def test_a_child_that_fetches_nothing_is_given_up_early(line: Line) -> None:
    asked = line.ask(wait_s=3600.0)
    line.tiers.run(11)
    with pytest.raises(UnansweredError, match="does not fetch"):
        line.questions.wait(asked)


def test_an_offline_child_is_not_asked(line: Line) -> None:
    line.tiers.up.cut()
    line.tiers.run(40)
    with pytest.raises(UnansweredError, match="offline"):
        line.ask()


def test_a_child_that_takes_no_questions_is_not_asked(line: Line) -> None:
    line.answers.on_question = None
    line.tiers.run(1)
    line.link.step()
    with pytest.raises(UnansweredError, match="whether there are questions"):
        line.ask()


def test_an_answer_beyond_its_budget_is_an_error(line: Line) -> None:
    asked = line.ask(bytes_max=1000)
    line.run()
    line.answers.answer(line.asked[0], b"x" * 1001, {})
    line.post()
    with pytest.raises(UnansweredError, match="1001 bytes") as caught:
        line.questions.wait(asked)
    assert caught.value.code == "BUDGET"


def test_open_questions_of_a_child_are_bounded(line: Line) -> None:
    some = [line.ask() for _ in range(OPEN_MAX)]
    with pytest.raises(BusyError):
        line.ask()
    line.run()
    line.run()
    assert len(line.asked) == OPEN_MAX
    for asked in some:
        line.questions.cancel(asked)


def test_a_new_connection_calls_off_what_the_old_one_asked(line: Line) -> None:
    line.ask()
    line.run()
    assert line.answers.after("another lease") == 0
    assert line.asked[0].cancelled.is_set()


def test_pieces_of_a_stranger_are_refused(line: Line, make_tiers: Callable[..., Tiers]) -> None:
    asked = line.ask()
    line.run()
    line.answers.answer(line.asked[0], b"!", {})
    sending = line.answers.next_sending()
    assert sending is not None
    assert line.questions.took("edge", "another lease", sending.body)[0] == 409
    assert not asked.done.is_set()


def test_what_stands_beside_an_answer_is_bounded(line: Line) -> None:
    asked = line.ask()
    line.run()
    line.answers.answer(line.asked[0], b"!", {"sites": "x" * (2 << 20)})
    line.post()
    with pytest.raises(UnansweredError, match="beside an answer") as caught:
        line.questions.wait(asked)
    assert caught.value.code == "TOO_LARGE"


def test_a_question_for_ever_is_one_for_an_hour(line: Line) -> None:
    asked = line.ask(wait_s=1e6)
    line.run()
    assert line.asked[0].question.wait_ms <= 3_600_000
    line.questions.cancel(asked)
