"""A child's name belongs to one node: the first whose HELLO came with that name's credential.

A copied data directory has the same UUID and is told apart by the lease; a new data directory under
an old name has another UUID and is refused here: its log is not the one that the parent knows.
Unless the node was said to be replaced (``mainstem node replace``): then the old one is refused.
"""

from __future__ import annotations

from typing import Any, cast

from mainstem_node.registry import NodeRegistry
from mainstem_sync.errors import RejectedError, SyncError
from mainstem_sync.lines.handshake import Hello
from mainstem_sync.receiving.receiver import Child, Receiver, Reply
from mainstem_sync.wire.messages import encode_error, single_frame

REFUSED = 403


class _BoundReceiver:
    """A receiver that lets only the bound node say HELLO; everything else is the receiver's."""

    def __init__(self, receiver: Receiver, registry: NodeRegistry) -> None:
        self._receiver = receiver
        self._registry = registry

    def __getattr__(self, name: str) -> Any:
        return getattr(self._receiver, name)

    def hello(self, child: Child, body: bytes) -> Reply:
        try:
            origin = Hello.from_frame(single_frame(body)).origin
        except SyncError:
            return self._receiver.hello(child, body)  # which says what is wrong with it
        if origin.name == child.name and not self._registry.bind(child.name, origin.uuid):
            error = RejectedError(
                f"{child.name} is enrolled with another data directory",
                hint=f"restore that one, or let a new disk take its place: mainstem node replace"
                f" {child.name}",
            )
            return Reply(REFUSED, encode_error(error))
        return self._receiver.hello(child, body)


def bound_receiver(receiver: Receiver, registry: NodeRegistry) -> Receiver:
    """The receiver, behind the check."""
    return cast("Receiver", _BoundReceiver(receiver, registry))
