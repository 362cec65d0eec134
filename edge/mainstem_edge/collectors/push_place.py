"""Where the parts of a request stand for those who read it: as levels of a topic.

A topic is the collector's name, then the values of the query and the headers that patterns ask for,
then the rest of the path: ``{query.id}`` is ``{topic[1]}``, ``{path[0]}`` the level after those. So
the patterns of subscriptions are the only ones there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mainstem_node.errors import BadRequestError

_PLACEHOLDER = re.compile(r"\{(?:(query|header)\.([^{}]+)|path\[(-?\d+)\])\}")
VALUE_CHARACTERS_MAX = 255
"""As many as an element of a path may have bytes."""


@dataclass(frozen=True, slots=True)
class PushPlace:
    """``asked``: (query or header, name) in order. ``segments``: how many the path must have."""

    name: str
    asked: tuple[tuple[str, str], ...] = ()
    segments: int = 0

    @classmethod
    def of(cls, name: str, texts: Iterable[str]) -> PushPlace:
        """For the patterns of one collector."""
        found = [match for text in texts for match in _PLACEHOLDER.finditer(text)]
        asked = dict.fromkeys((match[1], match[2]) for match in found if match[1])
        places = [int(match[3]) for match in found if match[3]]
        needed = max((at + 1 if at >= 0 else -at for at in places), default=0)
        return cls(name, tuple(asked), needed)

    def pattern(self, text: str) -> str:
        """A pattern with ``{topic[n]}`` instead."""

        def placed(match: re.Match[str]) -> str:
            if match[1]:
                return f"{{topic[{1 + self.asked.index((match[1], match[2]))}]}}"
            at = int(match[3])
            return f"{{topic[{at if at < 0 else at + 1 + len(self.asked)}]}}"

        return _PLACEHOLDER.sub(placed, text)

    def topic(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
        """Of one request. ``path``: what follows the name. BadRequestError: what is missing."""
        levels = [self.name]
        for kind, name in self.asked:
            value = (query if kind == "query" else headers).get(name, "")
            if not value or not _is_level(value):
                problem = (
                    "is missing" if not value else "is too long, or no printable text without /"
                )
                raise BadRequestError(f"{kind} {name} {problem}", field=name)
            levels.append(value)
        segments = [segment for segment in path.split("/") if segment]
        if len(segments) < self.segments:
            raise BadRequestError(
                f"the path has {len(segments)} parts after {self.name}, {self.segments} are needed",
                field="path",
            )
        return "/".join([*levels, *segments])


def _is_level(value: str) -> bool:
    """True for what can be a level: half a surrogate pair, say, could not be stored."""
    return "/" not in value and len(value) <= VALUE_CHARACTERS_MAX and value.isprintable()
