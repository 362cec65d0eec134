"""The factory platform: receives its edges, forwards to the group, answers SQL for all below.

All of it is what every node does: the federation receives because children are enrolled, forwards
because there is a parent, and the rows of every child lie in the same tables. What is the factory's
own (governance, quality, alarms, commands) will live in this package.
"""

from __future__ import annotations

from mainstem_node.node import Node


class PlatformNode(Node):
    """A node between edges and group."""
