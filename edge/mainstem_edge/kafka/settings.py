"""How to reach a cluster, in the words of librdkafka."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RECONNECT_MS_MAX = 10_000
"""A cluster that was away is found within this."""
TOPICS_LOOKED_FOR_MS = 60_000
"""New topics that a pattern asks for, and new partitions, are found within this."""
FETCH_BYTES_MIN = 1_000_000
"""librdkafka's own default of message.max.bytes: it fetches at least that."""
SESSION_MS = 15_000
"""A member that was killed is missed after this; until then its partitions are nobody's, also for
the process that was started in its place. A thread of librdkafka says all is well every three
seconds, whatever Python does."""
LOG_LEVEL = 2
"""Only what is critical: each failed connection would be a line, and is an error in status."""


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """``options``: further properties of librdkafka, for tests."""

    brokers: tuple[str, ...]
    group: str
    client_id: str
    security: str = "none"
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    sasl: str = "none"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    prefetch_bytes: int = 16 << 20
    options: Mapping[str, Any] = field(default_factory=dict)

    def of_client(self) -> dict[str, Any]:
        """What any client needs. It has the password: never show it."""
        found: dict[str, Any] = {
            "bootstrap.servers": ",".join(self.brokers),
            "client.id": self.client_id,
            "reconnect.backoff.max.ms": RECONNECT_MS_MAX,
            "security.protocol": self._protocol(),
            "log_level": LOG_LEVEL,
        }
        files = {"ca": self.ca, "certificate": self.cert, "key": self.key}
        found |= {f"ssl.{name}.location": str(file) for name, file in files.items() if file}
        if self.sasl != "none":
            found |= {
                "sasl.mechanism": self.sasl.upper(),
                "sasl.username": self.username,
                "sasl.password": self.password,
            }
        return found

    def of_consumer(self) -> dict[str, Any]:
        """A member of the group that commits when it is told to, and says where it cannot begin."""
        fetch = max(self.prefetch_bytes, FETCH_BYTES_MIN)
        return {
            **self.of_client(),
            "group.id": self.group,
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": SESSION_MS,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "queued.max.messages.kbytes": max(1, self.prefetch_bytes >> 10),
            "fetch.max.bytes": min(fetch, 50 << 20),
            "allow.auto.create.topics": False,
            "topic.metadata.refresh.interval.ms": TOPICS_LOOKED_FOR_MS,
            "topic.blacklist": "^__.*",
            **self.options,
        }

    def _protocol(self) -> str:
        secured = "SSL" if self.security == "tls" else "PLAINTEXT"
        return secured if self.sasl == "none" else f"SASL_{secured}"


def words(error: Exception) -> str:
    """What librdkafka says of a KafkaException: never the configuration, with the password."""
    found = error.args[0] if error.args else error
    told = getattr(found, "str", None)
    return str(told() if callable(told) else found)
