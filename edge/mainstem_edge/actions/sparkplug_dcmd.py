"""``sparkplug.dcmd``: a value written to a metric of an edge node or of one of its devices.

1. Only metrics are written to that a pattern of the configuration allows: there is no default.
2. The command goes out over the connection of the collector that hears the edge node, with the
   alias and the data type of its birth. What is not online, or has no such metric, is not written
   to (FAILED).
3. Sparkplug has no acknowledgement. Done means that the edge node has reported the metric after
   the command; the value it reported is told. While it reports nothing nobody knows (UNKNOWN).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Protocol

from mainstem_edge.sparkplug.datatypes import ValueFormError
from mainstem_edge.sparkplug.echo import Echo
from mainstem_edge.sparkplug.edge_node import Known
from mainstem_edge.sparkplug.payload import Write, command
from mainstem_edge.sparkplug.rows import Source
from mainstem_edge.sparkplug.topics import Address, NodeKey, is_identifier
from mainstem_node.commanding.action import (
    ActionError,
    UncertainActionError,
    not_allowed,
    refuse_unknown,
    refuse_value,
)
from mainstem_node.errors import BadRequestError

NAME = "sparkplug.dcmd"
ANSWER_S_MAX = 10.0
ARGUMENTS = ("group", "node", "device", "metric", "value")
NAME_BYTES_MAX = 1024
NS_PER_MS = 1_000_000


class HostSide(Protocol):
    """What is needed of the collector."""

    def known(self, key: NodeKey, device: str, metric: str) -> Known | None:
        """The metric as its birth named it; None when it or its device is not there now."""

    def ask(self, topic: str, payload: bytes, echo: Echo) -> bool:
        """Publishes; False without a connection. ``echo`` hears of the metric from then on."""

    def forget(self, echo: Echo) -> None:
        """It is not waited for any more."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """``metrics``: patterns of group/node/device/metric, of an edge node's own group/node/metric.
    ``host``: the collector of its host id, None while there is none."""

    host: Callable[[], HostSide | None]
    metrics: Sequence[str]


class SparkplugDcmd:
    """See the module. The first that allows a metric is used."""

    name = NAME

    def __init__(
        self,
        allowed: Sequence[Allowed],
        *,
        answer_s: float = ANSWER_S_MAX,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._allowed = tuple(allowed)
        self._answer_s = answer_s
        self._clock_ns = clock_ns

    def check(self, arguments: Mapping[str, Any]) -> None:
        """``group``, ``node``, ``metric``: texts; ``device``: text, left out for a metric of the
        edge node itself; ``value``: number, text, true or false. Raises BadRequestError."""
        refuse_unknown(NAME, arguments, ARGUMENTS)
        for key in ("group", "node", "device"):
            text = arguments.get(key, "" if key == "device" else None)
            is_left_out = key == "device" and text == ""
            if not isinstance(text, str) or not (is_left_out or is_identifier(text)):
                raise BadRequestError(f"{key} is missing, or holds + / or #", field=key)
        metric = arguments.get("metric")
        if not isinstance(metric, str) or not 0 < len(metric.encode()) <= NAME_BYTES_MAX:
            raise BadRequestError("metric is missing, or no text", field="metric")
        refuse_value(arguments.get("value"))
        self._find(arguments)

    def run(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Writes once, and waits for what the edge node says then."""
        host = self._find(arguments).host()
        key = NodeKey(str(arguments["group"]), str(arguments["node"]))
        device, metric = str(arguments.get("device", "")), str(arguments["metric"])
        if host is None:
            raise ActionError("the Sparkplug host is not running")
        known = host.known(key, device, metric)
        if known is None:
            raise ActionError(f"{_path(arguments)} is not online, or its birth did not name it")
        now_ms = self._clock_ns() // NS_PER_MS
        write = Write(known.name, known.alias, known.datatype, arguments["value"])
        try:
            payload = command([write], now_ms)
        except ValueFormError as error:
            raise ActionError(f"{metric}: {error}") from error
        topic = Address("DCMD" if device else "NCMD", key, device).topic
        echo = Echo(Source(key, device), metric)
        if not host.ask(topic, payload, echo):
            raise ActionError("there is no connection to the broker")
        try:
            if not echo.wait(self._answer_s):
                raise UncertainActionError(f"{_path(arguments)} was not reported since")
        finally:
            host.forget(echo)
        return {"topic": topic, "metric": metric, "reported": echo.value}

    def _find(self, arguments: Mapping[str, Any]) -> Allowed:
        path = _path(arguments)
        for each in self._allowed:
            if any(fnmatchcase(path, pattern) for pattern in each.metrics):
                return each
        raise not_allowed(f"writing to {path!r}", "metric")


def _path(arguments: Mapping[str, Any]) -> str:
    parts = (arguments.get(key, "") for key in ("group", "node", "device", "metric"))
    return "/".join(str(part) for part in parts if part)
