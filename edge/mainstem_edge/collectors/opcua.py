"""The OPC UA collector: sessions at one server, a subscription in each.

1. A session finds its nodes (listed ones, and by browsing), has them watched, and lasts until the
   server ends it, falls silent, or the collector stops. The next one finds its nodes anew: a
   server that was changed and started again may have others.
2. What the server sends is handed on as rows. While the queue is full nothing more is asked for:
   the server's own queues hold some values of each node, and say how they overflowed.
3. At the end of a session that was in use everything with quality is stale. At the beginning of
   the next one the time between is read from the server's history, where that is asked for.
4. OPC UA has no acknowledgement that waits for a disk: what was sent and was not yet durable when
   the power went is lost, unless the server has history.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, ClassVar

from asyncua import Client, ua

from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.supervised import AsyncCollector
from mainstem_edge.opcua.browsing import NODES_A_CALL, Browse, Finding, limited, walk
from mainstem_edge.opcua.connecting import OpcuaSettings, in_words, session
from mainstem_edge.opcua.history import past_values, with_history
from mainstem_edge.opcua.node_ids import node_id, text_of
from mainstem_edge.opcua.points import Listed, Names, Place, Point, listed_points
from mainstem_edge.opcua.rows import Payload, Rows, Value
from mainstem_edge.opcua.watching import (
    ITEMS_A_CALL,
    REFUSED_SHOWN,
    Watch,
    Wishes,
)
from mainstem_edge.opcua.writing import write
from mainstem_edge.reader import Reader
from mainstem_edge.subscription import Subscription
from mainstem_node.commanding.action import ActionError, UncertainActionError

NS_PER_S = 1_000_000_000
WRITE_S_MAX = 25.0
"""Three requests. What takes longer is not known to be done."""

LIMITS = {
    "browse": ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerBrowse,
    "items": ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall,
}

NewestStored = Callable[[Place], int | None]
"""The time of a device's newest row in ns, None without one."""


class OpcuaCollector(AsyncCollector):
    """One server. ``history_s``: how far back its history is read at most, 0 for not at all."""

    kind: ClassVar[str] = "opcua"

    def __init__(
        self,
        name: str,
        readers: Sequence[Reader],
        queue: MessageQueue,
        *,
        settings: OpcuaSettings,
        listed: Sequence[Listed] = (),
        browses: Sequence[Browse] = (),
        deadbands: Mapping[str, float] | None = None,
        nodes_max: int = 10_000,
        wishes: Wishes | None = None,
        time_of: str = "source",
        history_s: float = 0.0,
        newest_stored: NewestStored = lambda place: None,
        **options: Any,
    ) -> None:
        super().__init__(name, readers, queue, **options)
        self._settings = settings
        self._listed = tuple(listed)
        self._browses = tuple(browses)
        self._deadbands = dict(deadbands or {})
        self._nodes_max = nodes_max
        self._wishes = wishes or Wishes()
        self._history_s = history_s
        self._newest_stored = newest_stored
        self._rows = Rows(time_of)
        self._named_by: tuple[Reader, ...] = ()
        self._client: Client | None = None
        self._watch: Watch | None = None
        self._namespaces: list[str] = []
        self._missed = self._history_values = 0
        self._left_out = dict.fromkeys(("unnamed", "bad_paths", "same_paths", "too_many"), 0)

    @property
    def url(self) -> str:
        return self._settings.url

    # The session

    async def converse(self) -> None:
        ended = _Ending()
        async with session(self._settings, ended.lost) as client:
            with in_words(self.url):
                points = await self._points(client)
                # Before the first value of now comes, which is newer than what was missed.
                newest = {place: self._newest(place) for place in {p.place for p in points}}
                watch = await self._begin(client, points, ended)
            history = asyncio.ensure_future(self._read_history(client, points, newest))
            try:
                with in_words(self.url):
                    await watch.until_end()
            finally:
                self._client = self._watch = None
                self._missed += watch.missed
                history.cancel()
                if not self.stopping:
                    await self._hand_on(self._rows.stale(self.clock_ns()))

    async def _begin(self, client: Client, points: Sequence[Point], ended: _Ending) -> Watch:
        limit = (await self._limits(client))["items"]
        firsts = set(points)

        async def take(values: Sequence[Value]) -> None:
            self._use_names()
            new = frozenset(point for point, _ in values if point in firsts)
            firsts.difference_update(new)
            await self._hand_on(self._rows.of_values(values, self.clock_ns(), new))

        watch = Watch(client, self._wishes, take, limit or ITEMS_A_CALL)
        await watch.begin(points)
        ended.watch = watch
        self._client, self._watch = client, watch
        self.health.connected()
        if self._left_out["too_many"]:
            self.health.trouble(f"{self._left_out['too_many']} variables are beyond nodes_max")
        for point, why in list(watch.refused.items())[:1]:
            count = len(watch.refused)
            self.health.trouble(f"{text_of(point.node)}: {why} ({count} of {len(points)} nodes)")
        return watch

    async def _points(self, client: Client) -> list[Point]:
        """What is to be watched, as the server is now. Raises ConnectionError for a namespace that
        it does not have (it may be starting)."""
        self._named_by = ()
        self._use_names()
        names = self._rows.names
        self._namespaces = await client.get_namespace_array()
        per_call = (await self._limits(client))["browse"] or NODES_A_CALL
        left_out = dict.fromkeys(self._left_out, 0)
        try:
            found = list(listed_points(self._listed, names, self._namespaces))
            for browse in self._browses:
                finding = Finding(browse, names)
                start = node_id(browse.under, self._namespaces)
                async for each in walk(client, start, browse.depth, per_call):
                    point = finding.point(each) if each.is_variable else None
                    if point is not None:
                        found.append(point)
                left_out["unnamed"] += finding.unnamed
                left_out["bad_paths"] += finding.bad_paths
                left_out["same_paths"] += finding.same_paths
        except ValueError as error:
            raise ConnectionError(f"{self.url}: {'; '.join(map(str, error.args))}") from None
        points, left_out["too_many"] = limited(found, self._nodes_max)
        self._left_out = left_out
        if not points:
            raise ConnectionError(f"{self.url}: there is no variable to watch; browse it")
        return points

    async def _limits(self, client: Client) -> dict[str, int]:
        """What the server takes at a time; 0 where it does not say."""
        answers = await client.uaclient.read_attributes(
            [ua.NodeId(each) for each in LIMITS.values()], ua.AttributeIds.Value
        )
        values = [None if each.Value is None else each.Value.Value for each in answers]
        return {
            key: value if isinstance(value, int) and value > 0 else 0
            for key, value in zip(LIMITS, values, strict=True)
        }

    def _use_names(self) -> None:
        """The rules of now: a template may have changed while the session goes on."""
        if self._named_by is not self.readers:
            self._named_by = self.readers
            self._rows.names = {
                each.rules.template: Names(each.rules, self._deadbands)
                for each in self.readers
                if isinstance(each, Subscription)
            }

    async def _hand_on(self, payloads: Sequence[Payload]) -> None:
        await self.hand_on([self.message(topic, payload) for topic, payload in payloads])

    async def _read_history(
        self, client: Client, points: Sequence[Point], newest: Mapping[Place, int | None]
    ) -> None:
        if self._history_s <= 0:
            return
        now_ns = self.clock_ns()
        earliest_ns = now_ns - round(self._history_s * NS_PER_S)

        def since_ns(point: Point) -> int:
            return max(earliest_ns, newest[point.place] or 0)

        try:
            some = await with_history(client, points)
            async for values in past_values(client, some, since_ns, now_ns):
                self._history_values += len(values)
                await self._hand_on(self._rows.of_values(values, self.clock_ns()))
        except (OSError, TimeoutError, ua.UaError) as error:
            self.health.trouble(f"history: {error}")

    def _newest(self, place: Place) -> int | None:
        """Of what came from the server; after a start of this process, of what is stored."""
        return self._rows.newest_ns.get(place) or self._newest_stored(place)

    # For commands, from any thread

    def write(self, node: str, value: Any) -> dict[str, Any]:
        """Over the present session. Raises ActionError, UncertainActionError."""
        client, loop = self._client, self._loop
        if client is None or loop is None or self.stopping:
            raise ActionError(f"there is no session at {self.url}")
        try:
            found = node_id(node, self._namespaces)
        except ValueError as error:
            raise ActionError("; ".join(map(str, error.args))) from None
        return _waited(loop, write(client, found, value))

    # For people

    def details(self) -> dict[str, Any]:
        watch, counts = self._watch, self._rows.counts
        refused = {} if watch is None else watch.refused.copy()
        return {
            "url": self.url,
            "security": self._settings.security,
            "nodes": 0 if watch is None else watch.watched,
            "nodes_refused": len(refused),
            "refused": {
                text_of(point.node): why for point, why in list(refused.items())[:REFUSED_SHOWN]
            },
            "nodes_left_out": self._left_out,
            "publish_ms": None if watch is None else round(watch.granted_publish_s * 1000),
            "values": counts.values,
            "values_not_good": counts.not_good,
            "valueless": counts.valueless,
            "lost_values": counts.lost,
            "missed_messages": self._missed + (0 if watch is None else watch.missed),
            "history_values": self._history_values,
        }


class _Ending:
    """Tells the watch of a session that its connection broke."""

    watch: Watch | None = None

    async def lost(self, error: Exception) -> None:
        if self.watch is not None:
            self.watch.lost(ConnectionError(f"the connection is lost: {error}".rstrip(": ")))


def _waited(
    loop: asyncio.AbstractEventLoop, doing: Coroutine[Any, Any, dict[str, Any]]
) -> dict[str, Any]:
    try:
        future = asyncio.run_coroutine_threadsafe(doing, loop)
    except RuntimeError:  # the loop has just ended
        doing.close()
        raise ActionError("the session has just ended") from None
    try:
        return future.result(WRITE_S_MAX)
    except concurrent.futures.CancelledError:
        raise UncertainActionError("the session ended during the write") from None
    except TimeoutError:
        future.cancel()
        raise UncertainActionError(f"no answer within {WRITE_S_MAX:g} s") from None
