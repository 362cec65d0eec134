"""What a topology must satisfy beyond the shape of each value: names that refer to one another.

Each check looks at one kind of relation and reports every offence. A name whose own definition
could not be read counts as known, so that one mistake is one message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from mainstem_node.config.builder import Builder, suggestion
from mainstem_node.config.schema import (
    SECOND_NS,
    ExportConfig,
    MeasurementConfig,
    MqttCollectorConfig,
    NodeConfig,
    TemplateConfig,
)
from mainstem_node.config.units import conversion, duration_name
from mainstem_node.errors import ConfigProblem, UnitError

_TIER_RANK = {"edge": 0, "platform": 1, "group": 2}
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_KNOWN_PLACEHOLDER = re.compile(r"topic\[\d+\]|payload\.[^.{}\s][^{}]*")


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


class Checker:
    """Runs every check; ``problem`` places a message at the field, or the nearest one above."""

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

    def run(self) -> None:
        for name, template in self.parts.templates.items():
            self.template(f"templates.{name}", template)
        self.unique_nodes()
        for number, node in self.parts.nodes:
            where = f"nodes[{number}]"
            self.parent(where, node)
            self.storage(where, node)
            self.collectors(where, node)
            self.rollups(where, node)
            self.exports(where, node)
            self.link(where, node)
            if (
                node.tls is not None
                and node.auth.loopback == "open"
                and not node.listen.is_loopback
            ):
                self.problem(
                    f"{where}.auth.loopback", "open works on a loopback address only", "remove it"
                )

    # -- templates ---------------------------------------------------------------------------

    def template(self, where: str, template: TemplateConfig) -> None:
        if not template.measurements:
            self.problem(f"{where}.measurements", "there is none", "name at least one measurement")
        names: dict[str, str] = {"time": "the time column", "device": "the device column"}
        columns = [("tags", name) for name in template.tags]
        columns += [("measurements", name) for name in template.measurements]
        for section, name in columns:
            key = name.casefold()
            if key in names:
                self.problem(
                    f"{where}.{section}.{name}",
                    f"the name is that of {names[key]} (case does not matter)",
                    "choose another; `from:` keeps the payload's name",
                )
            names.setdefault(key, f"{section}.{name}")
        for name, measurement in template.measurements.items():
            self.measurement(f"{where}.measurements.{name}", measurement)

    def measurement(self, where: str, m: MeasurementConfig) -> None:
        numeric = m.type.is_integer or m.type.is_float
        low, high = m.range if m.range is not None else (None, None)
        if low is not None and high is not None and low > high:
            self.problem(f"{where}.range", f"{low:g} is above {high:g}", "write [low, high]")
        if m.source_unit is not None and m.unit is None:
            self.problem(f"{where}.source_unit", "there is no `unit` to convert to", "add `unit`")
        elif m.source_unit is not None and m.unit is not None:
            try:
                conversion(m.source_unit, m.unit)
            except UnitError as error:
                self.problem(f"{where}.source_unit", error.message, error.hint or "")
        for key, given in (
            ("range", m.range is not None),
            ("deadband", m.deadband is not None),
            ("scale", m.scale != 1.0),
            ("offset", m.offset != 0.0),
            ("source_unit", m.source_unit is not None),
        ):
            if given and not numeric:
                self.problem(f"{where}.{key}", f"{m.type.name} is not a number", "remove it")
        if m.deadband is not None and m.deadband < 0:
            self.problem(f"{where}.deadband", "a deadband cannot be negative", "write 0 or more")
        if m.scale == 0:
            self.problem(f"{where}.scale", "0 makes every value the same", "write another factor")
        if m.rollover is not None and m.kind != "counter":
            self.problem(f"{where}.rollover", "only a counter rolls over", "add `kind: counter`")
        if m.rollover is not None and m.rollover < 1:
            self.problem(f"{where}.rollover", "it must be positive", "write the largest value + 1")
        numeric_only = {"GORILLA", "RLE", "TS_2DIFF", "PCO"}
        if m.type.is_variable and m.encoding in numeric_only:
            self.problem(
                f"{where}.encoding", f"{m.encoding} cannot hold {m.type.name}",
                "use DICTIONARY or PLAIN",
            )  # fmt: skip

    # -- nodes among themselves --------------------------------------------------------------

    def unique_nodes(self) -> None:
        seen: dict[tuple[str, str], str] = {}
        for number, node in self.parts.nodes:
            where = f"nodes[{number}]"
            entries = [("id", node.id), ("data_dir", str(node.data_dir))]
            if node.listen.port:
                entries.append(("listen", str(node.listen)))
            for key, value in entries:
                first = seen.setdefault((key, value), where)
                if first != where:
                    self.problem(f"{where}.{key}", f"{first} has the same {key}", "choose another")
            for index, path in enumerate(node.paths):
                first = seen.setdefault(("paths", path), where)
                if first != where or path in node.paths[:index]:
                    self.problem(
                        f"{where}.paths[{index}]", f"{first} owns {path} already",
                        "one node owns a path; children may own longer ones",
                    )  # fmt: skip

    def parent(self, where: str, node: NodeConfig) -> None:
        if node.parent is None:
            return
        target = node.parent.node
        inside = f"{where}.parent"
        if target is None and not node.parent.url:
            self.problem(inside, "neither `node` nor `url` is given", "name one of them")
        if target is None:
            return
        if target == node.id:
            self.problem(f"{inside}.node", "a node cannot be its own parent", "name another node")
            return
        parent = self.parts.find(target)
        if parent is None:
            if target not in self.parts.node_ids and not node.parent.url:
                self.problem(
                    f"{inside}.node", f"there is no node {target!r} in this file",
                    f"{suggestion(target, self.parts.node_ids - {node.id})} or give its `url`",
                )  # fmt: skip
            return
        chain = [node.id, parent.id]
        step: NodeConfig | None = parent
        while step is not None and step.parent is not None and step.parent.node is not None:
            if step.parent.node == node.id:
                loop = " -> ".join([*chain, node.id])
                self.problem(f"{inside}.node", f"the parents form a circle ({loop})", "cut it")
                return
            if step.parent.node in chain:
                return  # a circle further up; reported there
            chain.append(step.parent.node)
            step = self.parts.find(step.parent.node)
        if _TIER_RANK[parent.tier] <= _TIER_RANK[node.tier]:
            self.problem(
                f"{inside}.node", f"{parent.id} is {parent.tier}, which is not above {node.tier}",
                "an edge delivers to a platform or group, a platform to a group",
            )  # fmt: skip
        if parent.paths:
            for index, path in enumerate(node.paths):
                if not any(is_below(path, owned) for owned in parent.paths):
                    self.problem(
                        f"{where}.paths[{index}]", f"{path} is not below what {parent.id} owns",
                        f"use a path below {' or '.join(parent.paths)}",
                    )  # fmt: skip

    # -- one node ----------------------------------------------------------------------------

    def storage(self, where: str, node: NodeConfig) -> None:
        if node.storage.vnodes != 1:
            self.problem(
                f"{where}.storage.vnodes", "this version has one virtual node per database",
                "write 1",
            )  # fmt: skip
        if node.storage.memory_limit < 32 << 20:
            self.problem(
                f"{where}.storage.memory_limit", "the engine needs at least 32 MiB", "write 256MiB"
            )
        if node.storage.flush_bytes < 1 << 20:
            self.problem(
                f"{where}.storage.flush_bytes", "less than 1 MiB makes parts too small",
                "write 64MiB",
            )  # fmt: skip
        for path, database in node.databases.items():
            if database.duration < SECOND_NS:
                self.problem(
                    f"{where}.databases.{path}.duration", "a partition needs at least 1 s",
                    "write 1d",
                )  # fmt: skip
            if database.keep is not None and database.keep < database.duration:
                self.problem(
                    f"{where}.databases.{path}.keep", "it is shorter than one partition (duration)",
                    "make `keep` at least `duration`",
                )  # fmt: skip

    def known_template(self, where: str, name: str) -> TemplateConfig | None:
        if name not in self.parts.template_names:
            self.problem(
                where, f"there is no template {name!r}",
                suggestion(name, self.parts.template_names)
                if self.parts.template_names else "add it under `templates`",
            )  # fmt: skip
        return self.parts.templates.get(name)

    def collectors(self, where: str, node: NodeConfig) -> None:
        if node.collectors and node.tier != "edge":
            self.problem(
                f"{where}.collectors", f"a {node.tier} does not collect", "move it to an edge"
            )
        for number, collector in enumerate(node.collectors):
            inside = f"{where}.collectors[{number}]"
            if not collector.subscriptions:
                self.problem(f"{inside}.subscriptions", "there is none", "add a topic")
            if collector.password is not None and collector.username is None:
                self.problem(f"{inside}.password", "there is no `username`", "add it")
            if collector.in_flight < 1 or collector.in_flight > 65535:
                self.problem(f"{inside}.in_flight", "it is not in 1..65535", "write 5000")
            self.subscriptions(inside, collector)

    def subscriptions(self, where: str, collector: MqttCollectorConfig) -> None:
        for number, subscription in enumerate(collector.subscriptions):
            inside = f"{where}.subscriptions[{number}]"
            template = self.known_template(f"{inside}.template", subscription.template)
            levels = subscription.topic.split("/")
            bad_wildcard = any(
                ("#" in level and (level != "#" or index != len(levels) - 1))
                or ("+" in level and level != "+")
                for index, level in enumerate(levels)
            )
            if bad_wildcard or not subscription.topic:
                self.problem(
                    f"{inside}.topic", f"{subscription.topic!r} is not a topic filter",
                    "+ stands for one whole level, # for all that follow",
                )  # fmt: skip
            if not subscription.device.startswith("root."):
                self.problem(
                    f"{inside}.device", "a device path begins with root", "write root. in front"
                )
            for tag in subscription.tags:
                if template is not None and tag.casefold() not in map(str.casefold, template.tags):
                    self.problem(
                        f"{inside}.tags.{tag}", f"{subscription.template} has no such tag",
                        suggestion(tag, template.tags),
                    )  # fmt: skip
            texts = {"device": subscription.device}
            texts |= {f"tags.{tag}": text for tag, text in subscription.tags.items()}
            for key, text in texts.items():
                self.placeholders(f"{inside}.{key}", text, levels)

    def placeholders(self, where: str, text: str, levels: list[str]) -> None:
        for name in _PLACEHOLDER.findall(text):
            if not _KNOWN_PLACEHOLDER.fullmatch(name):
                self.problem(
                    where, f"{{{name}}} is unknown", "use {topic[n]} (from 0) or {payload.NAME}"
                )
            elif name.startswith("topic[") and "#" not in levels:
                index = int(name[6:-1])
                if index >= len(levels):
                    self.problem(
                        where, f"{{{name}}}: the topic has {len(levels)} levels",
                        f"use at most {{topic[{len(levels) - 1}]}}",
                    )  # fmt: skip
        if re.search(r"[{}]", _PLACEHOLDER.sub("", text)):
            self.problem(where, "a brace is not closed", "use {topic[n]} or {payload.NAME}")

    def rollups(self, where: str, node: NodeConfig) -> None:
        seen: set[tuple[str, int]] = set()
        for number, rollup in enumerate(node.rollups):
            inside = f"{where}.rollups[{number}]"
            self.known_template(f"{inside}.template", rollup.template)
            if not rollup.every:
                self.problem(f"{inside}.every", "there is none", "write [1m]")
            for index, every in enumerate(rollup.every):
                place = f"{inside}.every[{index}]"
                if every < SECOND_NS:
                    self.problem(place, "a rollup needs at least 1 s", "write 1m")
                elif every % min(rollup.every) != 0:
                    finest = duration_name(min(rollup.every))
                    self.problem(
                        place, f"{duration_name(every)} is not a multiple of {finest}",
                        "coarser rollups are merged from the finest",
                    )  # fmt: skip
                if (rollup.template, every) in seen:
                    self.problem(place, "this rollup is declared twice", "remove one")
                seen.add((rollup.template, every))
            for every in rollup.keep:
                if every not in rollup.every:
                    self.problem(
                        f"{inside}.keep", f"{duration_name(every)} is not under `every`",
                        f"use {', '.join(map(duration_name, rollup.every))}",
                    )  # fmt: skip

    # -- exports -----------------------------------------------------------------------------

    def exports(self, where: str, node: NodeConfig) -> None:
        for number, export in enumerate(node.export):
            inside = f"{where}.export[{number}]"
            if export.mode == "rollup" and export.every is None:
                self.problem(f"{inside}.every", "a rollup export names its window", "add every: 1m")
                continue
            if export.mode == "raw" and export.every is not None:
                self.problem(f"{inside}.every", "raw rows have no window", "use mode: rollup")
                continue
            if export in node.export[:number]:
                self.problem(inside, "the same table is exported twice", "remove one")
            children = self.parts.children(node)
            if node.tier == "edge" or export.template in self.parts.template_names or children:
                self.known_template(f"{inside}.template", export.template)
            if export.mode == "rollup" and not self.holds(node, export):
                table = f"{export.template}_{duration_name(export.every or 0)}"
                self.problem(
                    f"{inside}.every", f"{table} is not held here",
                    "declare it under `rollups`, or export it from a child",
                )  # fmt: skip
            if node.hold == "verified@group" and not self.reaches_group(node, export):
                self.problem(
                    f"{where}.hold", f"the group does not receive {export.template} ({export.mode})",
                    "use verified@parent, or export the table at every tier below the group",
                )  # fmt: skip
        if node.export and node.parent is None:
            self.problem(f"{where}.export", "there is no parent to deliver to", "add `parent`")

    def holds(self, node: NodeConfig, export: ExportConfig) -> bool:
        """True when the rollup table is made here, or received from a child (or may be)."""
        for rollup in node.rollups:
            if rollup.template == export.template and export.every in rollup.every:
                return True
        children = self.parts.children(node)
        if not children:
            return node.tier != "edge"  # children enrol later; this file cannot tell
        return any(same_table(export, other) for child in children for other in child.export)

    def reaches_group(self, node: NodeConfig, export: ExportConfig) -> bool:
        """False only when this file shows a tier on the way that does not pass the table on."""
        step = node
        while step.parent is not None:
            parent = self.parts.find(step.parent.node)
            if parent is None or parent.tier == "group":
                return True
            if not any(same_table(export, other) for other in parent.export):
                return False
            step = parent
        return step.tier == "group"

    def link(self, where: str, node: NodeConfig) -> None:
        for number, window in enumerate(node.link.windows):
            if window.start == window.end:
                self.problem(
                    f"{where}.link.windows[{number}].to", "the window has no length",
                    'write "00:00" and "24:00" for the whole day',
                )  # fmt: skip


def same_table(one: ExportConfig, other: ExportConfig) -> bool:
    """True when two export rules name the same table."""
    return (one.template, one.mode, one.every) == (other.template, other.mode, other.every)


def is_below(path: str, prefix: str) -> bool:
    """True when ``path`` is ``prefix`` or lies below it, element by element."""
    return path == prefix or path.startswith(prefix + ".")


def not_yet_acted_upon(written: Iterator[str] | tuple[str, ...], number: int) -> list[str]:
    """The keys of node ``number`` that are checked but have no effect in this version."""
    prefix = f"nodes[{number}]."
    found = []
    for key in written:
        if key.startswith(prefix) and not key.endswith("]"):
            tail = re.sub(r"\[\d+\]", "", key.removeprefix(prefix))
            if tail in INACTIVE_KEYS or re.fullmatch(r"databases\..+\.keep", tail):
                found.append(key.removeprefix(prefix))
    return found


INACTIVE_KEYS = frozenset(
    {
        "hold", "disk.limit", "disk.when_full", "link.limit", "link.windows", "rollups.keep",
        "intake.auto_template",
    }
)  # fmt: skip
"""Retention, disk pressure and link budgets are declared here so that a file need not change."""
