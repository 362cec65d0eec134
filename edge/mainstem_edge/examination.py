"""What ``mainstem doctor`` looks at of an edge: its brokers, clusters, lines, servers
and directories.

A broker is greeted under a name of its own, with a session that ends with the connection: the
collector's session, and what waits in it, are not touched.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from mainstem_edge.assembly.mqtt import mqtt_settings
from mainstem_edge.assembly.sparkplug import sparkplug_settings
from mainstem_edge.collectors.mqtt_connection import MqttSettings
from mainstem_edge.file_examination import examine_files
from mainstem_edge.kafka_examination import examine_cluster
from mainstem_edge.modbus_examination import examine_line
from mainstem_edge.opcua_examination import examine_server
from mainstem_node.config.collectors.file import FileCollectorConfig
from mainstem_node.config.collectors.kafka import KafkaCollectorConfig
from mainstem_node.config.collectors.modbus import ModbusCollectorConfig
from mainstem_node.config.collectors.mqtt import MqttCollectorConfig
from mainstem_node.config.collectors.opcua import OpcuaCollectorConfig
from mainstem_node.config.collectors.sparkplug import SparkplugCollectorConfig
from mainstem_node.config.schema import NodeConfig
from mainstem_node.doctor.finding import BAD, FINE, Finding

TIMEOUT_S = 5.0


def brokers(node: NodeConfig) -> Iterator[Finding]:
    for number, config in enumerate(node.collectors):
        check = f"collectors[{number}]"
        try:
            match config:
                case MqttCollectorConfig():
                    settings = mqtt_settings(node.id, number, config)
                case SparkplugCollectorConfig():
                    settings = sparkplug_settings(node.id, number, config)
                case FileCollectorConfig():
                    yield examine_files(node.id, check, config)
                    continue
                case ModbusCollectorConfig():
                    yield examine_line(node.id, check, config)
                    continue
                case KafkaCollectorConfig():
                    yield examine_cluster(node.id, check, config)
                    continue
                case OpcuaCollectorConfig():
                    yield examine_server(node.id, check, config)
                    continue
                case _:
                    continue
        except OSError as error:
            yield Finding(node.id, check, BAD, f"tls: {error}", "check the files of `tls`")
            continue
        problem = greeted(replace(settings, client_id=f"mainstem-doctor-{secrets.token_hex(4)}"))
        where = f"{settings.host}:{settings.port}"
        if problem is None:
            yield Finding(node.id, check, FINE, f"the broker at {where} answers")
        else:
            yield Finding(
                node.id, check, BAD, f"the broker at {where}: {problem}",
                "start it, or correct `url`, `username`, `password` and `tls`",
            )  # fmt: skip


def greeted(settings: MqttSettings) -> str | None:
    """None if the broker takes the credentials, else what is wrong."""
    answered = threading.Event()
    answer: list[str | None] = ["it accepts the connection and does not answer"]

    def on_connect(client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        answer[0] = f"it refuses: {reason}" if reason.is_failure else None
        answered.set()

    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        settings.client_id,
        clean_session=True,
        protocol=MQTTProtocolVersion.MQTTv311,
    )
    client.on_connect = on_connect
    client.connect_timeout = TIMEOUT_S
    if settings.username is not None:
        client.username_pw_set(settings.username, settings.password)
    if settings.tls is not None:
        client.tls_set_context(settings.tls)
    try:
        client.connect(settings.host, settings.port, keepalive=settings.keepalive_s)
        client.loop_start()
        answered.wait(TIMEOUT_S)
        client.disconnect()
        client.loop_stop()
    except OSError as error:
        return error.strerror or str(error)
    return answer[0]
