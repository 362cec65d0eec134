"""How many points a function may make that were not there: on grids, curves and windows."""

from __future__ import annotations

from mainstem_engine.errors import SqlLimitError

MADE_POINTS_MAX = 1 << 22
"""Four million points take some 100 MiB; a chart shows a few thousand."""


def check_made(function: str, count: int, hint: str) -> None:
    """Raises SqlLimitError above the bound; ``hint`` names the remedy."""
    if count > MADE_POINTS_MAX:
        raise SqlLimitError(
            f"{function} would make {count} points, more than {MADE_POINTS_MAX}",
            field=function,
            hint=hint,
        )
