"""A question, cut by site and time: what this node can answer, and what it has to ask others for.

1. What was verified here is answered here: to read it again at its owner could say nothing else.
2. Of a table that is not received here, all of a node's rows are asked for. Of one that is, the
   holes, and everything after the last slice that was verified: the live tail.
3. A node that has stated nothing of a table, and whose devices are in it, is asked for all of it.
4. The rows of a retired node are what is here.
5. What was closed before the last full hour is apart from the rest: it hardly changes any more.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_node.federated.wish import SPANS_MAX, Span
from mainstem_sync.proof.completeness import NOT_HELD, RETIRED, UNKNOWN

NS_PER_MS = 1_000_000

SETTLED_NS = 3_600_000_000_000
"""One question then stays the same for an hour, and most windows are cut in no two."""


@dataclass(frozen=True, slots=True)
class Site:
    """What is asked of one node: rows in ``spans``. ``item``: its completeness as known here.
    ``is_held``: rows of these spans may be here too, and must not be counted twice."""

    node: str
    spans: tuple[Span, ...]
    item: Mapping[str, Any]

    @property
    def is_held(self) -> bool:
        return self.item.get("state") != NOT_HELD


def open_spans(item: Mapping[str, Any], first_ns: int, beyond_ns: int) -> tuple[Span, ...]:
    """The spans of [first, beyond) that this node cannot answer, by a completeness object that was
    judged for this range."""
    if first_ns >= beyond_ns or item.get("state") == RETIRED:
        return ()
    if item.get("state") in (NOT_HELD, UNKNOWN) or item.get("complete_through") is None:
        return ((first_ns, beyond_ns),)
    holes = [(a * NS_PER_MS, b * NS_PER_MS) for a, b in item["holes"]]
    tail = max([int(item["complete_through"]) * NS_PER_MS, *(end for _, end in holes)])
    holes.append((tail, TIME_MAX_NS + 1))
    found: list[Span] = []
    for start, end in holes:
        start, end = max(start, first_ns), min(end, beyond_ns)
        if start >= end:
            continue
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    if len(found) > SPANS_MAX:
        found[SPANS_MAX - 1 :] = [(found[SPANS_MAX - 1][0], found[-1][1])]
    return tuple(found)


def cut_at_settled(site: Site) -> tuple[Site | None, Site | None]:
    """(what the node has closed, up to a full hour; the rest); None for nothing."""
    through = site.item.get("complete_through")
    if not isinstance(through, int):
        return None, site
    at = through * NS_PER_MS // SETTLED_NS * SETTLED_NS
    settled = tuple((start, min(end, at)) for start, end in site.spans if start < at)
    recent = tuple((max(start, at), end) for start, end in site.spans if end > at)
    return (
        replace(site, spans=settled) if settled else None,
        replace(site, spans=recent) if recent else None,
    )


def elementary(
    sites: Sequence[Site], first_ns: int, beyond_ns: int, moves: Iterable[int] = ()
) -> list[tuple[Span, set[str]]]:
    """[first, beyond) as spans, each with the nodes that answer for all of it. Neighbours with the
    same nodes are one, but where devices were moved (``moves``, ns)."""
    cuts = frozenset(moves)
    edges = {first_ns, beyond_ns, *cuts}
    for site in sites:
        edges |= {edge for span in site.spans for edge in span}
    at = sorted(edge for edge in edges if first_ns <= edge <= beyond_ns)
    found: list[tuple[Span, set[str]]] = []
    for start, end in itertools.pairwise(at):
        nodes = {s.node for s in sites if any(a <= start and end <= b for a, b in s.spans)}
        if found and found[-1][1] == nodes and start not in cuts:
            found[-1] = ((found[-1][0][0], end), nodes)
        else:
            found.append(((start, end), nodes))
    return found


def window_of(first_ns: int, beyond_ns: int) -> tuple[int | None, int | None]:
    """A range of a scan as Federation.completeness wants it."""
    return (
        None if first_ns <= TIME_MIN_NS else first_ns,
        None if beyond_ns > TIME_MAX_NS else beyond_ns,
    )
