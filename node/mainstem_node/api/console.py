"""The page at ``/``: a few files without a build step, open to everybody; they hold no data."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from aiohttp import web

from mainstem_node.api.route import Handler, Route
from mainstem_node.auth import Principal
from mainstem_node.runtime import Runtime

_STATIC = Path(__file__).parent.parent / "static"
_FILES = {
    "/": ("index.html", "text/html"),
    "/app.js": ("app.js", "text/javascript"),
    "/style.css": ("style.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


@cache
def _content(name: str) -> tuple[bytes, str]:
    """(the file, its ETag); read once, they are small."""
    data = (_STATIC / name).read_bytes()
    return data, f'"{hashlib.sha256(data).hexdigest()[:16]}"'


def _serve(name: str, media: str) -> Handler:
    async def serve(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
        data, tag = _content(name)
        # no-cache: ask every time, so that an upgraded node never shows the old page.
        headers = {"Cache-Control": "no-cache", "ETag": tag}
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=data, content_type=media, charset="utf-8", headers=headers)

    return serve


ROUTES = tuple(
    Route("GET", path, _serve(name, media), None, f"The first page: {name}.")
    for path, (name, media) in _FILES.items()
)
