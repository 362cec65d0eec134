"""The group: receives every platform and answers for the whole organisation.

It is a node without a parent. What is the group's own (queries that reach below, forecasts, the
lakehouse) will live in this package.
"""

from __future__ import annotations

from mainstem_node.node import Node


class GroupNode(Node):
    """The top of a federation."""
