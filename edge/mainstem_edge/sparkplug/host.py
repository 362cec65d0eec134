"""A Sparkplug B host application without sockets: messages in, rows and commands out.

1. A birth is taken in, data are read by what the birth said, a death makes stale (edge_node.py).
2. What cannot be understood (data before a birth, an alias that no birth named, a message that was
   lost) makes the host ask for births, one edge node at most every REBIRTH_S, and all of them at
   most REBIRTHS_PER_S times a second: a plant that comes back at once is asked in turn.
3. What gives no value is told as unread. Nothing is dropped without being counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mainstem_edge.sparkplug import datatypes
from mainstem_edge.sparkplug import payload as payloads
from mainstem_edge.sparkplug.datatypes import NS_PER_MS, ValueFormError
from mainstem_edge.sparkplug.edge_node import EdgeNode, Known
from mainstem_edge.sparkplug.payload import Metric, Payload, PayloadFormError, TemplateValue
from mainstem_edge.sparkplug.rows import BAD, GOOD, Outcome, RowBuilder, Source, Unread, quality_of
from mainstem_edge.sparkplug.topics import Address, NodeKey, address_of

REBIRTH_S = 10.0
"""An edge node needs seconds for its births; asking again sooner only makes it begin anew."""
REBIRTHS_PER_S = 20.0
"""A birth is the largest message there is: hundreds at once would be a burst of many MB."""
NODES_MAX = 10_000
CONTROLS = ("Node Control/", "Device Control/")
"""Metrics that are commands, not values."""
SHOWN_CHARS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Command:
    """What is to be published, with QoS 0 and not retained."""

    topic: str
    payload: bytes


class Host:
    """The state of all edge nodes. Used by one thread; seconds are monotonic, ns wall clock."""

    def __init__(self) -> None:
        self.nodes: dict[NodeKey, EdgeNode] = {}
        self._wanting: dict[NodeKey, None] = {}
        self._waiting: dict[NodeKey, None] = {}
        self._tokens = REBIRTHS_PER_S
        self._tokens_at = float("-inf")

    def receive(self, topic: str, octets: bytes, arrived_ns: int, now_s: float) -> Outcome:
        """One message of an edge node."""
        outcome = Outcome()
        address = address_of(topic)
        if address is None or address.type in ("NCMD", "DCMD"):
            if address is None:
                outcome.unread.append(Unread(None, "no topic of Sparkplug B", topic))
            return outcome  # commands of other hosts, or our own, are not for us
        source = Source(address.key, address.device)
        try:
            payload = payloads.parse(octets)
        except PayloadFormError as error:
            outcome.unread.append(Unread(source, str(error), octets[:100].hex()))
            return outcome
        node = self._node(address.key)
        if node is None:
            outcome.unread.append(Unread(source, f"more than {NODES_MAX} edge nodes", topic))
            return outcome
        _Reading(self, node, address, payload, outcome, arrived_ns, now_s).run()
        node.note(outcome.rows)
        node.unread += len(outcome.unread)
        if node.sequence.is_waiting:
            self._waiting[address.key] = None
        return outcome

    def connected(self) -> None:
        """The host's connection is new: what was published meanwhile is not known here."""
        for node in self.nodes.values():
            if node.is_online:
                self.want_rebirth(node, "the host was away")

    def want_rebirth(self, node: EdgeNode, reason: str) -> None:
        node.wants_rebirth = reason
        self._wanting[node.key] = None

    def due(self, now_s: float, now_ms: int) -> list[Command]:
        """Requests whose time has come. To be called at least once a second."""
        for key in list(self._waiting):
            node = self.nodes[key]
            lost = node.sequence.give_up(now_s)
            if lost:
                self.want_rebirth(node, f"{lost} messages are missing")
            if not node.sequence.is_waiting:
                del self._waiting[key]
        refill = REBIRTHS_PER_S * (now_s - self._tokens_at)
        self._tokens = min(REBIRTHS_PER_S, self._tokens + refill)
        self._tokens_at = now_s
        return self._requests(now_s, now_ms) if self._wanting else []

    def _requests(self, now_s: float, now_ms: int) -> list[Command]:
        commands: list[Command] = []
        for key in list(self._wanting):
            node = self.nodes[key]
            if not node.wants_rebirth:  # a birth came by itself
                del self._wanting[key]
            elif now_s - node.asked_s >= REBIRTH_S:
                if self._tokens < 1.0:
                    break
                self._tokens -= 1.0
                del self._wanting[key]
                node.asked_s = now_s
                node.rebirths_asked += 1
                commands.append(Command(Address("NCMD", key).topic, payloads.rebirth(now_ms)))
        return commands

    def _node(self, key: NodeKey) -> EdgeNode | None:
        node = self.nodes.get(key)
        if node is None and len(self.nodes) < NODES_MAX:
            node = self.nodes[key] = EdgeNode(key)
        return node

    def totals(self) -> Mapping[str, int]:
        """Counts over all edge nodes."""
        nodes = list(self.nodes.values())  # in one step: status is asked for by other threads
        return {
            "edge_nodes": len(nodes),
            "edge_nodes_online": sum(node.is_online for node in nodes),
            "lost_messages": sum(node.sequence.lost for node in nodes),
            "rebirths_asked": sum(node.rebirths_asked for node in nodes),
            "unread": sum(node.unread for node in nodes),
        }


@dataclass(slots=True)
class _Reading:
    """One message of one edge node."""

    host: Host
    node: EdgeNode
    address: Address
    payload: Payload
    outcome: Outcome
    arrived_ns: int
    now_s: float

    def run(self) -> None:
        kind, device = self.address.type, self.address.device
        if kind == "NBIRTH":
            self._node_birth()
        elif kind == "NDEATH":
            self._node_death()
        elif not self.node.is_online:
            self._not_born(f"{kind} before the birth of its edge node")
        else:
            self.node.sequence.take(self.payload.seq, self.now_s)
            member = self.node.members.get(device)
            if kind == "DBIRTH":
                self._device_birth()
            elif member is None or not member.is_online:
                self._not_born(f"{kind} before the birth of its device")
            elif kind == "DDEATH":
                self.outcome.rows += self.node.end(device, self.arrived_ns)
            else:
                self._data()

    # Births and deaths

    def _node_birth(self) -> None:
        self.node.begin(self.payload.bd_seq, self.payload.seq)
        for metric in self.payload.metrics:
            if isinstance(metric.value, TemplateValue) and metric.value.is_definition:
                self._define(metric)
        self._birth()

    def _device_birth(self) -> None:
        if not self.node.begin_device(self.address.device):
            self._unread("too many devices", self.address.device)
            return
        self._birth()

    def _birth(self) -> None:
        rows = RowBuilder()
        types: dict[str, int] = {}
        for metric in self.payload.metrics:
            if metric.name == payloads.BD_SEQ or _is_definition(metric):
                continue
            if not metric.name:
                self._unread("a metric of a birth without a name", _shown(metric))
                continue
            datatype = metric.datatype
            if datatype is None:
                self._unread("a metric of a birth without a data type", _shown(metric))
                continue
            value = metric.value
            known = Known(
                self.address.device, metric.name, datatype, metric.alias,
                value.reference if isinstance(value, TemplateValue) else "",
            )  # fmt: skip
            problem = self.node.learn(known)
            if problem:
                self._unread(problem, _shown(metric))
            elif not metric.name.startswith(CONTROLS):
                types[metric.name] = datatype
                self._add(rows, known, metric)
        self.outcome.rows += rows.rows()
        self.outcome.types[Source(self.address.key, self.address.device)] = types

    def _define(self, metric: Metric) -> None:
        """A template of the edge node: its members with their types."""
        members = {
            member.name: member.datatype
            for member in metric.value.metrics
            if member.name and member.datatype is not None
        }
        self.node.definitions[metric.name or ""] = members
        self.outcome.definitions[metric.name or ""] = members

    def _node_death(self) -> None:
        """A death of an earlier session says nothing about this one."""
        if self.payload.bd_seq != self.node.bd_seq or not self.node.is_online:
            self.node.deaths_ignored += 1
            return
        self.node.deaths += 1
        self.outcome.rows += self.node.end("", self.arrived_ns)

    # Data

    def _data(self) -> None:
        rows = RowBuilder()
        for metric in self.payload.metrics:
            known = self.node.find(self.address.device, metric.name, metric.alias)
            if known is None:
                which = metric.name if metric.alias is None else f"alias {metric.alias}"
                self.host.want_rebirth(self.node, f"no birth named {which}")
                self._unread("a metric that no birth has named", _shown(metric))
            elif not known.name.startswith(CONTROLS):
                self._add(rows, known, metric)
        self.outcome.rows += rows.rows()

    def _add(self, rows: RowBuilder, known: Known, metric: Metric) -> None:
        source = Source(self.address.key, self.address.device)
        if known.datatype == datatypes.TEMPLATE:
            self._add_template(rows, known, metric, source)
        else:
            self._add_value(rows, source, known.name, known.datatype, metric, metric)

    def _add_template(self, rows: RowBuilder, known: Known, metric: Metric, source: Source) -> None:
        """An instance: its members are values of a device of its own."""
        template = metric.value
        if not isinstance(template, TemplateValue):
            if not metric.is_null:
                self._unread("no template where a birth named one", _shown(metric))
            return
        definition = template.reference or known.definition
        types = self.node.definitions.get(definition, {})
        inner = Source(source.key, source.device, known.name, definition)
        for member in template.metrics:
            datatype = (
                member.datatype if member.datatype is not None else types.get(member.name or "")
            )
            if not member.name or datatype is None:
                self._unread(f"a member that template {definition!r} does not have", _shown(member))
            elif datatype == datatypes.TEMPLATE:
                self._unread("a template inside an instance", _shown(member))
            else:
                self._add_value(rows, inner, member.name, datatype, member, metric)

    def _add_value(
        self,
        rows: RowBuilder,
        source: Source,
        name: str,
        datatype: int,
        metric: Metric,
        outer: Metric,
    ) -> None:
        """``outer``: the metric that has the time if a member of a template has none."""
        quality = quality_of(metric.quality)
        value: Any = None
        if metric.is_null:
            quality = BAD if quality == GOOD else quality
        elif metric.field is None:
            self._unread("a metric without a value", _shown(metric))
            return
        else:
            try:
                value = datatypes.plain_value(datatype, metric.field, metric.value)
            except ValueFormError as error:
                self._unread(f"{name}: {error}", _shown(metric))
                return
        rows.add(source, self._time_ns(metric, outer), name, value, quality)

    def _time_ns(self, metric: Metric, outer: Metric) -> int:
        """Of the metric, else of the message, else of its arrival."""
        for time_ms in (metric.time_ms, outer.time_ms, self.payload.time_ms):
            if time_ms is not None and time_ms < 1 << 43:  # beyond: no int64 of nanoseconds
                return time_ms * NS_PER_MS
        return self.arrived_ns

    # What gives no value

    def _not_born(self, problem: str) -> None:
        self.host.want_rebirth(self.node, problem)
        names = [metric.name or f"alias {metric.alias}" for metric in self.payload.metrics]
        self._unread(problem, ", ".join(names)[:SHOWN_CHARS_MAX])

    def _unread(self, problem: str, shown: str) -> None:
        source = Source(self.address.key, self.address.device)
        self.outcome.unread.append(Unread(source, problem, shown))


def _is_definition(metric: Metric) -> bool:
    return isinstance(metric.value, TemplateValue) and metric.value.is_definition


def _shown(metric: Metric) -> str:
    name = metric.name if metric.alias is None else f"{metric.name or ''}#{metric.alias}"
    value = "null" if metric.is_null else repr(metric.value)
    return f"{name} = {value}"[:SHOWN_CHARS_MAX]
