"""What a collector hands to its reader of one message of an edge node: MessagePack, as all values
from equipment travel to the intake."""

from __future__ import annotations

from typing import Any

import msgspec

from mainstem_edge.sparkplug.rows import Outcome, Row, Source, Unread
from mainstem_edge.sparkplug.topics import NodeKey

TOPIC = "sparkplug"

SourceFields = tuple[str, str, str, str, str]


class Bundle(msgspec.Struct, array_like=True, gc=False):
    """``sources``: group, node, device, instance, definition. Rows and types name theirs by place.

    ``rows``: (source, time ns, values, qualities). ``unread``: (source or -1, problem, what there
    was). ``types``: (source, data type by metric) of a birth. ``definitions``: data types by member
    and template.
    """

    sources: list[SourceFields]
    rows: list[tuple[int, int, dict[str, Any], dict[str, str]]]
    unread: list[tuple[int, str, str]]
    types: list[tuple[int, dict[str, int]]]
    definitions: dict[str, dict[str, int]]

    def source(self, place: int) -> Source:
        group, node, device, instance, definition = self.sources[place]
        return Source(NodeKey(group, node), device, instance, definition)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Bundle).decode


def pack(outcome: Outcome) -> bytes | None:
    """None when there is nothing to hand on."""
    places: dict[Source, int] = {}

    def place(source: Source) -> int:
        return places.setdefault(source, len(places))

    rows = [(place(row.source), row.time_ns, row.values, row.qualities) for row in outcome.rows]
    unread = [
        (-1 if each.source is None else place(each.source), each.problem, each.shown)
        for each in outcome.unread
    ]
    types = [(place(source), found) for source, found in outcome.types.items()]
    if not (rows or unread or outcome.definitions):
        return None
    sources = [
        (source.key.group, source.key.node, source.device, source.instance, source.definition)
        for source in places
    ]
    return _encode(Bundle(sources, rows, unread, types, outcome.definitions))


def unpack(octets: bytes) -> Bundle:
    return _decode(octets)


def rows_of(bundle: Bundle) -> list[Row]:
    """The rows of a bundle, as they were."""
    sources = [bundle.source(place) for place in range(len(bundle.sources))]
    return [Row(sources[at], time_ns, values, bad) for at, time_ns, values, bad in bundle.rows]


def unread_of(bundle: Bundle) -> list[Unread]:
    return [
        Unread(None if at < 0 else bundle.source(at), problem, shown)
        for at, problem, shown in bundle.unread
    ]
