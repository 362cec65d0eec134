"""Server-sent events: the status tree, or the newest values of signals, once a second."""

from __future__ import annotations

from aiohttp import web

from mainstem_node.api.route import Route
from mainstem_node.auth import READ, Principal
from mainstem_node.runtime import Runtime
from mainstem_node.signals import find_signals


async def live(runtime: Runtime, request: web.Request, caller: Principal) -> web.StreamResponse:
    text = request.query.get("signals", "")
    signals = find_signals(runtime.engine, text.split(",")) if text else None
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream; charset=utf-8",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",  # a proxy in front must not collect events
        }
    )
    events = runtime.live.events(signals)
    first = await anext(events, None)
    await response.prepare(request)
    try:
        if first is not None:
            await response.write(first)
        async for event in events:
            await response.write(event)
    except ConnectionResetError:
        pass  # the client closed the stream, which is how it ends
    finally:
        await events.aclose()
    return response


ROUTES = (
    Route(
        "GET", "/api/v1/live", live, READ,
        "Events: with signals=device.measurement,... their newest values, else the status.",
    ),
)  # fmt: skip
