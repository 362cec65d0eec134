"""How far files are stored that others go on writing: kept beside the data.

1. A file is known by its device and inode, which a new name leaves as they are, and by its content
   before the position (fingerprint.py): a number that was given to another file deceives nobody.
   A share may get another device number at the next start of the system: then the inode counts.
2. It is written after the rows are durable, never before.
3. Files that are gone stay for a while, GONE_MAX of them: a share may come back.

One file for each directory and pattern, by atomic replacement. One that cannot be read is as good
as none: all is read again. Used by one thread.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Container
from pathlib import Path
from typing import NamedTuple

from mainstem_engine.filesystem import Filesystem
from mainstem_node.logs import fields

GONE_MAX = 100
"""Each is a line of some hundred bytes in what is written again and again."""

log = logging.getLogger("mainstem.collector.file")

Identity = tuple[int, int]
"""(device, inode)."""


class Place(NamedTuple):
    """``name``: under which its rows are stored. ``position``: up to where; ``print``: of what is
    before it. ``size``: as it was last seen. ``header``: of CSV, where it is not very long;
    ``has_header`` False: it does not stand in the file itself."""

    name: str
    position: int
    print: str
    size: int
    header: str | None = None
    has_header: bool = True


class FollowBook:
    """See the module. ``source``: what it is of, for instance the directory and the pattern."""

    def __init__(self, directory: Path, source: str, fs: Filesystem | None = None) -> None:
        digest = hashlib.blake2b(source.encode("utf-8", "surrogateescape"), digest_size=8)
        self._path = directory / f"follow-{digest.hexdigest()}.json"
        self._fs = fs or Filesystem()
        self._places: dict[Identity, Place] = {}
        self.is_new = False
        """Nothing was ever noted."""
        self._is_written = True
        self.written_bytes = 0
        """The size of the last write."""
        self._read()

    def __len__(self) -> int:
        return len(self._places)

    def inodes(self) -> set[int]:
        return {inode for _, inode in self._places}

    def identities(self) -> list[Identity]:
        """In the order in which they were found."""
        return list(self._places)

    def find(self, identity: Identity, present: Container[Identity]) -> Identity | None:
        """Under what a file is noted. ``present``: those that are there, and are not this one."""
        if identity in self._places:
            return identity
        found = (e for e in self._places if e[1] == identity[1] and e not in present)
        return next(found, None)

    def place(self, identity: Identity) -> Place:
        return self._places[identity]

    def headers(self) -> dict[str, bytes]:
        """By name, the newest that is noted."""
        places = self._places.values()
        return {each.name: each.header.encode() for each in places if each.header is not None}

    def note(self, identity: Identity, place: Place) -> None:
        """It is stored up to there."""
        if self._places.get(identity) != place:
            self._places[identity] = place
            self._is_written = False

    def forget(self, identity: Identity) -> None:
        if self._places.pop(identity, None) is not None:
            self._is_written = False

    def retire(self, present: Container[Identity]) -> None:
        """Of those that are not there any more only the newest stay."""
        gone = [each for each in self._places if each not in present]
        for each in gone[: max(0, len(gone) - GONE_MAX)]:
            self.forget(each)

    def write(self, *, is_begun: bool = False) -> None:
        """Returns when it is on disk. ``is_begun``: even if there is nothing in it. Raises OSError:
        then the next one tries again."""
        if self._is_written and not (is_begun and self.is_new):
            return
        files = [[*identity, *place] for identity, place in self._places.items()]
        text = json.dumps({"version": 1, "files": files})
        self.written_bytes = len(text)
        self._fs.replace(self._path, [text.encode()])
        self._is_written = True
        self.is_new = False

    def _read(self) -> None:
        try:
            data = json.loads(self._fs.read(self._path))
            if data["version"] != 1:
                raise ValueError("it is of another version")
            for device, inode, name, position, print_, size, header, has_header in data["files"]:
                self._places[int(device), int(inode)] = Place(
                    str(name), int(position), str(print_), int(size),
                    None if header is None else str(header), bool(has_header),
                )  # fmt: skip
        except FileNotFoundError:
            self.is_new = True
        except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
            self._places.clear()
            log.warning(
                "not readable: the files are read again",
                extra=fields(file=str(self._path), error=str(error)),
            )
