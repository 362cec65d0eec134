"""Replaying recorded measurements: a CSV file as MQTT messages, each acknowledged by the broker."""

from __future__ import annotations

from mainstem_node.replay.columns import Kind
from mainstem_node.replay.errors import BrokerError, CsvError, ReplayError
from mainstem_node.replay.messages import CODECS, Message, encode
from mainstem_node.replay.publisher import BrokerAddress, Publisher, PublishStatistics
from mainstem_node.replay.table import CsvTable, Row, open_table
from mainstem_node.time_notations import TimeFormatError, TimeReader, TimeSurvey, rfc3339

__all__ = [
    "open_table",
    "CsvTable",
    "Kind",
    "Row",
    "encode",
    "Message",
    "CODECS",
    "Publisher",
    "PublishStatistics",
    "BrokerAddress",
    "TimeReader",
    "TimeSurvey",
    "TimeFormatError",
    "rfc3339",
    "ReplayError",
    "CsvError",
    "BrokerError",
]
