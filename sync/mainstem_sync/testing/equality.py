"""What nobody changed does not differ: a slice of which all has arrived is what its owner stated.

A node that finds a difference asks for the slice again, and at the end of a run all is well. So a
mistake that is always mended would never be seen; here it is.
"""

from __future__ import annotations

from mainstem_sync.testing.claims import Node, require


def check_equal(node: Node) -> None:
    """ClaimError if a node has found a slice unequal. Not for one with damage that was made."""
    for item in node.federation._proof.damaged_slices():  # noqa: SLF001 - before it is repaired
        if not item.summed:
            where = f"[{item.start_ns}, {item.end_ns}) of {item.table} of {item.origin.name}"
            require(False, f"{node.name}: {where} has arrived, and is not equal")
