"""What messages become: subscriptions, for every kind of collector whose source sends messages."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from mainstem_node.config.kinds import Name, Text, Zone


class PayloadTimeConfig(Struct, frozen=True, kw_only=True):
    """Where a payload has its time. Default: ts, timestamp or time, else the arrival time."""

    field: Text | None = None
    unit: Literal["auto", "s", "ms", "us", "ns"] = "auto"
    zone: Zone | None = None
    """For times written without a zone; without it such rows are quarantined."""
    source: Literal["auto", "payload", "arrival"] = "auto"
    """payload: a row without a time is quarantined. arrival: the payload's time is not used."""


class SubscriptionConfig(Struct, frozen=True, kw_only=True):
    """One topic filter and what its messages become."""

    topic: Text
    codec: Literal["json", "msgpack", "csv", "line_protocol"] = "json"
    template: Name | None = None
    """Line protocol may go without: then each measurement is a template."""
    device: Text | None = None
    """The device's path; `{topic[n]}` (from 0) and `{payload.NAME}` are put in. `{payload.NAME}`
    alone: the payload has the whole path. Of line protocol without a template: what stands before
    the measurement and the values of the tags; default the node's first path."""
    tags: dict[Name, Text] = {}
    time: PayloadTimeConfig = PayloadTimeConfig()
    auto_create: bool = True
