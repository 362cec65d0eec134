"""Nodes of a tree of some kinds, in the order of sqlglot's ``find_all`` and several times cheaper:
a pass over a small statement costs its walk more than anything else.

What is found is a list: the tree may be changed while it is gone through.
"""

from __future__ import annotations

from typing import TypeVar

from sqlglot import exp

Node = TypeVar("Node", bound=exp.Expr)


def find_nodes(tree: exp.Expr, *kinds: type[Node]) -> list[Node]:
    """The node itself and all below it that are of ``kinds``; those nearer to the root first."""
    waiting: list[exp.Expr] = [tree]
    # The list grows while it is gone through.
    for node in waiting:
        for value in node.args.values():
            if value.__class__ is list:
                waiting += [each for each in value if isinstance(each, exp.Expr)]
            elif isinstance(value, exp.Expr):
                waiting.append(value)
    return [node for node in waiting if isinstance(node, kinds)]
