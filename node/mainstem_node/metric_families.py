"""The metrics of a node as Prometheus reads them.

Everything but what ``metrics.py`` counts is read from the status object and the statistics at the
moment of the scrape, so that ``/metrics`` and ``/api/v1/status`` never disagree. Imported at the
first scrape: a node that nobody scrapes does not hold the library in its memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from mainstem_node.metrics import NodeMetrics

Snapshot = Mapping[str, Any]
"""``status`` (the status object), ``jobs``, ``workers`` and ``store`` (name -> number)."""

_STATES = ("live", "lagging", "stale", "offline", "quarantined")


def rendered(metrics: NodeMetrics, snapshot: Callable[[], Snapshot] | None) -> bytes:
    """The text format."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_CountsCollector(metrics))
    if snapshot is not None:
        registry.register(_SnapshotCollector(snapshot))
    return generate_latest(registry)


class _CountsCollector(Collector):
    """Turns what a node counts itself into metric families."""

    def __init__(self, metrics: NodeMetrics) -> None:
        self._metrics = metrics

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        requests = CounterMetricFamily(
            "mainstem_http_requests",
            "HTTP requests answered.",
            labels=["method", "route", "status"],
        )
        for (method, route, status), count in sorted(self._metrics.requests.copy().items()):
            requests.add_metric([method, route, str(status)], count)
        yield requests
        seconds = HistogramMetricFamily(
            "mainstem_http_request_seconds", "Time to answer a request.", labels=["route"]
        )
        for route, distribution in sorted(self._metrics.request_seconds.copy().items()):
            buckets = _buckets(distribution.bounds, distribution.counts)
            seconds.add_metric([route], buckets, distribution.sum)
        yield seconds
        lag = self._metrics.lag_seconds
        yield HistogramMetricFamily(
            "mainstem_event_loop_lag_seconds",
            "How long something held up the event loop.",
            _buckets(lag.bounds, lag.counts),
            lag.sum,
        )


def _buckets(bounds: Iterable[float], counts: Iterable[int]) -> list[tuple[str, float]]:
    names = (*map(floatToGoString, bounds), "+Inf")
    return list(zip(names, accumulate(counts), strict=True))


class _SnapshotCollector(Collector):
    """Turns a snapshot into metric families."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterable[Metric]:
        return ()  # the names depend on the snapshot; nothing is computed at registration

    def collect(self) -> Iterable[Metric]:
        snapshot = self._snapshot()
        status = snapshot["status"]
        yield from _delivery(status)
        yield _accounting(status)
        yield _completeness(status)
        yield from _numbers(status)
        yield from _collectors(status)
        yield from _acknowledgements(status)
        yield from _notify(status)
        for name, value in sorted(snapshot.get("store", {}).items()):
            yield GaugeMetricFamily(f"mainstem_store_{name}", "Statistics of the store.", value)
        workers = GaugeMetricFamily("mainstem_workers_busy", "Calls in a pool.", labels=["pool"])
        for name, busy in snapshot.get("workers", {}).items():
            workers.add_metric([name], busy)
        yield workers
        failures = CounterMetricFamily("mainstem_job_failures", "Failed runs.", labels=["job"])
        for name, count in snapshot.get("jobs", {}).items():
            failures.add_metric([name], count)
        yield failures


def _delivery(status: Snapshot) -> Iterable[Metric]:
    delivery = status.get("delivery") or {}
    for key, unit in (
        ("pending_rows", "rows"),
        ("pending_bytes", "bytes"),
        ("oldest_pending_ms", "milliseconds"),
        ("acked_lsn", "log sequence number"),
        ("head_lsn", "log sequence number"),
    ):
        if delivery.get(key) is not None:
            yield GaugeMetricFamily(
                f"mainstem_delivery_{key}", f"Delivery to the parent, {unit}.", delivery[key]
            )
    state = GaugeMetricFamily(
        "mainstem_state", "1 for the state a node is in.", labels=["node", "state"]
    )
    lag = GaugeMetricFamily("mainstem_lag_ms", "Age of the last contact.", labels=["node"])
    for item in (status, *status.get("children", ())):
        for name in _STATES:
            state.add_metric([item["node"], name], 1.0 if item.get("state") == name else 0.0)
        if item.get("lag_ms") is not None:
            lag.add_metric([item["node"]], item["lag_ms"])
    yield state
    yield lag


def _accounting(status: Snapshot) -> Metric:
    rows = GaugeMetricFamily(
        "mainstem_accounting_rows",
        "Rows by table, sum and term, as in the accounting of the status.",
        labels=["table", "sum", "term"],
    )
    for table, sums in status.get("accounting", {}).items():
        for section, terms in sums.items():
            if not isinstance(terms, Mapping):
                continue
            for term, count in terms.items():
                if isinstance(count, int | float):
                    rows.add_metric([table, section, term], count)
    return rows


def _completeness(status: Snapshot) -> Metric:
    through = GaugeMetricFamily(
        "mainstem_complete_through_seconds",
        "Event time up to which a table of a node is complete, seconds since the epoch.",
        labels=["node", "table"],
    )
    for item in status.get("completeness", ()):
        if item.get("complete_through") is not None:
            through.add_metric([item["node"], item["table"]], item["complete_through"] / 1000)
    return through


def _numbers(status: Snapshot) -> Iterable[Metric]:
    drops = CounterMetricFamily("mainstem_drops", "What was not stored.", labels=["reason"])
    for reason, count in status.get("drops", {}).items():
        drops.add_metric([reason], count)
    yield drops
    buffer = status.get("buffer") or {}
    if buffer.get("used_bytes") is not None:
        yield GaugeMetricFamily(
            "mainstem_buffer_used_bytes", "Bytes on disk.", buffer["used_bytes"]
        )
    if buffer.get("written_bytes") is not None:
        yield CounterMetricFamily(
            "mainstem_written_bytes", "Bytes that this process sent to its disks.",
            buffer["written_bytes"],
        )  # fmt: skip
    failed = 1.0 if status.get("last_fsync_error") else 0.0
    yield GaugeMetricFamily("mainstem_log_failed", "1 after a failed write or sync.", failed)
    for name, count in (status.get("rule_alarms") or {}).items():
        yield GaugeMetricFamily(f"mainstem_rule_alarms_{name}", f"Alarms of rules, {name}.", count)


def _notify(status: Snapshot) -> Iterable[Metric]:
    """Of an edge that tells others of alarms."""
    targets = status.get("notify") or ()
    if not targets:
        return
    pending = GaugeMetricFamily(
        "mainstem_notify_pending", "Changes of alarms that wait.", labels=["to"]
    )
    ends = CounterMetricFamily(
        "mainstem_notify", "What became of changes of alarms.", labels=["to", "end"]
    )
    failed = CounterMetricFamily(
        "mainstem_notify_failed_tries", "After which it was tried again.", labels=["to"]
    )
    for target in targets:
        name = target["name"]
        pending.add_metric([name], target["pending"])
        failed.add_metric([name], target["failed"])
        for end in ("delivered", "refused", "expired", "dropped"):
            ends.add_metric([name, end], target[end])
    yield pending
    yield ends
    yield failed


def _collectors(status: Snapshot) -> Iterable[Metric]:
    """Of an edge. Lost messages of a Sparkplug host also by edge node, as the status lists them."""
    connected = GaugeMetricFamily(
        "mainstem_collector_connected", "1 while it is connected.", labels=["collector"]
    )
    counts = {
        key: CounterMetricFamily(f"mainstem_collector_{key}", text, labels=["collector"])
        for key, text in (
            ("messages", "Messages that arrived."),
            ("bytes", "Bytes of their payloads."),
            ("errors", "Troubles that a connection outlived."),
            ("disconnects", "Connections that ended by themselves."),
            ("lost_values", "The least that an OPC UA server says it dropped."),
            ("lost_bytes", "Of files that were gone before they were read."),
            ("bad_files", "Files that could not be read."),
            ("lost_records", "Records that a Kafka cluster deleted before they were read."),
        )
    }
    lag = GaugeMetricFamily(
        "mainstem_collector_lag", "Records of a Kafka cluster that are not durable here yet.",
        labels=["collector"],
    )  # fmt: skip
    file_lag = GaugeMetricFamily(
        "mainstem_file_lag_bytes", "What is not durable yet of files that grow: of the largest.",
        labels=["collector", "file"],
    )  # fmt: skip
    lost = CounterMetricFamily(
        "mainstem_sparkplug_lost_messages", "The least that was lost on the way.",
        labels=["collector", "edge_node"],
    )  # fmt: skip
    for each in status.get("collectors", ()):
        name = each["name"]
        connected.add_metric([name], 1.0 if each.get("state") == "connected" else 0.0)
        for key, family in counts.items():
            if each.get(key) is not None:
                family.add_metric([name], each[key])
        if "lag" in each:
            lag.add_metric([name], each["lag"])
        growing: dict[str, float] = {}  # a deleted one and a new one may have one name
        for file in each.get("files", ()):
            growing[file["file"]] = growing.get(file["file"], 0) + file["lag_bytes"]
        for path, lag_bytes in growing.items():
            file_lag.add_metric([name, path], lag_bytes)
        if "lost_messages" in each:
            for node in each["nodes"]:
                lost.add_metric([name, node["name"]], node["lost_messages"])
    yield connected
    yield from counts.values()
    yield lag
    yield file_lag
    yield lost


def _acknowledgements(status: Snapshot) -> Iterable[Metric]:
    """Of collectors at brokers."""
    for key, text in (
        ("since_arrival", "From the arrival of a message to its PUBACK."),
        ("since_durable", "From durable rows of a message to its PUBACK."),
    ):
        family = HistogramMetricFamily(
            f"mainstem_collector_puback_{key}_seconds", text, labels=["collector"]
        )
        for each in status.get("collectors", ()):
            found = each.get("acknowledged", {}).get(key)
            if found is not None:
                buckets = _buckets(found["bounds_s"], found["counts"])
                family.add_metric([each["name"]], buckets, found["sum_s"])
        yield family
