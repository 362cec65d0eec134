"""What every collector at a broker must satisfy."""

from __future__ import annotations

from mainstem_node.config.collectors.broker import BrokerConfig
from mainstem_node.config.report import Report

IN_FLIGHT_MAX = 65_535
"""MQTT counts messages in flight in 16 bits."""


def check_broker(report: Report, where: str, broker: BrokerConfig) -> None:
    if broker.password is not None and broker.username is None:
        report.problem(f"{where}.password", "there is no `username`", "add it")
    if not 1 <= broker.in_flight <= IN_FLIGHT_MAX:
        report.problem(f"{where}.in_flight", f"it is not in 1..{IN_FLIGHT_MAX}", "write 5000")
