"""From the keys of ``link:`` to what the link may carry."""

from __future__ import annotations

import time
from collections.abc import Callable

from mainstem_node.config.schema import LinkConfig
from mainstem_sync.sending.budget import LinkBudget, LinkWindow

BITS_PER_BYTE = 8


def link_rates(config: LinkConfig) -> tuple[float | None, list[LinkWindow]]:
    """Bytes a second, and the hours with rates of their own; without keys there is no limit."""
    windows = [
        LinkWindow.parse(window.days, window.start, window.end, window.zone, window.limit)
        for window in config.windows
    ]
    return None if config.limit is None else config.limit / BITS_PER_BYTE, windows


def link_budget(config: LinkConfig, clock_ns: Callable[[], int]) -> LinkBudget:
    """The budget of the link to the parent."""
    return LinkBudget(*link_rates(config), clock_ns=clock_ns, monotonic=time.monotonic)
