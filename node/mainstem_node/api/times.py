"""Times in queries: integers are ms since the epoch, texts RFC 3339 with a zone."""

from __future__ import annotations

import datetime

from aiohttp import web

from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_node.errors import BadRequestError

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def query_time_ns(request: web.Request, name: str) -> int | None:
    """The time of a query parameter in ns, or None when it is absent."""
    text = request.query.get(name, "")
    return parse_time_ns(text, name) if text else None


def parse_time_ns(text: str, field: str) -> int:
    """Nanoseconds since the epoch. BadRequestError with the remedy."""
    if text.removeprefix("-").isdigit():
        time_ns = int(text) * NS_PER_MS
    else:
        try:
            moment = datetime.datetime.fromisoformat(text)
        except ValueError:
            raise BadRequestError(
                f"{field}={text!r} is not a time",
                field=field,
                hint="write ms since the epoch, or 2026-10-03T06:00:00Z",
            ) from None
        if moment.tzinfo is None:
            raise BadRequestError(
                f"{field}={text!r} has no zone", field=field, hint="add Z or +02:00"
            )
        since = moment - _EPOCH
        whole = since.days * 86_400 + since.seconds
        time_ns = whole * NS_PER_S + since.microseconds * 1000
    if not TIME_MIN_NS <= time_ns <= TIME_MAX_NS:
        raise BadRequestError(f"{field} is outside 1677 to 2262", field=field)
    return time_ns
