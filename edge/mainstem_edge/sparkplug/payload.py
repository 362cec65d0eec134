"""Payloads: bytes to plain metrics, and commands to bytes.

A payload that is no protobuf message, or whose numbers are out of bounds, raises PayloadFormError;
nothing else does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mainstem_edge.sparkplug import datatypes
from mainstem_edge.sparkplug.wire import payload_class

REBIRTH = "Node Control/Rebirth"
BD_SEQ = "bdSeq"
QUALITY = "Quality"
"""The property that says how good a value is."""

METRICS_MAX = 100_000
"""Of one payload, members of templates included: more are no machine's."""
NESTING_MAX = 8
"""Templates within templates."""


class PayloadFormError(ValueError):
    """Bytes that are no Sparkplug B payload."""


@dataclass(slots=True)
class Metric:
    """One metric as it came. ``field``: the member of the value's oneof, None without a value.

    ``name`` and ``alias``, ``datatype`` and ``time_ms`` are None where absent. ``quality``: the
    code of its property (192 good, 0 bad, 500 stale), None where absent.
    """

    name: str | None
    alias: int | None
    time_ms: int | None
    datatype: int | None
    is_historical: bool
    is_null: bool
    field: str | None
    value: Any
    quality: int | None


@dataclass(slots=True)
class TemplateValue:
    """A template: the definition of one, or an instance of it. ``reference``: the definition's name
    in an instance."""

    is_definition: bool
    reference: str
    metrics: list[Metric]


@dataclass(slots=True)
class Payload:
    """``seq`` and ``time_ms`` are None where absent."""

    time_ms: int | None
    seq: int | None
    metrics: list[Metric]

    def metric(self, name: str) -> Metric | None:
        """The first of this name."""
        return next((metric for metric in self.metrics if metric.name == name), None)

    @property
    def bd_seq(self) -> int | None:
        """The number that ties a birth to its death."""
        found = self.metric(BD_SEQ)
        return found.value if found is not None and isinstance(found.value, int) else None


def parse(octets: bytes) -> Payload:
    """Raises PayloadFormError."""
    try:
        message = payload_class().FromString(octets)
    except Exception as error:  # protobuf's own class: it is imported only where it is needed
        raise PayloadFormError("no Sparkplug B payload") from error
    left = [METRICS_MAX]
    return Payload(
        message.timestamp if message.HasField("timestamp") else None,
        message.seq if message.HasField("seq") else None,
        _metrics(message.metrics, left, 0),
    )


def _metrics(messages: Iterable[Any], left: list[int], depth: int) -> list[Metric]:
    if depth > NESTING_MAX:
        raise PayloadFormError(f"templates nest deeper than {NESTING_MAX}")
    found = [_metric(message, left, depth) for message in messages]
    left[0] -= len(found)
    if left[0] < 0:
        raise PayloadFormError(f"more than {METRICS_MAX} metrics")
    return found


def _metric(message: Any, left: list[int], depth: int) -> Metric:
    has = message.HasField
    field = message.WhichOneof("value")
    value: Any = None if field is None else getattr(message, field)
    if field == "template_value":
        value = TemplateValue(
            value.is_definition, _text(value.template_ref), _metrics(value.metrics, left, depth + 1)
        )
    return Metric(
        _text(message.name) if has("name") else None,
        message.alias if has("alias") else None,
        message.timestamp if has("timestamp") else None,
        message.datatype if has("datatype") else None,
        message.is_historical,
        message.is_null,
        field,
        value,
        _quality(message.properties) if has("properties") else None,
    )


def _text(raw: Any) -> str:
    if not isinstance(raw, str):  # what protobuf gives for octets that are no UTF-8
        raise PayloadFormError("a name that is not UTF-8")
    return raw


def _quality(properties: Any) -> int | None:
    for key, value in zip(properties.keys, properties.values, strict=False):
        if key == QUALITY and value.WhichOneof("value") in ("int_value", "long_value"):
            return int(value.int_value or value.long_value)
    return None


@dataclass(frozen=True, slots=True)
class Write:
    """One metric of a command: ``alias`` goes before ``name`` where the birth gave one."""

    name: str
    alias: int | None
    datatype: int
    value: Any


def command(writes: Sequence[Write], time_ms: int) -> bytes:
    """NCMD or DCMD: metrics and a time, no sequence number. Raises ValueFormError."""
    message = payload_class()(timestamp=time_ms)
    for write in writes:
        field, value = datatypes.wire_value(write.datatype, write.value)
        metric = message.metrics.add(timestamp=time_ms, datatype=write.datatype)
        if write.alias is None:
            metric.name = write.name
        else:
            metric.alias = write.alias
        setattr(metric, field, value)
    octets: bytes = message.SerializeToString()
    return octets


def rebirth(time_ms: int) -> bytes:
    """The command that makes an edge node send its births again."""
    return command([Write(REBIRTH, None, datatypes.BOOLEAN, True)], time_ms)


def state(online: bool, time_ms: int) -> bytes:
    """What a host says of itself."""
    return json.dumps({"online": online, "timestamp": time_ms}).encode()


def says_offline(octets: bytes) -> bool:
    """True for a STATE that says that the host is not there."""
    try:
        found = json.loads(octets)
    except ValueError:
        return False
    return isinstance(found, dict) and found.get("online") is False
