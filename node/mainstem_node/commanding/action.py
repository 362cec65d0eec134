"""What a node can do: actions by name. A tier brings those that it has hands for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from mainstem_node.errors import BadRequestError, NodeError


class ActionError(NodeError):
    """It was not done, and nothing of it was: it may be tried again."""

    code = "ACTION_FAILED"


class UncertainActionError(NodeError):
    """Nobody knows whether it was done: no answer came after it was asked for."""

    code = "ACTION_UNCERTAIN"


def refuse_unknown(name: str, arguments: Iterable[str], known: Sequence[str]) -> None:
    """Raises BadRequestError for an argument that an action does not have."""
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        raise BadRequestError(
            f"{name} has no argument {unknown[0]!r}", hint=f"it has {', '.join(known)}"
        )


def refuse_value(value: object) -> None:
    """Raises BadRequestError for what cannot be written to equipment."""
    if not isinstance(value, bool | int | float | str):
        raise BadRequestError("value is no number, text, true or false", field="value")


def not_allowed(doing: str, field: str, what: str = "pattern") -> BadRequestError:
    """The refusal of what no ``pattern`` of the configuration allows; ``doing`` it to what."""
    return BadRequestError(
        f"{doing} is not allowed here",
        field=field,
        hint=f"add a {what} of it to `actions` of this node",
    )


class Action(Protocol):
    """One kind of thing to do. ``name`` is what commands call it, such as ``mqtt.publish``."""

    @property
    def name(self) -> str: ...

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Raises BadRequestError, with field and remedy, for what cannot or may not be done here.
        Nothing is allowed that the configuration does not name."""

    def run(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Does it, once, and returns what is to be told; blocks for seconds at most. Raises
        ActionError or UncertainActionError."""
