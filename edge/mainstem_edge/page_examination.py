"""What ``mainstem doctor`` looks at of an edge: the pages that it asks for, each asked once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace

from mainstem_edge.assembly.http import page_of
from mainstem_edge.collectors.page import Page, PageError, ask, new_session
from mainstem_node.config.collectors.http_poll import HttpPollCollectorConfig
from mainstem_node.config.schema import NodeConfig
from mainstem_node.doctor.finding import BAD, FINE, Finding

TIMEOUT_S_MAX = 10.0
"""Somebody waits for the findings."""


def pages(node: NodeConfig) -> Iterator[Finding]:
    for number, config in enumerate(node.collectors):
        if not isinstance(config, HttpPollCollectorConfig):
            continue
        check = f"collectors[{number}]"
        try:
            page = page_of(config)
        except OSError as error:
            yield Finding(node.id, check, BAD, f"tls: {error}", "check the files of `tls`")
            continue
        page = replace(page, timeout_s=min(page.timeout_s, TIMEOUT_S_MAX))
        try:
            size = asyncio.run(_size(page, config.every))
        except PageError as error:
            yield Finding(
                node.id, check, BAD, f"{page.shown}: {error}",
                "correct `url`, `query`, `headers` and `tls`, or wait until it answers",
            )  # fmt: skip
        else:
            yield Finding(node.id, check, FINE, f"{page.shown} answers with {size} bytes")


async def _size(page: Page, every_ns: int) -> int:
    """Of the answer."""
    now_ns = time.time_ns()
    async with new_session(page) as session:
        answer = await ask(session, page, now_ns, now_ns - every_ns, {})
    return len(answer.body or b"")
