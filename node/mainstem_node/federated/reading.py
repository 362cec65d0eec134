"""One statement's questions: how long they may take, who is asked what, and what became of it.

1. A question has three quarters of the time that is left: the answer has to be put together.
2. All children are asked at once and waited for one by one.
3. Who does not answer is named, with the reason; what is here of its rows is used, and nothing else
   is made up for it.
4. What is missing here of a table that is sent up is wanted, by the way that repairs it: the next
   question finds it here.
5. What a node closed long enough ago is asked for apart from the rest: its answer mostly stays the
   same, and is kept (kept_answers.py).
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mainstem_node.federated.cut import Site, cut_at_settled
from mainstem_node.federated.kept_answers import STAMP_CHARS_MAX, Kept, KeptAnswers, Key
from mainstem_node.federated.wish import NEWEST, Part, Wish
from mainstem_sync import Federation
from mainstem_sync.down.questions import Asked, UnansweredError
from mainstem_sync.errors import SyncError
from mainstem_sync.proof.stamps import STAMP_BYTES
from mainstem_sync.wire.question import ANSWER_BYTES_MAX

SHARE_OF_TIME = 0.75
SITES_SHOWN = 1000
STATES = frozenset({"complete", "incomplete", "not_held", "forked", "retired", "unknown"})


@dataclass(frozen=True, slots=True)
class Answer:
    """Of one child, about ``sites``. ``rows``: its groups or rows; ``wire_bytes``: what travelled;
    ``is_kept``: it was here already, and its child says that it still holds."""

    child: str
    sites: Sequence[Site]
    key: Key
    raw: bytes
    rows: object
    said: Mapping[str, Any]
    wire_bytes: int
    seconds: float
    is_kept: bool = False


@dataclass(frozen=True, slots=True)
class _Sent:
    """A question under way; ``key`` and ``kept``: of the answer that is here."""

    child: str
    sites: Sequence[Site]
    asked: Asked
    at: float
    key: Key
    kept: Kept | None


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
    kept: KeptAnswers = field(default_factory=KeptAnswers)
    stamps: list[str] = field(default_factory=list)
    """Of all answers, in the order of the questions."""
    is_stamped: bool = True
    """False: something of the answer has no stamp."""

    def ask(self, wish: Wish, sites: Sequence[Site]) -> tuple[list[Answer], list[Site]]:
        """(the answers, the sites that they are of); ``wish`` without its parts."""
        by_child: dict[tuple[str, bool], list[Site]] = {}
        for site in sites:
            child = self.federation.route(site.node)
            if child is None:
                self._missed([site], "nobody knows what leads to it")
                continue
            if site.is_held:
                self.federation.exchange.repair.missed(site.node, wish.table, site.spans)
            settled, recent = cut_at_settled(site) if wish.kind != NEWEST else (None, site)
            for part in (settled, recent):
                if part is not None:
                    by_child.setdefault((child, part is settled), []).append(part)
        answers: list[Answer] = []
        sent: list[_Sent] = []
        try:
            for (child, _), some in by_child.items():
                self.check()
                one = self._send(wish, child, some)
                sent += [] if one is None else [one]
            for one in sent:
                answer = self._answer(one)
                if answer is not None:
                    answers.append(answer)
                    self._heard(wish, answer)
        finally:
            for one in sent:
                self.federation.down.questions.cancel(one.asked)
        return answers, [site for answer in answers for site in answer.sites]

    def _send(self, wish: Wish, child: str, sites: Sequence[Site]) -> _Sent | None:
        wait_s = max(0.0, self.until - self.monotonic()) * SHARE_OF_TIME
        wish = replace(wish, parts=parts_of(sites), role=self.role)
        key = (child, wish.pack())
        kept = self.kept.get(key)
        body = replace(wish, by=self.by, kept="" if kept is None else kept.stamp).pack()
        try:
            asked = self.federation.down.questions.ask(child, body, wait_s, self.bytes_max)
        except SyncError as error:
            self._missed(sites, error.message)
            return None
        with self.lock:
            self.open.append(asked)
        return _Sent(child, sites, asked, self.monotonic(), key, kept)

    def _answer(self, sent: _Sent) -> Answer | None:
        asked = sent.asked
        try:
            self.federation.down.questions.wait(asked)
        except UnansweredError as error:
            self.check()
            self._missed(sent.sites, error.message)
            return None
        seconds, said = self.monotonic() - sent.at, asked.said
        stamp = said.get("stamp")
        stamp = stamp if isinstance(stamp, str) and len(stamp) <= STAMP_CHARS_MAX else ""
        raw, rows, is_kept = asked.result, said.get("rows"), said.get("kept") is True
        if is_kept:
            if sent.kept is None or stamp != sent.kept.stamp:
                self._missed(sent.sites, "what it says of the answer kept here makes no sense")
                return None
            raw, rows = sent.kept.raw, sent.kept.rows
            self.kept.holds()
        elif stamp:
            self.kept.put(sent.key, Kept(stamp, raw, rows if isinstance(rows, int) else 0))
        with self.lock:
            self.stamps.append(stamp)
            self.is_stamped &= bool(stamp)
        return Answer(
            sent.child, sent.sites, sent.key, raw, rows, said, asked.wire_bytes, seconds, is_kept
        )

    def cancel(self) -> None:
        """Nobody wants the answer: whoever waits here goes on at once."""
        with self.lock:
            some = list(self.open)
        for asked in some:
            self.federation.down.questions.cancel(asked)

    def stamp(self, here: str) -> str:
        """That of the whole answer, ``here`` being the one of what was read here; empty if there is
        none."""
        if not here or not self.is_stamped:
            return ""
        if not self.stamps:
            return here
        hashed = hashlib.blake2b(digest_size=STAMP_BYTES)
        for each in (here, *self.stamps):
            hashed.update(each.encode() + b"/")
        return hashed.hexdigest()

    def unknown_devices(self, child: str, count: int) -> None:
        """Groups or rows that came for devices which are not known here yet."""
        if count:
            self.warnings.append(
                f"{count} groups of {child} are of devices that are not known here yet, "
                "and are not in the answer"
            )

    def refused(self, answer: Answer, error: SyncError) -> None:
        """An answer that cannot be used, and is not kept."""
        self.kept.forget(answer.key)
        self._missed(answer.sites, error.message)

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
            self.is_stamped = False
            for site in sites:
                text = f"{site.node} did not answer ({why}): see completeness"
                if text not in self.warnings:
                    self.warnings.append(text)
                self._put_item(dict(site.item), is_new=False)

    def _heard(self, wish: Wish, answer: Answer) -> None:
        sites = answer.sites
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
                    "rows": answer.rows,
                    "kept": answer.is_kept,
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
            + (", the answer kept here still holds" if site.get("kept") else "")
        )
        if site.get("reading"):
            lines.append(f"{before}  there: {site.get('reading')}")
        lines += site_lines(_maps(site.get("sites")), depth + 1) if depth < 16 else []
    return lines


def _maps(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
