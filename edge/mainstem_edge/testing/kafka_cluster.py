"""librdkafka's mock cluster: brokers on loopback that speak Kafka, inside this process.

It is in the library that confluent_kafka brings along. A producer with ``test.mock.num.brokers``
starts one, too, but can neither make topics nor take a broker down; so this calls its C functions
(rdkafka_mock.h). Real clients are on the other side, over sockets. Its transactions, and limits of
time and size, are not those of a real broker.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import confluent_kafka

FLUSH_S = 10.0
_PRODUCER = 0
_ERROR_BYTES = 512
_POINTER, _TEXT = ctypes.c_void_p, ctypes.c_char_p
_INT32, _INT64, _INT = ctypes.c_int32, ctypes.c_int64, ctypes.c_int
_FUNCTIONS: Mapping[str, tuple[Any, Sequence[Any]]] = {
    "conf_new": (_POINTER, []),
    "new": (_POINTER, [_INT, _POINTER, _TEXT, ctypes.c_size_t]),
    "destroy": (None, [_POINTER]),
    "mock_cluster_new": (_POINTER, [_POINTER, _INT]),
    "mock_cluster_destroy": (None, [_POINTER]),
    "mock_cluster_bootstraps": (_TEXT, [_POINTER]),
    "mock_group_initial_rebalance_delay_ms": (None, [_POINTER, _INT32]),
    "mock_topic_create": (_INT, [_POINTER, _TEXT, _INT, _INT]),
    "mock_topic_delete": (_INT, [_POINTER, _TEXT]),
    "mock_partition_delete_records": (_INT, [_POINTER, _TEXT, _INT32, _INT64]),
    "mock_broker_set_down": (_INT, [_POINTER, _INT32]),
    "mock_broker_set_up": (_INT, [_POINTER, _INT32]),
    "mock_broker_set_host_port": (_INT, [_POINTER, _INT32, _TEXT, _INT]),
}


def library_file() -> Path | None:
    """Where wheels have it; None for a build against the system's."""
    around = Path(confluent_kafka.__file__).parent
    folders = (around.with_name("confluent_kafka.libs"), around / ".dylibs")
    found = [file for folder in folders for file in folder.glob("librdkafka*")]
    return found[0] if found else None


class KafkaCluster:
    """One broker. A group does not wait for further members before its first assignment."""

    def __init__(self) -> None:
        file = library_file()
        assert file is not None, "confluent_kafka is not the wheel"
        self._library = ctypes.CDLL(str(file))
        self._client: int | None = None
        self._cluster: int | None = None
        self._producer: confluent_kafka.Producer | None = None
        self.brokers = ""

    def _call(self, name: str, *arguments: Any) -> Any:
        result, types = _FUNCTIONS[name]
        function = getattr(self._library, f"rd_kafka_{name}")
        function.restype, function.argtypes = result, types
        return function(*arguments)

    def __enter__(self) -> Self:
        error = ctypes.create_string_buffer(_ERROR_BYTES)
        self._client = self._call("new", _PRODUCER, self._call("conf_new"), error, _ERROR_BYTES)
        assert self._client, error.value
        self._cluster = self._call("mock_cluster_new", self._client, 1)
        self._call("mock_group_initial_rebalance_delay_ms", self._cluster, 0)
        self.brokers = self._call("mock_cluster_bootstraps", self._cluster).decode()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._producer = None
        self._call("mock_cluster_destroy", self._cluster)
        self._call("destroy", self._client)

    def create_topic(self, name: str, partitions: int = 1) -> None:
        assert self._call("mock_topic_create", self._cluster, name.encode(), partitions, 1) == 0

    def delete_topic(self, name: str) -> None:
        """With the offsets that groups have committed of it, as a real broker does."""
        assert self._call("mock_topic_delete", self._cluster, name.encode()) == 0

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """The log of the partition begins at ``before`` now."""
        done = self._call(
            "mock_partition_delete_records", self._cluster, topic.encode(), partition, before
        )
        assert done == 0

    def set_down(self) -> None:
        """Nobody can connect, and who was connected is no more."""
        self._call("mock_broker_set_down", self._cluster, 1)

    def set_up(self) -> None:
        self._call("mock_broker_set_up", self._cluster, 1)

    def advertise(self, host: str, port: int) -> None:
        """Where it says that it is: behind something that encrypts, say."""
        done = self._call("mock_broker_set_host_port", self._cluster, 1, host.encode(), port)
        assert done == 0

    def produce(
        self, topic: str, *values: bytes | None, partition: int = 0, **options: Any
    ) -> None:
        """Returns when the broker has them all. ``options``: key, headers, timestamp (ms)."""
        if self._producer is None:
            self._producer = confluent_kafka.Producer(
                {"bootstrap.servers": self.brokers, "log_level": 0, "linger.ms": 0}
            )
        failed: list[Any] = []

        def on_delivery(error: Any, _record: Any) -> None:
            if error is not None:
                failed.append(error)

        for value in values:
            self._producer.produce(
                topic, value, partition=partition, on_delivery=on_delivery, **options
            )
        assert self._producer.flush(FLUSH_S) == 0
        assert not failed, failed

    def committed(self, group: str, topic: str, partition: int = 0) -> int | None:
        """What the group has committed; None for nothing."""
        consumer = confluent_kafka.Consumer(
            {"bootstrap.servers": self.brokers, "group.id": group, "log_level": 0}
        )
        try:
            place = confluent_kafka.TopicPartition(topic, partition)
            (found,) = consumer.committed([place], timeout=FLUSH_S)
            return int(found.offset) if found.offset >= 0 else None
        finally:
            consumer.close()
