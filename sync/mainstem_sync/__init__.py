"""Mainstem's federation protocol: how a child tier delivers to its parent, and proves it."""

from mainstem_sync.federation import Federation
from mainstem_sync.receiving.quarantine import QuarantineBlock, QuarantineItem, QuarantineStore
from mainstem_sync.receiving.receiver import Child, Receiver
from mainstem_sync.sending.sender import Sender
from mainstem_sync.state.exports import Export

__all__ = [
    "Federation",
    "Export",
    "Child",
    "Receiver",
    "Sender",
    "QuarantineStore",
    "QuarantineItem",
    "QuarantineBlock",
]
