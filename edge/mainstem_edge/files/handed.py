"""Files of which rows are on their way: what was handed on of each, and what is durable.

A file's position is the end of what is durable without a gap before it, in whatever order pieces
become durable. Acknowledgements come from the committer's thread, everything else is the session's.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from mainstem_edge.files.directory import Found


@dataclass(slots=True, eq=False)
class Handed:
    """One file. ``durable``: the position; ``is_read``: all of it was handed on. ``key`` tells it
    from others."""

    key: Hashable
    found: Found
    durable: int
    is_read: bool = False
    ends: deque[tuple[int, int]] = field(default_factory=deque)
    """(id, the place behind it) of pieces that are not durable, or not all before them are."""

    @property
    def is_stored(self) -> bool:
        return self.is_read and not self.ends


class HandedFiles:
    """The origin of one session's messages. Bounded by its caller, by ``len``."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._files: dict[Hashable, Handed] = {}
        self._of: dict[int, Handed] = {}
        """By the id of what is not durable."""
        self._last = 0
        self.durable_bytes = 0
        """Of all files, since the start."""

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._files

    def begin(self, found: Found, offset: int, key: Hashable | None = None) -> Handed:
        """It is read from here on; what lies before is durable. Without a key its path is one."""
        made = Handed(found.relative if key is None else key, found, offset)
        with self._changed:
            self._files[made.key] = made
        return made

    def hand_on(self, file: Handed, end: int) -> int:
        """The id of a piece that ends there."""
        with self._changed:
            self._last += 1
            file.ends.append((self._last, end))
            self._of[self._last] = file
            return self._last

    def forget(self, file: Handed) -> None:
        """Nothing is to be known of it any more."""
        with self._changed:
            self._files.pop(file.key, None)
            for number, _ in file.ends:
                self._of.pop(number, None)

    def acknowledge(self, ids: Sequence[int]) -> None:
        """These are durable."""
        with self._changed:
            touched = [self._of.pop(each, None) for each in ids]
            for file in dict.fromkeys(touched):
                if file is None:
                    continue
                before = file.durable
                while file.ends and file.ends[0][0] not in self._of:
                    file.durable = file.ends.popleft()[1]
                self.durable_bytes += file.durable - before
            self._changed.notify_all()

    def position(self, file: Handed, end: int) -> int:
        """Up to where it is durable, of a file whose whole lines were read up to ``end``: what is
        passed over becomes no message."""
        with self._changed:
            return file.durable if file.ends else end

    def unacknowledged(self) -> int:
        """Messages handed on and not durable yet."""
        return len(self._of)

    def stored(self) -> list[Handed]:
        """Files all of whose rows are durable."""
        with self._changed:
            return [each for each in self._files.values() if each.is_stored]

    def begun(self) -> list[Handed]:
        """Files of which only a part is durable."""
        with self._changed:
            return [each for each in self._files.values() if not each.is_stored]

    def wait(self, timeout_s: float) -> None:
        """Until something becomes durable, or the time is over."""
        with self._changed:
            self._changed.wait(timeout_s)
