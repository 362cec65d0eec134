"""What a server remembers of the time in which nobody asked: read after an outage, if it does.

Node by node and page by page, while live values go on. Read twice is stored once: the rows have
the same times.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from asyncua import Client, ua

from mainstem_edge.opcua.points import Point
from mainstem_edge.opcua.reading import read
from mainstem_edge.opcua.rows import Value
from mainstem_edge.opcua.values import stamp_of, time_ns

PAGE = 1000
VALUES_MAX = 1_000_000
"""Of one node after one outage: 11 days of one value a second."""
MICROSECOND_NS = 1000
CAN_READ_HISTORY = 1 << ua.AccessLevel.HistoryRead


async def with_history(client: Client, points: Sequence[Point]) -> list[Point]:
    """Those whose nodes have one."""
    levels = await read(client, [point.node for point in points], ua.AttributeIds.AccessLevel)
    values = [None if level.Value is None else level.Value.Value for level in levels]
    return [
        point
        for point, value in zip(points, values, strict=True)
        if isinstance(value, int) and value & CAN_READ_HISTORY
    ]


async def past_values(
    client: Client, points: Sequence[Point], since_ns: Callable[[Point], int], until_ns: int
) -> AsyncIterator[list[Value]]:
    """Values after ``since_ns`` of their point, a page at a time."""
    for point in points:
        start_ns, left = since_ns(point), VALUES_MAX
        continuation: bytes | None = None
        while start_ns < until_ns and left > 0:
            result = await _page(client, point, start_ns, until_ns, continuation)
            if result.StatusCode.is_bad():
                break
            values = list(getattr(result.HistoryData, "DataValues", None) or ())
            if values:
                yield [(point, value) for value in values]
            left -= len(values)
            continuation = result.ContinuationPoint
            if continuation:
                continue
            newest_ns = max((time_ns(value.SourceTimestamp) or 0 for value in values), default=0)
            if len(values) < PAGE or newest_ns < start_ns:
                break
            # A full page and no way to go on: some servers leave that to the client.
            start_ns = newest_ns + MICROSECOND_NS


async def _page(
    client: Client, point: Point, start_ns: int, end_ns: int, continuation: bytes | None
) -> ua.HistoryReadResult:
    details = ua.ReadRawModifiedDetails()
    details.IsReadModified = False
    details.StartTime = stamp_of(start_ns)
    details.EndTime = stamp_of(end_ns)
    details.NumValuesPerNode = PAGE
    details.ReturnBounds = False
    wish = ua.HistoryReadValueId()
    wish.NodeId = point.node
    wish.IndexRange = ""
    wish.ContinuationPoint = continuation
    parameters = ua.HistoryReadParameters()
    parameters.HistoryReadDetails = details
    parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
    parameters.ReleaseContinuationPoints = False
    parameters.NodesToRead.append(wish)
    (result,) = await client.uaclient.history_read(parameters)
    return result
