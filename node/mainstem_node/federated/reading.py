"""One statement's questions: how long they may take, who is asked what, and what became of it.

1. A question has three quarters of the time that is left: the answer has to be put together.
2. All children are asked at once and waited for one by one.
3. Who does not answer is named, with the reason; what is here of its rows is used, and nothing else
   is made up for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mainstem_node.federated.cut import Site
from mainstem_node.federated.wish import Part, Wish
from mainstem_sync import Federation
from mainstem_sync.down.questions import Asked, UnansweredError
from mainstem_sync.errors import SyncError
from mainstem_sync.wire.question import ANSWER_BYTES_MAX

SHARE_OF_TIME = 0.75
SITES_SHOWN = 1000
STATES = frozenset({"complete", "incomplete", "not_held", "forked", "retired", "unknown"})


@dataclass(frozen=True, slots=True)
class Answer:
    """Of one child. ``rows``: of the groups or rows; ``wire_bytes``: what travelled."""

    child: str
    raw: bytes
    said: Mapping[str, Any]
    wire_bytes: int
    seconds: float


@dataclass(slots=True)
class Reading:
    """See the module: shared by all inputs of one statement. ``until``: monotonic seconds.
    ``check`` raises when nobody wants the answer any more. ``on_cancel(callback)`` calls it then.
    """

    federation: Federation
    role: str
    by: str
    until: float
    check: Callable[[], None] = lambda: None
    bytes_max: int = ANSWER_BYTES_MAX
    monotonic: Callable[[], float] = time.monotonic
    completeness: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    sites: list[dict[str, Any]] = field(default_factory=list)
    """Of every child that was asked: what, and what it took; for EXPLAIN."""
    blocks: int = 0
    blocks_read: int = 0
    """Of groups that were made here: blocks that may have held rows, and those that were read."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    open: list[Asked] = field(default_factory=list)

    def ask(self, wish: Wish, sites: Sequence[Site]) -> tuple[list[Answer], list[Site]]:
        """(the answers, the sites that they are of); ``wish`` without its parts."""
        by_child: dict[str, list[Site]] = {}
        answers: list[Answer] = []
        answered: list[Site] = []
        for site in sites:
            child = self.federation.route(site.node)
            if child is None:
                self._missed([site], "nobody knows what leads to it")
            else:
                by_child.setdefault(child, []).append(site)
        asked: list[tuple[str, list[Site], Asked, float]] = []
        questions = self.federation.down.questions
        try:
            for child, some in by_child.items():
                self.check()
                wait_s = max(0.0, self.until - self.monotonic()) * SHARE_OF_TIME
                body = replace(wish, parts=parts_of(some), role=self.role, by=self.by).pack()
                try:
                    one = questions.ask(child, body, wait_s, self.bytes_max)
                except SyncError as error:
                    self._missed(some, error.message)
                    continue
                with self.lock:
                    self.open.append(one)
                asked.append((child, some, one, self.monotonic()))
            for child, some, one, started in asked:
                try:
                    questions.wait(one)
                except UnansweredError as error:
                    self.check()
                    self._missed(some, error.message)
                    continue
                seconds = self.monotonic() - started
                answers.append(Answer(child, one.result, one.said, one.wire_bytes, seconds))
                answered += some
                self._heard(wish, answers[-1], some)
        finally:
            for _, _, one, _ in asked:
                questions.cancel(one)
        return answers, answered

    def cancel(self) -> None:
        """Nobody wants the answer: whoever waits here goes on at once."""
        with self.lock:
            some = list(self.open)
        for asked in some:
            self.federation.down.questions.cancel(asked)

    def unknown_devices(self, child: str, count: int) -> None:
        """Groups or rows that came for devices which are not known here yet."""
        if count:
            self.warnings.append(
                f"{count} groups of {child} are of devices that are not known here yet, "
                "and are not in the answer"
            )

    def refused(self, answer: Answer, sites: Sequence[Site], error: SyncError) -> None:
        """An answer that cannot be used."""
        some = [s for s in sites if self.federation.route(s.node) == answer.child]
        self._missed(some, error.message)

    def planned(self, sites: Sequence[Site]) -> None:
        """What would be asked."""
        with self.lock:
            for site in sites[: SITES_SHOWN - len(self.sites)]:
                self.sites.append(
                    {
                        "node": site.node,
                        "via": self.federation.route(site.node),
                        "state": site.item.get("state"),
                        "spans": len(site.spans),
                    }
                )

    def lines(self) -> list[str]:
        """For EXPLAIN; those of ANALYZE take the place of what would be asked."""
        asked = [site for site in self.sites if "nodes" in site]
        return site_lines(asked or self.sites)

    def _missed(self, sites: Sequence[Site], why: str) -> None:
        with self.lock:
            for site in sites:
                self.warnings.append(f"{site.node} did not answer ({why}): see completeness")
                self._put_item(dict(site.item), is_new=False)

    def _heard(self, wish: Wish, answer: Answer, sites: Sequence[Site]) -> None:
        asked = {site.node for site in sites}
        said = answer.said
        with self.lock:
            for item in _maps(said.get("completeness")):
                if item.get("node") in asked and item.get("state") in STATES:
                    self._put_item(item, is_new=True)
            for text in said.get("warnings") or ():
                if isinstance(text, str) and text not in self.warnings:
                    self.warnings.append(text[:1000])
            self.sites.append(
                {
                    "via": answer.child,
                    "table": wish.table,
                    "nodes": sorted(asked),
                    "spans": len({span for site in sites for span in site.spans}),
                    "rows": said.get("rows"),
                    "bytes": answer.wire_bytes,
                    "ms": round(answer.seconds * 1000, 1),
                    "reading": said.get("reading"),
                    "sites": _maps(said.get("sites"))[:SITES_SHOWN],
                }
            )

    def _put_item(self, item: dict[str, Any], *, is_new: bool) -> None:
        key = (item.get("node"), str(item.get("table")).casefold())
        for at, held in enumerate(self.completeness):
            if (held["node"], held["table"].casefold()) == key:
                if is_new:
                    self.completeness[at] = {**held, **item}
                return
        self.completeness.append(item)


def parts_of(sites: Sequence[Site]) -> tuple[Part, ...]:
    """Nodes that are asked for the same spans are one part."""
    by_spans: dict[tuple[tuple[int, int], ...], list[str]] = {}
    for site in sites:
        by_spans.setdefault(site.spans, []).append(site.node)
    return tuple(Part(tuple(nodes), spans) for spans, nodes in by_spans.items())


def site_lines(sites: Sequence[Mapping[str, Any]], depth: int = 0) -> list[str]:
    """What EXPLAIN says of them; relays have their own sites indented below."""
    lines: list[str] = []
    for site in sites:
        before = "  " * depth
        if "nodes" not in site:
            lines.append(
                f"{before}would ask {site.get('via')} for {site.get('node')} "
                f"({site.get('state')}): {site.get('spans')} spans of time"
            )
            continue
        lines.append(
            f"{before}asked {site.get('via')} for {site.get('table')} of "
            f"{', '.join(map(str, site['nodes']))}: {site.get('spans')} spans of time, "
            f"{site.get('rows')} rows, {site.get('bytes')} bytes travelled, {site.get('ms')} ms"
        )
        if site.get("reading"):
            lines.append(f"{before}  there: {site.get('reading')}")
        lines += site_lines(_maps(site.get("sites")), depth + 1) if depth < 16 else []
    return lines


def _maps(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
