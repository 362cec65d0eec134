"""How long messages waited for their acknowledgement, as status and metrics have it."""

from __future__ import annotations

import pytest

from mainstem_edge.collectors.ack_times import BOUNDS_S, AckTimes
from mainstem_node.metrics import Distribution, NodeMetrics


def test_each_message_is_counted_once_in_both() -> None:
    times = AckTimes()
    times.note([9.0, 9.99, 9.999], 9.996, 10.0)
    times.note([], 1.0, 10.0)
    shown = times.to_status()
    assert shown["since_arrival"]["counts"][BOUNDS_S.index(1.0)] == 1
    assert sum(shown["since_arrival"]["counts"]) == sum(shown["since_durable"]["counts"]) == 3
    assert shown["since_arrival"]["p99_ms"] == 1000
    assert shown["since_durable"]["p99_ms"] == 5
    assert shown["since_durable"]["sum_s"] == pytest.approx(0.012)


def test_the_bound_of_a_share() -> None:
    found = Distribution((1.0, 2.0))
    assert found.bound(0.99) is None
    found.observe(0.5, 99)
    found.observe(1.5)
    assert (found.bound(0.99), found.bound(0.995)) == (1.0, 2.0)
    found.observe(3.0, 10)
    assert found.bound(0.99) is None, "beyond the last bound"


def test_metrics_have_them_as_histograms() -> None:
    times = AckTimes()
    times.note([1.0, 1.5], 1.9, 2.0)
    broker = {"name": "mqtt-0", "acknowledged": times.to_status()}
    metrics = NodeMetrics()
    metrics.follow(lambda: {"status": {"node": "e", "collectors": [broker, {"name": "poll-1"}]}})
    text = metrics.render().decode()
    name = "mainstem_collector_puback_since_arrival_seconds"
    assert f'{name}_bucket{{collector="mqtt-0",le="0.5"}} 1.0' in text
    assert f'{name}_bucket{{collector="mqtt-0",le="+Inf"}} 2.0' in text
    assert f'{name}_sum{{collector="mqtt-0"}} 1.5' in text
    name = "mainstem_collector_puback_since_durable_seconds"
    assert f'{name}_count{{collector="mqtt-0"}} 2.0' in text
    assert 'collector="poll-1",le' not in text
