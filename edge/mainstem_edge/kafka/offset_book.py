"""What of each partition is stored here: the offset to go on with, kept beside the data.

1. It is written after the rows are durable, never before: what it says is stored, is stored. It may
   be behind by what became durable since it was last written, and then some records come again.
2. The brokers keep the same number for the group. The book is what remains where theirs is behind
   (a commit that did not arrive) or gone (they forget a group that was away for a week).
3. With each offset stands the time of the record before it. A record at that place with another
   time is of another topic with the same name, whose offsets have begun anew.

One file a group, by atomic replacement. One that cannot be read is as good as none: the brokers'
offsets hold. Used by one thread.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import NamedTuple

from mainstem_engine.filesystem import Filesystem
from mainstem_node.logs import fields

PARTITIONS_MAX = 20_000
"""About a megabyte; beyond it the partitions that were noted longest ago are forgotten."""

log = logging.getLogger("mainstem.collector.kafka")

Partition = tuple[str, int]
"""(topic, partition)"""


class Noted(NamedTuple):
    """``offset``: the first that is not stored. ``stamp_ms``: of the record before it, None where
    it has no time or there was none."""

    offset: int
    stamp_ms: int | None = None


class OffsetBook:
    """See the module. ``place`` None: kept in memory only."""

    def __init__(self, place: Path | None, group: str, fs: Filesystem | None = None) -> None:
        self._path = None if place is None else place / file_name(group)
        self._group = group
        self._fs = fs or Filesystem()
        self._noted: dict[Partition, Noted] = {}
        self._is_written = True
        self._read()

    def get(self, partition: Partition) -> Noted | None:
        """What is stored of a partition; None where nothing is known."""
        return self._noted.get(partition)

    def knows_topic(self, topic: str) -> bool:
        """True where one of its partitions was read before."""
        return any(name == topic for name, _ in self._noted)

    def note(self, partition: Partition, noted: Noted) -> None:
        """Kept from the next ``write`` on."""
        if self._noted.get(partition) == noted:
            return
        self._noted.pop(partition, None)  # so that the order is that of the notes
        self._noted[partition] = noted
        self._is_written = False
        while len(self._noted) > PARTITIONS_MAX:
            self._noted.pop(next(iter(self._noted)))

    def forget(self, partition: Partition) -> None:
        """Its topic is another one now."""
        if self._noted.pop(partition, None) is not None:
            self._is_written = False

    def write(self) -> None:
        """Returns when it is on disk. Raises OSError: then the next one tries again."""
        if self._is_written:
            return
        if self._path is not None:
            topics: dict[str, dict[str, list[int | None]]] = {}
            for (topic, partition), noted in self._noted.items():
                topics.setdefault(topic, {})[str(partition)] = list(noted)
            text = json.dumps({"version": 1, "group": self._group, "topics": topics})
            self._fs.replace(self._path, [text.encode()])
        self._is_written = True

    def _read(self) -> None:
        if self._path is None:
            return
        try:
            data = json.loads(self._fs.read(self._path))
            if data["version"] != 1 or data["group"] != self._group:
                raise ValueError("it is of another version or group")
            self._noted = {
                (topic, int(partition)): Noted(int(offset), None if stamp is None else int(stamp))
                for topic, partitions in data["topics"].items()
                for partition, (offset, stamp) in partitions.items()
            }
        except FileNotFoundError:
            return
        except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
            log.warning(
                "not readable: the brokers' offsets hold",
                extra=fields(file=str(self._path), error=str(error)),
            )


def file_name(group: str) -> str:
    """Groups may have any characters, files may not."""
    return f"kafka-{hashlib.blake2b(group.encode(), digest_size=8).hexdigest()}.json"
