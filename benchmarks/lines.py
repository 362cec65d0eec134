"""A line of the engine's table: our figure, the peers', ratios by round, goals and verdicts.

A ratio is of two figures of the same round; the median of the rounds counts, and the least and the
greatest are shown. It says how many times better ours is, but for sizes and for what is meant to be
no slower than a peer: there it is ours divided by theirs, as in the goals.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MORE, LESS = "more", "less"


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on a ratio, or on our own figure."""

    at_least: float | None = None
    at_most: float | None = None

    def __str__(self) -> str:
        return f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"

    def verdict(self, value: float) -> str:
        """``met``, ``within 2x`` or ``missed``."""
        short = 0.0
        if self.at_least is not None:
            short = self.at_least / value
        elif self.at_most is not None:
            short = value / self.at_most
        return "met" if short <= 1 else "within 2x" if short <= 2 else "missed"


@dataclass(frozen=True, slots=True)
class LineKind:
    """What a line is, before anything is measured. ``share``: ratios are ours divided by theirs.
    ``goals``: by peer; ``own``: of our figure."""

    key: str
    name: str
    unit: str
    better: str
    how: str
    share: bool = False
    goals: Mapping[str, Goal] = field(default_factory=dict)
    own: Goal | None = None


def _times(how: str, **kinds: Any) -> dict[str, Any]:
    return {"unit": "ms", "better": LESS, "how": how, **kinds}


_EACH = "through the Python API, another device each time"
_QUICK = {"duckdb": Goal(at_least=10), "tsfile": Goal(at_least=5)}
_BATCHES = "batches of 100,000 rows, one durable commit each, until all is in closed data files"
_PEAK = "anonymous resident memory above that before the first batch"

KINDS: dict[str, LineKind] = {
    kind.key: kind
    for kind in (
        LineKind(
            "ingest 512", "durable ingest, memory limit 512 MiB", "M points/s", MORE, _BATCHES,
            goals={"duckdb": Goal(at_least=1.2), "clickhouse": Goal(at_least=1.2),
                   "tsfile": Goal(at_least=1.3)},
        ),
        LineKind(
            "acknowledged", "the same until acknowledged, 512 MiB", "M points/s", MORE,
            "until the last batch is durable",
        ),
        LineKind(
            "peak 512", "peak memory of ingest, 512 MiB", "MiB", LESS, _PEAK,
            share=True, own=Goal(at_most=512),
        ),
        LineKind(
            "ingest 256", "durable ingest, memory limit 256 MiB", "M points/s", MORE, _BATCHES,
            goals={"duckdb": Goal(at_least=0.9)},
        ),
        LineKind(
            "peak 256", "peak memory of ingest, 256 MiB", "MiB", LESS, _PEAK,
            share=True, own=Goal(at_most=256),
        ),
        LineKind(
            "commits", "commits of 1,000 rows", "M points/s", MORE,
            "one after the other, each durable before the next", goals={"duckdb": Goal(at_least=3)},
        ),
        LineKind(
            "calls", "one row of 10 measurements per call", "M points/s", MORE,
            "eight threads, group commit", own=Goal(at_least=0.8),
        ),
        LineKind(
            "size", "size", "bytes/point", LESS, "data files after compaction, all of them",
            share=True,
            goals={"duckdb": Goal(at_most=0.75), "clickhouse": Goal(at_most=0.65),
                   "tsfile": Goal(at_most=0.65)},
        ),
        LineKind("last", "last row of a device", **_times(_EACH, goals=_QUICK)),
        LineKind("range", "an hour of one sensor", **_times(_EACH, goals=_QUICK)),
        LineKind("windows", "1-minute means of one device", **_times(_EACH, goals=_QUICK)),
        LineKind(
            "groups", "group-by over all devices",
            **_times("through SQL", share=True, goals={"duckdb": Goal(at_most=1.5)}),
        ),
        LineKind(
            "filtered groups", "group-by, filtered by a value",
            **_times("through SQL; rows are read", share=True, goals={"duckdb": Goal(at_most=1.5)}),
        ),
        LineKind(
            "all windows", "1-minute means of all devices",
            **_times("through the Python API; windows are shorter than a block", share=True,
                     goals={"duckdb": Goal(at_most=1.5)}),
        ),
        LineKind(
            "day windows", "1-day means of all devices",
            **_times("through SQL; windows cover whole blocks", share=True,
                     goals={"duckdb": Goal(at_most=1.0)}),
        ),
        LineKind(
            "rollup windows", "1-minute means of all devices, from a rollup",
            **_times("through SQL; peers compute them from rows", share=True,
                     goals={"duckdb": Goal(at_most=1.0)}),
        ),
        LineKind(
            "open", "open and first answer",
            **_times("a fresh process, modules loaded, after a clean stop", own=Goal(at_most=20)),
        ),
        LineKind(
            "replay", "replay of the log after a crash", "M points/s", MORE,
            "the process ended when the last row was acknowledged; until the store is open",
            own=Goal(at_least=20),
        ),
    )
}  # fmt: skip
"""In the order of the table."""


@dataclass(frozen=True, slots=True)
class Line:
    """One measured line: figures by round, ours and by peer. ``missing``: peer -> why it has none;
    ``notes``: peer -> what its figure means where it is not what the line says."""

    kind: LineKind
    ours: Sequence[float]
    theirs: Mapping[str, Sequence[float]]
    missing: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def figure(self) -> float:
        return statistics.median(self.ours)

    def peer_figure(self, peer: str) -> float:
        return statistics.median(self.theirs[peer])

    def ratios(self, peer: str) -> tuple[float, ...]:
        """By round; see the module."""
        pairs = zip(self.ours, self.theirs[peer], strict=True)
        if self.kind.share or self.kind.better == MORE:
            return tuple(mine / other for mine, other in pairs)
        return tuple(other / mine for mine, other in pairs)

    def ratio(self, peer: str) -> float:
        return statistics.median(self.ratios(peer))

    def advantage(self, peer: str) -> float:
        """How many times better ours is, whatever the ratio says."""
        ratio = self.ratio(peer)
        return 1 / ratio if self.kind.share else ratio

    def verdict(self, peer: str) -> str:
        """Of the goal against this peer; "" without one."""
        goal = self.kind.goals.get(peer)
        return "" if goal is None else goal.verdict(self.ratio(peer))

    def own_verdict(self) -> str:
        return "" if self.kind.own is None else self.kind.own.verdict(self.figure)

    def document(self) -> dict[str, Any]:
        """Everything, for JSON."""
        kind = self.kind
        return {
            "key": kind.key, "name": kind.name, "unit": kind.unit, "better": kind.better,
            "how": kind.how, "ratio_is": "ours / theirs" if kind.share else "times better",
            "ours": self.figure, "ours_by_round": list(self.ours),
            "goal": str(kind.own or ""), "verdict": self.own_verdict(),
            "peers": {peer: self._peer_document(peer) for peer in self.theirs},
            "missing": dict(self.missing),
        }  # fmt: skip

    def _peer_document(self, peer: str) -> dict[str, Any]:
        return {
            "figure": self.peer_figure(peer), "by_round": list(self.theirs[peer]),
            "ratio": self.ratio(peer), "ratios": list(self.ratios(peer)),
            "goal": str(self.kind.goals.get(peer, "")), "verdict": self.verdict(peer),
            "note": self.notes.get(peer, ""),
        }  # fmt: skip
