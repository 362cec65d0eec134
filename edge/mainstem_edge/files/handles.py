"""Files that are held open, so that what is renamed or deleted can be read to its end.

At most HANDLES_MAX, those that were used last. On Windows none is held between two looks: a file
that is open there cannot be renamed by the program that writes it.
"""

from __future__ import annotations

import os
from io import FileIO

from mainstem_edge.files.directory import Directory, Sight
from mainstem_edge.files.follow_book import Identity

HANDLES_MAX = 64
"""A process may have 1024 descriptors, and most are wanted for connections."""


class Handles:
    """Used by one thread."""

    def __init__(self, directory: Directory, *, are_kept: bool = os.name != "nt") -> None:
        self._directory = directory
        self._are_kept = are_kept
        self._files: dict[Identity, FileIO] = {}

    def __len__(self) -> int:
        return len(self._files)

    def held(self, identity: Identity) -> FileIO | None:
        return self._files.get(identity)

    def of(self, sight: Sight) -> FileIO:
        """The file, opened if it was not. Raises OSError; FileNotFoundError if it is not there."""
        file = self._files.pop(sight.identity, None)
        if file is None:
            file = self._directory.open_written(sight)
        self._files[sight.identity] = file  # the last one
        while len(self._files) > HANDLES_MAX:
            self.close(next(iter(self._files)))
        return file

    def rest(self, identity: Identity) -> None:
        """It is not read now."""
        if not self._are_kept:
            self.close(identity)

    def close(self, identity: Identity) -> None:
        file = self._files.pop(identity, None)
        if file is not None:
            file.close()

    def close_all(self) -> None:
        for each in list(self._files):
            self.close(each)
