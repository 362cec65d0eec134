"""From the configuration to running parts: the only room of the edge that knows the topology's
structs and the parts made from them."""

from mainstem_edge.assembly.assembly import Assembly
from mainstem_edge.assembly.workbench import Workbench

__all__ = ["Assembly", "Workbench"]
