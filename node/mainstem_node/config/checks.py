"""What a topology must satisfy beyond the shape of each value: names that refer to one another.

Each check looks at one kind of relation and reports every offence.
"""

from __future__ import annotations

from mainstem_engine.catalog.names import is_below
from mainstem_engine.options import VNODES_MAX
from mainstem_node.config.builder import suggestion
from mainstem_node.config.collector_checks import check_actions, check_collectors
from mainstem_node.config.export_checks import check_exports, check_rollups
from mainstem_node.config.notify_checks import check_notify
from mainstem_node.config.report import Report
from mainstem_node.config.rule_checks import check_rules
from mainstem_node.config.schema import SECOND_NS, NodeConfig
from mainstem_node.config.sql_checks import check_sql
from mainstem_node.config.template_checks import check_template

_TIER_RANK = {"edge": 0, "platform": 1, "group": 2}
_MIB = 1 << 20
_MEMORY_LIMIT_MIN = 32 * _MIB
"""Below this the head and one compaction do not fit together."""


def check_topology(report: Report) -> None:
    """Runs every check over what was read."""
    for name, template in report.parts.templates.items():
        check_template(report, f"templates.{name}", template)
    _unique_nodes(report)
    for number, node in report.parts.nodes:
        where = f"nodes[{number}]"
        _parent(report, where, node)
        _storage(report, where, node)
        check_sql(report, f"{where}.sql", node.sql)
        check_collectors(report, where, node)
        check_actions(report, where, node)
        check_rules(report, where, node)
        check_notify(report, where, node)
        check_rollups(report, where, node)
        check_exports(report, where, node)
        _link(report, where, node)


def _unique_nodes(report: Report) -> None:
    seen: dict[tuple[str, str], str] = {}
    for number, node in report.parts.nodes:
        where = f"nodes[{number}]"
        entries = [("id", node.id), ("data_dir", str(node.data_dir))]
        if node.listen.port:
            entries.append(("listen", str(node.listen)))
        for key, value in entries:
            first = seen.setdefault((key, value), where)
            if first != where:
                report.problem(f"{where}.{key}", f"{first} has the same {key}", "choose another")
        for index, path in enumerate(node.paths):
            first = seen.setdefault(("paths", path), where)
            if first != where or path in node.paths[:index]:
                report.problem(
                    f"{where}.paths[{index}]", f"{first} owns {path} already",
                    "one node owns a path; children may own longer ones",
                )  # fmt: skip


def _parent(report: Report, where: str, node: NodeConfig) -> None:
    if node.parent is None:
        return
    target = node.parent.node
    inside = f"{where}.parent"
    if target is None and not node.parent.url:
        report.problem(inside, "neither `node` nor `url` is given", "name one of them")
    if target is None:
        return
    if target == node.id:
        report.problem(f"{inside}.node", "a node cannot be its own parent", "name another node")
        return
    parent = report.parts.find(target)
    if parent is None:
        if target not in report.parts.node_ids and not node.parent.url:
            report.problem(
                f"{inside}.node", f"there is no node {target!r} in this file",
                f"{suggestion(target, report.parts.node_ids - {node.id})} or give its `url`",
            )  # fmt: skip
        return
    chain = [node.id, parent.id]
    step: NodeConfig | None = parent
    while step is not None and step.parent is not None and step.parent.node is not None:
        if step.parent.node == node.id:
            loop = " -> ".join([*chain, node.id])
            report.problem(f"{inside}.node", f"the parents form a circle ({loop})", "cut it")
            return
        if step.parent.node in chain:
            return  # a circle further up; reported there
        chain.append(step.parent.node)
        step = report.parts.find(step.parent.node)
    if _TIER_RANK[parent.tier] <= _TIER_RANK[node.tier]:
        report.problem(
            f"{inside}.node", f"{parent.id} is {parent.tier}, which is not above {node.tier}",
            "an edge delivers to a platform or group, a platform to a group",
        )  # fmt: skip
    if parent.paths:
        for index, path in enumerate(node.paths):
            if not any(is_below(path, owned) for owned in parent.paths):
                report.problem(
                    f"{where}.paths[{index}]", f"{path} is not below what {parent.id} owns",
                    f"use a path below {' or '.join(parent.paths)}",
                )  # fmt: skip


def _storage(report: Report, where: str, node: NodeConfig) -> None:
    if node.storage.vnodes is not None and not 1 <= node.storage.vnodes <= VNODES_MAX:
        report.problem(
            f"{where}.storage.vnodes", f"{node.storage.vnodes} vnodes are not between 1 and "
            f"{VNODES_MAX}", "write the number of cores, or leave it out",
        )  # fmt: skip
    if node.storage.memory_limit < _MEMORY_LIMIT_MIN:
        report.problem(
            f"{where}.storage.memory_limit", "the engine needs at least 32 MiB", "write 256MiB"
        )
    if node.storage.flush_bytes < _MIB:
        report.problem(
            f"{where}.storage.flush_bytes", "less than 1 MiB makes parts too small",
            "write 64MiB",
        )  # fmt: skip
    for path, database in node.databases.items():
        if database.duration < SECOND_NS:
            report.problem(
                f"{where}.databases.{path}.duration", "a partition needs at least 1 s",
                "write 1d",
            )  # fmt: skip
        if database.keep is not None and database.keep < database.duration:
            report.problem(
                f"{where}.databases.{path}.keep", "it is shorter than one partition (duration)",
                "make `keep` at least `duration`",
            )  # fmt: skip


def _link(report: Report, where: str, node: NodeConfig) -> None:
    for number, window in enumerate(node.link.windows):
        if window.start == window.end:
            report.problem(
                f"{where}.link.windows[{number}].to", "the window has no length",
                'write "00:00" and "24:00" for the whole day',
            )  # fmt: skip
