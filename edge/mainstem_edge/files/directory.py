"""A directory into which others put files: which of them are complete, and where they go.

1. A file is complete when its size and time were the same for ``settle_s``. The time is compared
   with itself and never with a clock: on a share it is another machine's.
2. The files that were changed longest ago come first. So many are watched at once, WATCHED_MAX,
   and all are counted: memory does not grow with the directory.
3. Symbolic links are not followed, below the directory: neither files nor directories. What is no
   regular file, is empty or hidden (a dot before its name) is not looked at.
4. What is put away goes to ``done`` or ``bad`` inside the directory, under the name that it has. A
   name that is taken there gets the time of the file: nothing is ever written over.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fnmatch
import hashlib
import heapq
import os
import re
import stat
import time
from collections.abc import Callable, Container, Iterator
from io import FileIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mainstem_edge.errors import UnreadableFileError

DONE, BAD = "done", "bad"
WATCHED_MAX = 10_000
"""A few megabytes. Behind them others wait for their turn, and for their ``settle_s``."""
_NAMES_TRIED_MAX = 1000
_OPEN = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)  # or what became a pipe meanwhile would hold everything up
    | getattr(os, "O_CLOEXEC", 0)
)


class Found(NamedTuple):
    """A file as it was seen. ``relative``: its path below the directory, with slashes."""

    relative: str
    size: int
    mtime_ns: int

    @property
    def digest(self) -> str:
        """Tells it from other files, and from itself with another content."""
        text = os.fsencode(self.relative) + f"\n{self.size}\n{self.mtime_ns}".encode()
        return hashlib.blake2b(text, digest_size=8).hexdigest()


class Sight(NamedTuple):
    """A file by what survives a new name. ``fits``: the name is one of the pattern."""

    relative: str
    device: int
    inode: int
    size: int
    mtime_ns: int
    fits: bool

    @property
    def identity(self) -> tuple[int, int]:
        return self.device, self.inode


class Directory:
    """``pattern``: of names, with a slash between those of directories. ``settle_s``: see 1."""

    def __init__(
        self,
        root: Path,
        pattern: str,
        settle_s: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.root = root
        self._levels = [re.compile(fnmatch.translate(each)) for each in pattern.split("/")]
        self._hidden = [each.startswith(".") for each in pattern.split("/")]
        self._settle_s = settle_s
        self._monotonic = monotonic
        self._watched: dict[Found, float] = {}
        self.waiting = self.waiting_bytes = 0
        """Of the last scan: files that are not being read."""
        self.problem = ""
        """Of the last scan: a directory below that could not be read."""

    def scan(self, passes: Callable[[Found], bool]) -> list[Found]:
        """The complete files, those changed longest ago first, without those that ``passes`` holds
        for. Raises OSError for the directory itself."""
        self.waiting = self.waiting_bytes = 0
        self.problem = ""
        now = self._monotonic()
        files = heapq.nsmallest(WATCHED_MAX, self._counted(passes), key=_age)
        self._watched = {found: self._watched.get(found, now) for found in files}
        return [found for found, since in self._watched.items() if now - since >= self._settle_s]

    def _counted(self, passes: Callable[[Found], bool]) -> Iterator[Found]:
        for found in self._walk():
            if not passes(found):
                self.waiting += 1
                self.waiting_bytes += found.size
                yield found

    def _walk(self) -> Iterator[Found]:
        for relative, entry, _ in self._entries("", 0, ()):
            status = _status(self.root / relative, entry)
            if status is not None and status.st_size:
                yield Found(relative, status.st_size, status.st_mtime_ns)

    def _entries(
        self, above: str, depth: int, inodes: Container[int]
    ) -> Iterator[tuple[str, os.DirEntry[str], bool]]:
        """(path, entry, whether the name fits) of the last level."""
        name_fits, is_hidden = self._levels[depth].match, self._hidden[depth]
        is_last = depth == len(self._levels) - 1
        inner: list[str] = []
        with os.scandir(self.root / above) as entries:
            for entry in entries:
                name = entry.name
                fits = bool(name_fits(name)) and (is_hidden or not name.startswith("."))
                if is_last:
                    if fits or entry.inode() in inodes:
                        yield above + name, entry, fits
                elif (
                    fits
                    and entry.is_dir(follow_symlinks=False)
                    and (depth or name not in (DONE, BAD))
                ):
                    inner.append(f"{above}{name}/")
        for each in inner:
            try:
                yield from self._entries(each, depth + 1, inodes)
            except OSError as error:
                self.problem = f"{each}: {error.strerror or error}"

    def sights(self, inodes: Container[int]) -> Iterator[Sight]:
        """All files of the pattern, empty ones too, and those of other names beside them that have
        one of these inodes. Raises OSError for the directory itself."""
        self.problem = ""
        for relative, entry, fits in self._entries("", 0, inodes):
            status = _status(self.root / relative, entry)
            if status is not None:
                yield Sight(
                    relative, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, fits
                )

    def open(self, found: Found) -> BinaryIO:
        """The file, as it was seen. Raises OSError; FileNotFoundError too if it is another now."""
        file = os.fdopen(self._opened(found.relative), "rb")
        status = os.fstat(file.fileno())
        if (status.st_size, status.st_mtime_ns) != (found.size, found.mtime_ns):
            file.close()
            raise FileNotFoundError(errno.ENOENT, "it has changed")
        return file

    def open_written(self, sight: Sight) -> FileIO:
        """The file that was seen, as it is now, without a buffer. Raises as ``open``."""
        file = FileIO(self._opened(sight.relative), "rb")
        status = os.fstat(file.fileno())
        if (status.st_dev, status.st_ino) != sight.identity:
            file.close()
            raise FileNotFoundError(errno.ENOENT, "it is another file")
        return file

    def _opened(self, relative: str) -> int:
        """The descriptor of a regular file."""
        path = self.root / relative
        if path.parent != self.root and os.path.realpath(path.parent) != os.path.join(
            os.path.realpath(self.root), os.path.dirname(relative)
        ):
            raise OSError(errno.ELOOP, "it lies behind a symbolic link")
        descriptor = os.open(path, _OPEN)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise UnreadableFileError("it is no regular file")
        return descriptor

    def is_unchanged(self, found: Found) -> bool:
        """True if it still is as it was seen."""
        try:
            status = os.lstat(self.root / found.relative)
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (found.size, found.mtime_ns)

    def put_away(self, found: Found, where: str) -> None:
        """Moves it to ``done`` or ``bad``. Raises OSError."""
        target = self.root / where / found.relative
        for directory in reversed([target.parent, *target.parent.parents]):
            if directory.is_relative_to(self.root / where):
                _own_directory(directory)
        taken = _taken_name(target, found.mtime_ns)
        try:
            os.replace(self.root / found.relative, taken)
        except OSError:
            taken.unlink()
            raise

    def delete(self, found: Found) -> None:
        """Raises OSError."""
        os.unlink(self.root / found.relative)


def _age(found: Found) -> tuple[int, str]:
    return found.mtime_ns, found.relative


def _status(path: Path, entry: os.DirEntry[str]) -> os.stat_result | None:
    """Of a regular file."""
    try:
        # What Windows lists has no numbers of files.
        status = os.lstat(path) if os.name == "nt" else entry.stat(follow_symlinks=False)
    except OSError:
        return None  # somebody took it
    return status if stat.S_ISREG(status.st_mode) else None


def _own_directory(path: Path) -> None:
    path.mkdir(exist_ok=True)
    if path.is_symlink():
        raise OSError(errno.ELOOP, f"{path.name} is a symbolic link")


def _taken_name(target: Path, mtime_ns: int) -> Path:
    """A name that nobody had, with an empty file under it: so nobody else takes it meanwhile. A
    link would do too, but not on every share, and to unlink the old name is a race again."""
    at = datetime.datetime.fromtimestamp(mtime_ns / 1e9, datetime.UTC)
    stem, dot, rest = target.name.partition(".")
    stamp = f"{at:%Y%m%dT%H%M%S}{at.microsecond:06d}"
    for number in range(-1, _NAMES_TRIED_MAX):
        more = f"-{number}" if number > 0 else ""
        name = target.name if number < 0 else f"{stem}.{stamp}{more}{dot}{rest}"
        with contextlib.suppress(FileExistsError):
            os.close(os.open(target.with_name(name), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            return target.with_name(name)
    raise FileExistsError(errno.EEXIST, f"{target.parent.name} has too many of that name")
