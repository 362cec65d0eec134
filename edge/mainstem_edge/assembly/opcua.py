"""OPC UA: one subscription for each template, the way to the server, and the action that writes.

The library is imported when a collector is made, never before: an edge without one does without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mainstem_edge.actions.opcua_write import Allowed, OpcuaWrite, Writer
from mainstem_edge.assembly.workbench import Workbench
from mainstem_edge.collectors.interface import Collector
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.reader import Reader
from mainstem_node.config.collectors.opcua import OpcuaCollectorConfig, OpcuaWriteConfig
from mainstem_node.config.collectors.subscription import PayloadTimeConfig, SubscriptionConfig
from mainstem_node.extras import require

if TYPE_CHECKING:
    from mainstem_edge.opcua.connecting import OpcuaSettings
    from mainstem_edge.opcua.points import Place

TOPIC = "opcua"
"""Rows of a template have the topic opcua/TEMPLATE."""
SECOND_NS = 1_000_000_000
MESSAGES_MAX = 1000
MESSAGE_BYTES_MAX = 64 << 20
"""The server's own limits are smaller; this one only keeps a mistake from being endless."""


def readers(bench: Workbench, config: OpcuaCollectorConfig) -> list[Reader]:
    return [
        bench.subscription(
            SubscriptionConfig(
                topic=f"{TOPIC}/{template}",
                codec="msgpack",
                template=template,
                device="{payload.device}",
                time=PayloadTimeConfig(field="time", unit="ns"),
                auto_create=config.auto_create,
            ),
            MESSAGE_BYTES_MAX,
            knows_quality=True,
        )
        for template in dict.fromkeys(_names(bench, config).values())
    ]


def collector(
    bench: Workbench, number: int, config: OpcuaCollectorConfig, found: Sequence[Reader]
) -> Collector:
    require("opcua")
    from mainstem_edge.collectors.opcua import OpcuaCollector
    from mainstem_edge.opcua.browsing import Browse, device_pattern
    from mainstem_edge.opcua.points import Listed, Place
    from mainstem_edge.opcua.watching import Wishes

    names = _names(bench, config)
    sample = config.publish_every if config.sample_every is None else config.sample_every
    return OpcuaCollector(
        f"opcua-{number}",
        found,
        MessageQueue(MESSAGES_MAX, config.queue_bytes),
        settings=opcua_settings(bench.node.id, config),
        listed=[
            Listed(Place(names[each.template.casefold()], each.device), each.nodes)
            for each in config.devices
        ],
        browses=[
            Browse(
                each.under,
                each.depth,
                {pattern: names[name.casefold()] for pattern, name in each.template.items()},
                device_pattern(each.device),
            )
            for each in config.browse
        ],
        deadbands=config.deadband,
        nodes_max=config.nodes_max,
        wishes=Wishes(
            publish_s=config.publish_every / SECOND_NS,
            sample_s=sample / SECOND_NS,
            queue=config.queue,
            with_timestamp=config.trigger == "timestamp",
            watchdog_s=config.watchdog / SECOND_NS,
        ),
        time_of=config.time,
        history_s=(config.history or 0) / SECOND_NS,
        newest_stored=_newest_stored(bench),
        rng=bench.rng,
        clock_ns=bench.clock_ns,
    )


def _names(bench: Workbench, config: OpcuaCollectorConfig) -> dict[str, str]:
    """Templates as they are called in the catalog, by casefolded name."""
    return {each.casefold(): bench.engine.catalog.table(each).name for each in config.templates}


def opcua_settings(node: str, config: OpcuaCollectorConfig) -> OpcuaSettings:
    """How to reach the server."""
    from mainstem_edge.opcua.connecting import OpcuaSettings

    reveal = getattr(config.password, "reveal", None)
    return OpcuaSettings(
        config.url,
        f"mainstem:{node}",
        config.security,
        config.mode,
        config.cert,
        config.key,
        config.server_cert,
        config.username,
        config.password if reveal is None else reveal(),
        watchdog_s=config.watchdog / SECOND_NS,
    )


def _newest_stored(bench: Workbench) -> Callable[[Place], int | None]:
    def newest(place: Place) -> int | None:
        device = bench.engine.catalog.devices.id_of(place.device)
        if device is None:
            return None
        (found,) = bench.engine.newest_times(place.template, np.array([device], np.uint32))
        return int(found) if found > 0 else None

    return newest


def write_action(
    configs: Sequence[OpcuaWriteConfig], collectors: Callable[[], Sequence[Collector]]
) -> OpcuaWrite:
    """The action ``opcua.write`` over the sessions that the configuration names."""

    def side(url: str) -> Callable[[], Writer | None]:
        from mainstem_edge.collectors.opcua import OpcuaCollector

        def find() -> Writer | None:
            for each in collectors():
                if isinstance(each, OpcuaCollector) and each.url == url:
                    return each
            return None

        return find

    require("opcua")
    return OpcuaWrite([Allowed(side(each.url), each.nodes) for each in configs])
