"""For trying out: a reader that finds out, for each message alone, which codec it is for.

1. What is no UTF-8 is MessagePack. What begins with ``{`` or ``[`` is JSON. A first line with a
   measurement and a field is line protocol; several lines of which the first has a delimiter are
   CSV; the rest is raw.
2. Nothing is remembered from one message to the next, so that one odd message changes nothing; what
   the newest messages of a topic were is kept for people only.
3. Each codec's messages are a reading of their own: their order is kept within a codec.

One who knows what is sent names the codec: a guess may be wrong, and what is damaged is then put
aside for a reason that misleads.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from mainstem_edge.collectors.interface import Message
from mainstem_edge.decode.csv_codec import DELIMITERS
from mainstem_edge.reading import Reading
from mainstem_edge.subscription import Subscription

AUTO = "auto"
TOPICS_MAX = 100
"""Topics shown: more than anybody looks at while trying out."""

_LINE = re.compile(
    rb"""
    (?:[^\s,\\]|\\.)+                           # measurement
    (?:,(?:[^\s,=\\]|\\.)+=(?:[^\s,=\\]|\\.)+)*  # tags
    [ ]+(?:[^\s,=\\]|\\.)+=(?:"|[-+0-9.tTfFnN]) # the first field
    """,
    re.VERBOSE,
)


def format_of(payload: bytes) -> str:
    """The codec that a payload is for."""
    try:
        payload.decode("utf-8")
    except UnicodeDecodeError:
        return "msgpack"
    text = payload.removeprefix(b"\xef\xbb\xbf").strip()
    if text[:1] in (b"{", b"["):
        return "json"
    lines = [line for line in text.splitlines() if line.strip()]
    spoken = next((line for line in lines if not line.startswith(b"#")), b"")
    if _LINE.match(spoken):
        return "line_protocol"
    if len(lines) > 1 and any(each.encode() in lines[0] for each in DELIMITERS):
        return "csv"
    return "raw"


class AutoReader:
    """``readers``: one per codec, all of the same topics and template."""

    def __init__(self, readers: Mapping[str, Subscription]) -> None:
        self._readers = dict(readers)
        self._first = next(iter(self._readers.values()))
        self._formats: dict[str, str] = {}

    @property
    def filter(self) -> str:
        return self._first.filter

    @property
    def templates(self) -> tuple[str, ...]:
        return self._first.templates

    @property
    def formats(self) -> dict[str, str]:
        """What the newest message of each topic was, of the topics heard last."""
        return dict(self._formats)

    def read(self, messages: Sequence[Message], now_ns: int) -> Sequence[Reading]:
        """A reading for each codec that there was a message for."""
        groups = self._grouped(messages)
        return [
            reading
            for name, group in groups.items()
            for reading in self._readers[name].read(group, now_ns)
        ]

    def count(self, messages: Sequence[Message]) -> Mapping[str, int]:
        total: Counter[str] = Counter()
        for name, group in self._grouped(messages).items():
            total.update(self._readers[name].count(group))
        return total

    def _grouped(self, messages: Sequence[Message]) -> dict[str, list[Message]]:
        groups: dict[str, list[Message]] = {}
        found = dict(self._formats)
        for message in messages:
            name = format_of(message.payload)
            groups.setdefault(name, []).append(message)
            found.pop(message.topic, None)  # the newest are last
            found[message.topic] = name
            if len(found) > TOPICS_MAX:
                del found[next(iter(found))]
        self._formats = found  # one step: it is read by another thread
        return groups
