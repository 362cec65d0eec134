"""Carries out the commands that are for this node.

1. Commands for one target are carried out one after the other, in the order in which they came;
   others beside them, a few at a time.
2. What is written down before what: STARTED is durable before anything is done, the end after it.
   Before that it is looked whether the time is over (EXPIRED), whether it can be done here, and
   whether the precondition holds (else FAILED).
3. After a start of the process: what had not begun is carried out now. What had begun is carried
   out again if it is idempotent; else nobody knows, and it is never done again: UNKNOWN.
4. An action that ends without an answer is UNKNOWN too.
5. While the wall clock is not to be trusted no command is expired, and none is begun that has a
   time limit: it waits.
"""

from __future__ import annotations

import logging
import threading
import zlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mainstem_engine.errors import MainstemError
from mainstem_node.commanding.action import Action, ActionError, UncertainActionError
from mainstem_node.commanding.command import Command, Precondition
from mainstem_node.errors import BadRequestError
from mainstem_node.logs import fields
from mainstem_sync.down.downward import Downward
from mainstem_sync.down.orders import Standing
from mainstem_sync.wire.order import RESULT_BYTES_MAX, Mode, Order, State

log = logging.getLogger("mainstem.commands")

LANES = 16
"""Commands under way at a time: an action that waits holds up those of its lane, which a target
shares with a sixteenth of the others."""

ACK_S_MAX = 30.0
STOP_S_MAX = 3.0
CLOCK_LOOK_S = 1.0

NewestValues = Callable[[str], tuple[int, Mapping[str, Any]] | None]
"""Device path to (time in ms, values by measurement) of its newest row; None without one."""


class CommandRunner:
    """See the module. ``newest``: for preconditions. ``clock_ms``: the wall clock, None while it is
    not to be trusted."""

    def __init__(
        self,
        down: Downward,
        actions: Sequence[Action],
        *,
        newest: NewestValues,
        clock_ms: Callable[[], int | None],
    ) -> None:
        self._down = down
        self._actions = {action.name: action for action in actions}
        self._newest = newest
        self._clock_ms = clock_ms
        self._lanes = [_Lane(f"mainstem-command-{n}", self._carry_out) for n in range(LANES)]
        self._stopping = threading.Event()

    @property
    def names(self) -> list[str]:
        """What this node can do."""
        return sorted(self._actions)

    def resume(self, standing: Standing) -> None:
        """A command that was left at the last stop."""
        order = standing.order
        if standing.state is State.STARTED and order.mode is Mode.ACTUATE:
            why = "the process ended while it was under way"
            log.warning("command %s: %s", order.id, why, extra=fields(command=order.id))
            self._say(order, State.UNKNOWN, error=why)
        else:
            self.take(order)

    def take(self, order: Order) -> None:
        """A command for this node, durable and said to be DELIVERED."""
        target = str(order.body.get("target", ""))
        self._lanes[zlib.crc32(target.encode()) % LANES].put(order)

    def stop(self) -> None:
        """What is under way may end for some seconds; the rest is taken up at the next start."""
        self._stopping.set()
        for lane in self._lanes:
            lane.stop()
        for lane in self._lanes:
            lane.join(STOP_S_MAX)

    def _carry_out(self, order: Order) -> None:
        try:
            self._try(order)
        except (MainstemError, TimeoutError) as error:
            # Nothing can be written down: as if the process had ended here.
            log.error("command %s is left as it is: %s", order.id, error)

    def _try(self, order: Order) -> None:
        if not self._is_in_time(order):
            return
        try:
            command = Command.from_body(order.body)
            action = self._action(command)
            action.check(command.arguments)
            self._require(command.precondition, command.device)
        except BadRequestError as error:
            hint = f"; {error.hint}" if error.hint else ""
            self._say(order, State.FAILED, error=f"{error.message}{hint}")
            return
        self._down.say(order.id, State.STARTED).wait(ACK_S_MAX)
        try:
            result = action.run(command.arguments)
        except ActionError as error:
            self._say(order, State.FAILED, error=error.message)
        except UncertainActionError as error:
            self._say(order, State.UNKNOWN, error=error.message)
        except Exception as error:
            # Of the unforeseen nobody knows how far it came.
            log.exception("command %s", order.id)
            self._say(order, State.UNKNOWN, error=f"{type(error).__name__}: {error}")
        else:
            self._say(order, State.DONE, result)

    def _is_in_time(self, order: Order) -> bool:
        """False if its time is over, which is said, or this process is stopping."""
        while order.not_after_ms is not None and not self._stopping.is_set():
            now_ms = self._clock_ms()
            if now_ms is None:
                self._stopping.wait(CLOCK_LOOK_S)
                continue
            if now_ms > order.not_after_ms:
                self._say(order, State.EXPIRED, error="not begun in time")
                return False
            break
        return not self._stopping.is_set()

    def _action(self, command: Command) -> Action:
        found = self._actions.get(command.action)
        if found is None:
            raise BadRequestError(
                f"{self._down.node} cannot do {command.action!r}",
                hint=f"it can do {', '.join(self.names) or 'nothing'}: see `actions`",
            )
        return found

    def _require(self, wanted: Precondition | None, device: str | None) -> None:
        """Raises BadRequestError unless the precondition holds."""
        if wanted is None:
            return
        if device is None:
            raise BadRequestError("a precondition needs a device as target")
        found = self._newest(device)
        now_ms = self._clock_ms()
        what = f"{wanted.measurement} {wanted.comparison} {wanted.value!r}"
        if found is None or wanted.measurement not in found[1]:
            raise BadRequestError(f"the precondition {what} does not hold: there is no value")
        age_ms = None if now_ms is None else now_ms - found[0]
        if wanted.max_age_s is not None and (age_ms is None or age_ms > wanted.max_age_s * 1000):
            raise BadRequestError(f"the precondition {what} does not hold: the value is too old")
        value = found[1][wanted.measurement]
        if not wanted.holds(value):
            raise BadRequestError(f"the precondition {what} does not hold: it is {value!r}")

    def _say(
        self,
        order: Order,
        state: State,
        result: dict[str, Any] | None = None,
        error: str = "",
    ) -> None:
        if len(repr(result)) > RESULT_BYTES_MAX // 2:
            result = {"truncated": True, "text": repr(result)[: RESULT_BYTES_MAX // 4]}
        self._down.say(order.id, state, result, error).wait(ACK_S_MAX)
        log.info("command %s: %s", order.id, state, extra=fields(command=order.id, error=error))


class _Lane:
    """One thread and what waits for it. What waits is in the log, and bounded there."""

    def __init__(self, name: str, work: Callable[[Order], None]) -> None:
        self._work = work
        self._waiting: deque[Order] = deque()
        self._some = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def put(self, order: Order) -> None:
        """The thread begins with the first order: most nodes never get one."""
        with self._some:
            if self._stopped:
                return
            self._waiting.append(order)
            if self._thread.ident is None:
                self._thread.start()
            self._some.notify()

    def stop(self) -> None:
        with self._some:
            self._stopped = True
            self._waiting.clear()
            self._some.notify()

    def join(self, timeout_s: float) -> None:
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._some:
                while not self._waiting and not self._stopped:
                    self._some.wait()
                if self._stopped:
                    return
                order = self._waiting.popleft()
            self._work(order)
