"""Alarms of rules at a node: the table that they are rows of, how they stand, who saw them."""

from mainstem_node.alarms.desk import AlarmDesk
from mainstem_node.alarms.standing import State

__all__ = ["AlarmDesk", "State"]
