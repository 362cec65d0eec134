"""Commands at their node, over a real log: what is written down, in which order, and after a crash.

Case 19 of what the protocol must survive is here: a crash in the middle of an actuation.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mainstem_node.commanding.action import ActionError, UncertainActionError
from mainstem_node.commanding.command import KIND, Command, Precondition
from mainstem_node.commanding.newest import newest_values
from mainstem_node.commanding.runner import CommandRunner
from mainstem_node.errors import BadRequestError
from mainstem_node.order_desk import OrderDesk
from mainstem_sync.testing.nodes import ManualClock, TestNode
from mainstem_sync.testing.tiers import METERS, START_MS
from mainstem_sync.wire.order import Mode, Order, State

DEADLINE_S = 20.0
DEVICE = "root.p.e.d1"


class Valve:
    """Equipment: how often it was moved. ``ends`` is what the next call does."""

    name = "valve.turn"

    def __init__(self) -> None:
        self.turns: list[Mapping[str, Any]] = []
        self.ends: Callable[[], dict[str, Any]] = lambda: {"ok": True}
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def check(self, arguments: Mapping[str, Any]) -> None:
        if "to" not in arguments:
            raise BadRequestError("to is missing", hint="to=open")

    def run(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        self.turns.append(dict(arguments))
        self.begun.set()
        assert self.go_on.wait(DEADLINE_S)
        return self.ends()


class Site:
    """A node with a valve."""

    def __init__(self, base: Path) -> None:
        self.clock = ManualClock()
        self.node = TestNode("edge", base, self.clock, paths=["root.p.e"])
        self.valve = Valve()
        self.trusted = True
        self.open()

    def open(self) -> None:
        self.down = self.node.federation.down
        self.runner = CommandRunner(
            self.down,
            [self.valve],
            newest=newest_values(self.node.engine),
            clock_ms=lambda: self.clock.now_ns // 10**6 if self.trusted else None,
        )
        self.changed = threading.Condition()
        self.down.on_change = lambda standing: self._tell()
        OrderDesk(self.down, {KIND: self.runner}).open()

    def _tell(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def send(self, ident: str, mode: Mode = Mode.ACTUATE, **more: Any) -> None:
        body = Command(
            more.pop("target", DEVICE),
            more.pop("action", "valve.turn"),
            more.pop("arguments", {"to": "open"}),
            more.pop("precondition", None),
        ).to_body()
        now_ms = self.clock.now_ns // 10**6
        order = Order(
            ident, more.pop("kind", KIND), "edge", body, now_ms, "edge", "ann", mode, **more
        )
        self.down.give(order).wait()

    def wait(self, ident: str, *states: State) -> str:
        """Until the command is in one of the states; its error."""

        def reached() -> bool:
            found = self.down.orders.find(ident)
            return found is not None and found.state in states

        with self.changed:
            assert self.changed.wait_for(reached, DEADLINE_S), self.down.orders.find(ident)
        found = self.down.orders.find(ident)
        assert found is not None
        return found.word.error if found.word else ""

    def crash(self) -> None:
        """The process is killed and started again; its threads are gone with it."""
        self.runner._stopping.set()
        self.node.crash()
        self.valve.go_on.set()
        self.runner.stop()
        self.valve.turns_before = len(self.valve.turns)  # type: ignore[attr-defined]
        self.node.start()
        self.open()

    def words(self, ident: str) -> list[str]:
        """Every word of the node about a command, as they stand in its log."""
        from mainstem_engine.log.records import RecordKind, decode_payload

        headers = [
            decode_payload(record.payload)[0]
            for record in self.node.engine.log.read(1)
            if record.kind == RecordKind.RES
        ]
        return [header["state"] for header in headers if header["id"] == ident]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.valve.go_on.set()
    site.runner.stop()
    site.node.stop()


def test_a_command_is_carried_out_once_and_every_step_is_in_the_log(site: Site) -> None:
    site.send("c1", arguments={"to": "open", "by": 3})
    site.wait("c1", State.DONE)
    assert site.valve.turns == [{"to": "open", "by": 3}]
    assert site.words("c1") == ["DELIVERED", "STARTED", "DONE"]
    found = site.down.orders.find("c1")
    assert found is not None
    assert found.word is not None
    assert found.word.result == {"ok": True}


def test_an_order_that_is_given_again_is_carried_out_once(site: Site) -> None:
    for _ in range(3):
        site.send("c1")
    site.wait("c1", State.DONE)
    assert len(site.valve.turns) == 1


@pytest.mark.parametrize(
    ("raised", "state"),
    [
        (ActionError("jammed"), State.FAILED),
        (UncertainActionError("no answer"), State.UNKNOWN),
        (ZeroDivisionError("a defect"), State.UNKNOWN),
    ],
)
def test_what_an_action_says_is_told(site: Site, raised: Exception, state: State) -> None:
    def end() -> dict[str, Any]:
        raise raised

    site.valve.ends = end
    site.send("c1")
    assert str(raised) in site.wait("c1", state)
    site.valve.ends = dict
    site.send("c2")
    site.wait("c2", State.DONE)


def test_what_cannot_be_done_fails_before_it_is_begun(site: Site) -> None:
    site.send("c1", action="pump.start")
    assert "valve.turn" in site.wait("c1", State.FAILED)
    site.send("c2", arguments={})
    assert "to is missing" in site.wait("c2", State.FAILED)
    assert site.words("c2") == ["DELIVERED", "FAILED"]
    assert site.valve.turns == []


def test_a_command_whose_time_is_over_has_expired(site: Site) -> None:
    now_ms = site.clock.now_ns // 10**6
    site.send("c1", not_after_ms=now_ms - 1)
    site.wait("c1", State.EXPIRED)
    site.send("c2", not_after_ms=now_ms + 1)
    site.wait("c2", State.DONE)
    assert len(site.valve.turns) == 1


def test_a_clock_that_is_not_trusted_lets_commands_with_a_limit_wait(site: Site) -> None:
    site.trusted = False
    now_ms = site.clock.now_ns // 10**6
    site.send("c1", not_after_ms=now_ms + 10_000)
    site.send("c2", target="root.p.e.d2")
    site.wait("c2", State.DONE)
    assert site.words("c1") == ["DELIVERED"]
    site.clock.advance(60)
    site.trusted = True
    site.wait("c1", State.EXPIRED)


def test_orders_of_a_kind_that_nobody_knows_fail(site: Site) -> None:
    site.send("c1", kind="dance")
    assert "upgrade" in site.wait("c1", State.FAILED)


def write(site: Site, current: float, age_s: float = 0.0) -> None:
    engine = site.node.engine
    if engine.catalog.templates.get("meters") is None:
        engine.create_template(METERS)
    ids = engine.device_ids("meters", [DEVICE], {"line": ["a"]}, create=True)
    time_ms = site.clock.now_ns // 10**6 - int(age_s * 1000)
    engine.write("meters", ids, [time_ms], {"current": [current]}).wait()


def test_a_precondition_is_looked_at_before_the_beginning(site: Site) -> None:
    assert site.clock.now_ns // 10**6 == START_MS
    site.send("c0", precondition=Precondition("current", "lt", 5.0))
    assert "no value" in site.wait("c0", State.FAILED)
    site.clock.advance(1)
    write(site, 7.0)
    site.send("c1", precondition=Precondition("current", "lt", 5.0))
    assert "it is 7.0" in site.wait("c1", State.FAILED)
    site.clock.advance(1)
    write(site, 4.0)
    site.send("c2", precondition=Precondition("current", "lt", 5.0))
    site.wait("c2", State.DONE)
    site.clock.advance(60)
    site.send("c3", precondition=Precondition("current", "lt", 5.0, max_age_s=30.0))
    assert "too old" in site.wait("c3", State.FAILED)
    site.send("c4", precondition=Precondition("current", "lt", "x"))
    site.wait("c4", State.FAILED)
    assert len(site.valve.turns) == 1


def test_case_19_a_crash_in_the_middle_of_an_actuation_is_unknown_and_not_repeated(
    site: Site,
) -> None:
    site.valve.go_on.clear()
    site.send("c1")
    assert site.valve.begun.wait(DEADLINE_S)
    site.send("c2")  # of the same target: waits for the first
    site.crash()
    assert "under way" in site.wait("c1", State.UNKNOWN)
    site.wait("c2", State.DONE)
    assert len(site.valve.turns) == 2
    site.crash()
    assert site.down.unfinished() == []
    assert len(site.valve.turns) == 2


def test_a_crash_in_the_middle_of_what_may_be_repeated_repeats_it(site: Site) -> None:
    site.valve.go_on.clear()
    site.send("c1", Mode.IDEMPOTENT)
    assert site.valve.begun.wait(DEADLINE_S)
    site.crash()
    site.wait("c1", State.DONE)
    assert len(site.valve.turns) == 2


def test_a_crash_before_the_beginning_loses_nothing(site: Site) -> None:
    site.runner.stop()
    site.send("c1")
    assert site.words("c1") == ["DELIVERED"]
    site.crash()
    site.wait("c1", State.DONE)
    assert len(site.valve.turns) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"target": "", "action": "a"},
        {"target": "root.a", "action": 3},
        {"target": "root.a", "action": "a", "arguments": []},
        {"target": "root.a", "action": "a", "precondition": {"measurement": "x"}},
        {"target": "root.a", "action": "a", "precondition": {"measurement": "x", "eq": 1, "lt": 2}},
        {"target": "root.a", "action": "a", "precondition": {"measurement": "x", "eq": [1]}},
        {"target": "root.a", "action": "a",
         "precondition": {"measurement": "x", "eq": 1, "max_age": "soon"}},
    ],
)  # fmt: skip
def test_a_command_of_another_machine_is_checked(body: dict[str, Any]) -> None:
    with pytest.raises(BadRequestError):
        Command.from_body(body)


def test_a_command_survives_its_body() -> None:
    wanted = Precondition.from_body({"measurement": "x", "ge": 2, "max_age": "30s"})
    command = Command("root.a.b", "x.y", {"n": 1}, wanted)
    assert Command.from_body(command.to_body()) == command
    assert wanted == Precondition("x", "ge", 2, 30.0)
