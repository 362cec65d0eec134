"""Equipment at a broker, and three tiers of processes that send orders to it."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from processes import PATIENCE_S, Processes, section
from whole_river import wait_for

from mainstem_node.broker import EmbeddedBroker
from mainstem_node.client import connect

TIERS = ("edge", "plant", "group")
DEVICE = "root.plant.line.v1"
FINAL = ("DONE", "FAILED", "EXPIRED", "UNKNOWN")


def sections(broker: str) -> list[dict[str, Any]]:
    """Three tiers; the edge collects what valves say, and may tell them what to do."""
    export = [{"template": "valve", "mode": "raw"}]
    subscription = {
        "topic": "valves/+/state", "template": "valve", "device": "root.plant.line.{topic[1]}",
    }  # fmt: skip
    return [
        section("group", "group"),
        section("plant", "platform", "group", export=export),
        section(
            "edge", "edge", "plant", export=export,
            paths=["root.plant.line"],
            collectors=[{"type": "mqtt", "url": broker, "subscriptions": [subscription]}],
            actions=[{"type": "mqtt.publish", "url": broker, "topics": ["valves/+/set"]}],
        ),
    ]  # fmt: skip


class Valve:
    """Equipment at the broker: turns at each message, and says how often it has turned."""

    def __init__(self, broker: EmbeddedBroker) -> None:
        self.told: list[str] = []
        self._ready = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="valve")
        self._client.on_connect = lambda client, *_: client.subscribe("valves/+/set", 1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._turn
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        assert self._ready.wait(PATIENCE_S)

    def _turn(self, client: mqtt.Client, userdata: object, message: mqtt.MQTTMessage) -> None:
        self.told.append(json.loads(message.payload)["id"])
        state = {"ts": time.time_ns() // 10**6, "turns": len(self.told)}
        client.publish("valves/v1/state", json.dumps(state), qos=1)

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Plant:
    """The processes, the broker and the valve."""

    def __init__(self, place: Path) -> None:
        self.broker = EmbeddedBroker(place / "broker")
        self.broker.start()
        self.nodes = Processes(
            place, "commands", {"valve": {"turns": "INT64"}}, sections(self.broker.url)
        )
        self.valve = Valve(self.broker)
        self.group = connect(self.nodes["group"].url)

    def start(self) -> None:
        self.nodes.start()
        self.nodes["edge"].wait_subscribed()
        self.nodes.wait_known("group", ["edge"])

    def send(self, ident: str, **more: Any) -> dict[str, Any]:
        return self.group.send_command(
            {
                "id": ident, "target": DEVICE, "action": "mqtt.publish", "mode": "actuate",
                "arguments": {"topic": "valves/v1/set", "payload": {"id": ident}}, **more,
            }
        )  # fmt: skip

    def wait(self, ident: str, *states: str) -> str:
        wait_for(lambda: self.group.command(ident)["state"] in states, PATIENCE_S,
                 f"{ident} is {' or '.join(states)}")  # fmt: skip
        return str(self.group.command(ident)["state"])

    def restart(self, name: str) -> None:
        self.group.close()  # a connection to a process that was killed is of no use
        self.nodes.restart(name)

    def turns_at_the_group(self) -> int:
        try:
            rows = self.nodes["group"].sql("SELECT max(turns) FROM valve")
        except OSError:
            return 0
        return int(rows[0][0] or 0)

    def stop(self) -> None:
        self.nodes.stop()
        self.nodes.print_logs()
        self.group.close()
        self.valve.stop()
        self.broker.stop()
