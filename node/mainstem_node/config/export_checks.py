"""What rollups and exports must satisfy: a table is made or received before it is passed on."""

from __future__ import annotations

from mainstem_engine.catalog.names import is_below
from mainstem_node.config.report import Report
from mainstem_node.config.rules import ALARMS
from mainstem_node.config.schema import SECOND_NS, ExportConfig, NodeConfig
from mainstem_node.config.units import duration_name


def check_rollups(report: Report, where: str, node: NodeConfig) -> None:
    seen: set[tuple[str, int]] = set()
    for number, rollup in enumerate(node.rollups):
        inside = f"{where}.rollups[{number}]"
        report.known_template(f"{inside}.template", rollup.template)
        if not rollup.every:
            report.empty(f"{inside}.every", "write [1m]")
        for index, every in enumerate(rollup.every):
            place = f"{inside}.every[{index}]"
            if every < SECOND_NS:
                report.problem(place, "a rollup needs at least 1 s", "write 1m")
            elif every % min(rollup.every) != 0:
                finest = duration_name(min(rollup.every))
                report.problem(
                    place, f"{duration_name(every)} is not a multiple of {finest}",
                    "coarser rollups are merged from the finest",
                )  # fmt: skip
            if (rollup.template, every) in seen:
                report.problem(place, "this rollup is declared twice", "remove one")
            seen.add((rollup.template, every))
            for child in report.parts.children(node):
                if _delivers_both(child, rollup.template, every):
                    table = f"{rollup.template}_{duration_name(every)}"
                    report.problem(
                        place, f"{child.id} makes {table} of the rows that it delivers, too",
                        f"remove it here, or `mode: rollup` of {table} there",
                    )  # fmt: skip
        for every in rollup.keep:
            if every not in rollup.every:
                report.problem(
                    f"{inside}.keep", f"{duration_name(every)} is not under `every`",
                    f"use {', '.join(map(duration_name, rollup.every))}",
                )  # fmt: skip


def _delivers_both(child: NodeConfig, template: str, every: int) -> bool:
    """True when a parent that makes this rollup of what it receives of a child makes windows again
    that the child sends: a window has one owner."""
    found = [export for export in child.export if export.template == template]
    raw = [export for export in found if export.mode == "raw"]
    made = [export for export in found if export.mode == "rollup" and export.every == every]
    return any(_overlap(one.under, other.under) for one in raw for other in made)


def _overlap(one: str | None, other: str | None) -> bool:
    """True when a device may lie under both paths; None is all of them."""
    if one is None or other is None:
        return True
    return is_below(one, other) or is_below(other, one)


# -- exports -----------------------------------------------------------------------------


def check_exports(report: Report, where: str, node: NodeConfig) -> None:
    for number, export in enumerate(node.export):
        inside = f"{where}.export[{number}]"
        if export.mode == "rollup" and export.every is None:
            report.problem(f"{inside}.every", "a rollup export names its window", "add every: 1m")
            continue
        if export.mode == "raw" and export.every is not None:
            report.problem(f"{inside}.every", "raw rows have no window", "use mode: rollup")
            continue
        if export in node.export[:number]:
            report.problem(inside, "the same table is exported twice", "remove one")
        children = report.parts.children(node)
        if export.template == ALARMS:
            pass  # edges with rules make it
        elif node.tier == "edge" or export.template in report.parts.template_names or children:
            report.known_template(f"{inside}.template", export.template)
        if export.mode == "rollup" and not _holds(report, node, export):
            table = f"{export.template}_{duration_name(export.every or 0)}"
            report.problem(
                f"{inside}.every", f"{table} is not held here",
                "declare it under `rollups`, or export it from a child",
            )  # fmt: skip
        if node.hold == "verified@group" and not _reaches_group(report, node, export):
            report.problem(
                f"{where}.hold", f"the group does not receive {export.template} ({export.mode})",
                "use verified@parent, or export the table at every tier below the group",
            )  # fmt: skip
    if node.export and node.parent is None:
        report.problem(f"{where}.export", "there is no parent to deliver to", "add `parent`")


def _holds(report: Report, node: NodeConfig, export: ExportConfig) -> bool:
    """True when the rollup table is made here, or received from a child (or may be)."""
    for rollup in node.rollups:
        if rollup.template == export.template and export.every in rollup.every:
            return True
    children = report.parts.children(node)
    if not children:
        return node.tier != "edge"  # children enrol later; this file cannot tell
    return any(_same_table(export, other) for child in children for other in child.export)


def _reaches_group(report: Report, node: NodeConfig, export: ExportConfig) -> bool:
    """False only when this file shows a tier on the way that does not pass the table on."""
    step = node
    while step.parent is not None:
        parent = report.parts.find(step.parent.node)
        if parent is None or parent.tier == "group":
            return True
        if not any(_same_table(export, other) for other in parent.export):
            return False
        step = parent
    return step.tier == "group"


def _same_table(one: ExportConfig, other: ExportConfig) -> bool:
    """True when two export rules name the same table."""
    return (one.template, one.mode, one.every) == (other.template, other.mode, other.every)
