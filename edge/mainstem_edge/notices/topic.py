"""A receiver behind a broker: each change is published to a topic, with QoS 1.

It is told when the broker has it (PUBACK). The connection is clean, and lasts as long as there is
something to tell. A message whose PUBACK did not come, or says that it could not be taken, is
published again: at least once. One that the broker will never take is given up.

With ``auto``, version 5 is tried first: a broker of 3.1.1 cannot say that it refuses a message.
"""

from __future__ import annotations

from paho.mqtt.enums import MQTTProtocolVersion

from mainstem_edge.actions.publisher import (
    V5,
    V311,
    Broker,
    Publisher,
    RefusedMessageError,
    RefusedVersionError,
)
from mainstem_edge.notices.courier import RefusedError, SendError
from mainstem_edge.notices.notice import Telling
from mainstem_node.commanding.action import ActionError, UncertainActionError

_VERSIONS = {"auto": (V5, V311), "5": (V5,), "3.1.1": (V311,)}
"""What is tried, one after the other, at a broker that does not speak a version."""


class Topic:
    """See the module. ``topic`` with placeholders. Used by one thread."""

    def __init__(
        self,
        broker: Broker,
        topic: str,
        *,
        protocol: str = "auto",
        retain: bool = False,
        timeout_s: float = 10.0,
    ) -> None:
        self._versions = _VERSIONS[protocol]
        self._broker = broker
        self._topic = topic
        self._retain = retain
        self._timeout_s = timeout_s
        self._publisher: Publisher | None = None

    @property
    def shown(self) -> str:
        return f"{self._broker.host}:{self._broker.port} {self._topic}"

    def send(self, telling: Telling) -> None:
        topic = telling.topic(self._topic)
        try:
            publisher = self._publisher or self._connect()
            publisher.publish(topic, telling.body, self._retain, self._timeout_s)
        except RefusedMessageError as error:
            self.rest()
            raise RefusedError(error.message) from error
        except (ActionError, UncertainActionError) as error:
            self.rest()
            raise SendError(error.message) from error

    def greet(self) -> None:
        try:
            self._connect()
        except ActionError as error:
            raise SendError(error.message) from error
        finally:
            self.rest()

    def rest(self) -> None:
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            publisher.close()

    def _connect(self) -> Publisher:
        *others, last = self._versions
        for version in others:
            try:
                return self._connect_by(version)
            except RefusedVersionError:
                self.rest()
        return self._connect_by(last)

    def _connect_by(self, version: MQTTProtocolVersion) -> Publisher:
        found = self._publisher = Publisher(self._broker, version)
        found.connect(self._timeout_s)
        return found
