"""Where the parts of a file's name stand for those who read it: as levels of a topic.

The first level is TOPIC; then comes one for each placeholder that the patterns ask for: ``{file}``
is ``{topic[1]}``, say. So the patterns of subscriptions are the only ones. What a name lacks is an
empty level, and as good as not there; so is what could not stand in a path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

TOPIC = "file"
_PLACEHOLDER = re.compile(r"\{(file|path)(?:\[(-?\d+)\])?\}")
_ROTATED = re.compile(r"(\.[A-Za-z]\w*)[.-]\d[\d_.:-]*$")
PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".lz4")
VALUE_CHARACTERS_MAX = 255
"""As many as an element of a path may have bytes."""


@dataclass(frozen=True, slots=True)
class FilePlace:
    """``asked``: (file or path, index or None) in order."""

    asked: tuple[tuple[str, int | None], ...] = ()

    @classmethod
    def of(cls, texts: Iterable[str]) -> FilePlace:
        """For the patterns of one collector."""
        found = [_asked(match) for text in texts for match in _PLACEHOLDER.finditer(text)]
        return cls(tuple(dict.fromkeys(found)))

    @property
    def filter(self) -> str:
        """Of all topics that ``topic`` gives."""
        return f"{TOPIC}/#"

    def pattern(self, text: str) -> str:
        """A pattern with ``{topic[n]}`` instead."""
        return _PLACEHOLDER.sub(
            lambda match: f"{{topic[{1 + self.asked.index(_asked(match))}]}}", text
        )

    def topic(self, relative: str) -> str:
        """Of a file, by its path below the directory."""
        *directories, name = relative.split("/")
        stem = stem_of(name)
        parts = {"path": directories, "file": stem.split("_")}
        levels = [TOPIC]
        for kind, index in self.asked:
            if index is None:
                levels.append(_level(stem))
                continue
            there = parts[kind]
            fits = -len(there) <= index < len(there)
            levels.append(_level(there[index]) if fits else "")
        return "/".join(levels)


def stem_of(name: str) -> str:
    """A file's name without its ending: of ``m7.csv.gz`` it is m7."""
    name = name.removesuffix(".gz")
    stem, dot, _ = name.rpartition(".")
    return stem if dot and stem else name


def unrotated(name: str) -> str:
    """A path without what a rotation appends: of ``m7.csv.1`` and ``m7.csv-20261123`` it is
    ``m7.csv``."""
    return _ROTATED.sub(r"\1", name)


def is_packed(name: str) -> bool:
    """A file that a rotation has packed: nobody writes it any more."""
    return name.endswith(PACKED)


def shown(name: str) -> str:
    """A name for people: one that is no text, or very long, would spoil a log."""
    text = name.encode("utf-8", "backslashreplace").decode()
    text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[:400])
    return text if len(text) <= 200 else f"{text[:200]}..."


def _asked(match: re.Match[str]) -> tuple[str, int | None]:
    return match[1], None if match[2] is None else int(match[2])


def _level(value: str) -> str:
    return value if len(value) <= VALUE_CHARACTERS_MAX and value.isprintable() else ""
