"""The ``mainstem`` script, and ``python -m mainstem_node``: runs a node, or the command line."""

from __future__ import annotations

import sys

from mainstem_node.endings import ending_well


def main() -> None:
    """``mainstem run`` with plain options runs the node; all else is the command line's."""
    if sys.argv[1:2] == ["run"]:
        from mainstem_node.running import plain_order, run_order

        order = plain_order(sys.argv[1:])
        if order is not None:
            ending_well(lambda: sys.exit(run_order(order)))
    from mainstem_node.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
