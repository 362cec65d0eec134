"""Where the parts of a record stand for those who read it: as levels of a topic.

1. The first level is the subscription's topic or pattern. Then come those of key, partition,
   headers and topic that its patterns ask for, and at the end the parts of the topic between its
   dots: ``{key}`` is ``{topic[1]}``, say. So the patterns of subscriptions are the only ones.
2. What a record lacks is an empty level, and as good as not there. So is a key or header that is
   no printable text without a slash: a path could not have it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

_PLACEHOLDER = re.compile(r"\{(?:(topic|key|partition)|header\.([^{}]+)|topic\[(-?\d+)\])\}")
VALUE_CHARACTERS_MAX = 255
"""As many as an element of a path may have bytes."""


class Record(Protocol):
    """What is asked of a record: a part of confluent_kafka's ``Message``."""

    def key(self) -> bytes | str | None: ...

    def partition(self) -> int | None: ...

    def headers(self) -> object: ...


@dataclass(frozen=True, slots=True)
class RecordPlace:
    """``asked``: topic, key, partition or (header's name,), in order. ``parts``: whether the parts
    of the topic are asked for, which are many where ``subscription`` is a pattern."""

    subscription: str
    asked: tuple[str | tuple[str], ...] = ()
    parts: bool = False

    @classmethod
    def of(cls, subscription: str, texts: Iterable[str]) -> RecordPlace:
        """For the patterns of one subscription."""
        found = [match for text in texts for match in _PLACEHOLDER.finditer(text)]
        asked = dict.fromkeys(match[1] or (match[2],) for match in found if not match[3])
        return cls(subscription, tuple(asked), any(match[3] for match in found))

    @property
    def filter(self) -> str:
        """Of all topics that ``of_record`` gives."""
        return f"{self.subscription}/#"

    def fits(self, topic: str) -> bool:
        """True for a topic of Kafka that is the subscription's."""
        if self.subscription.startswith("^"):
            return re.match(self.subscription, topic) is not None
        return topic == self.subscription

    def pattern(self, text: str) -> str:
        """A pattern with ``{topic[n]}`` instead."""

        def placed(match: re.Match[str]) -> str:
            if not match[3]:
                return f"{{topic[{1 + self.asked.index(match[1] or (match[2],))}]}}"
            at = int(match[3])
            return f"{{topic[{at if at < 0 else at + 1 + len(self.asked)}]}}"

        return _PLACEHOLDER.sub(placed, text)

    def of_record(self, topic: str, record: Record) -> str:
        """The topic under which its reader gets it."""
        levels = [self.subscription]
        for each in self.asked:
            if isinstance(each, tuple):
                levels.append(_level(_header(record.headers(), each[0])))
            elif each == "key":
                levels.append(_level(record.key()))
            else:
                levels.append(topic if each == "topic" else str(record.partition()))
        if self.parts:
            levels += topic.split(".")
        elif self.subscription != topic and "topic" not in self.asked:
            levels.append(topic)  # for people: which of the pattern's it was
        return "/".join(levels)


def _header(headers: object, name: str) -> object:
    """The last of a name, as Kafka's own clients take it."""
    if not isinstance(headers, Sequence):
        return None
    return next((value for key, value in reversed(headers) if key == name), None)


def _level(value: object) -> str:
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            return ""
    if not isinstance(value, str) or len(value) > VALUE_CHARACTERS_MAX:
        return ""
    return value if "/" not in value and value.isprintable() else ""
