"""``alarm.ack``: a person at a tier above has seen an alarm of this node.

It names the raise that was seen, so it may come late and twice: what was raised anew meanwhile
stays unseen. It touches no equipment, and needs no word in the configuration. Who has seen it is
whom the API knows its caller as: nobody can say it in another's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mainstem_node.alarms.desk import COMMENT_CHARS_MAX, AlarmDesk
from mainstem_node.commanding.action import ActionError, refuse_unknown
from mainstem_node.errors import BadRequestError, ConflictError, MissingError

NAME = "alarm.ack"
ARGUMENTS = ("alarm", "since_ns", "by", "comment")
BY_CHARS_MAX = 200


class AlarmAck:
    """The action at a node that has the alarm's rows."""

    name = NAME

    def __init__(self, desk: AlarmDesk) -> None:
        self._desk = desk

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Raises BadRequestError."""
        refuse_unknown(NAME, arguments, ARGUMENTS)
        for name, chars_max in (("alarm", 1024), ("by", BY_CHARS_MAX)):
            value = arguments.get(name)
            if not isinstance(value, str) or not 0 < len(value) <= chars_max:
                raise BadRequestError(f"{name} is missing, or no text", field=name)
        since = arguments.get("since_ns")
        if isinstance(since, bool) or not isinstance(since, int):
            raise BadRequestError("since_ns is missing, or no whole number", field="since_ns")
        require_comment(arguments.get("comment", ""))

    def run(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Durable when it returns. Raises ActionError: it is nothing to be seen any more."""
        try:
            return self._desk.acknowledge(
                arguments["alarm"],
                arguments["by"],
                arguments.get("comment", ""),
                arguments["since_ns"],
            )
        except (ConflictError, MissingError) as error:
            raise ActionError(error.message) from error


def in_own_name(arguments: Mapping[str, Any], caller: str) -> dict[str, Any]:
    """The arguments with ``by`` the caller. Raises BadRequestError for somebody else."""
    if arguments.get("by", caller) != caller:
        raise BadRequestError(
            f"by is not the caller, {caller}", field="by", hint="leave it out: it is the caller"
        )
    return {**arguments, "by": caller}


def require_comment(value: object) -> str:
    """Raises BadRequestError."""
    if not isinstance(value, str) or len(value) > COMMENT_CHARS_MAX:
        raise BadRequestError(
            f"comment is not a text of at most {COMMENT_CHARS_MAX} characters", field="comment"
        )
    return value
