"""Subscriptions of sources that have no topics of MQTT."""

from __future__ import annotations

from msgspec import structs

from mainstem_node.config.collectors.subscription import ReadingConfig, SubscriptionConfig


def subscribed(config: ReadingConfig, topic: str, **changes: object) -> SubscriptionConfig:
    """A subscription to the topic of a source that is read in one way."""
    keys = {name: getattr(config, name) for name in ReadingConfig.__struct_fields__}
    return structs.replace(SubscriptionConfig(topic=topic, **keys), **changes)
