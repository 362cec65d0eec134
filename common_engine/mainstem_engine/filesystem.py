"""The only file of the engine that writes, syncs, replaces, locks and maps.

Guarantees, each of which a caller relies on:

1. ``AppendFile.write`` writes every byte or raises; ``sync`` returns when the bytes are on disk.
2. ``replace`` is atomic: temporary name, write, sync, rename, sync of the directory. A crash leaves
   the old content or the new one, and at most a ``*.tmp`` file that ``remove_temporary`` deletes.
3. Nothing here retries a failed write or sync: after such a failure the kernel may drop the dirty
   pages and report success the next time.
4. A mapping stays readable after its file was unlinked (POSIX keeps the inode).
5. A lock dies with its process, however the process ends.

All differences between operating systems live here too.
"""

from __future__ import annotations

import contextlib
import errno
import json
import mmap
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mainstem_engine.errors import LockedError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

Buffer = bytes | bytearray | memoryview | npt.NDArray[np.generic]
"""What may be written: any contiguous bytes-like object."""

TEMPORARY_SUFFIX = ".tmp"
"""Files of this suffix are never read; a start removes what a crash left."""

SECTOR_BYTES = 512
"""What a disk writes as one. A sector that was never written reads as zeros."""

_IOV_MAX = 1024
"""POSIX lets writev take this many buffers on every system in use."""

_WRITE_BYTES_MAX = 1 << 30
"""Linux writes at most 0x7ffff000 bytes per call; staying below keeps the arithmetic simple."""

_LOCK_INFO_BYTES_MAX = 4096
"""Bound for reading a lock file that somebody else may have filled."""

_LINK_IMPOSSIBLE = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS})
"""Another device, no hard links here, too many of them: the caller copies instead."""

_BINARY = getattr(os, "O_BINARY", 0)  # Windows would translate line ends without it


class AppendFile:
    """A file open for appending. Not thread-safe; one owner at a time."""

    __slots__ = ("_fd", "path")

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd

    def write(self, buffers: Sequence[Buffer]) -> int:
        """Append all ``buffers``; returns the bytes. OSError: an unknown part is written."""
        total = 0
        views = [view for buffer in buffers if (view := byte_view(buffer)).nbytes]
        for group in _groups(views):
            total += self._write_group(group)
        return total

    def sync(self) -> None:
        """Wait until the content and the length are on disk."""
        _fdatasync(self._fd)

    def truncate(self, size: int) -> None:
        """Cut the file to ``size`` bytes."""
        os.ftruncate(self._fd, size)

    def size(self) -> int:
        """Current length in bytes."""
        return os.fstat(self._fd).st_size

    def close(self) -> None:
        """Close without syncing. May be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _write_group(self, views: list[memoryview]) -> int:
        wanted = sum(view.nbytes for view in views)
        written = _writev(self._fd, views)
        while written < wanted:
            # A short write is legal (signal, nearly full disk): go on with what is left.
            rest = memoryview(b"".join(views))[written:]
            written += _writev(self._fd, [rest])
        return wanted


class ReadFile:
    """A file open for reading at offsets; safe for several threads where pread exists."""

    __slots__ = ("_fd", "path")

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset``; shorter only at the end of the file."""
        data = _pread(self._fd, size, offset)
        while 0 < len(data) < size:
            more = _pread(self._fd, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def size(self) -> int:
        """Current length in bytes."""
        return os.fstat(self._fd).st_size

    def close(self) -> None:
        """Close. May be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> ReadFile:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class MappedFile:
    """A file mapped for reading; ``view`` is the whole content. An empty file maps to nothing."""

    __slots__ = ("_map", "path", "view")

    def __init__(self, path: Path, mapping: mmap.mmap | None) -> None:
        self.path = path
        self._map = mapping
        self.view = memoryview(b"") if mapping is None else memoryview(mapping)

    def let_go(self) -> None:
        """Pages that were read are this process's no longer: only the page cache has them, from
        where the next reader, at any time, finds them again."""
        mapping = self._map
        if mapping is not None and sys.platform != "win32":
            # ValueError: it was closed meanwhile.
            with contextlib.suppress(ValueError):
                mapping.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        """Unmap now, or when the last array that looks into the mapping is gone."""
        self.view.release()
        mapping, self._map = self._map, None
        if mapping is not None:
            # BufferError: a reader still holds a view; the mapping goes with its last reference.
            with contextlib.suppress(BufferError):
                mapping.close()


class FileLock:
    """An exclusive lock on a data directory, held until close() or the end of the process."""

    __slots__ = ("_fd", "path")

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd

    def announce(self, url: str | None) -> None:
        """Write who holds the lock, so that LockedError can name this process."""
        data = json.dumps({"pid": os.getpid(), "url": url}).encode()
        os.lseek(self._fd, 0, os.SEEK_SET)
        os.write(self._fd, data)
        os.ftruncate(self._fd, len(data))  # last, so that a reader never finds the file empty

    def close(self) -> None:
        """Release. May be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class SpareDescriptor:
    """One descriptor kept back: a process that has used up its own can still open one file.

    Another thread may be faster; then it is as if there were none.
    """

    __slots__ = ("_fd",)

    def __init__(self) -> None:
        self._fd = -1
        self._take()

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Inside the block the descriptor is free."""
        self.close()
        try:
            yield
        finally:
            self._take()

    def close(self) -> None:
        """Gives it back for good. May be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _take(self) -> None:
        with contextlib.suppress(OSError):  # nothing is left to keep back
            self._fd = os.open(os.devnull, os.O_RDONLY)


class Filesystem:
    """The real file system. ``testing.faulty_filesystem`` has a twin that fails and forgets."""

    def create(self, path: Path, *, mode: int = 0o644) -> AppendFile:
        """A new file. FileExistsError if there is one. Durable only after sync_directory()."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | _BINARY
        return AppendFile(path, os.open(path, flags, mode))

    def open_append(self, path: Path) -> AppendFile:
        """An existing file, to append to. FileNotFoundError if there is none."""
        return AppendFile(path, os.open(path, os.O_WRONLY | os.O_APPEND | _BINARY))

    def open_read(self, path: Path) -> ReadFile:
        """An existing file, to read at offsets."""
        return ReadFile(path, os.open(path, os.O_RDONLY | _BINARY))

    def read(self, path: Path) -> bytes:
        """The whole content."""
        return path.read_bytes()

    def map(self, path: Path) -> MappedFile:
        """The whole content, mapped."""
        fd = os.open(path, os.O_RDONLY | _BINARY)
        try:
            if os.fstat(fd).st_size == 0:  # mmap refuses to map nothing
                return MappedFile(path, None)
            return MappedFile(path, mmap.mmap(fd, 0, access=mmap.ACCESS_READ))
        finally:
            os.close(fd)

    def scratch(self, directory: Path, size: int) -> mmap.mmap:
        """``size`` bytes of zeros in a file of no name, mapped for writing; gone when unmapped.

        The space is taken at once: a mapping that finds the disk full later ends the process.
        """
        self.make_directory(directory)
        with contextlib.suppress(OSError):
            self.remove_temporary(directory)  # what a crash left
        fd, name = tempfile.mkstemp(TEMPORARY_SUFFIX, dir=directory)
        try:
            _reserve(fd, size)
            return mmap.mmap(fd, size)
        finally:
            os.close(fd)
            with contextlib.suppress(OSError):  # of a system that keeps what is mapped
                os.unlink(name)

    def replace(self, path: Path, buffers: Sequence[Buffer], *, mode: int = 0o644) -> int:
        """Make ``path`` hold exactly ``buffers``, atomically and durably. Returns the bytes.

        ``mode``: the file's rights; 0o600 for secrets.
        """
        temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
        with self.create_temporary(temporary, mode=mode) as file:
            written = file.write(buffers)
            file.sync()
        self.rename(temporary, path)
        self.sync_directory(path.parent)
        return written

    @contextlib.contextmanager
    def create_temporary(self, path: Path, *, mode: int = 0o644) -> Iterator[AppendFile]:
        """A new file that is closed at the end, and removed if the body fails.

        It gives a full disk its space back; what a crash leaves, remove_temporary() deletes.
        """
        self.unlink(path)
        file = self.create(path, mode=mode)
        try:
            yield file
        except BaseException:
            file.close()
            with contextlib.suppress(OSError):
                self.unlink(path)
            raise
        file.close()

    def rename(self, source: Path, target: Path) -> None:
        """Rename over ``target``. Durable only after sync_directory()."""
        os.replace(source, target)

    def link(self, source: Path, target: Path) -> bool:
        """Give a file a second name; False where this pair of places cannot share one.

        FileExistsError if there is a ``target``. Durable only after sync_directory().
        """
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno in _LINK_IMPOSSIBLE:
                return False
            raise
        return True

    def unlink(self, path: Path) -> None:
        """Remove a file if it exists. Durable only after sync_directory()."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def make_directory(self, path: Path) -> None:
        """Create a directory (and its parents) durably; an existing one is fine."""
        missing = [parent for parent in (path, *path.parents) if not parent.exists()]
        for directory in reversed(missing):
            with contextlib.suppress(FileExistsError):
                os.mkdir(directory)
            self.sync_directory(directory.parent)

    def sync_directory(self, path: Path) -> None:
        """Make creations, renames and removals in ``path`` durable."""
        if sys.platform == "win32":
            return  # NTFS journals names itself and cannot open a directory for flushing
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def list(self, path: Path) -> list[str]:
        """Names in a directory, sorted; empty if it does not exist."""
        try:
            return sorted(os.listdir(path))
        except FileNotFoundError:
            return []

    def size(self, path: Path) -> int:
        """Length of a file in bytes."""
        return os.stat(path).st_size

    def remove_temporary(self, directory: Path) -> int:
        """Delete what a crash in the middle of replace() left; returns how many files."""
        names = [name for name in self.list(directory) if name.endswith(TEMPORARY_SUFFIX)]
        for name in names:
            self.unlink(directory / name)
        return len(names)

    def lock(self, path: Path, *, url: str | None = None) -> FileLock:
        """Take the lock at ``path`` or raise LockedError with the owner's pid and url."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | _BINARY, 0o644)
        try:
            _lock_exclusive(fd)
        except (BlockingIOError, PermissionError) as exc:
            pid, owner_url = _lock_owner(fd)
            os.close(fd)
            raise LockedError(path, pid, owner_url) from exc
        except OSError:  # such as a network file system without locks: nobody owns it
            os.close(fd)
            raise
        lock = FileLock(path, fd)
        try:
            lock.announce(url)
        except BaseException:
            lock.close()  # or this process itself could not try again
            raise
        return lock

    def lock_shared(self, path: Path) -> FileLock | None:
        """Keep owners out while something only reads. Writes nothing; None if there is no file.

        Raises LockedError with the owner's pid and url.
        """
        try:
            fd = os.open(path, os.O_RDONLY | _BINARY)
        except FileNotFoundError:
            return None
        try:
            _lock_shared(fd)
        except (BlockingIOError, PermissionError) as exc:
            pid, owner_url = _lock_owner(fd)
            os.close(fd)
            raise LockedError(path, pid, owner_url) from exc
        except OSError:
            os.close(fd)
            raise
        return FileLock(path, fd)


def byte_view(buffer: Buffer) -> memoryview:
    """``buffer`` as a flat view of bytes, without copying. ValueError if it is not contiguous."""
    view = buffer.data if isinstance(buffer, np.ndarray) else memoryview(buffer)
    if view.nbytes == 0:
        return memoryview(b"")  # cast() refuses zero-length arrays of more than one dimension
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


def has_blank_sector(view: memoryview, start: int, end: int) -> bool:
    """True if the part of some sector that lies in [start, end) is all zeros; of nothing, False.

    This tells a write that a power cut tore (something of it is missing) from damage.
    """
    first_whole = start - start % SECTOR_BYTES
    return start < end and any(
        not any(view[max(start, sector) : min(end, sector + SECTOR_BYTES)])
        for sector in range(first_whole, end, SECTOR_BYTES)
    )


def _groups(views: list[memoryview]) -> Iterator[list[memoryview]]:
    """Split so that no group has more buffers or bytes than one writev takes."""
    group: list[memoryview] = []
    size = 0
    for view in views:
        for start in range(0, view.nbytes, _WRITE_BYTES_MAX):
            piece = view[start : start + _WRITE_BYTES_MAX]
            if len(group) == _IOV_MAX or size + piece.nbytes > _WRITE_BYTES_MAX:
                yield group
                group, size = [], 0
            group.append(piece)
            size += piece.nbytes
    if group:
        yield group


def _lock_owner(fd: int) -> tuple[int | None, str | None]:
    """Who wrote the lock file; (None, None) if it is empty or not ours to understand."""
    try:
        os.lseek(fd, 0, os.SEEK_SET)
        owner = json.loads(os.read(fd, _LOCK_INFO_BYTES_MAX))
    except (OSError, ValueError):
        return None, None
    if not isinstance(owner, dict):
        return None, None
    pid, url = owner.get("pid"), owner.get("url")
    return pid if isinstance(pid, int) else None, url if isinstance(url, str) else None


if sys.platform == "win32":

    def _writev(fd: int, views: list[memoryview]) -> int:
        return os.write(fd, b"".join(views))

    def _pread(fd: int, size: int, offset: int) -> bytes:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, size)

    def _fdatasync(fd: int) -> None:
        os.fsync(fd)

    def _reserve(fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def _lock_exclusive(fd: int) -> None:
        # Locks one byte far beyond the JSON, so that others can still read who owns it.
        os.lseek(fd, 1 << 30, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)

    _lock_shared = _lock_exclusive

else:

    def _writev(fd: int, views: list[memoryview]) -> int:
        return os.writev(fd, views)

    def _pread(fd: int, size: int, offset: int) -> bytes:
        return os.pread(fd, size, offset)

    def _fdatasync(fd: int) -> None:
        if sys.platform == "darwin":
            # fsync of macOS does not reach the medium; this does.
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(fd)

    def _reserve(fd: int, size: int) -> None:
        if sys.platform == "linux":
            os.posix_fallocate(fd, 0, size)
        else:
            os.ftruncate(fd, size)

    def _lock_exclusive(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _lock_shared(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
