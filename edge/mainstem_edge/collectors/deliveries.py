"""What one MQTT connection has delivered, by packet identifier.

1. A redelivered message is a *copy* when the one that came last under its identifier has the same
   content and is not acknowledged yet. When it is, the copy crossed our acknowledgement on the
   way: that one is dropped too, but only once, for a second one would be another message.
2. What is not acknowledged when the connection ends, the broker sends again on the next.

There are 65,535 packet identifiers, and a place for each from the beginning: a broker goes through
all of them, and a dictionary of them would grow to ten megabytes. Used by one thread.
"""

from __future__ import annotations

import numpy as np

_IDS = 1 << 16


class Deliveries:
    """The deliveries of one connection. Contents are hashes of topic and payload."""

    def __init__(self) -> None:
        # A view: single items of an array are slow. Its pages come when they are used.
        self._contents = np.zeros(_IDS, np.int64).data
        self._known = bytearray(_IDS)  # 1: there is a content
        self._open: set[int] = set()

    def is_copy(self, packet_id: int, content: int, redelivered: bool) -> bool:
        """Notes a message; True when it must be dropped."""
        known = self._known[packet_id] and self._contents[packet_id] == content
        if redelivered and known:
            if packet_id not in self._open:
                self._known[packet_id] = 0
            return True
        self._contents[packet_id] = content
        self._known[packet_id] = 1
        self._open.add(packet_id)
        return False

    def acknowledged(self, packet_id: int) -> None:
        """The message under this identifier is acknowledged."""
        self._open.discard(packet_id)

    def unacknowledged(self) -> list[int]:
        """Contents that the broker has no acknowledgement for, and will send again."""
        return [self._contents[packet_id] for packet_id in self._open]
