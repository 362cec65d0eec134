"""What was read of a topology, and where a problem in it is noted.

A name whose own definition could not be read counts as known, so that one mistake is one message.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from mainstem_node.config.builder import Builder, suggestion
from mainstem_node.config.schema import NodeConfig, TemplateConfig
from mainstem_node.errors import ConfigProblem


@dataclass(slots=True)
class Parts:
    """What the loader read: nodes with their index in the file, templates, and all names seen."""

    nodes: list[tuple[int, NodeConfig]]
    templates: dict[str, TemplateConfig]
    node_ids: set[str] = field(default_factory=set)
    template_names: set[str] = field(default_factory=set)

    def find(self, node_id: str | None) -> NodeConfig | None:
        return next((node for _, node in self.nodes if node.id == node_id), None)

    def children(self, node: NodeConfig) -> list[NodeConfig]:
        return [n for _, n in self.nodes if n.parent is not None and n.parent.node == node.id]


class Report:
    """Takes problems; places each at its field's line, or at the nearest field's above."""

    def __init__(self, parts: Parts, builder: Builder, file: str) -> None:
        self.parts = parts
        self.builder = builder
        self.file = file

    def problem(self, where: str, problem: str, remedy: str) -> None:
        place, at = where, (self.file, 1)
        while place:
            if place in self.builder.lines:
                at = self.builder.lines[place]
                break
            place = (
                re.sub(r"(\.[^.\[\]]*|\[\d+\])$", "", place) if re.search(r"[.\[]", place) else ""
            )
        self.builder.problems.append(ConfigProblem(at[0], at[1], where, problem, remedy))

    def empty(self, where: str, remedy: str) -> None:
        """Notes a list or mapping without entries, unless its entries were the problem."""
        below = (f"{where}.", f"{where}[")
        if not any(problem.field.startswith(below) for problem in self.builder.problems):
            self.problem(where, "there is none", remedy)

    def device_path(self, where: str, path: str) -> None:
        """Notes a device path that is not below root."""
        if not path.startswith("root."):
            self.problem(where, "a device path begins with root", "write root. in front")

    def known_collector(
        self, where: str, kind: str, wanted: str, known: Sequence[str], *, verb: str = "is"
    ) -> None:
        """Notes that no collector of a kind is (or ``verb``) what an action names."""
        if wanted not in known:
            self.problem(
                where, f"no collector {kind} of this node {verb} {wanted!r}",
                f"write one of {', '.join(known)}" if known else f"add a collector of type {kind}",
            )  # fmt: skip

    def known_template(self, where: str, name: str) -> TemplateConfig | None:
        if name not in self.parts.template_names:
            self.problem(
                where, f"there is no template {name!r}",
                suggestion(name, self.parts.template_names)
                if self.parts.template_names else "add it under `templates`",
            )  # fmt: skip
        return self.parts.templates.get(name)
