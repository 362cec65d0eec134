"""Mainstem's federation protocol: how a child tier delivers to its parent, and proves it."""

from mainstem_sync.exports import Export
from mainstem_sync.federation import Federation
from mainstem_sync.quarantine import QuarantineBlock, QuarantineItem, QuarantineStore
from mainstem_sync.receiver import Child, Receiver
from mainstem_sync.sender import Sender

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
