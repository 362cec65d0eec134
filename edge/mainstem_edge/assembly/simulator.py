"""The simulator: one subscription to what its devices send."""

from __future__ import annotations

from collections.abc import Sequence

from mainstem_edge.assembly.workbench import Workbench
from mainstem_edge.collectors.interface import Collector
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.simulator import TOPIC, Signal, SimulatorCollector
from mainstem_edge.reader import Reader
from mainstem_engine.model import ColumnType
from mainstem_node.config.collectors.simulator import SignalConfig, SimulatorCollectorConfig
from mainstem_node.config.collectors.subscription import PayloadTimeConfig, SubscriptionConfig

SECOND_NS = 1_000_000_000
MESSAGES_MAX = 100
"""Steps that wait at most; a simulator that is not kept up with waits, too."""
QUEUE_BYTES = 32 << 20
MESSAGE_BYTES_MAX = 64 << 20


def readers(bench: Workbench, config: SimulatorCollectorConfig) -> list[Reader]:
    subscription = SubscriptionConfig(
        topic=TOPIC,
        codec="msgpack",
        template=config.template,
        device="{payload.device}",
        time=PayloadTimeConfig(field="time", unit="ns"),
    )
    return [bench.subscription(subscription, MESSAGE_BYTES_MAX)]


def collector(
    bench: Workbench, number: int, config: SimulatorCollectorConfig, found: Sequence[Reader]
) -> Collector:
    paths = [config.device.replace("{n}", str(n)) for n in range(1, config.devices + 1)]
    return SimulatorCollector(
        f"simulator-{number}",
        found,
        MessageQueue(MESSAGES_MAX, QUEUE_BYTES),
        paths=paths,
        signals=_signals(bench, config),
        every_s=config.every / SECOND_NS,
        seed=config.seed,
        rng=bench.rng,
        clock_ns=bench.clock_ns,
    )


def _signals(bench: Workbench, config: SimulatorCollectorConfig) -> dict[str, Signal]:
    """By the name that the payload has for a measurement."""
    wanted = {name.casefold(): each for name, each in config.signals.items()}
    found: dict[str, Signal] = {}
    for rule in bench.rules(config.template).measurements:
        chosen = wanted.get(rule.name.casefold())
        if chosen is None and not wanted:
            chosen = _default(rule.type)
        if chosen is not None:
            found[rule.source] = Signal(
                shape=chosen.shape,
                mean=chosen.mean,
                amplitude=chosen.amplitude,
                period_s=chosen.period / SECOND_NS,
                noise=chosen.noise,
                whole=rule.parsed_as.is_integer,
                boolean=rule.type == ColumnType.BOOLEAN,
            )
    return found


def _default(kind: ColumnType) -> SignalConfig | None:
    """What a measurement of this type does when nothing is said; texts and times do nothing."""
    if kind == ColumnType.BOOLEAN:
        return SignalConfig(shape="square", mean=0.5, amplitude=0.5)
    if kind.is_float or kind.is_integer:
        return SignalConfig(shape="sine", mean=50.0, amplitude=10.0, noise=0.5)
    return None
