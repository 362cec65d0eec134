"""Mainstem's federation protocol: how a child tier delivers to its parent, and proves it."""

from mainstem_sync.exports import Export
from mainstem_sync.federation import Federation
from mainstem_sync.receiver import Child

__all__ = ["Child", "Export", "Federation"]
