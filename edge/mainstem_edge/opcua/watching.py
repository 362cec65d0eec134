"""A subscription: what the server is asked to send, and what it sends.

1. Nodes are put on it in pieces of the server's own limit. One that the server refuses does not
   keep the others out; it is tried again, for it may come to exist. A deadband that it refuses for
   a node is left out.
2. The next answer is asked for when the one before is handed on: while nobody takes them, values
   wait in the server's queue for each node, whose overflow is told with the value after it.
3. A server that says nothing for longer than ``watchdog_s``, not even that there is nothing, has
   gone, whatever the connection says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from asyncua import Client, ua

from mainstem_edge.opcua.node_ids import text_of
from mainstem_edge.opcua.points import Point
from mainstem_edge.opcua.rows import Value

ITEMS_A_CALL = 500
"""Where the server names no limit."""
VALUES_A_MESSAGE = 10_000
LIFETIME_S = 600.0
"""How long the server keeps the subscription while nobody asks for more: an edge whose disk hangs
comes back to it."""
RETRY_S = 60.0
"""Refused nodes are tried again this often."""
REFUSED_SHOWN = 20
TICK_S = 0.5

TakeValues = Callable[[Sequence[Value]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is asked of the server; it may grant other times."""

    publish_s: float = 1.0
    sample_s: float = 1.0
    queue: int = 10
    with_timestamp: bool = False
    watchdog_s: float = 15.0


@dataclass(slots=True)
class Watch:
    """One subscription of one session. ``take`` gets values in the order of the server's sending;
    it may wait."""

    client: Client
    wishes: Wishes
    take: TakeValues
    items_a_call: int = ITEMS_A_CALL
    refused: dict[Point, str] = field(default_factory=dict)
    """Why, by the name of the status code."""
    missed: int = 0
    """Messages of the server that never came: their numbers have a gap."""
    granted_publish_s: float = 0.0
    _silent_s: float = 0.0
    """How long the server may say nothing."""
    _points: dict[int, Point] = field(default_factory=dict)
    _subscription: int = 0
    _sequence: int | None = None
    _heard_s: float = 0.0
    _taking: bool = False
    _ended: asyncio.Future[None] = field(init=False)

    async def begin(self, points: Sequence[Point]) -> None:
        """Subscribes. Raises ConnectionError when the server takes none of the nodes."""
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        self._heard_s = loop.time()
        wishes = self.wishes
        parameters = ua.CreateSubscriptionParameters()
        parameters.RequestedPublishingInterval = wishes.publish_s * 1000
        silent = max(1, int(wishes.watchdog_s / 3 / wishes.publish_s))
        parameters.RequestedMaxKeepAliveCount = silent
        parameters.RequestedLifetimeCount = max(3 * silent, int(LIFETIME_S / wishes.publish_s))
        parameters.MaxNotificationsPerPublish = VALUES_A_MESSAGE
        parameters.PublishingEnabled = True
        granted = await self.client.uaclient.create_subscription(parameters, self._heard)
        self._subscription = granted.SubscriptionId
        self.granted_publish_s = granted.RevisedPublishingInterval / 1000
        alive_s = self.granted_publish_s * granted.RevisedMaxKeepAliveCount
        self._silent_s = max(wishes.watchdog_s, 2.5 * alive_s)  # the server may grant less often
        await self._add(points)
        if not self._points:
            first = next(iter(self.refused.items()), None)
            why = "" if first is None else f": {text_of(first[0].node)} is {first[1]}"
            raise ConnectionError(f"the server takes none of {len(points)} nodes{why}")

    @property
    def watched(self) -> int:
        return len(self._points)

    def lost(self, error: Exception) -> None:
        """The session is over."""
        if not self._ended.done():
            self._ended.set_exception(error)

    async def until_end(self) -> None:
        """Raises what ended it."""
        loop = asyncio.get_running_loop()
        retry_at = loop.time() + RETRY_S
        while True:
            await asyncio.wait([self._ended], timeout=TICK_S)
            if self._ended.done():
                return self._ended.result()
            if not self._taking and loop.time() - self._heard_s > self._silent_s:
                raise ConnectionError(f"the server has said nothing for {self._silent_s:g} s")
            if self.refused and loop.time() >= retry_at:
                retry_at = loop.time() + RETRY_S
                again, self.refused = list(self.refused), {}
                await self._add(again)

    async def _add(self, points: Sequence[Point]) -> None:
        for start in range(0, len(points), self.items_a_call):
            some = points[start : start + self.items_a_call]
            refused = await self._create(some)
            plainly = [
                p for p, code in refused.items() if p.deadband is not None and _of_filter(code)
            ]
            if plainly:
                refused |= dict.fromkeys(plainly, 0) | await self._create(plainly, filtered=False)
            self.refused |= {
                point: ua.StatusCode(code).name for point, code in refused.items() if code
            }

    async def _create(self, points: Sequence[Point], *, filtered: bool = True) -> dict[Point, int]:
        """The status codes of those that the server does not take."""
        begin = max(self._points, default=0) + 1
        self._points |= dict(enumerate(points, begin))
        parameters = ua.CreateMonitoredItemsParameters()
        parameters.SubscriptionId = self._subscription
        parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
        parameters.ItemsToCreate = [
            self._item(point, handle, filtered) for handle, point in enumerate(points, begin)
        ]
        results = await self.client.uaclient.create_monitored_items(parameters)
        refused: dict[Point, int] = {}
        for handle, result in enumerate(results, begin):
            if not result.StatusCode.is_good():
                refused[self._points.pop(handle)] = int(result.StatusCode.value)
        return refused

    def _item(self, point: Point, handle: int, filtered: bool) -> Any:
        wishes = self.wishes
        item = ua.MonitoredItemCreateRequest()
        item.ItemToMonitor.NodeId = point.node
        item.ItemToMonitor.AttributeId = ua.AttributeIds.Value
        item.MonitoringMode = ua.MonitoringMode.Reporting
        wanted = item.RequestedParameters
        wanted.ClientHandle = handle
        wanted.SamplingInterval = wishes.sample_s * 1000
        wanted.QueueSize = wishes.queue
        wanted.DiscardOldest = True
        band = point.deadband if filtered else None
        if band is not None or wishes.with_timestamp:
            change = ua.DataChangeFilter()
            change.Trigger = ua.DataChangeTrigger.StatusValue
            if wishes.with_timestamp:
                change.Trigger = ua.DataChangeTrigger.StatusValueTimestamp
            if band is not None:
                change.DeadbandType = ua.DeadbandType.Absolute
                change.DeadbandValue = band
            wanted.Filter = change
        return item

    # What the server sends

    async def _heard(self, result: ua.PublishResult) -> None:
        """One answer. The library goes on after an error in here; values would be lost silently."""
        self._taking = True
        try:
            await self._take(result)
        except Exception as error:
            self.lost(error)
        finally:
            self._taking = False
            self._heard_s = asyncio.get_running_loop().time()

    async def _take(self, result: ua.PublishResult) -> None:
        message = result.NotificationMessage
        notifications = message.NotificationData or ()
        if notifications:
            number = int(message.SequenceNumber)
            if self._sequence is not None:
                self.missed += max(0, number - self._sequence - 1)
            self._sequence = number
        for each in notifications:
            if isinstance(each, ua.DataChangeNotification):
                values = list(self._values(each.MonitoredItems or ()))
                if values:
                    await self.take(values)
            elif isinstance(each, ua.StatusChangeNotification):
                name = "" if each.Status is None else ua.StatusCode(each.Status.value).name
                raise ConnectionError(f"the server ended the subscription: {name}")

    def _values(self, items: Iterable[Any]) -> Iterable[Value]:
        for item in items:
            point = self._points.get(item.ClientHandle)
            if point is not None and item.Value is not None:
                yield point, item.Value


def _of_filter(code: int) -> bool:
    """True for a node without deadband: its values are no numbers, or the server cannot do it."""
    return ua.StatusCode(code).name in (
        "BadFilterNotAllowed",
        "BadMonitoredItemFilterUnsupported",
        "BadMonitoredItemFilterInvalid",
        "BadDeadbandFilterInvalid",
    )
