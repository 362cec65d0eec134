"""One thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass

FINE, WARNING, BAD = "ok", "warning", "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """``check``: what was looked at; ``state``: ok, warning or bad; ``remedy``: what to do."""

    node: str
    check: str
    state: str
    message: str
    remedy: str = ""
