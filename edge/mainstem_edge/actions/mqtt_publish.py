"""``mqtt.publish``: a message to a device that listens to a broker.

1. Only topics are published to that a filter of the configuration allows: there is no default.
2. Each command has a connection of its own, a clean session, and one PUBLISH: no library sends it
   again behind anybody's back.
3. Done means that the broker has it (PUBACK). Without a connection nothing was done (FAILED); once
   the message has left, and no answer comes, nobody knows (UNKNOWN).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from paho.mqtt.client import topic_matches_sub

from mainstem_edge.actions.publisher import Broker, Publisher
from mainstem_node.commanding.action import not_allowed, refuse_unknown
from mainstem_node.errors import BadRequestError

NAME = "mqtt.publish"
CONNECT_S_MAX = 10.0
ANSWER_S_MAX = 10.0
PAYLOAD_BYTES_MAX = 64 << 10
TOPIC_BYTES_MAX = 65_535
ARGUMENTS = ("topic", "payload", "retain")


class MqttPublish:
    """See the module. The broker whose filters allow a topic first is used."""

    name = NAME

    def __init__(
        self,
        brokers: Sequence[Broker],
        *,
        connect_s: float = CONNECT_S_MAX,
        answer_s: float = ANSWER_S_MAX,
    ) -> None:
        self._brokers = tuple(brokers)
        self._connect_s = connect_s
        self._answer_s = answer_s

    def check(self, arguments: Mapping[str, Any]) -> None:
        """``topic``: text; ``payload``: text, or anything else, which is sent as JSON; ``retain``:
        true or false. Raises BadRequestError."""
        refuse_unknown(NAME, arguments, ARGUMENTS)
        topic = arguments.get("topic")
        if not isinstance(topic, str) or not topic or len(topic.encode()) > TOPIC_BYTES_MAX:
            raise BadRequestError("topic is missing, or no text", field="topic")
        if any(sign in topic for sign in "+#\0"):
            raise BadRequestError(f"{topic!r} is no topic to publish to", field="topic")
        if not isinstance(arguments.get("retain", False), bool):
            raise BadRequestError("retain is not true or false", field="retain")
        if len(_payload(arguments)) > PAYLOAD_BYTES_MAX:
            raise BadRequestError(
                f"the payload has more than {PAYLOAD_BYTES_MAX} bytes", field="payload"
            )
        self._broker(topic)

    def run(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Publishes once, with QoS 1."""
        topic = str(arguments["topic"])
        broker = self._broker(topic)
        publisher = Publisher(broker)
        try:
            publisher.connect(self._connect_s)
            publisher.publish(
                topic, _payload(arguments), bool(arguments.get("retain")), self._answer_s
            )
        finally:
            publisher.close()
        return {"broker": f"{broker.host}:{broker.port}", "topic": topic}

    def _broker(self, topic: str) -> Broker:
        for broker in self._brokers:
            if any(topic_matches_sub(each, topic) for each in broker.topics):
                return broker
        raise not_allowed(f"publishing to {topic!r}", "topic", "filter")


def _payload(arguments: Mapping[str, Any]) -> bytes:
    payload = arguments.get("payload", "")
    text = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False)
    return text.encode()
