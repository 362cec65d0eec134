"""The engine's lines for people, for the documentation, and for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lines import Line
from report import Figure, Report, machine, shown, versions
from telemetry import DEVICES, SENSORS

QUICK = "a quick run: the figures show only that it works"


def print_text(
    lines: Sequence[Line], titles: Mapping[str, str], absent: Mapping[str, str],
    points: int, rounds: int, quick: bool,
) -> None:  # fmt: skip
    """One block a line: ours, then each peer with ratio, spread, goal and verdict."""
    wide = max(len(line.kind.name) for line in lines)
    for line in lines:
        own = "" if line.kind.own is None else f"  goal {line.kind.own} {line.own_verdict()}"
        print(f"{line.kind.name:<{wide}}  {shown(line.figure):>10} {line.kind.unit}{own}")
        for peer, title in titles.items():
            print(f"{f'  {title}':<{wide}}  {_peer_text(line, peer)}".rstrip())
    print(f"{points:,} points: {DEVICES:,} devices x {SENSORS} sensors; {rounds} rounds")
    for peer, why in absent.items():
        print(f"missing: {peer}: {why}")
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    print(", ".join(f"{key} {value}" for key, value in versions().items()))
    if quick:
        print(QUICK)


def _peer_text(line: Line, peer: str) -> str:
    if peer not in line.theirs:
        return f"{'-':>10} {line.missing.get(peer, '')}"
    ratio = f"{line.ratio(peer):.2f} ({spread(line, peer)})"
    goal = line.kind.goals.get(peer)
    bound = "" if goal is None else f"goal {goal} {line.verdict(peer)}"
    note = f"  [{line.notes[peer]}]" if peer in line.notes else ""
    return f"{shown(line.peer_figure(peer)):>10} {ratio:<22} {bound}{note}"


def spread(line: Line, peer: str) -> str:
    """Least and greatest ratio of the rounds."""
    ratios = line.ratios(peer)
    return f"{min(ratios):.2f}-{max(ratios):.2f}"


def print_markdown(lines: Sequence[Line], titles: Mapping[str, str]) -> None:
    """One table: a peer's cell has its figure, the ratio and its spread; ``*`` marks a note."""
    print("| | Mainstem | " + " | ".join(titles.values()) + " | goals |")
    print("|---" * (len(titles) + 3) + "|")
    notes: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        cells = [f"{shown(line.figure)} {line.kind.unit}"]
        for peer, title in titles.items():
            cells.append(_cell(line, peer))
            if peer in line.notes and peer in line.theirs:
                notes.setdefault((title, line.notes[peer]), []).append(line.kind.name)
        print(f"| {line.kind.name} | {' | '.join(cells)} | {_goals(line, titles)} |")
    print()
    for (title, note), names in notes.items():
        print(f"\\* {title}, {'; '.join(names)}: {note}.  ")


def _cell(line: Line, peer: str) -> str:
    if peer not in line.theirs:
        return "no log" if line.missing.get(peer, "").startswith("no log") else ""
    mark = "\\*" if peer in line.notes else ""
    return f"{shown(line.peer_figure(peer))}{mark}: {line.ratio(peer):.2f} ({spread(line, peer)})"


def _goals(line: Line, titles: Mapping[str, str]) -> str:
    parts = (
        [] if line.kind.own is None else [f"{line.kind.own} {line.kind.unit}: {line.own_verdict()}"]
    )
    parts += [
        f"{title} {line.kind.goals[peer]}: {line.verdict(peer)}"
        for peer, title in titles.items()
        if peer in line.kind.goals and peer in line.theirs
    ]
    return "; ".join(parts)


def print_json(
    lines: Sequence[Line], titles: Mapping[str, str], absent: Mapping[str, str],
    points: int, rounds: int, quick: bool,
) -> None:  # fmt: skip
    """Figures as every benchmark has them, and the whole lines."""
    report = Report("engine", quick)
    for line in lines:
        kind = line.kind
        goals = [f"{kind.own} ({kind.unit})"] if kind.own else []
        goals += [f"{titles[peer]} {kind.goals[peer]}" for peer in titles if peer in kind.goals]
        goal = "; ".join(goals) or None
        report.figures.append(Figure(kind.name, line.figure, kind.unit, kind.how, goal))
    report.extra = document(lines, titles, absent, points, rounds)
    report.print(as_json=True)


def document(
    lines: Sequence[Line], titles: Mapping[str, str], absent: Mapping[str, str],
    points: int, rounds: int,
) -> dict[str, Any]:  # fmt: skip
    """What JSON says beyond the figures."""
    return {
        "points": points, "rounds": rounds, "peers": dict(titles), "missing_peers": dict(absent),
        "lines": [line.document() for line in lines],
    }  # fmt: skip
