"""The seam between an intake and what reads its messages.

1. A reader says which topics are its own, and what their messages become: readings, each of one
   template. One message may give rows of several templates.
2. It stores nothing and makes no device. It may keep what later messages need (names of aliases,
   a cache of paths); it is used by one thread at a time, with messages in order of arrival.
3. A payload never makes it raise: what cannot be read is a failure in a reading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from mainstem_edge.collectors.interface import Message
from mainstem_edge.reading import Reading


class Reader(Protocol):
    """Reads the messages of some topics."""

    @property
    def filter(self) -> str:
        """An MQTT topic filter: the messages that are its own."""

    @property
    def templates(self) -> tuple[str, ...]:
        """Templates that its rows may have, as far as they are known yet."""

    def read(self, messages: Sequence[Message], now_ns: int) -> Sequence[Reading]:
        """All rows of these messages: at least one reading where there is anything to count. One of
        no template ("") has failures only, which are put aside and counted nowhere."""

    def count(self, messages: Sequence[Message]) -> Mapping[str, int]:
        """Rows by template of messages that were stored before and are not stored again."""
