"""A command: an order of the kind ``command``, as people write and read it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mainstem_node.config.units import parse_duration
from mainstem_node.errors import BadRequestError
from mainstem_node.order_view import order_view
from mainstem_sync.down.orders import Standing
from mainstem_sync.wire.order import Mode, Order

KIND = "command"
EXPIRES_S_DEFAULT = 600.0
"""A command that is carried out when nobody expects it any more does harm."""

EXPIRES_S_MAX = 30 * 86_400.0
NAME_CHARS_MAX = 255

COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Precondition:
    """The newest value of a measurement of the target must compare so; ``max_age_s``: and be no
    older; None: of any age."""

    measurement: str
    comparison: str
    value: bool | int | float | str
    max_age_s: float | None = None

    def holds(self, value: object) -> bool:
        """Values that cannot be compared do not."""
        try:
            return bool(COMPARISONS[self.comparison](value, self.value))
        except TypeError:
            return False

    def to_body(self) -> dict[str, Any]:
        return {
            "measurement": self.measurement, self.comparison: self.value,
            "max_age_s": self.max_age_s,
        }  # fmt: skip

    @classmethod
    def from_body(cls, body: object) -> Precondition | None:
        """Raises BadRequestError. ``body``: ``{"measurement": "running", "eq": true, "max_age":
        "30s"}``, or None."""
        if body is None:
            return None
        if not isinstance(body, dict):
            raise BadRequestError("precondition is not an object", field="precondition")
        found = [name for name in COMPARISONS if name in body]
        unknown = set(body) - {"measurement", "max_age", "max_age_s", *COMPARISONS}
        measurement = body.get("measurement")
        if unknown or len(found) != 1 or not isinstance(measurement, str) or not measurement:
            raise BadRequestError(
                "precondition is a measurement and one comparison",
                field="precondition",
                hint=f'{{"measurement": "running", "eq": true}}; of {", ".join(COMPARISONS)}',
            )
        value = body[found[0]]
        if not isinstance(value, bool | int | float | str):
            raise BadRequestError("it compares with a plain value", field="precondition")
        age = body.get("max_age_s")
        if isinstance(body.get("max_age"), str):
            age = seconds_of(body["max_age"], "precondition.max_age")
        if age is not None and not isinstance(age, int | float):
            raise BadRequestError("max_age is a duration", field="precondition.max_age", hint="30s")
        return cls(measurement, found[0], value, age)


@dataclass(frozen=True, slots=True)
class Command:
    """What is to be done: ``action`` with ``arguments``, on behalf of ``target``, a device path or
    ``node:ID``."""

    target: str
    action: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    precondition: Precondition | None = None

    @property
    def device(self) -> str | None:
        """The path of the device; None for a command to a node itself."""
        return None if self.target.startswith("node:") else self.target

    def to_body(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "action": self.action,
            "arguments": dict(self.arguments),
            "precondition": None if self.precondition is None else self.precondition.to_body(),
        }

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Command:
        """Raises BadRequestError: it may come from another machine."""
        arguments = body.get("arguments", {})
        if not isinstance(arguments, dict):
            raise BadRequestError("arguments are not an object", field="arguments")
        return cls(
            _text(body, "target"),
            _text(body, "action"),
            arguments,
            Precondition.from_body(body.get("precondition")),
        )


def mode_of(body: Mapping[str, Any]) -> Mode:
    """Raises BadRequestError. There is no default: whoever sends a command has to know."""
    mode = body.get("mode")
    if mode not in Mode.__members__.values():
        raise BadRequestError(
            "mode is missing or unknown",
            field="mode",
            hint="idempotent: done again when in doubt; actuate: never done twice",
        )
    return Mode(str(mode))


def not_after_ms(body: Mapping[str, Any], now_ms: int) -> int:
    """From ``not_after`` (ms) or ``expires_in`` (a duration). Raises BadRequestError."""
    until, lasting = body.get("not_after"), body.get("expires_in")
    if until is not None and lasting is not None:
        raise BadRequestError("give not_after or expires_in, not both", field="not_after")
    if until is not None:
        if isinstance(until, bool) or not isinstance(until, int) or until <= now_ms:
            raise BadRequestError("not_after is not a time to come, in ms", field="not_after")
        seconds = (until - now_ms) / 1000
    else:
        seconds = EXPIRES_S_DEFAULT if lasting is None else seconds_of(lasting, "expires_in")
    if not 0 < seconds <= EXPIRES_S_MAX:
        raise BadRequestError(
            f"a command may wait for at most {EXPIRES_S_MAX / 86_400:g} days",
            field="not_after" if until is not None else "expires_in",
        )
    return now_ms + int(seconds * 1000)


def seconds_of(value: object, name: str) -> float:
    """A duration such as ``90s``. Raises BadRequestError."""
    if not isinstance(value, str):
        raise BadRequestError(f"{name} is not a duration", field=name, hint='write "90s"')
    try:
        return parse_duration(value) / 1e9
    except ValueError as error:
        raise BadRequestError(f"{name}: {error.args[0]}", field=name, hint='write "90s"') from None


def shown(standing: Standing, now_ms: int) -> dict[str, Any]:
    """A command as it is listed. ``overdue``: its time is over, and its node has not said a word;
    it says so itself when it hears of it."""
    order = standing.order
    until = order.not_after_ms
    return order_view(
        standing,
        target=order.body.get("target"),
        action=order.body.get("action"),
        arguments=order.body.get("arguments", {}),
        precondition=order.body.get("precondition"),
        mode=str(order.mode),
        not_after=until,
        overdue=not standing.state.is_final and until is not None and until < now_ms,
    )


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value or len(value) > NAME_CHARS_MAX * 4:
        raise BadRequestError(f"{name} is missing, or no text", field=name)
    return value


def is_command(order: Order) -> bool:
    return order.kind == KIND
