"""What of the files of a directory is stored: kept beside the data.

1. It is written after the rows are durable, never before: it may be behind, and then some rows are
   read again, and are the same rows. So it need not be written with every piece.
2. ``reading``: how far a file is stored that is not done. ``kept``: the digests of files that are
   done and stay where they are.

One file for each directory and pattern, by atomic replacement. One that cannot be read is as good
as none: all is read again. Used by one thread.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

from mainstem_edge.files.directory import Found
from mainstem_engine.filesystem import Filesystem
from mainstem_node.logs import fields

KEPT_MAX = 200_000
"""About 4 MB on disk and 20 MB in memory; beyond it nothing more can be kept."""

log = logging.getLogger("mainstem.collector.file")


class FileBook:
    """See the module. ``source``: what it is of, for instance the directory and the pattern."""

    def __init__(self, place: Path, source: str, fs: Filesystem | None = None) -> None:
        digest = hashlib.blake2b(source.encode("utf-8", "surrogateescape"), digest_size=8)
        self._path = place / f"file-{digest.hexdigest()}.json"
        self._fs = fs or Filesystem()
        self._reading: dict[str, tuple[str, int]] = {}
        self._kept: set[str] = set()
        self._is_written = True
        self.written_bytes = 0
        """The size of the last write."""
        self._read()

    def position(self, found: Found) -> int:
        """Up to where it is stored; 0 where nothing is known, or it is another file now."""
        digest, offset = self._reading.get(found.relative, ("", 0))
        return offset if digest == found.digest else 0

    def note(self, found: Found, offset: int) -> None:
        """It is stored up to there."""
        noted = (found.digest, offset)
        if self._reading.get(found.relative) != noted:
            self._reading[found.relative] = noted
            self._is_written = False

    def forget(self, found: Found) -> None:
        """It is done."""
        if self._reading.pop(found.relative, None) is not None:
            self._is_written = False

    def keep(self, found: Found) -> None:
        """It is done, and stays."""
        self._kept.add(found.digest)
        self._is_written = False

    def is_kept(self, found: Found) -> bool:
        return bool(self._kept) and found.digest in self._kept

    @property
    def is_full(self) -> bool:
        """No other file can be kept."""
        return len(self._kept) >= KEPT_MAX

    def retain(self, present: set[str]) -> None:
        """Only these are still there."""
        if not self._kept <= present:
            self._kept &= present
            self._is_written = False

    def write(self) -> None:
        """Returns when it is on disk. Raises OSError: then the next one tries again."""
        if self._is_written:
            return
        text = json.dumps(
            {"version": 1, "reading": self._reading, "kept": sorted(self._kept)}
        )  # names that are no text are escaped, and come back as they were
        self.written_bytes = len(text)
        self._fs.replace(self._path, [text.encode()])
        self._is_written = True

    def _read(self) -> None:
        try:
            data = json.loads(self._fs.read(self._path))
            if data["version"] != 1:
                raise ValueError("it is of another version")
            self._reading = {
                str(name): (str(digest), int(offset))
                for name, (digest, offset) in data["reading"].items()
            }
            self._kept = set(map(str, data["kept"]))
        except FileNotFoundError:
            return
        except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
            log.warning(
                "not readable: the files are read again",
                extra=fields(file=str(self._path), error=str(error)),
            )
